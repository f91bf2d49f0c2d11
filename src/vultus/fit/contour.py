"""Contour costs: the face's outline in the image belongs where the photo shows it.

Two forms. The published one compares every vertex with the row of the face mask it lies in. The two-dimensional one compares only the
*rim*, the visible places where the surface turns away from the camera, with the believable stretches of the photo's outline
(:mod:`vultus.fit.outline`), along the outline's normal. Which vertices form the rim, and which outline point each belongs to, are
found without gradient and change as the face moves; the distance itself carries it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..geometry.mesh import vertex_normals
from ..model.morphable import MorphableModel
from ..render.raster import rasterize
from ..render.visible import visible_points
from .outline import Outline

PUBLISHED_WIDTH_MM = 220.0
"""What the 224 pixels of the published crop show of a face: width_px = 220 mm * (pixels per mm)."""
_BUFFER_PX = 320  # long side of the z-buffer in which hidden rims are recognised, less than 1 mm a pixel
_NEIGHBOUR_MM = 4.0  # so far along the outline a rim vertex may be from the nearest outline point
_AGREE = 0.5  # cosine between the outward normals of a rim vertex and of its outline point
_OUTLINE_REGIONS = ("cheeks", "chin")  # the forehead ends in hair; nose and lips have rims inside the face


@dataclass(frozen=True)
class RowExtent:
    """Leftmost and rightmost mask pixel of every row: "h" float each, as the published loss counts them."""

    left_px: Tensor
    right_px: Tensor
    width_px: int


@dataclass(frozen=True)
class Rim:
    """Where a drawn face turns away from the camera.

    Attributes:
        ids: "s" int64 vertices.
        normals: "s 2" unit, in the image, pointing away from the face.
    """

    ids: Tensor
    normals: Tensor


def row_extent(mask: Tensor) -> RowExtent:
    """The first column of each row of a mask "h w" (bool, or weight above one half) plus one, and the last.

    Rows without mask span the whole width, as published: vertices there are left alone.
    """
    width = mask.shape[1]
    inside = mask > 0.5
    column = torch.arange(width, device=mask.device)
    first = torch.where(inside, column, width).amin(1)
    last = torch.where(inside, column, -1).amax(1)
    empty = last < 0
    left = torch.where(empty, 0, first + 1)
    right = torch.where(empty, width - 1, last)
    return RowExtent(left.float(), right.float(), width)


def contour_cost_1d(vertices_px: Tensor, rows: RowExtent, width_px: float | None = None) -> Tensor:
    """The contour-aware loss of HRN: a scalar, differentiable in the vertices' x.

    With L, R the row's extent, a = L - x, b = R - x and w the width: s = sign(a b) min(|a|, |b|) / w, negative inside the mask, and
    cost = mean |ReLU(s + 0.01) - 0.01|. Vertices outside the mask are pulled in, those inside within 1 % of the width are pulled
    to its border, deeper ones feel nothing. All vertices take part, hidden ones too; only horizontal, so the chin is not held.

    Lei et al., "A Hierarchical Representation Network for Accurate and Detailed Face Reconstruction from In-The-Wild Images", CVPR 2023.

    Args:
        vertices_px: "... v 2" or "... v 3" projected; the row of a vertex is the one it lies in.
        rows: the face mask.
        width_px: w, the mask's own width if not given. In the published crop it shows PUBLISHED_WIDTH_MM of the face.
    """
    width = float(width_px or rows.width_px)
    x, y = vertices_px[..., 0], vertices_px[..., 1]
    row = y.detach().floor().clamp(0, len(rows.left_px) - 1).long()
    a, b = rows.left_px.to(x)[row] - x, rows.right_px.to(x)[row] - x
    s = torch.sign(a * b) * torch.minimum(a.abs(), b.abs()) / width
    return (torch.relu(s + 0.01) - 0.01).abs().mean()


def outline_region(model: MorphableModel) -> Tensor:
    """Vertices "v" bool whose rim is a face outline: cheeks, jaw and chin, all of the face where the model has no regions."""
    known = [model.regions[name] for name in _OUTLINE_REGIONS if name in model.regions]
    return torch.stack(known).any(0) if known else torch.ones_like(model.mean_mm[:, 0], dtype=torch.bool)


def outline_vertices(vertices_px: Tensor, triangles: Tensor, region: Tensor | None = None) -> Rim:
    """The visible rim of a projected mesh: vertices between a triangle that faces the camera and one that does not.

    Without gradient; find it anew every few steps, for it moves over the surface as the face turns.

    Args:
        vertices_px: "v 3" (x_px, y_px, z_mm), the whole head, so that what it hides is known.
        triangles: "f 3", counter-clockwise seen from outside.
        region: "v" bool, vertices that may count; see :func:`outline_region`.
    """
    with torch.no_grad():
        points = vertices_px.detach()
        a, b, c = (points[triangles[:, i], :2] for i in range(3))
        ab, ac = b - a, c - a
        front = (ab[:, 0] * ac[:, 1] - ab[:, 1] * ac[:, 0]) < 0
        turns = _touches(triangles[front], len(points)) & _touches(triangles[~front], len(points))
        if region is not None:
            turns &= region
        ids = turns.nonzero().squeeze(-1)
        ids = ids[_visible(points, triangles, ids)]
        normals = vertex_normals(points, triangles)[ids, :2]
        return Rim(ids, torch.nn.functional.normalize(normals, dim=-1))


def contour_cost_2d(vertices_px: Tensor, rim: Rim, outline: Outline, *, scale_mm: float = 2.0) -> Tensor:
    """Mean robust squared distance, in mm^2, between rim and photo outline, along the outline's normal: a scalar.

    Each rim vertex belongs to the nearest outline point that looks the same way. Its signed distance is d = n . (vertex - point), which
    is that to the outline's tangent, so there is no pull along the outline. Geman-McClure: d^2 / (1 + (d / scale)^2), at most
    scale^2. Where the photo shows skin up to hair, the face may go on behind it: there only d < 0 counts (the rim lies inside of
    what is surely face). Zero where nothing belongs together.

    Args:
        vertices_px: "v 2" or "v 3" projected vertices, the gradient's way in.
        rim: from :func:`outline_vertices`.
        outline: from :func:`vultus.fit.outline.outline_of_mask`, in the same pixels.
        scale_mm: distance beyond which an outline point is more likely wrong than right.
    """
    distance_mm, weight = rim_distance(vertices_px, rim, outline)
    squared = distance_mm**2
    cost = squared / (1 + squared / scale_mm**2)
    return (weight * cost).sum() / weight.sum().clamp_min(1e-6)


def rim_distance(vertices_px: Tensor, rim: Rim, outline: Outline) -> tuple[Tensor, Tensor]:
    """Signed distance "s" of rim vertices in mm, positive outside of the outline, and how much each counts, "s" in [0, 1]."""
    points = vertices_px[rim.ids, :2]
    if len(points) == 0 or len(outline.points_px) == 0:
        return 0 * points.sum(1), points.new_zeros(len(points))
    target, normal = outline.points_px.to(points), outline.normals.to(points)
    with torch.no_grad():
        agree = rim.normals.to(points) @ normal.T
        apart = torch.cdist(points, target) + torch.where(agree < _AGREE, torch.inf, 0.0)
        nearest = apart.argmin(1)
        found = apart.gather(1, nearest[:, None])[:, 0].isfinite()
        weight = outline.weight.to(points)[nearest] * found
    offset = points - target[nearest]
    normal = normal[nearest]
    distance = (offset * normal).sum(-1) * outline.mm_per_px
    with torch.no_grad():
        along = (offset[:, 0] * normal[:, 1] - offset[:, 1] * normal[:, 0]).abs() * outline.mm_per_px
        weight = (
            weight
            * (along < _NEIGHBOUR_MM)
            * ~(outline.one_sided.to(weight.device)[nearest] & (distance > 0))
        )
    return distance, weight


def _touches(triangles: Tensor, num_vertices: int) -> Tensor:
    touched = torch.zeros(num_vertices, dtype=torch.bool, device=triangles.device)
    touched[triangles.flatten()] = True
    return touched


def _visible(points: Tensor, triangles: Tensor, ids: Tensor) -> Tensor:
    """Which of the vertices ``ids`` nothing hides, in a z-buffer around the head."""
    if len(ids) == 0:
        return torch.zeros(0, dtype=torch.bool, device=points.device)
    low, high = points[:, :2].amin(0).floor(), points[:, :2].amax(0).ceil()
    scale = min(1.0, _BUFFER_PX / max(float((high - low).max()), 1.0))
    moved = torch.cat([(points[:, :2] - low) * scale, points[:, 2:]], 1)[None]
    width, height = (max(1, int(side)) for side in ((high - low) * scale).ceil().tolist())
    fragments = rasterize(moved, triangles, (width, height))
    return visible_points(moved[:, ids], fragments, moved, triangles)[0]
