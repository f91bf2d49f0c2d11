"""A number vector per face that is alike for photos of one person: SFace, through OpenCV."""

from __future__ import annotations

import threading
from pathlib import Path

import cv2
import numpy as np
from torch import Tensor

from vultus.detect.crop import Window, crop
from vultus.detect.protocol import LandmarkKind, Landmarks
from vultus.errors import BadFile, BadInput

CROP_PX = 112
# Where cv2.FaceRecognizerSF.alignCrop puts the subject's right eye, left eye, nose tip, right and left mouth corner; OpenCV counts from pixel
# centres, vultus from pixel corners.
TEMPLATE_PX = np.array(
    [(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)]
) + 0.5  # fmt: skip

_EYES: dict[LandmarkKind, tuple[list[int], list[int]]] = {
    "mediapipe478": ([33, 133], [362, 263]),
    "mediapipe468": ([33, 133], [362, 263]),
    "surface468": ([33, 133], [362, 263]),
    "ibug68": ([*range(36, 42)], [*range(42, 48)]),
}
_NOSE_AND_MOUTH: dict[LandmarkKind, list[int]] = {
    "mediapipe478": [4, 61, 291],
    "mediapipe468": [4, 61, 291],
    "surface468": [4, 61, 291],
    "ibug68": [30, 48, 54],
}


class SFace:
    """SFace (Zhong et al., IEEE TIP 2021) as the OpenCV Zoo gives it: an aligned crop of 112 x 112 pixels -> 128 numbers.

    Args:
        path: the ONNX file, of any precision.

    Raises:
        BadFile: no network that OpenCV can read.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        try:
            # Not cv2.FaceRecognizerSF: OpenCV 5's cannot name the input of the block-quantised file, whose weights count as inputs too.
            self._net = cv2.dnn.readNetFromONNX(str(path))
        except cv2.error as error:
            reason = " ".join(str(error).split())
            raise BadFile(f"{path}: not an ONNX network that can be read ({reason}); get it again") from error

    def embed(self, image: Tensor, points_px: np.ndarray) -> np.ndarray:
        """The unit vector of a face, (128,) float64.

        Args:
            image: "3 h w" sRGB in [0, 1].
            points_px: (5, 2) of :func:`five_points`.

        Raises:
            BadInput: points that are not finite, or all in one place.
        """
        seen = crop(image.detach().float().cpu(), aligned_window(points_px), CROP_PX)
        # The network wants RGB from 0 to 255 (OpenCV swaps its BGR on the way in), whole numbers as a picture file has them.
        blob = (seen.clamp(0, 1) * 255).round()[None].numpy()
        with self._lock:
            self._net.setInput(blob, "data")
            found = np.asarray(self._net.forward(), np.float64).ravel()
        return found / max(float(np.linalg.norm(found)), 1e-12)


def five_points(landmarks: Landmarks) -> np.ndarray:
    """The subject's right eye, left eye, nose tip, right and left mouth corner, (5, 2) float64, pixel centres at +0.5.

    An eye is the middle between its corners, not the pupil: the same face that looks aside is aligned the same.
    """
    points = landmarks.points_px.detach().double().cpu().numpy()
    eyes = [points[corners].mean(0) for corners in _EYES[landmarks.kind]]
    return np.concatenate([eyes, points[_NOSE_AND_MOUTH[landmarks.kind]]])


def aligned_window(points_px: np.ndarray) -> Window:
    """The square of a photo that becomes the crop: the similarity that takes five points best to :data:`TEMPLATE_PX`.

    Least squares as in ``alignCrop`` (Umeyama 1991); in the plane and without reflections it is one complex division. Where the face is larger
    than the crop, :func:`.crop.crop` averages pixels, which ``alignCrop`` skips.

    Args:
        points_px: (5, 2).
    """
    if np.shape(points_px) != (5, 2) or not np.isfinite(points_px).all():
        raise BadInput(f"alignment needs five finite points, got an array shaped {np.shape(points_px)}")
    source, target = (p[:, 0] + 1j * p[:, 1] for p in (np.asarray(points_px, float), TEMPLATE_PX))
    x, y = source - source.mean(), target - target.mean()
    turn = np.vdot(x, y) / max(float(np.vdot(x, x).real), 1e-12)
    if abs(turn) < 1e-6 or not np.ptp(source.real) + np.ptp(source.imag) > 1e-6:
        raise BadInput("the five points of the face lie in one place: it cannot be aligned")
    centre = (complex(CROP_PX / 2, CROP_PX / 2) - target.mean()) / turn + source.mean()
    return Window((centre.real, centre.imag), CROP_PX / abs(turn), float(-np.angle(turn)))
