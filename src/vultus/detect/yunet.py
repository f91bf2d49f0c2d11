"""Face boxes with YuNet, through OpenCV."""

from __future__ import annotations

import threading
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vultus.errors import AssetMissing

MODEL_PATH = Path(__file__).parent / "assets" / "face_detection_yunet_2023mar_int8bq.onnx"


class YuNet:
    """The YuNet 2023mar face detector (Wu, Peng and Yu, Machine Intelligence Research 2023).

    Finds upright faces (within about 45 degrees of roll) of 10 to 300 pixels.
    """

    def __init__(self, min_score: float = 0.5, overlap: float = 0.3) -> None:
        if not MODEL_PATH.is_file():
            raise AssetMissing(f"{MODEL_PATH}: the face detector is missing; install vultus again")
        self._lock = threading.Lock()
        level = cv2.utils.logging.getLogLevel()
        cv2.utils.logging.setLogLevel(
            cv2.utils.logging.LOG_LEVEL_ERROR
        )  # OpenCV 5 warns about its own default
        try:
            self._net = cv2.FaceDetectorYN.create(str(MODEL_PATH), "", (320, 320), min_score, overlap, 200)
        finally:
            cv2.utils.logging.setLogLevel(level)

    def detect(self, image: Tensor) -> Tensor:
        """Boxes in an image "3 h w": "n 15" of left, top, width, height, five points (x, y), score.

        The points are the subject's right eye, left eye, nose tip, right and left mouth corner. Pixel centres at +0.5.
        """
        pixels = (
            (image.clamp(0, 1) * 255)
            .round()
            .to(torch.uint8)
            .flip(0)
            .permute(1, 2, 0)
            .contiguous()
            .cpu()
            .numpy()
        )
        with self._lock:  # the input size is part of the detector's state
            self._net.setInputSize((pixels.shape[1], pixels.shape[0]))
            _, found = self._net.detect(pixels)
        faces = np.zeros((0, 15), np.float32) if found is None else found
        return torch.from_numpy(faces.astype(np.float32))


def resized(image: Tensor, long_side_px: int) -> Tensor:
    """An image "3 h w" with its longer side brought to ``long_side_px``, averaged where it shrinks."""
    scale = long_side_px / max(image.shape[-2:])
    size = [max(1, round(side * scale)) for side in image.shape[-2:]]
    if scale < 0.5:
        image = F.avg_pool2d(image[None], max(1, min(int(0.5 / scale), *image.shape[-2:])))[0]
    return F.interpolate(image[None], size, mode="bilinear", align_corners=False, antialias=True)[0]
