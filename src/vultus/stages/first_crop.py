"""Where to look first: from a detector's box to the crop that a position network is used to, and whether a second look would help.

Measured on 81 portraits (truth: landmarks of the full detector) and 194 drawn heads of all poses to 90 degrees, a third of them partly covered
(truth: the drawing): the middle of these crops is off by 2.0 % of their side (90 of 100: 3.5 %) on portraits and 3.2 % (7.6 %) on the
others, their side by 2.2 % (5.6 %) and 4.3 % (13 %), their roll by 2 (5) and 4 (13) degrees. Networks are trained on crops that are off by more.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from ..detect.boxes import FoundBox
from ..errors import BadInput
from ..geometry.crop_motion import turned_crop
from ..geometry.position_map import FaceCrop

_DOWN, _DOWN_BY_POINTS = 0.128, 0.422  # of the box's size: how far the middle lies below the box's
_BACK = (
    -0.140
)  # of how far the nose is from the middle of the others: a turned face's box reaches beyond its points
_LOG_SIZE, _LOG_SIZE_TURNED = (
    -0.157,
    -0.219,
)  # mean of width and height of the 68 points' box over the detector's
_DOWN_ALONE, _LOG_SIZE_ALONE = 0.157, -0.172  # the same without points
_WIDER, _ASIDE = 1.5, 0.35
_NEAR, _NEAR_LOG_SIDE, _NEAR_ROLL_RAD = 0.05, 0.08, math.radians(8)


def crop_of_box(found: FoundBox, factor: float, size_px: int) -> FaceCrop:
    """The crop for a detected face, turned with it.

    Args:
        factor: side over the mean of width and height of the 68 points' box, as the network was trained. size_px: pixels of the crop.
    """
    middle, size = _middle(found.corners_px)
    points = found.points_px.double()
    right_eye, left_eye, _, right_mouth, left_mouth = points
    across = left_eye - right_eye + left_mouth - right_mouth
    down = (right_mouth + left_mouth - right_eye - left_eye) / 2
    # Of a face in profile the points lie one behind the other: then the way from the eyes to the mouth tells.
    x, y = (across + torch.stack([down[1], -down[0]])).tolist()
    upright = FaceCrop(middle, size, math.atan2(y, x), 1)
    places = upright.to_crop(points) - 0.5
    others = places[[0, 1, 3, 4]].mean(0)
    turn = float(places[2, 0] - others[0])
    offset = torch.tensor([[0.5 + _BACK * turn, 0.5 + _DOWN + _DOWN_BY_POINTS * float(others[1])]])
    centre = upright.to_photo(offset.double())[0].tolist()
    side = factor * size * math.exp(_LOG_SIZE + _LOG_SIZE_TURNED * abs(turn))
    return FaceCrop((centre[0], centre[1]), side, upright.roll_rad, size_px)


def crop_of_corners(box: tuple[float, float, float, float], factor: float, size_px: int) -> FaceCrop:
    """The upright crop for a box (left, top, right, bottom) from elsewhere, from the forehead to the chin as detectors draw it.

    Raises:
        BadInput: the box is empty or not finite.
    """
    if not all(map(math.isfinite, box)) or not (box[2] > box[0] and box[3] > box[1]):
        raise BadInput(f"box {tuple(box)}: give left, top, right, bottom in pixels, right beyond left and bottom below top")  # fmt: skip
    (x, y), size = _middle(box)
    return FaceCrop((x, y + _DOWN_ALONE * size), factor * size * math.exp(_LOG_SIZE_ALONE), 0.0, size_px)


def next_crop(landmarks68_px: Tensor, factor: float, size_px: int) -> FaceCrop | None:
    """The crop around the points that a look has found; None where they are not a face's, e.g. all in one place."""
    try:
        crop = turned_crop(landmarks68_px, factor, size_px)
    except BadInput:
        return None
    return crop if all(map(math.isfinite, crop.centre_px)) and crop.side_px > 4 else None


def other_crops(crop: FaceCrop) -> list[FaceCrop]:
    """Upright squares about a crop in which no face, or one that lies, came out: as large, and larger ones in the middle and to all sides.

    Detectors take an ear, a cheek or a pattern for a face at times, or a covered face for one upside down; the face is near it.
    """
    x, y = crop.centre_px
    steps = ((0.0, 0.0), (_ASIDE, 0.0), (-_ASIDE, 0.0), (0.0, _ASIDE), (0.0, -_ASIDE))
    upright = replace(crop, roll_rad=0.0)
    larger = [
        replace(
            upright, centre_px=(x + dx * crop.side_px, y + dy * crop.side_px), side_px=_WIDER * crop.side_px
        )
        for dx, dy in steps
    ]
    return [upright, *larger]


def is_near(one: FaceCrop, other: FaceCrop) -> bool:
    """Whether two crops show so much the same that a network says the same."""
    moved = math.dist(one.centre_px, other.centre_px) / other.side_px
    grown = abs(math.log(one.side_px / other.side_px))
    turned = abs(math.remainder(one.roll_rad - other.roll_rad, 2 * math.pi))
    return moved < _NEAR and grown < _NEAR_LOG_SIDE and turned < _NEAR_ROLL_RAD


def _middle(box: tuple[float, float, float, float]) -> tuple[tuple[float, float], float]:
    left, top, right, bottom = box
    return ((left + right) / 2, (top + bottom) / 2), math.sqrt((right - left) * (bottom - top))
