"""Eyes and mouth under deformation: lids stay outside of the eyeballs, lips that touch move together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from ..geometry.mesh import triangle_normals
from ..model.morphable import MorphableModel
from .linear_terms import LinearTerm

_LID_REACH_MM = 9.0  # skin this near to an eye's opening may run into the eyeball
_LID_MARGIN_MM, _LID_NOISE_MM = 0.1, 0.03
_TOUCHING_MM, _LIP_NOISE_MM = 1.5, 0.1


@dataclass(frozen=True)
class Openings:
    """What must not happen to a coarse head's openings.

    Attributes:
        lid_ids: "n" vertices near an eye. eyeball: "n", which eye of ``centres_mm`` "e 3" and ``directions`` / ``radii_mm`` they lie on.
        centres_mm: of the eyeballs. directions: per eye "k 3" unit, from its centre to its vertices. radii_mm: per eye "k".
        least_mm: "n", distance from the eyeball's surface that each lid vertex must keep.
        lip_pairs: "p 2" vertices of upper and lower lip that touch.
    """

    lid_ids: Tensor
    eyeball: Tensor
    centres_mm: Tensor
    directions: tuple[Tensor, ...]
    radii_mm: tuple[Tensor, ...]
    least_mm: Tensor
    lip_pairs: Tensor

    def clearance_mm(self, vertices: Tensor) -> tuple[Tensor, Tensor]:
        """Distance "n" of the lid vertices from the eyeballs, along the ray from the centre, and the rays "n 3"."""
        away = vertices[self.lid_ids] - self.centres_mm[self.eyeball]
        distance = away.norm(dim=1).clamp_min(1e-6)
        ray = away / distance[:, None]
        radius = torch.zeros_like(distance)
        for eye, (directions, radii) in enumerate(zip(self.directions, self.radii_mm)):
            mine = self.eyeball == eye
            if not bool(mine.any()):
                continue
            near = (ray[mine] @ directions.T).topk(4, dim=1)
            share = torch.softmax(2000 * near.values, 1)
            radius[mine] = (share * radii[near.indices]).sum(1)
        return distance - radius, ray


def openings_of(model: MorphableModel, vertices: Tensor) -> Openings:
    """The openings of a head with vertices "v 3"; without eyeballs or chart there is nothing to heed."""
    rim = torch.zeros(0, dtype=torch.int64)
    if model.chart is not None:
        rim = model.chart.triangles[model.chart.is_membrane].unique()
    at_lips = model.regions.get("mouth", torch.zeros(len(vertices), dtype=torch.bool))[rim]
    eyes = [name for name in model.part_names if name.startswith("eye_")]
    lids, balls, centres, directions, radii = [], [], [], [], []
    seen = torch.zeros(len(vertices), dtype=torch.bool)
    if model.chart is not None:  # what lies behind the lids' rims is hidden, and touches the eyeball anyway
        seen = torch.isfinite(model.chart.uv[:, 0])
    lid_rim = rim[~at_lips]
    for eye, part in enumerate(eyes):
        ball = vertices[model.part_triangles(part).unique()]
        centre = _sphere_centre(ball)
        away = ball - centre
        radius = away.norm(dim=1)
        mine = lid_rim[(vertices[lid_rim] - centre).norm(dim=1) < 1.6 * radius.median()]
        if not len(mine):
            near = mine
        else:
            apart = torch.cdist(vertices, vertices[mine]).amin(1)
            near = (
                (apart < _LID_REACH_MM) & seen & ((vertices - centre).norm(dim=1) < 1.5 * radius.median())
            ).nonzero()[:, 0]
        lids.append(near)
        balls.append(torch.full_like(near, eye))
        centres.append(centre)
        directions.append(away / radius[:, None].clamp_min(1e-6))
        radii.append(radius)
    found = Openings(
        torch.cat([*lids, rim[:0]]),
        torch.cat([*balls, rim[:0]]),
        torch.stack(centres) if centres else vertices[:0],
        tuple(directions),
        tuple(radii),
        vertices.new_zeros(0),
        _touching(model, vertices, rim[at_lips]),
    )
    clearance, _ = found.clearance_mm(vertices)
    return Openings(
        found.lid_ids, found.eyeball, found.centres_mm, found.directions, found.radii_mm,
        clearance.clamp_max(_LID_MARGIN_MM), found.lip_pairs,
    )  # fmt: skip


def lid_term(openings: Openings, vertices: Tensor) -> LinearTerm:
    """Lid vertices that are nearer to the eyeball than they may be are pushed out."""
    clearance, ray = openings.clearance_mm(vertices)
    gap = clearance - openings.least_mm
    active = gap < 0
    ids = openings.lid_ids[active]
    return LinearTerm(
        gap[active].double().numpy(),
        _rows(np.arange(len(ids)), ids.numpy(), ray[active].double().numpy(), len(vertices)),
        np.full(len(ids), _LID_NOISE_MM**-2),
        np.zeros((len(ids), 0)),
    )


def lip_term(openings: Openings, offsets_mm: Tensor) -> LinearTerm:
    """Lips that touch keep touching: their offsets "v 3" are tied pair by pair."""
    upper, lower = openings.lip_pairs.unbind(1)
    number = len(upper)
    residual = (offsets_mm[upper] - offsets_mm[lower]).double().numpy()
    row = np.arange(3 * number).reshape(number, 3)
    axes = np.tile(np.eye(3), (number, 1))
    upper_, lower_ = (np.repeat(ids.numpy(), 3) for ids in (upper, lower))
    jacobian = _rows(row.ravel(), upper_, axes, len(offsets_mm)) - _rows(
        row.ravel(), lower_, axes, len(offsets_mm)
    )
    return LinearTerm(
        residual.ravel(), jacobian.tocsr(), np.full(3 * number, _LIP_NOISE_MM**-2), np.zeros((3 * number, 0))
    )


@dataclass(frozen=True)
class Damage:
    """What a deformation broke, at worst.

    Attributes:
        flipped_triangles: of the skin, whose normal turned by more than 90 degrees.
        lid_depth_mm: how much deeper a lid vertex lies in the eyeball than it did, or than it may.
        lip_gap_mm: how much farther apart lips that touched are.
    """

    flipped_triangles: int
    lid_depth_mm: float
    lip_gap_mm: float


def damage_of(model: MorphableModel, before: Tensor, after: Tensor) -> Damage:
    """Compare a head's vertices "v 3" before and after a deformation."""
    openings = openings_of(model, before)
    skin = model.part_triangles(model.part_names[0])
    turned = (triangle_normals(before, skin) * triangle_normals(after, skin)).sum(1) < 0
    depth = openings.least_mm - openings.clearance_mm(after)[0]
    upper, lower = openings.lip_pairs.unbind(1)
    apart = [(vertices[upper] - vertices[lower]).norm(dim=1) for vertices in (before, after)]
    return Damage(int(turned.sum()), _worst(depth), _worst(apart[1] - apart[0]))


def _worst(values: Tensor) -> float:
    return max(0.0, float(values.max())) if len(values) else 0.0


def _touching(model: MorphableModel, vertices: Tensor, rim: Tensor) -> Tensor:
    """Pairs "p 2" of upper and lower lip rim vertices that touch; none of an open mouth."""
    chart = model.chart
    if chart is None or len(rim) < 4:
        return torch.zeros(0, 2, dtype=torch.int64)
    height = chart.uv[rim, 1]
    middle = height.median()
    upper, lower = rim[height < middle], rim[height > middle]
    across = vertices[upper, :][:, None] - vertices[lower][None]
    distance = across.norm(dim=2)
    nearest = distance.min(1)
    close = nearest.values < _TOUCHING_MM
    return torch.stack([upper[close], lower[nearest.indices[close]]], 1)


def _sphere_centre(points: Tensor) -> Tensor:
    """Centre "3" of the sphere nearest to points "n 3", in the algebraic sense: |p|^2 = 2 c . p + k."""
    system = torch.cat([2 * points, torch.ones(len(points), 1)], 1).double()
    return torch.linalg.lstsq(system, (points**2).sum(1).double()[:, None]).solution[:3, 0].float()


def _rows(rows: np.ndarray, vertices: np.ndarray, values: np.ndarray, num_vertices: int) -> sparse.csr_matrix:
    shape = (int(rows.max()) + 1 if len(rows) else 0, num_vertices)
    return sparse.csr_matrix(
        sparse.hstack(
            [sparse.csr_matrix((values[:, axis], (rows, vertices)), shape=shape) for axis in range(3)]
        )
    )
