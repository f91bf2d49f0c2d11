"""Surfaces as maps: positions over a texel grid, its normals, and what a displacement does to them.

A map's texels lie on a regular grid (u right, v down), so differential geometry needs no mesh: the tangents are differences between
neighbouring texels. Maps of the face chart look at the face from outside, hence the outward normal is (down x right).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Metric:
    """How a map is stretched over its surface, per texel.

    Attributes:
        along_u, along_v: "3 h w" each; with them the surface gradient of a function f is f_u along_u + f_v along_v (per mm).
        area_mm2: "h w" under each texel.
    """

    along_u: Tensor
    along_v: Tensor
    area_mm2: Tensor


def metric(position: Tensor) -> Metric:
    """The metric of a position map "3 h w", from the first fundamental form E, F, G (do Carmo 1976, section 2.5).

    Texels whose tangents are parallel (a fold, an empty part of a map) get the gradient zero.
    """
    down, right = torch.gradient(position, dim=(-2, -1))
    e, f, g = (right * right).sum(0), (right * down).sum(0), (down * down).sum(0)
    determinant = e * g - f * f
    usable = determinant > 1e-3 * (e * g).clamp_min(1e-12)
    inverse = torch.where(usable, 1 / determinant.clamp_min(1e-12), 0)
    area = length(torch.linalg.cross(down, right, dim=0))[0]
    return Metric((g * right - f * down) * inverse, (e * down - f * right) * inverse, area)


def grid_normals(position: Tensor) -> Tensor:
    """Unit outward normals "... 3 h w" of the texel grid of a position map "... 3 h w"; zero where it is folded flat.

    The mean over the texel's four quads, weighted by area: the cross product of the central differences.
    """
    down, right = torch.gradient(position, dim=(-2, -1))
    return unit(torch.linalg.cross(down, right, dim=-3))


def displaced(position: Tensor, normals: Tensor, displacement_mm: Tensor) -> Tensor:
    """The surface "... 3 h w" moved along its normals by "... h w"."""
    return position + displacement_mm.unsqueeze(-3) * normals


def detailed_normals(
    position: Tensor, normals: Tensor, displacement_mm: Tensor, *, normalised: bool = True
) -> Tensor:
    """Normals of a displaced surface: N' = N_g(V + d N) - N_g(V) + N, which keeps the smooth normals where d is flat.

    N_g are the normals of the texel grid, which shows the mesh's facets; N are smooth. Their difference is what the displacement does.
    Source: Lei et al., "A hierarchical representation network for accurate and detailed face reconstruction", CVPR 2023, as
    implemented by its authors (there without the final normalisation).

    Args:
        position: "... 3 h w", V. normals: "... 3 h w", N, unit. displacement_mm: "... h w", d.
        normalised: False leaves the sum as it is.
    """
    moved = grid_normals(displaced(position, normals, displacement_mm))
    total = moved - grid_normals(position) + normals
    return unit(total) if normalised else total


def tangent_space(normals: Tensor, smooth: Tensor, right: Tensor) -> Tensor:
    """Normals "3 h w" in the frames that a renderer builds from smooth normals and the direction of growing u.

    Args:
        normals: unit, what the map shall show.
        smooth: "3 h w" unit. right: "3 h w", derivative of the position by u, any length.

    Returns:
        "3 h w": towards growing u, towards falling v (up in the image, as glTF wants it), and outwards. (0, 0, 1) where a frame is missing.
    """
    tangent = unit(right - (right * smooth).sum(0) * smooth)
    up = torch.linalg.cross(smooth, tangent, dim=0)
    local = torch.stack([(normals * axis).sum(0) for axis in (tangent, up, smooth)])
    return torch.where(length(local) > 0.5, unit(local), local.new_tensor([0.0, 0, 1])[:, None, None])


def unit(vectors: Tensor) -> Tensor:
    """Vectors "... 3 h w" at length one; zero ones stay."""
    return vectors / length(vectors).clamp_min(1e-12)


def length(vectors: Tensor) -> Tensor:
    """Lengths "... 1 h w" of "... 3 h w"; torch's own norm takes ten times as long over the first of three axes."""
    return vectors.square().sum(-3, keepdim=True).sqrt()
