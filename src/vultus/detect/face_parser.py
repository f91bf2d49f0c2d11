"""What a face parser gives, and two of them: the built-in one by colour and structure, and any network in a file of the user's.

Networks that label every pixel of a face (BiSeNet and its kin) are mostly trained on pictures whose licence forbids commercial use, so none
is shipped. Who holds one, exported to TorchScript or ONNX, plugs it in here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import torch
from torch import Tensor

from vultus.detect.crop import crop, window_around
from vultus.detect.face_region import landmark_sets, mask_in_photo
from vultus.detect.head import head_mask
from vultus.detect.protocol import Landmarks
from vultus.detect.segment import person_probability
from vultus.detect.skin import skin_mask
from vultus.errors import AssetMissing, BadFile, WeightsMismatch

CELEBAMASK = (
    "background", "skin", "left_brow", "right_brow", "left_eye", "right_eye", "glasses", "left_ear", "right_ear", "earring",
    "nose", "mouth", "upper_lip", "lower_lip", "neck", "necklace", "cloth", "hair", "hat",
)  # fmt: skip
"""Labels of networks trained on CelebAMask-HQ, in order."""
_SKIN = ("skin", "nose", "upper_lip", "lower_lip")
_NO_HEAD = ("background", "neck", "necklace", "cloth")
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, by which such networks normalise
_WINDOW = 2.0  # of the landmarks' extent: such networks know portraits with hair


@dataclass(frozen=True)
class FaceParts:
    """What a photo shows where.

    Attributes:
        skin: "h w" bool, bare facial skin and lips. head: "h w" bool, face, ears and hair, no neck.
    """

    skin: Tensor
    head: Tensor


class FaceParser(Protocol):
    """Tells skin and head from everything else."""

    def parse(self, image: Tensor, landmarks: Landmarks) -> FaceParts:
        """The parts of one face in an image "3 h w", RGB in [0, 1]."""
        ...


class ColourParser:
    """The built-in parser: landmarks, person segmentation, and the colour and structure of this face's skin."""

    def parse(self, image: Tensor, landmarks: Landmarks) -> FaceParts:
        """See :class:`FaceParser`."""
        person = person_probability(image, landmarks)
        return FaceParts(skin_mask(image, landmarks, person), head_mask(image, landmarks, person))


class NetworkParser:
    """A network from a file: image "1 3 s s" in, scores "1 labels s s" out (the first output, where there are several).

    Args:
        path: TorchScript (``.pt``, ``.pth``, ``.ts``) or ``.onnx``. Loading TorchScript runs code that is in the file: trust its source.
        labels: the name of each label, in order; those of CelebAMask-HQ if not given.
        size_px: side of the image that the network expects.

    Raises:
        AssetMissing: no such file. BadFile: it holds no network that can be read. WeightsMismatch: its output has another number of labels.
    """

    def __init__(self, path: str | Path, *, labels: tuple[str, ...] = CELEBAMASK, size_px: int = 512) -> None:
        self._path, self._labels, self._size_px = Path(path), labels, size_px
        self._scores = _load(self._path)

    def parse(self, image: Tensor, landmarks: Landmarks) -> FaceParts:
        """See :class:`FaceParser`."""
        sets = landmark_sets(landmarks.kind)
        points = landmarks.points_px
        window = window_around(points[sets.face], *points[list(sets.outer_eyes)], scale=_WINDOW)
        seen = crop(image.detach(), window, self._size_px).float().cpu()
        mean, std = (torch.tensor(values)[:, None, None] for values in (_MEAN, _STD))
        scores = self._scores(((seen - mean) / std)[None])
        if scores.ndim != 4 or scores.shape[1] != len(self._labels):
            raise WeightsMismatch(
                f"{self._path}: the network gives {tuple(scores.shape)}, expected (1, {len(self._labels)}, height, width): "
                "pass the labels it was trained with"
            )
        label = scores[0].argmax(0)
        skin, no_head = (self._one_of(label, names) for names in (_SKIN, _NO_HEAD))
        return FaceParts(*(mask_in_photo(part.float(), window, image) for part in (skin, ~no_head)))

    def _one_of(self, label: Tensor, names: tuple[str, ...]) -> Tensor:
        wanted = torch.tensor([i for i, name in enumerate(self._labels) if name in names], dtype=torch.int64)
        return torch.isin(label, wanted)


def _load(path: Path) -> Callable[[Tensor], Tensor]:
    """A network as a function "1 3 s s" -> "1 labels h w"."""
    if not path.is_file():
        raise AssetMissing(
            f"{path}: no such face parser; export one to TorchScript or ONNX, or use the built-in ColourParser"
        )
    try:
        if path.suffix.lower() == ".onnx":
            return _from_opencv(cv2.dnn.readNetFromONNX(str(path)))
        return _from_torch(torch.jit.load(str(path), map_location="cpu").eval())
    except (cv2.error, RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise BadFile(
            f"{path}: no TorchScript or ONNX network that can be read ({reason}); export it again"
        ) from error


def _from_torch(module: torch.jit.ScriptModule) -> Callable[[Tensor], Tensor]:
    def scores(image: Tensor) -> Tensor:
        with torch.inference_mode():
            found = module(image)
        return found[0] if isinstance(found, (tuple, list)) else found

    return scores


def _from_opencv(network: cv2.dnn.Net) -> Callable[[Tensor], Tensor]:
    first = network.getUnconnectedOutLayersNames()[0]

    def scores(image: Tensor) -> Tensor:
        network.setInput(image.numpy())
        return torch.from_numpy(np.asarray(network.forward(first)))

    return scores
