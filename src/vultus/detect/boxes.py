"""The cheap half of detection: boxes and five points of the faces in a photo, without the landmarks that :mod:`.detector` goes on to find."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .crop import turn_back
from .yunet import YuNet

_FIRST_PX, _FINE_PX, _FINEST_PX = 480, 960, 1920  # long sides at which a photo is searched
_LOWEST_SCORE = 0.3
_SURE_SCORE = 0.9  # upside down and sideways faces are found as upright ones too, with up to 0.88
_GOOD_SCORE = 0.7  # beside a sure face, what counts as another
_TURNED = 0.05
_SMALLEST_PX = 16.0  # of a box in the photo: smaller ones are patterns, and too small to be aligned
_SAME = 0.25  # intersection over the smaller of two boxes, from which on they are of one face


@dataclass(frozen=True)
class FoundBox:
    """One face.

    Attributes:
        corners_px: (left, top, right, bottom) in the photo, upright; from the forehead to the chin.
        points_px: "5 2" the subject's right eye, left eye, nose tip, right and left mouth corner.
        score: in [0, 1].
    """

    corners_px: tuple[float, float, float, float]
    points_px: Tensor
    score: float

    @property
    def area_px2(self) -> float:
        """Width times height, what faces are sorted by."""
        left, top, right, bottom = self.corners_px
        return (right - left) * (bottom - top)


def find_boxes(image: Tensor, *, small_too: bool = False) -> tuple[FoundBox, ...]:
    """Faces in a photo "3 h w" in [0, 1], largest first.

    Looked for at a long side of 480 px; where no face is sure there, finer, smaller with a border (a face that fills the photo), and turned by
    quarters, with less demanded of it.

    Args:
        small_too: look once more, finer, also where a large face is sure: for everybody in a picture.
    """
    found: dict[int, list[FoundBox]] = {turns: [] for turns in range(4)}
    for number, searches in enumerate(_stages(max(image.shape[1:]))):
        if number > (1 if small_too else 0) and max(map(_best, found.values())) >= _SURE_SCORE:
            break
        for long_px, turns, border in searches:
            found[turns] += _search(image, long_px, turns, border)
    # A photo lies one way; of the others come ghosts.
    chosen = max(found.values(), key=_best)
    believed = [box for box in chosen if box.score >= min(_GOOD_SCORE, 0.85 * _best(chosen))]
    return tuple(sorted(_without_doubles(believed), key=lambda box: -box.area_px2))


def _best(boxes: list[FoundBox]) -> float:
    return max((box.score for box in boxes), default=0.0)


def _stages(long_px: int) -> Iterator[list[tuple[int, int, float]]]:
    """Sets of searches in the order of their use: long side, quarter turns, border in long sides. The second is finer."""
    yield [(min(_FIRST_PX, 2 * long_px), 0, 0.0)]
    yield [(_FINE_PX, 0, 0.0)] if long_px > _FIRST_PX else []
    yield [(_FIRST_PX // 2, 0, 0.5)]
    yield [(_FIRST_PX, turns, 0.0) for turns in (1, 2, 3)]
    yield [(_FIRST_PX // 2, turns, 0.5) for turns in (1, 2, 3)]
    yield [(_FINEST_PX, 0, 0.0)] if long_px > _FINE_PX else []


def _search(image: Tensor, long_px: int, turns: int, border: float) -> list[FoundBox]:
    small, border_px = shrunk(image, long_px), round(border * long_px)
    searched = F.pad(small[None], [border_px] * 4, value=0.5)[0].rot90(turns, (1, 2))
    back = max(image.shape[1:]) / max(small.shape[1:])
    boxes = []
    for row in _yunet().detect(searched):
        corners = torch.stack([row[:2], row[:2] + row[2:4]])
        points = turn_back(
            torch.cat([corners, row[4:14].reshape(5, 2)]), turns, searched.shape[2], searched.shape[1]
        )
        points = (points - border_px) * back
        left, top = points[:2].amin(0).tolist()
        right, bottom = points[:2].amax(0).tolist()
        if max(right - left, bottom - top) >= _SMALLEST_PX:
            # A doubtful face upright is likelier than one, as doubtful, that stands on its head.
            score = float(row[14]) - (_TURNED if turns else 0.0)
            boxes.append(FoundBox((left, top, right, bottom), points[2:], score))
    return boxes


def shrunk(image: Tensor, long_px: int) -> Tensor:
    """An image "3 h w" with its longer side brought to ``long_px``: whole pixels averaged, then bilinear. Fast for large photos."""
    height, width = image.shape[1:]
    scale = long_px / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    step = max(1, min(int(1 / scale), height, width))
    whole = image[:, : height // step * step, : width // step * step].float().cpu().numpy()
    planes = []
    for plane in whole:
        if step > 1:  # OpenCV is fast at whole steps only
            plane = cv2.resize(plane, (width // step, height // step), interpolation=cv2.INTER_AREA)
        planes.append(cv2.resize(plane, size, interpolation=cv2.INTER_LINEAR))
    return torch.from_numpy(np.stack(planes))


@lru_cache(maxsize=1)
def _yunet() -> YuNet:
    return YuNet(min_score=_LOWEST_SCORE)


def _without_doubles(boxes: list[FoundBox]) -> list[FoundBox]:
    """The surest of every group of boxes that cover the same place."""
    kept: list[FoundBox] = []
    for box in sorted(boxes, key=lambda box: -box.score):
        if all(_shared(box, other) < _SAME for other in kept):
            kept.append(box)
    return kept


def _shared(one: FoundBox, other: FoundBox) -> float:
    a, b = one.corners_px, other.corners_px
    wide, high = (max(min(a[i + 2], b[i + 2]) - max(a[i], b[i]), 0.0) for i in (0, 1))
    return wide * high / max(min(one.area_px2, other.area_px2), 1e-6)
