"""Where the face chart lies in a photo, pixel by pixel: the way for pictures on the chart, or of other faces, into the photo."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import distance_transform_edt
from scipy.spatial import KDTree
from torch import Tensor

from ..errors import BadInput
from ..geometry.mesh import vertex_normals
from ..geometry.position_map import sample_map
from ..render.interpolate import interpolate
from ..render.raster import Fragments, rasterize
from .alignment import Alignment

_FAR = 50.0  # depth of the chart's mean in face sizes: everything lies before the camera, and perspective within a triangle is nothing
_OBLIQUE = (
    0.05,
    0.25,
)  # cosines between surface and camera: below the first a pixel is not to be trusted, above the second wholly


@dataclass(frozen=True, eq=False)
class ChartWindow:
    """The part of a photo around an aligned face, and what of the face each of its pixels shows.

    Attributes:
        rows, columns: of the photo.
        corners: "1 n 3" the chart's vertices in the window, and their depth. triangles: "f 3". fragments: what is seen of them.
        covered: "h w" bool, where the face's surface is seen, from outside. membrane: "h w" bool, where that closes an eye or the mouth.
        uv: "2 h w" chart coordinates, zero where not covered.
        trust: "h w" from 0 to 1, less where the surface is seen obliquely, zero where not covered.
    """

    rows: slice
    columns: slice
    corners: Tensor
    triangles: Tensor
    fragments: Fragments
    covered: Tensor
    membrane: Tensor
    uv: Tensor
    trust: Tensor

    def draw(self, values: Tensor) -> Tensor:
        """Values "n c" of the chart's vertices at the window's pixels: "c h w", zero where there is no face."""
        return interpolate(self.fragments, self.corners, self.triangles, values.to(self.corners))[0]

    def fill(self, values: Tensor) -> Tensor:
        """Values "c h w" with those of the nearest covered pixel where there is no face."""
        if not bool(self.covered.any()):
            return values
        nearest = distance_transform_edt(~self.covered.numpy(), return_distances=False, return_indices=True)
        row, column = torch.from_numpy(np.asarray(nearest)).long()
        return values[:, row, column]

    def soft(self, border: float, edge_px: float = 1.5) -> Tensor:
        """How much of a picture to show, "h w" from 0 to 1: fading towards the chart's border, and within pixels towards the face's outline.

        Args:
            border: over which part of the chart it fades (its side is 1).
        """
        u, v = self.uv
        to_border = torch.minimum(torch.minimum(u, 1 - u), torch.minimum(v, 1 - v))
        inside = np.pad(self.covered.numpy(), 1)
        to_edge = torch.from_numpy(np.asarray(distance_transform_edt(inside))[1:-1, 1:-1]).float() - 0.5
        return _smooth_step(to_border / max(border, 1e-6)) * _smooth_step(to_edge / edge_px) * self.covered


def chart_window(alignment: Alignment) -> ChartWindow:
    """Draw a face's chart over its photo; parts that nearer parts of the face hide are not drawn.

    Raises:
        BadInput: no part of the face lies in the photo.
    """
    points, surface = alignment.vertices_px, alignment.surface
    low, high = points[:, :2].amin(0), points[:, :2].amax(0)
    left, top = (max(int(c) - 2, 0) for c in low.tolist())
    right, bottom = (min(int(c) + 3, size) for c, size in zip(high.tolist(), alignment.image_size))
    if right <= left or bottom <= top:
        raise BadInput("the aligned face lies outside of its photo: nothing can be drawn there")
    depth = _FAR * float((high - low).max()) - points[:, 2:]
    corners = torch.cat([points[:, :2] - points.new_tensor([left, top]), depth], 1)[None]
    fragments = rasterize(corners, surface.triangles, (right - left, bottom - top))
    ids = fragments.triangle_ids[0].long().clamp_min(0)
    covered = fragments.mask[0] & (_turned_to_us(points, surface.triangles)[ids])
    shown = torch.cat([surface.uv.to(points), vertex_trust(points, surface.triangles)[:, None]], 1)
    drawn = interpolate(fragments, corners, surface.triangles, shown)[0]
    membrane = surface.is_membrane[ids] & covered
    window = slice(top, bottom), slice(left, right)
    return ChartWindow(*window, corners, surface.triangles, fragments, covered, membrane, drawn[:2] * covered, drawn[2] * covered)  # fmt: skip


def vertex_trust(points_px: Tensor, triangles: Tensor) -> Tensor:
    """How squarely the camera looks at each vertex of "n 3" (x right, y down, z towards the camera): "n" from 0, oblique or turned away, to 1."""
    upright = points_px * points_px.new_tensor([1.0, -1.0, 1.0])
    first, whole = _OBLIQUE
    return _smooth_step((vertex_normals(upright, triangles)[:, 2] - first) / (whole - first))


def mirrored_vertices(alignment: Alignment) -> Tensor:
    """Where the photo shows the point on the other side of the face, for each of the chart's vertices: "n 3"."""
    return sample_map(alignment.position_px, _other_side(alignment.surface.uv))


def mirrored_values(alignment: Alignment, values: Tensor) -> Tensor:
    """Values "n" of the chart's vertices as those on the other side of the face: "n"."""
    uv = alignment.surface.uv
    # The bundled head is symmetric to a hair, so the nearest vertex is the mirror image; others may not be, and nearly is enough.
    _, nearest = KDTree(uv.numpy()).query(_other_side(uv).numpy())
    return values[torch.from_numpy(nearest)]


def look_up(chart: Tensor, window: ChartWindow) -> Tensor:
    """A picture "c s s" on the chart at the window's pixels: "c h w", bilinear, averaged where its texels are finer than the pixels."""
    size = chart.shape[-1]
    levels = [chart]
    du = window.uv * size
    step = (du[:, :, 1:] - du[:, :, :-1]).norm(dim=0)[window.covered[:, 1:] & window.covered[:, :-1]]
    finer = float(step.median()) if step.numel() else 1.0
    while finer >= 1.5 and levels[-1].shape[-1] >= 4:
        levels.append(F.avg_pool2d(levels[-1][None], 2)[0])
        finer /= 2
    grid = (window.uv * 2 - 1).permute(1, 2, 0)[None].to(chart)
    return F.grid_sample(levels[-1][None], grid, padding_mode="border", align_corners=False)[0]


def _other_side(uv: Tensor) -> Tensor:
    return torch.stack([1 - uv[:, 0], uv[:, 1]], 1)


def _turned_to_us(points_px: Tensor, triangles: Tensor) -> Tensor:
    """Which triangles show their outside: "f" bool. Counter-clockwise with y up is clockwise with y down."""
    a, b, c = points_px[triangles, :2].unbind(1)
    one, two = b - a, c - a
    return one[:, 0] * two[:, 1] - one[:, 1] * two[:, 0] < 0


def _smooth_step(x: Tensor) -> Tensor:
    x = x.clamp(0, 1)
    return x * x * (3 - 2 * x)
