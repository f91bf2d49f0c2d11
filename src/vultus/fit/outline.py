"""Where a photo shows the outline of the face: cheeks, jaw and chin, as far as one may believe it.

A mask's border is no face outline everywhere: hair and hands cut into it, the neck has the skin's colour, and what the landmarks
bound follows them and says nothing new. So the outline is looked for in the picture itself, along normals of the landmarks' outline,
and judged: on its inner side must be skin of the mask, on it an edge, and it may not stray far from where the landmarks expect it.
The forehead's border, the hair line, never counts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..geometry.view import View
from ..render.shade import linear_from_srgb

# fmt: off
_ARC_478 = [127, 234, 93, 132, 58, 172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397, 288, 361, 323, 454, 356]
# fmt: on
_ARCS = {"mediapipe478": _ARC_478, "mediapipe468": _ARC_478, "ibug68": list(range(17))}
_OUTER_EYES = {"mediapipe478": (33, 263), "mediapipe468": (33, 263), "ibug68": (36, 45)}
_OUTER_EYES_MM, _EYES_TO_CHIN_MM = 89.0, 110.0  # of an adult, to tell the scale before the head is posed

_WORK_MM = 0.75  # pixels of the shrunk photo in which the edge is looked for
_SPACING_MM = 1.5  # between outline points
_SEARCH_MM, _STEP_MM = 9.0, 0.5  # along each normal, to both sides
_REFERENCE_MM = (-16.0, -9.0)  # the skin that the inner side is compared with
_BAND_MM = 2.5  # width of what is compared on both sides of an edge
_STRAY_MM = 5.0  # standard deviation of the outline about that of the landmarks
_BEND = 0.25  # cost of a step of 1 mm between neighbours
# One unit of colour difference: what lightness (natural logarithm) and chromaticity vary by on a face over a few millimetres.
_UNIT = np.array([0.16, 0.05, 0.06])
_CLEAR_EDGE = 2.0  # colour difference in units above which an edge is clear
_DARKEST = 0.01
_HAIR_DARKER = (
    0.9  # so much darker (natural logarithm) than the skin beside it, and it may be hair in front of the face
)


@dataclass(frozen=True)
class Outline:
    """Points on the outline of a face in a photo.

    Attributes:
        points_px: "n 2", in order along the outline, from the subject's right temple over the chin to the left one.
        normals: "n 2" unit, pointing away from the face.
        weight: "n" in [0, 1], how far each is believed.
        one_sided: "n" bool, where the face reaches at least to here, but may go on behind hair.
        mm_per_px: millimetres at the face's distance per pixel.
    """

    points_px: Tensor
    normals: Tensor
    weight: Tensor
    one_sided: Tensor
    mm_per_px: float


def outline_of_mask(view: View, person: Tensor | None = None) -> Outline:
    """Find the believable outline of the face of a view.

    Along each normal of the landmarks' outline stands a profile of colours. A dynamic programme draws one smooth line through all
    profiles that follows the strongest steps from skin to something else (Amini, Weymouth and Jain, "Using dynamic programming for
    solving variational problems in vision", PAMI 1990). A point's weight says how clear the step is and how surely skin of the
    mask lies inside of it.

    Args:
        view: posed or not.
        person: "h w" in [0, 1], :func:`vultus.detect.person_probability`; with it background is told from hair, and a light background
            needs no guess. What is dark counts as hair without it.

    Returns:
        the outline, empty for landmarks without one (fewer than the scheme's, not finite).
    """
    mm_per_px = _mm_per_px(view)
    arc = view.landmarks_px[_ARCS[view.landmark_scheme]].double().cpu().numpy()
    if not np.isfinite(arc).all() or np.ptp(arc, axis=0).max() * mm_per_px < 20:
        empty = torch.zeros(0, 2)
        return Outline(empty, empty, torch.zeros(0), torch.zeros(0, dtype=torch.bool), mm_per_px)
    points, normals = _smooth_curve(arc, _SPACING_MM / mm_per_px)
    offsets = np.arange(_REFERENCE_MM[0], _SEARCH_MM + _BAND_MM + 3.01, _STEP_MM)
    colour, skin, behind = _profiles(view, person, points, normals, offsets / mm_per_px, mm_per_px)
    step, inner = _steps(colour, offsets)
    reference = np.nanmedian(np.where(_between(offsets, *_REFERENCE_MM)[:, None], colour, np.nan), axis=1)
    foreign = np.linalg.norm((inner - reference[:, None]) / (2 * _UNIT), axis=2)
    searched = np.abs(offsets) <= _SEARCH_MM
    cost = (
        -np.minimum(step, 2 * _CLEAR_EDGE) + np.clip(foreign - 1.5, 0, 3) + 0.5 * (offsets / _STRAY_MM) ** 2
    )
    chosen = np.flatnonzero(searched)[_best_path(cost[:, searched], _BEND * _STEP_MM**2)]
    rows = np.arange(len(points))
    shift = offsets[chosen]
    smooth = _running_median(shift, 9)
    weight = np.clip(step[rows, chosen] / _CLEAR_EDGE - 0.5, 0, 1) * _skin_inside(skin, offsets, shift)
    weight *= np.clip(2 - foreign[rows, chosen] / 1.5, 0, 1)
    weight *= np.exp(-0.5 * ((shift - smooth) / 1.5) ** 2) * np.clip((_SEARCH_MM - np.abs(shift)) / 2, 0, 1)
    one_sided = _may_hide(colour, behind, offsets, shift, inner[rows, chosen])
    found = points + normals * (shift / mm_per_px)[:, None]
    return Outline(
        torch.from_numpy(found).float(),
        torch.from_numpy(normals).float(),
        torch.from_numpy(weight).float(),
        torch.from_numpy(one_sided),
        mm_per_px,
    )


def _mm_per_px(view: View) -> float:
    """Millimetres per pixel at the head, from its pose, or from the landmarks where there is none yet."""
    depth_mm = float(view.camera.T_camera_head[2, 3])
    if depth_mm > 1:
        return depth_mm / float(view.camera.focal_px)
    eyes = view.landmarks_px[list(_OUTER_EYES[view.landmark_scheme])].double()
    arc = view.landmarks_px[_ARCS[view.landmark_scheme]].double()
    chin = arc[len(arc) // 2]
    across, down = float((eyes[0] - eyes[1]).norm()), float((eyes.mean(0) - chin).norm())
    return 1 / max(across / _OUTER_EYES_MM, down / _EYES_TO_CHIN_MM, 1e-6)


def _smooth_curve(arc: np.ndarray, spacing: float) -> tuple[np.ndarray, np.ndarray]:
    """Points "n 2" at even distances along a polyline, corners rounded, and unit normals to its outer side."""
    length = np.concatenate([[0], np.linalg.norm(np.diff(arc, axis=0), axis=1).cumsum()])
    count = max(8, round(length[-1] / spacing))
    even = np.stack([np.interp(np.linspace(0, length[-1], count), length, arc[:, i]) for i in (0, 1)], 1)
    for _ in range(6):
        even[1:-1] = 0.25 * even[:-2] + 0.5 * even[1:-1] + 0.25 * even[2:]
    tangent = np.gradient(even, axis=0)
    normals = np.stack([-tangent[:, 1], tangent[:, 0]], 1)
    return even, normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)


def _profiles(
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


def _steps(colour: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Colour difference "n t" across each position, in units, and the mean colour "n t 3" of the band inside of it."""
    width = round(_BAND_MM / _STEP_MM)
    total = np.concatenate([np.zeros_like(colour[:, :1]), colour.cumsum(1)], 1)
    index = np.arange(len(offsets))
    inner_low, outer_high = np.maximum(index - width, 0), np.minimum(index + 1 + width, len(offsets))
    inner = (total[:, index] - total[:, inner_low]) / np.maximum(index - inner_low, 1)[:, None]
    outer = (total[:, outer_high] - total[:, index + 1]) / np.maximum(outer_high - index - 1, 1)[:, None]
    return np.linalg.norm((outer - inner) / _UNIT, axis=2), inner


def _best_path(cost: np.ndarray, bend: float) -> np.ndarray:
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


def _skin_inside(skin: np.ndarray, offsets: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Share "n" of the millimetres inside of the outline, as far as the mask can reach, that are skin."""
    relevant = (offsets < np.minimum(shift, 0)[:, None] - 1) & (offsets > np.minimum(shift, 0)[:, None] - 7)
    share = (skin * relevant).sum(1) / np.maximum(relevant.sum(1), 1)
    return np.clip(2 * share - 0.7, 0, 1)


def _may_hide(
    colour: np.ndarray, behind: np.ndarray | None, offsets: np.ndarray, shift: np.ndarray, inner: np.ndarray
) -> np.ndarray:
    """Where the outer side "n" may be hair in front of the face."""
    outside = (offsets > shift[:, None] + 1) & (offsets < shift[:, None] + 5)
    count = np.maximum(outside.sum(1), 1)
    darker = inner[:, 0] - (colour[..., 0] * outside).sum(1) / count
    tinted = np.abs(inner[:, 1:] - (colour[..., 1:] * outside[..., None]).sum(1) / count[:, None])
    foreign = (darker > _HAIR_DARKER) | (tinted / _UNIT[1:] > 3).any(1)
    return foreign if behind is None else foreign & ((behind * outside).sum(1) / count < 0.5)


def _running_median(values: np.ndarray, half: int) -> np.ndarray:
    padded = np.pad(values, half, mode="edge")
    return np.median(np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1), axis=1)


def _between(values: np.ndarray, low: float, high: float) -> np.ndarray:
    return (values >= low) & (values <= high)
