"""One picture that tells whether a dense alignment worked: points and axes, the mesh, its depth, and the face turned to the front."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from ..geometry.mesh import vertex_normals
from ..render.interpolate import interpolate
from ..render.raster import rasterize
from ..render.shade import sample_texture
from ..stages.alignment import Alignment

_MARGIN = 1.3  # panels show this much more than the face
_SAMPLES = 2  # per pixel and axis
_BACKGROUND = 0.11
_FAR = 2000.0
_SEEN, _HIDDEN, _SHADOW = (0.25, 0.95, 0.85), (1.0, 0.55, 0.1), (0.0, 0.0, 0.0)
_AXES = (
    (1.0, 0.3, 0.3),
    (0.4, 0.9, 0.3),
    (0.35, 0.6, 1.0),
)  # x to the subject's left, y up, z out of the face
_AXIS_MM = 55.0
_NOSE_TIP = 30  # of iBUG's 68
_LINES = (0.75, 0.95, 1.0)
_RUNS = ((0, 17, False), (17, 22, False), (22, 27, False), (27, 31, False), (31, 36, False), (36, 42, True), (42, 48, True), (48, 60, True), (60, 68, True))  # fmt: skip
"""First, last + 1 and whether it closes, of the lines through the 68 points: jaw, brows, nose, eyes, lips."""


@torch.no_grad()
def alignment_picture(face: Alignment, image: Tensor | None = None, panel_px: int = 400) -> Tensor:
    """Four panels in a row: the 68 points (turquoise seen, orange hidden) with the pose's axes; the mesh over the photo; depth, near is bright; and the
    face from the front with what the photo shows of its colours.

    Args:
        image: the photo "3 h w", if the alignment does not hold it; without any the first panels have no photo.
        panel_px: side of a panel.

    Returns:
        "3 p 4p" sRGB in [0, 1].
    """
    image = face.image if image is None else image
    side = panel_px * _SAMPLES
    photo, to_panel = _window(face, image, side)
    points = _Panel(face, to_panel)
    panels = [
        _marked(photo, points),
        _meshed(photo, points),
        _depth(points, side),
        _frontal(face, image, side),
    ]
    return F.avg_pool2d(torch.cat(panels, -1)[None], _SAMPLES)[0]


class _Panel:
    """Where a face's points lie in a panel."""

    def __init__(self, face: Alignment, to_panel: tuple[Tensor, float]) -> None:
        self.face = face
        self.corner, self.scale = to_panel

    def place(self, points_px: Tensor) -> Tensor:
        """Photo points "n 3" -> panel, all three axes scaled."""
        return torch.cat([(points_px[:, :2] - self.corner) * self.scale, points_px[:, 2:] * self.scale], 1)

    def corners(self) -> Tensor:
        """The chart's vertices "n 3" as :func:`rasterize` takes them."""
        placed = self.place(self.face.vertices_px)
        return torch.cat([placed[:, :2], _FAR - placed[:, 2:]], 1)


def _window(face: Alignment, image: Tensor | None, side: int) -> tuple[Tensor, tuple[Tensor, float]]:
    """The photo around the face "3 s s", grey beyond it; the window's corner in the photo and panel pixels per photo pixel."""
    points = face.vertices_px[:, :2]
    low, high = points.amin(0), points.amax(0)
    extent = min(max(_MARGIN * float((high - low).max()), 8.0), 4.0 * max(face.image_size))
    corner, scale = (low + high) / 2 - extent / 2, side / extent
    if image is None:
        return torch.full((3, side, side), _BACKGROUND), (corner, scale)
    left, top = (max(math.floor(c) - 2, 0) for c in corner.tolist())
    right, bottom = (math.ceil(c + extent) + 3 for c in corner.tolist())
    part = image[:, top : max(bottom, 0), left : max(right, 0)]
    if not part.numel():
        return torch.full((3, side, side), _BACKGROUND), (corner, scale)
    step = max(1, min(int(1 / scale), *part.shape[1:]))
    shrunk = F.avg_pool2d(part[None], step)
    steps = (torch.arange(side) + 0.5) / scale
    x, y = (((steps + corner[i]) - offset) / step for i, offset in ((0, left), (1, top)))
    x, y = 2 * x / shrunk.shape[3] - 1, 2 * y / shrunk.shape[2] - 1
    grid = torch.stack([x.expand(side, side), y[:, None].expand(side, side)], -1)[None]
    seen = F.grid_sample(shrunk, grid, padding_mode="border", align_corners=False)[0]
    inside = (grid[0].abs() <= 1).all(-1)
    return torch.where(inside, seen, _BACKGROUND), (corner, scale)


def _marked(photo: Tensor, panel: _Panel) -> Tensor:
    """The 68 points with the lines between them, and the pose's axes from the nose tip."""
    face, thin = panel.face, _SAMPLES * 0.7
    points, seen = panel.place(face.landmarks68_px)[:, :2], face.landmarks68_visible
    drawn = photo.clone()
    for first, last, closed in _RUNS:
        order = [*range(first, last), *([first] if closed else [])]
        for one, other in pairwise(order):
            colour = _SEEN if bool(seen[one] & seen[other]) else _HIDDEN
            _line(drawn, points[one], points[other], thin, colour, 0.55)
    for colour, chosen in ((_HIDDEN, ~seen), (_SEEN, seen)):
        for point in points[chosen]:
            _line(drawn, point, point, 2.6 * _SAMPLES * 0.8, _SHADOW, 0.6)
            _line(drawn, point, point, 1.9 * _SAMPLES * 0.8, colour, 1.0)
    pose = face.pose
    tips = pose.rotation_camera_head.float() * float(pose.scale_px_per_mm) * panel.scale * _AXIS_MM
    start = points[_NOSE_TIP]
    order = sorted(
        range(3), key=lambda axis: -float(tips[2, axis])
    )  # what points at the camera is drawn last
    for axis in order:
        _line(drawn, start, start + tips[:2, axis], 2.4 * _SAMPLES, _SHADOW, 0.35)
        _line(drawn, start, start + tips[:2, axis], 1.5 * _SAMPLES, _AXES[axis], 1.0)
    return drawn


def _meshed(photo: Tensor, panel: _Panel) -> Tensor:
    """The triangles' edges over the photo, softly shaded."""
    corners, triangles = panel.corners()[None], panel.face.surface.triangles
    size = (photo.shape[2], photo.shape[1])
    fragments = rasterize(corners, triangles, size)
    shade = interpolate(fragments, corners, triangles, _lit(panel.face))[0]
    mask = fragments.mask[0].float()
    a, b, c = corners[0, triangles, :2].unbind(1)
    doubled = ((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]).abs()
    lengths = torch.stack([(c - b).norm(dim=-1), (a - c).norm(dim=-1), (b - a).norm(dim=-1)], -1)
    heights = (doubled[:, None] / lengths.clamp_min(1e-6))[fragments.triangle_ids[0].clamp_min(0)].permute(2, 0, 1)  # fmt: skip
    distance = (fragments.barycentric[0] * heights).amin(0)
    line = 0.34 * mask * (0.55 * _SAMPLES + 0.3 - distance).clamp(0, 1)
    soft = 0.16 * mask
    tinted = (1 - soft) * photo + soft * shade
    return (1 - line) * tinted + line * torch.tensor(_LINES)[:, None, None]


def _depth(panel: _Panel, side: int) -> Tensor:
    """Near is bright; what eyes read as depth is helped by a little shading."""
    corners, triangles = panel.corners()[None], panel.face.surface.triangles
    fragments = rasterize(corners, triangles, (side, side))
    z = panel.face.vertices_px[:, 2:]
    near = (z - z.min()) / (z.max() - z.min()).clamp_min(1e-6)
    values = interpolate(fragments, corners, triangles, torch.cat([near, _lit(panel.face)], 1))[0]
    low, high = torch.tensor([0.13, 0.10, 0.30]), torch.tensor([1.0, 0.93, 0.72])
    middle = torch.tensor([0.72, 0.30, 0.38])
    t = values[0].clamp(0, 1)
    first, second = (2 * t).clamp(0, 1), (2 * t - 1).clamp(0, 1)
    mix = lambda a, b, s: a[:, None, None] * (1 - s) + b[:, None, None] * s  # noqa: E731
    colour = torch.where(t < 0.5, mix(low, middle, first), mix(middle, high, second)) * (
        0.55 + 0.45 * values[1]
    )
    return torch.where(fragments.mask[0], colour, _BACKGROUND)


def _frontal(face: Alignment, image: Tensor | None, side: int) -> Tensor:
    """The face turned to the front with its texture where the photo shows it, in grey where it does not."""
    mesh, triangles = face.frontal_mesh, face.surface.triangles
    low, high = mesh.vertices.amin(0), mesh.vertices.amax(0)
    scale = side / (_MARGIN * float((high - low)[:2].max().clamp_min(1e-6)))
    xy = (mesh.vertices - (low + high) / 2)[:, :2] * torch.tensor([scale, -scale]) + side / 2
    corners = torch.cat([xy, _FAR - mesh.vertices[:, 2:]], 1)[None]
    fragments = rasterize(corners, triangles, (side, side))
    attributes = torch.cat([face.surface.uv, _shade(vertex_normals(mesh.vertices, triangles), -1)], 1)
    values = interpolate(fragments, corners, triangles, attributes)[0]
    grey = values[2:].expand(3, -1, -1) * 0.6
    if image is not None:
        texture, visible = face.texture(512, image=image)
        stacked = torch.cat([texture, visible[None].float()])
        found = sample_texture(stacked, values[None, :2].clamp(0, 1))[0]
        grey = grey * (1 - found[3:]) + found[:3]
    return torch.where(fragments.mask[0], grey, _BACKGROUND)


def _lit(face: Alignment) -> Tensor:
    """How bright a lamp beside the camera makes each of the chart's vertices: "n 1"."""
    xy, z = face.vertices_px.split([2, 1], 1)
    return _shade(vertex_normals(torch.cat([xy, -z], 1), face.surface.triangles), 1)


def _shade(normals: Tensor, forward: int) -> Tensor:
    """Lambert's law and some light from everywhere; forward: the sign of z away from the camera."""
    lamp = F.normalize(torch.tensor([-0.45, -0.5 * forward, -0.75 * forward]), dim=0)
    return 0.3 + 0.7 * (normals @ lamp).clamp_min(0)[:, None]


def _line(
    image: Tensor, start: Tensor, end: Tensor, radius: float, colour: tuple[float, float, float], opacity: float
) -> None:  # fmt: skip
    """Draw a line with round ends into an image "3 h w"."""
    height, width = image.shape[1:]
    reach = radius + 1.5
    low, high = torch.minimum(start, end) - reach, torch.maximum(start, end) + reach
    left, top = (max(int(c), 0) for c in low.tolist())
    right, bottom = min(int(high[0]) + 1, width), min(int(high[1]) + 1, height)
    if left >= right or top >= bottom:
        return
    x = (torch.arange(left, right) + 0.5)[None, :] - start[0]
    y = (torch.arange(top, bottom) + 0.5)[:, None] - start[1]
    way = end - start
    along = ((x * way[0] + y * way[1]) / way.square().sum().clamp_min(1e-9)).clamp(0, 1)
    distance = ((x - along * way[0]) ** 2 + (y - along * way[1]) ** 2).sqrt()
    cover = opacity * (radius + 0.5 - distance).clamp(0, 1)
    part = image[:, top:bottom, left:right]
    part.mul_(1 - cover).add_(cover * torch.tensor(colour)[:, None, None])
