"""Lids and lips as far apart as the photo shows them: the last word on an expression.

A landmark fit spreads its errors over all points, so closed lips end up a millimetre apart and show teeth, and lids a tenth too wide, which
nothing makes up for in a face. How far apart they are, the detector knows much better than where they are: the two points of a pair err
together. So the weights of the expressions are moved as little as possible until the openings fit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import lsq_linear
from torch import Tensor

from ..geometry.view import View
from ..model.face import FaceCode
from ..model.morphable import MorphableModel

Array = NDArray[np.float64]

_PLACES = (0.3, 0.5, 0.7)  # of the way from corner to corner
_OPENING_NOISE_MM = 0.35
_ELSEWHERE_MM, _ELSEWHERE_COUNTS = (
    1.0,
    4.0,
)  # how much the rest of the face may move, and as how many observations
_WEIGHT_SIGMA = 0.6
_NARROWEST = (
    0.45  # of its width seen from the front: an opening that the camera sees along its length tells nothing
)
_LEAST_MOVE_MM = 0.2
_CLOSED_MM, _OVERLAP_MM = (
    0.35,
    0.3,
)  # what is open by less is closed; lips that touch overlap, in the model too
_STILL_MM = 3.0  # a blink turns the eye a little, a look more


@dataclass(frozen=True)
class DetectedOpening:
    """Landmarks of MediaPipe's 478 along the rims of an opening, the corners first and last: ``upper``, ``lower``."""

    upper: tuple[int, ...]
    lower: tuple[int, ...]


DETECTED = {
    "eye_right": DetectedOpening(
        (33, 246, 161, 160, 159, 158, 157, 173, 133), (33, 7, 163, 144, 145, 153, 154, 155, 133)
    ),
    "eye_left": DetectedOpening(
        (362, 398, 384, 385, 386, 387, 388, 466, 263), (362, 382, 381, 380, 374, 373, 390, 249, 263)
    ),
    "mouth": DetectedOpening(
        (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308), (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)
    ),
}


def fit_openings(view: View, model: MorphableModel, code: FaceCode) -> FaceCode:
    """The code with the least other expression whose eyes and mouth are as open as the photo's.

    Args:
        view: posed. With other landmarks than MediaPipe's, or a model without a face chart, nothing changes.
    """
    rims = model_rims(model)
    if not view.landmark_scheme.startswith("mediapipe") or not rims:
        return code
    vertices, expressions = model.vertices(code).double().numpy(), model.expression_mm.double().numpy()
    rotation = view.camera.T_camera_head[:3, :3].double().numpy()
    points_px = view.landmarks_px.double().numpy()
    rows, wanted = [], []
    for name, (upper, lower) in rims.items():
        row = _observed(view, vertices, expressions, rotation, points_px, DETECTED[name], upper, lower)
        if row is not None:
            rows.append(row[0])
            wanted.append(row[1])
    if not rows or max(np.abs(w).max() for w in wanted) < _LEAST_MOVE_MM:
        return code
    design, residual = np.concatenate(rows), np.concatenate(wanted)
    moves = np.abs(design).max(0) > 0.05
    # Lids follow gaze and brows, but irises and brows have landmarks of their own.
    others = [
        model.part_triangles(name).unique() for name in ("eye_left", "eye_right") if name in model.part_names
    ]
    others += [model.regions[name].nonzero()[:, 0] for name in ("brows",) if name in model.regions]
    for ids in others:
        moves &= np.abs(expressions[:, ids.numpy()]).max((1, 2)) < _STILL_MM
    if not moves.any():
        return code
    skin = model.part_triangles(model.part_names[0]).unique().numpy()
    elsewhere = expressions[moves][:, skin].reshape(int(moves.sum()), -1).T
    touched = max(1, int((np.abs(elsewhere).max(1) > 0.1).sum()))
    # |elsewhere x|^2 through its small normal matrix.
    normal = elsewhere.T @ elsewhere * (_ELSEWHERE_COUNTS / touched / _ELSEWHERE_MM**2)
    system = np.concatenate(
        [
            design[:, moves] / _OPENING_NOISE_MM,
            np.linalg.cholesky(normal + np.eye(int(moves.sum())) / _WEIGHT_SIGMA**2).T,
        ]
    )
    right = np.concatenate([residual / _OPENING_NOISE_MM, np.zeros(int(moves.sum()))])
    now = code.expression.double().numpy()
    bounds = model.expression_range.double().numpy().T
    low, high = np.minimum(bounds[0], now), np.maximum(bounds[1], now)
    # The solver wants room between its bounds.
    room = (low[moves] - now[moves] - 1e-6, high[moves] - now[moves] + 1e-6)
    found = now.copy()
    found[moves] += lsq_linear(system, right, room).x
    found = np.clip(found, low, high)
    return replace(code, expression=torch.from_numpy(found).to(code.expression))


def model_rims(model: MorphableModel) -> dict[str, tuple[Tensor, Tensor]]:
    """Rim vertices of each opening from its right corner in the picture's sense to its left one: ``upper``, ``lower``, ascending in x."""
    if model.chart is None or "mouth" not in model.regions:
        return {}
    rim = model.chart.triangles[model.chart.is_membrane].unique()
    rim = rim[torch.isfinite(model.chart.uv[rim]).all(1)]
    at_mouth = model.regions["mouth"][rim]
    groups = {"mouth": rim[at_mouth]}
    for name in ("eye_left", "eye_right"):
        if name in model.part_names:
            side = model.mean_mm[model.part_triangles(name).unique(), 0].mean().sign()
            groups[name] = rim[~at_mouth & (model.mean_mm[rim, 0].sign() == side)]
    return {name: _halves(model, ids) for name, ids in groups.items() if len(ids) >= 8}


def _halves(model: MorphableModel, ids: Tensor) -> tuple[Tensor, Tensor]:
    """Split a rim at its corners by the line between them in the chart; both halves hold the corners."""
    assert model.chart is not None
    uv = model.chart.uv[ids]
    first, last = int(uv[:, 0].argmin()), int(uv[:, 0].argmax())
    share = (uv[:, 0] - uv[first, 0]) / (uv[last, 0] - uv[first, 0])
    below = uv[:, 1] - torch.lerp(uv[first, 1], uv[last, 1], share)
    corner = torch.zeros(len(ids), dtype=torch.bool)
    corner[[first, last]] = True
    order = uv[:, 0].argsort()
    keep = lambda mask: ids[order[mask[order]]]  # noqa: E731
    return keep((below < 0) | corner), keep((below > 0) | corner)


def _observed(
    view: View,
    vertices: Array,
    expressions: Array,
    rotation: Array,
    points_px: Array,
    detected: DetectedOpening,
    upper: Tensor,
    lower: Tensor,
) -> tuple[Array, Array] | None:
    """How the opening's heights in mm grow with each expression "p k", and by how much they should "p"."""
    corners = points_px[[detected.upper[0], detected.upper[-1]]]
    along = corners[1] - corners[0]
    width_px = float(np.linalg.norm(along))
    ends = vertices[[int(upper[0]), int(upper[-1])]]
    depth = float(view.camera.to_camera(torch.from_numpy(ends).float())[:, 2].mean())
    px_per_mm = float(view.camera.focal_px) / depth
    if not np.isfinite(points_px).all() or width_px < _NARROWEST * px_per_mm * np.linalg.norm(
        ends[1] - ends[0]
    ):
        return None
    along = along / width_px
    down = np.array([-along[1], along[0]])
    seen = [
        _heights((points_px[list(ids)] - corners[0]) @ np.stack([along, down]).T)
        for ids in (detected.upper, detected.lower)
    ]
    seen_mm = (seen[1] - seen[0]) / px_per_mm
    seen_mm = np.where(seen_mm < _CLOSED_MM, -_OVERLAP_MM, seen_mm)
    # Weights of the rim's vertices at each place, on the shape as it is; the heights are then linear in the expression.
    axes = np.stack([along, down]) @ rotation[:2]
    difference = np.zeros((len(_PLACES), len(vertices)))
    for ids, sign in ((upper.numpy(), -1), (lower.numpy(), 1)):
        place = vertices[ids] @ axes[0]
        place = (place - place[0]) / (place[-1] - place[0])
        for row, t in enumerate(_PLACES):
            right = int(np.clip(np.searchsorted(place, t), 1, len(ids) - 1))
            share = np.clip((t - place[right - 1]) / max(place[right] - place[right - 1], 1e-6), 0, 1)
            difference[row, ids[right - 1]] += sign * (1 - share)
            difference[row, ids[right]] += sign * share
    used = np.flatnonzero(np.abs(difference).max(0))
    heights = difference[:, used] @ (vertices[used] @ axes[1])
    grows = difference[:, used] @ (expressions[:, used] @ axes[1]).T
    return grows, seen_mm - heights


def _heights(points: Array) -> Array:
    """Height of a polyline of (along, down) at the places between its ends."""
    order = np.argsort(points[:, 0])
    share = (points[order, 0] - points[0, 0]) / (points[-1, 0] - points[0, 0])
    return np.interp(_PLACES, share, points[order, 1])
