"""Profiles of a photo across a curve, and the smooth line that follows their edges: the tools of :mod:`vultus.fit.outline`.

Positions along a profile count in steps of STEP_MM from inside to outside.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..geometry.view import View
from ..render.shade import linear_from_srgb

STEP_MM = 0.5  # along a profile
BAND_MM = 2.5  # width of what is compared on both sides of an edge
# One unit of colour difference: what lightness (natural logarithm) and chromaticity vary by on a face over a few millimetres.
UNIT = np.array([0.16, 0.05, 0.06])
_WORK_MM = 0.75  # pixels of the shrunk photo
_DARKEST = 0.01


def smooth_curve(arc: np.ndarray, spacing: float) -> tuple[np.ndarray, np.ndarray]:
    """Points "n 2" at even distances along a polyline, corners rounded, and unit normals to its outer side."""
    length = np.concatenate([[0], np.linalg.norm(np.diff(arc, axis=0), axis=1).cumsum()])
    count = max(8, round(length[-1] / spacing))
    even = np.stack([np.interp(np.linspace(0, length[-1], count), length, arc[:, i]) for i in (0, 1)], 1)
    for _ in range(6):
        even[1:-1] = 0.25 * even[:-2] + 0.5 * even[1:-1] + 0.25 * even[2:]
    tangent = np.gradient(even, axis=0)
    normals = np.stack([-tangent[:, 1], tangent[:, 0]], 1)
    return even, normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)


def profiles(
    view: View,
    person: Tensor | None,
    points: np.ndarray,
    normals: np.ndarray,
    offsets_px: np.ndarray,
    mm_per_px: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Colours "n t 3" (log green, log red/green, log blue/green), skin "n t" and background "n t" along the normals."""
    low = np.maximum(np.floor(points.min(0)) - 30 / mm_per_px, 0).astype(int)
    high = np.ceil(points.max(0) + 30 / mm_per_px).astype(int)
    window = (..., slice(low[1], max(high[1], low[1] + 1)), slice(low[0], max(high[0], low[0] + 1)))
    layers = [linear_from_srgb(view.image[window]), view.skin_mask[window][None].float()]
    layers += [] if person is None else [person[window][None].float()]
    stack = torch.cat([layer.cpu() for layer in layers])[None]
    size = torch.tensor([stack.shape[3], stack.shape[2]]).double().numpy()
    shrink = max(1, round(_WORK_MM / mm_per_px))
    small = F.avg_pool2d(stack, shrink, ceil_mode=True, count_include_pad=False) if shrink > 1 else stack
    position = points[:, None] + normals[:, None] * offsets_px[None, :, None] - low
    extent = np.array([small.shape[3], small.shape[2]]) * shrink
    grid = torch.from_numpy(2 * position / extent - 1).float()
    seen = F.grid_sample(small, grid[None], padding_mode="border", align_corners=False)[0].double().numpy()
    outside = ((position < 0) | (position > size)).any(-1)
    red, green, blue = np.log(np.maximum(seen[:3], 0) + _DARKEST)
    colour = np.stack([green, red - green, blue - green], -1)
    return colour, np.where(outside, 0, seen[3]), None if person is None else 1 - seen[4]


def colour_steps(colour: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Colour difference "n t" across each position, in units, and the mean colour "n t 3" of the band inside of it."""
    width = round(BAND_MM / STEP_MM)
    total = np.concatenate([np.zeros_like(colour[:, :1]), colour.cumsum(1)], 1)
    index = np.arange(len(offsets))
    inner_low, outer_high = np.maximum(index - width, 0), np.minimum(index + 1 + width, len(offsets))
    inner = (total[:, index] - total[:, inner_low]) / np.maximum(index - inner_low, 1)[:, None]
    outer = (total[:, outer_high] - total[:, index + 1]) / np.maximum(outer_high - index - 1, 1)[:, None]
    return np.linalg.norm((outer - inner) / UNIT, axis=2), inner


def band_mean(values: np.ndarray, low_mm: float, high_mm: float) -> np.ndarray:
    """Mean "n t" of "n t" between two distances ahead of each position."""
    first, last = round(low_mm / STEP_MM), round(high_mm / STEP_MM)
    index = np.clip(np.arange(values.shape[1])[:, None] + np.arange(first, last + 1), 0, values.shape[1] - 1)
    return values[:, index].mean(-1)


def best_path(cost: np.ndarray, bend: float) -> np.ndarray:
    """Column "n" of each row of "n t" with the least total cost plus ``bend`` times the squared step between rows (Viterbi)."""
    columns = np.arange(cost.shape[1])
    move = bend * (columns[:, None] - columns[None]) ** 2
    total, came_from = cost[0], []
    for row in cost[1:]:
        candidates = total[None] + move
        best = candidates.argmin(1)
        came_from.append(best)
        total = candidates[columns, best] + row
    path = [int(total.argmin())]
    for best in reversed(came_from):
        path.append(int(best[path[-1]]))
    return np.array(path[::-1])


def running_median(values: np.ndarray, half: int) -> np.ndarray:
    """Median "n" of each value and ``half`` neighbours to both sides."""
    padded = np.pad(values, half, mode="edge")
    return np.median(np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1), axis=1)
