"""What the camera really sees: points against the z-buffer, and how squarely it looks at them."""

from __future__ import annotations

import torch
from torch import Tensor

from .raster import Fragments, rasterize

MAX_SLOPE_MM = 5.0
"""The most depth that a steep triangle may add to the tolerance: enough for 85 degrees at 0.5 mm per pixel."""


def visible_vertices(
    vertices_px: Tensor,
    triangles: Tensor,
    size_px: tuple[int, int],
    *,
    tolerance_mm: float = 1.0,
    backend: str = "auto",
) -> Tensor:
    """Which vertices no triangle hides: "b v" bool. Arguments as in :func:`~vultus.render.raster.rasterize`."""
    fragments = rasterize(vertices_px, triangles, size_px, backend=backend)
    return visible_points(vertices_px, fragments, vertices_px, triangles, tolerance_mm=tolerance_mm)


def visible_texels(
    texels_px: Tensor,
    fragments: Fragments,
    vertices_px: Tensor,
    triangles: Tensor,
    *,
    tolerance_mm: float = 1.0,
) -> Tensor:
    """Which texels no triangle hides: projected positions "b 3 h w" -> "b h w" bool; see :func:`visible_points`."""
    points = texels_px.flatten(2).transpose(1, 2)
    seen = visible_points(points, fragments, vertices_px, triangles, tolerance_mm=tolerance_mm)
    return seen.unflatten(1, texels_px.shape[2:])


def visible_points(
    points_px: Tensor,
    fragments: Fragments,
    vertices_px: Tensor,
    triangles: Tensor,
    *,
    tolerance_mm: float = 1.0,
) -> Tensor:
    """Which points no triangle hides, by the z-buffer.

    The buffer holds the depth at the pixel's centre. On a slope the surface under the point itself lies elsewhere, so the
    allowance grows by the slope of the triangle seen there times the way from centre to point, up to MAX_SLOPE_MM: it fits the
    geometry instead of one number that is too small on a cheek and too large behind an ear.

    Args:
        points_px: "b p 3" as (x_px, y_px, z_mm), from the same camera as the fragments.
        fragments: the z-buffer.
        vertices_px, triangles: what was rasterised.
        tolerance_mm: what a point may lie behind the surface anyway.

    Returns:
        "b p" bool; False outside of the image, where not finite, and behind the camera.
    """
    with torch.no_grad():
        height, width = fragments.depth_mm.shape[1:]
        x, y, z = points_px.unbind(-1)
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height) & (z > 0)
        column = torch.where(inside, x, 0).long()
        row = torch.where(inside, y, 0).long()
        image = torch.arange(len(points_px), device=points_px.device)[:, None]
        ids = fragments.triangle_ids[image, row, column]
        seen = (ids >= 0) & inside
        front = fragments.depth_mm[image, row, column]
        visible = inside & ~seen
        picked = seen.nonzero(as_tuple=True)
        depth = front[picked]
        slope_x, slope_y = _depth_slopes(
            vertices_px[picked[0][:, None], triangles[ids[picked].long()]], depth
        )
        off_x, off_y = (x - column - 0.5)[picked].abs(), (y - row - 0.5)[picked].abs()
        allowance = (
            (slope_x.abs() * off_x + slope_y.abs() * off_y).nan_to_num(MAX_SLOPE_MM).clamp_max(MAX_SLOPE_MM)
        )
        visible[picked] = z[picked] <= depth + tolerance_mm + allowance
        return visible


def facing(points_camera_mm: Tensor, normals_camera: Tensor) -> Tensor:
    """How squarely the camera looks at a surface: the cosine between unit normals "... 3" and the way to the camera.

    1 is head-on, 0 grazing, negative the back; clamp it at zero to use it as a weight.
    """
    to_camera = -torch.nn.functional.normalize(points_camera_mm, dim=-1)
    return (normals_camera * to_camera).sum(-1)


def _depth_slopes(corners: Tensor, depth: Tensor) -> tuple[Tensor, Tensor]:
    """Depth per pixel, along x and y, of triangles "p 3 3" where their depth is "p".

    1/z is affine in the image: 1/z = sum(e_i / z_i) / sum(e_i), and e_i has the constant gradient (y_j - y_k, x_k - x_j).
    """
    x, y, z = corners.double().unbind(-1)
    ahead, behind = [1, 2, 0], [2, 0, 1]
    edge_x, edge_y = y[:, ahead] - y[:, behind], x[:, behind] - x[:, ahead]
    area = (x[:, 1] - x[:, 0]) * (y[:, 2] - y[:, 0]) - (y[:, 1] - y[:, 0]) * (x[:, 2] - x[:, 0])
    to_slope = -(depth.double() ** 2) / area
    return ((edge_x / z).sum(-1) * to_slope).to(depth), ((edge_y / z).sum(-1) * to_slope).to(depth)
