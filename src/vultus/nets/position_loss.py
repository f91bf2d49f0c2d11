"""How wrong a position map is: the paper's weighted distance, and two terms about its shape that are off unless asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import BadInput
from ..geometry.chart_map import grid_normals
from ..model.morphable import MorphableModel
from ..render.bake import bake
from .position_readout import face_chart, landmarks_uv

PAPERS_WEIGHTS = (16.0, 4.0, 3.0, 0.0)
"""Of a texel with one of the 68 points; of eyes, nose and mouth; of the rest of the face; of everything else."""
_FEATURES = ("eyes", "nose", "mouth")


@dataclass(frozen=True)
class LossOptions:
    """Factors of the terms beside the paper's.

    Attributes:
        normals: of the mean of 1 - cosine between the maps' normals. edges: of the mean difference between lengths of neighbours' distances.
            Ruan et al., "SADRNet", TIP 2021, add such terms; their factors are for another unit and were not taken.
    """

    normals: float = 0.0
    edges: float = 0.0


class PositionLoss(NamedTuple):
    """The terms, each "" and without its factor, and their sum."""

    total: Tensor
    position: Tensor
    normals: Tensor
    edges: Tensor


def weight_mask(
    model: MorphableModel, size: int, weights: tuple[float, float, float, float] = PAPERS_WEIGHTS
) -> Tensor:
    """Weights "s s" of texels: 16, 4, 3 or 0 (or others, in the order of :data:`PAPERS_WEIGHTS`), from the model's regions.

    The membranes that close eyes and mouth belong to them, as the original's extra triangles do. (The mask that its authors published has 48/16 = 3 outside of the
    face too, and 8 beside the 68 points; the paper says neither.)

    Raises:
        BadInput: the model has no chart, or no 68 points.
    """
    chart = face_chart(model)
    nothing = torch.zeros(len(chart.uv), dtype=torch.bool)
    feature = torch.stack([model.regions.get(name, nothing) for name in _FEATURES]).any(0)
    face = model.regions.get("face", ~nothing) | feature
    every = torch.arange(len(chart.triangles))
    values, covered = bake(torch.stack([feature, face], 1).float(), chart.topology, every, size)
    is_feature, is_face = (values > 0.5) & covered
    of_landmark, of_feature, of_face, of_rest = weights
    weight = torch.where(is_feature, of_feature, torch.where(is_face, of_face, of_rest))
    column, row = (landmarks_uv(model) * size).long().clamp(0, size - 1).T
    weight[row, column] = of_landmark
    return weight


def position_loss(
    predicted: Tensor, truth: Tensor, weight: Tensor, options: LossOptions | None = None
) -> PositionLoss:
    """Equation 1 of the paper, as a mean: sum of ||P - P'||_2 W over the sum of W, so that it is a distance in the maps' unit at any size.

    Normalised maps times ``SPAN * crop_px`` are crop pixels.

    Args:
        predicted, truth: "b 3 s s" normalised. weight: "s s" or "b s s", non-negative.

    Raises:
        BadInput: shapes that do not belong together, or no weight at all.
    """
    if predicted.shape != truth.shape or predicted.shape[-2:] != weight.shape[-2:]:
        raise BadInput(
            f"maps {tuple(predicted.shape)} and {tuple(truth.shape)} with weights {tuple(weight.shape)}: make them for one size"
        )
    options = options or LossOptions()
    weight = weight.expand(len(predicted), -1, -1)
    total_weight = weight.sum()
    if not float(total_weight) > 0:
        raise BadInput("the weights of the loss are all zero: is this the mask of another model?")
    position = (_distance(predicted - truth) * weight).sum() / total_weight
    total, zero = position, position.new_zeros(())
    normals = edges = zero
    if options.normals:
        cosine = (grid_normals(predicted) * grid_normals(truth)).sum(-3)
        normals = ((1 - cosine) * weight).sum() / total_weight
        total = total + options.normals * normals
    if options.edges:
        edges = _edges(predicted, truth, weight)
        total = total + options.edges * edges
    return PositionLoss(total, position, normals, edges)


def _distance(difference: Tensor) -> Tensor:
    """Lengths "b s s" of "b 3 s s"; where they are zero the gradient is zero, not infinite."""
    return difference.square().sum(-3).clamp_min(1e-20).sqrt()


def _edges(predicted: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """Mean difference between how far neighbours lie from each other in both maps."""
    total, over = predicted.new_zeros(()), weight.new_zeros(())
    for axis in (-1, -2):
        near = weight.narrow(axis, 1, weight.shape[axis] - 1) * (
            weight.narrow(axis, 0, weight.shape[axis] - 1) > 0
        )
        found, true = (_distance(torch.diff(position, dim=axis)) for position in (predicted, truth))
        total, over = total + ((found - true).abs() * near).sum(), over + near.sum()
    return total / over
