"""Crops of a face over the frames of a video: around its points and turned with it, moved on, compared, matched."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from .position_map import CROP_FACTOR, CROP_PX, FaceCrop

_NASION, _CHIN = 27, 8  # of iBUG's 68
_APART = 0.45  # of a side, between the centres of crops that may be of one face
_RATIO = 2.0  # between their sides
_IMPOSSIBLE = 1e3


def turned_crop(landmarks68_px: Tensor, factor: float = CROP_FACTOR, size_px: int = CROP_PX) -> FaceCrop:
    """The crop around iBUG's 68 points "68 2" (or more columns), turned so that the nose's root lies above the chin.

    As :func:`~vultus.geometry.position_map.crop_around`, with the box in the turned frame: however a head is tilted, networks see it upright.

    Raises:
        BadInput: the points are one point, or not finite.
    """
    points = landmarks68_px[:, :2]
    x, y = (points[_NASION] - points[_CHIN]).tolist()
    centre = points.mean(0).tolist()
    unit = FaceCrop((centre[0], centre[1]), float(size_px), math.atan2(x, -y), size_px)
    turned = unit.to_crop(points)
    high, low = turned.amax(0), turned.amin(0)
    middle = unit.to_photo(((high + low) / 2)[None])[0].tolist()
    return FaceCrop((middle[0], middle[1]), factor * float((high - low).mean()), unit.roll_rad, size_px)


def moved_on(crop: FaceCrop, velocity: tuple[float, float], elapsed_s: float) -> FaceCrop:
    """A crop that went on for a while at a velocity (x, y) in its sides per second."""
    x, y = (c + v * crop.side_px * elapsed_s for c, v in zip(crop.centre_px, velocity))
    return FaceCrop((x, y), crop.side_px, crop.roll_rad, crop.size_px)


def overlap(one: FaceCrop, other: FaceCrop) -> float:
    """Intersection over union of two crops as upright squares, in [0, 1]."""
    shared = 1.0
    for a, b in zip(one.centre_px, other.centre_px):
        low = max(a - one.side_px / 2, b - other.side_px / 2)
        shared *= max(min(a + one.side_px / 2, b + other.side_px / 2) - low, 0.0)
    return shared / (one.side_px**2 + other.side_px**2 - shared)


def distance(one: FaceCrop, other: FaceCrop) -> float:
    """How far apart the centres of two crops are, in their mean side."""
    return math.dist(one.centre_px, other.centre_px) * 2 / (one.side_px + other.side_px)


def pairs(ones: Sequence[FaceCrop], others: Sequence[FaceCrop]) -> dict[int, int]:
    """Which of ``others`` is which of ``ones``: index -> index, so that centres are nearest in sum; crops that are nowhere near stay alone."""
    if not ones or not others:
        return {}
    cost = torch.tensor([[_cost(one, other) for other in others] for one in ones])
    rows, columns = linear_sum_assignment(cost.numpy())
    return {int(a): int(b) for a, b in zip(rows, columns) if cost[a, b] < _IMPOSSIBLE}


def share_inside(points_px: Tensor, image_size: tuple[int, int]) -> float:
    """Which part of the points "n 2" (or more columns) lies in a picture of (width, height)."""
    x, y = points_px[:, 0], points_px[:, 1]
    inside = (x >= 0) & (y >= 0) & (x < image_size[0]) & (y < image_size[1])
    return float(inside.float().mean())


def _cost(one: FaceCrop, other: FaceCrop) -> float:
    ratio = max(one.side_px / other.side_px, other.side_px / one.side_px)
    apart = distance(one, other)
    return apart if apart <= _APART and ratio <= _RATIO else _IMPOSSIBLE
