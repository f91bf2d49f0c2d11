"""How plausible a position map is as a face: the only thing that a map says about its own quality.

Somebody's face under a similarity is the model's mean plus some of what people and expressions differ by. What is left over, and how unusual a person
it takes, is measured over some hundred points of the map. It is a test of shape: a network that has learnt nothing but faces draws one where
there is none, and this does not notice; two looks that disagree (:func:`agreement`) are a better sign then.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import BadInput
from ..geometry.position_map import pose_from_points, sample_map
from .alignment_surface import FaceSurface

DOUBTFUL = 0.5
"""Confidence below which a face is hardly one."""
_POINTS = 400
_IDENTITIES = 60
_NOISE_MM = 1.5  # of a point of a good map, beyond what people differ by
_HALF_MM = 4.0  # what is left over where the confidence is a half
_APART = 0.08  # mean distance of two looks, of the face's size, where the confidence is a half


@dataclass(frozen=True, eq=False)
class ShapePrior:
    """Some points of a surface and how they vary.

    Attributes:
        surface: which. uv: "n 2". mean_mm: "n 3". basis_mm: "3n k" per sigma. solve: "k 3n", the most probable coefficients of offsets.
    """

    surface: FaceSurface
    uv: Tensor
    mean_mm: Tensor
    basis_mm: Tensor
    solve: Tensor


_kept: list[ShapePrior] = []
_MOST_KEPT = 4


def plausibility(surface: FaceSurface, position_px: Tensor) -> float:
    """In [0, 1]: 1 a face as they are, a half where what is no face adds up to 4 mm (root mean square over the points), 0 no face at all.

    Args:
        position_px: "3 s s", in pixels of any kind.
    """
    prior = shape_prior(surface)
    points = sample_map(position_px, prior.uv).double()
    try:
        pose = pose_from_points(points, prior.mean_mm)
    except BadInput:
        return 0.0
    head = pose.to_head(points).float()
    if not bool(head.isfinite().all()):
        return 0.0
    offset = (head - prior.mean_mm).reshape(-1)
    code = prior.solve @ offset
    left_over = float(((offset - prior.basis_mm @ code) ** 2).sum()) / len(prior.uv)
    # In the units of the left-over: what the code costs under the prior.
    unusual = float((code**2).sum()) * _NOISE_MM**2 / len(prior.uv)
    return _falling(math.sqrt(left_over + unusual) / _HALF_MM)


def agreement(one_px: Tensor, other_px: Tensor) -> float:
    """In [0, 1]: how well two looks at one face agree: 1 exactly, a half where points are 8 % of its size apart on average.

    Args:
        one_px, other_px: maps "3 s s" in photo pixels.
    """
    apart = (one_px - other_px)[:2].norm(dim=0).mean()
    flat = other_px[:2].flatten(1)
    size = (flat.amax(1) - flat.amin(1)).mean().clamp_min(1e-6)
    ratio = float(apart / size)
    return _falling(ratio / _APART) if math.isfinite(ratio) else 0.0


def shape_prior(surface: FaceSurface) -> ShapePrior:
    """The points and modes of a surface; kept."""
    for found in _kept:
        if found.surface is surface:
            return found
    model = surface.model
    chosen = torch.linspace(0, len(surface.vertex_ids) - 1, min(_POINTS, len(surface.vertex_ids))).long()
    ids = surface.vertex_ids[chosen]
    identity = model.identity_mm[:_IDENTITIES, ids]
    expression = model.expression_mm[:, ids] * model.expression_sigma[:, None, None]
    basis = torch.cat([identity, expression]).flatten(1).T.contiguous()
    normal = basis.T @ basis + _NOISE_MM**2 * torch.eye(basis.shape[1])
    prior = ShapePrior(surface, surface.uv[chosen], model.mean_mm[ids], basis, torch.linalg.solve(normal, basis.T))  # fmt: skip
    _kept[:] = [prior, *_kept[: _MOST_KEPT - 1]]
    return prior


def _falling(x: float) -> float:
    """1 at zero, a half at one, towards zero beyond."""
    return 1 / (1 + x**2)
