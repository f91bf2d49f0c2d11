"""A dressed head drawn in milliseconds: harmonics and a lamp with wrap and shadow, occlusion known from the mean head, textures with relief.

The same ideas as :mod:`.picture`, cheaper: the sky above a vertex is that above the mean head's, the lamp is looked up per vertex, and the picture is
drawn a fifth larger than it will be, not twice as large.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..geometry.camera import Camera
from ..geometry.light import COSINE_LOBE, sh_basis
from ..geometry.mesh import vertex_normals
from ..model import bundled
from ..model.morphable import MorphableModel
from ..render.raster import rasterize
from ._fast_kernels import add_normals, light_pixels
from .fast_people import DrawnPerson
from .fast_skin import atlas_uv
from .fast_worn import Thing
from .person import fixed_of
from .picture import open_sky
from .scene import Light
from .shapes import Prop

_LARGER = 1.2
_SHADOW_PX = 160
_BIAS_MM, _FAR_MM = 3.0, 1.0e4
_TAPS = ((1.2, 0.3), (-0.9, 1.0), (-0.3, -1.3))
_WRAP = (0.30, 0.14, 0.10)  # how far light creeps round into shadow, red most: it travels under the skin


@dataclass(frozen=True)
class Stage:
    """What is the same for all pictures: the head's triangles that are drawn and which of them are face skin, atlas coordinates "v 2", how much texture
    "v", open sky "v" of the mean head, gloss "v", depth inside the hairline "v", strands "h w 1", a mesh of a quarter of the triangles, for shadows."""

    model: MorphableModel
    shown: Tensor
    is_face: Tensor
    uv: Tensor
    textured: Tensor
    sky: Tensor
    gloss: Tensor
    hairline: Tensor
    strands: Tensor
    coarse: Tensor


def make_stage(model: MorphableModel) -> Stage:
    """Takes a second."""
    fixed = fixed_of(model)
    drawn = torch.tensor([name != "lashes" for name in model.part_names])[model.part_of_triangle]
    # The origin is between the eyeballs' centres: what lies behind them in its socket is never seen.
    behind = model.regions["eye_sockets"] & (model.mean_mm[:, 2] < -2)
    drawn &= ~behind[model.triangles].all(1)
    shown = model.triangles[drawn]
    normals = vertex_normals(model.mean_mm, model.triangles)
    textured = torch.zeros(len(model.mean_mm))
    textured[model.part_triangles("skin").flatten()] = 1.0
    gloss = torch.full((len(textured),), 0.035)
    for name in ("eye_left", "eye_right"):
        gloss[model.part_triangles(name).flatten()] = 1.0
    gloss[model.regions["lips"]] = 0.10
    noise = torch.randn((1, 1, 6, 160), generator=torch.Generator().manual_seed(1))
    fine = torch.randn((1, 1, 3, 512), generator=torch.Generator().manual_seed(2))
    large = [F.interpolate(n, (32, 512), mode="bicubic", align_corners=False)[0] for n in (noise, fine)]
    sky = open_sky(model.mean_mm, normals, shown)
    return Stage(
        model, shown, fixed.is_face[drawn], atlas_uv(model), textured, sky, gloss, fixed.hairline,
        (0.5 * large[0] + 0.35 * large[1]).clamp(-1, 1.5)[0, :, :, None].contiguous(), _coarse(model),
    )  # fmt: skip


def _coarse(model: MorphableModel) -> Tensor:
    """Triangles of the mesh that the bundled head is a subdivision of, lashes left out; its vertices come first in the fine one."""
    with np.load(bundled.HEAD, allow_pickle=False) as fields:
        quads, part = fields["quads"].astype(np.int64), fields["part_of_quad"]
    kept = torch.from_numpy(quads[part != model.part_names.index("lashes")])
    return torch.cat([kept[:, [0, 1, 2]], kept[:, [0, 2, 3]]])


@dataclass(frozen=True)
class FastDrawn:
    """Linear premultiplied "4 h w", and the share of each pixel that shows skin of the face "h w"."""

    rgba: Tensor
    face: Tensor


def draw_fast(
    stage: Stage,
    person: DrawnPerson,
    vertices: Tensor,
    worn: Sequence[tuple[Thing, Prop]],
    haired: bool,
    camera: Camera,
    light: Light,
) -> FastDrawn:
    """Draw somebody "v 3" and what they wear.

    Args:
        haired: the scalp is of the hair's colour.
    """
    large, model = camera.resized(_LARGER), stage.model
    position = large.to_camera(torch.cat([vertices, *(prop.vertices for _, prop in worn)]))
    rotation = camera.T_camera_head[:3, :3]
    own = position[: len(vertices)]
    normals = torch.cat([_normals(own, model.triangles), *(thing.normals @ rotation.T for thing, _ in worn)])
    first, triangles = len(vertices), [stage.shown]
    for _, prop in worn:
        triangles.append(prop.triangles + first)
        first += len(prop.vertices)
    faces = torch.cat(triangles)
    look = torch.cat([_head_look(stage, person, haired), *(_prop_look(prop) for _, prop in worn)])
    lamp = F.normalize(light.lamp.towards, dim=0)
    coarse = torch.cat([stage.coarse, *triangles[1:]])
    seen = _lamp_seen(position, coarse, lamp, own)
    projected = large.project_camera(position)
    fragments = rasterize(projected[None], faces, large.size_px, cull_back=True)
    look = torch.cat([normals, seen[:, None], look], 1)
    is_face = torch.cat([stage.is_face, torch.zeros(len(faces) - len(stage.is_face), dtype=torch.bool)])
    window = F.normalize(torch.tensor([-0.35, -0.55, -1.0]), dim=0)
    lobes = light.environment * torch.tensor(COSINE_LOBE)
    width, height = large.size_px
    image = torch.zeros(1, 5, height, width)
    given = (
        fragments.triangle_ids[0], projected, faces, look, is_face, person.skin.layers, stage.strands, rotation, lobes * _monomials(), lamp,
        light.lamp.colour, torch.tensor(_WRAP), window, (lobes @ sh_basis(window)).clamp_min(0),
    )  # fmt: skip
    numbers = float(large.focal_px), float(large.principal_px[0]), float(large.principal_px[1])
    room = np.zeros(7), np.zeros(12)
    light_pixels(*(tensor.contiguous().numpy() for tensor in given), *numbers, *room, image[0].numpy())
    small = F.interpolate(image, camera.size_px[::-1], mode="bilinear", antialias=True, align_corners=False)
    return FastDrawn(small[0, :4], small[0, 4])


def _normals(position: Tensor, triangles: Tensor) -> Tensor:
    """As :func:`~vultus.geometry.mesh.vertex_normals`, in a quarter of the time."""
    total = torch.zeros_like(position)
    add_normals(position.contiguous().numpy(), triangles.numpy(), total.numpy())
    return F.normalize(total, dim=1)


def _monomials() -> Tensor:
    """The factors "9" of the harmonics' monomials, read off :func:`sh_basis`."""
    half = 0.5**0.5
    x, y, z, xy, yz, xz = (sh_basis(torch.tensor(v)) for v in ([1.0, 0, 0], [0.0, 1, 0], [0.0, 0, 1], [half, half, 0], [0, half, half], [half, 0, half]))  # fmt: skip
    return torch.stack([x[0], y[1], z[2], x[3], 2 * xy[4], 2 * yz[5], z[6] / 2, 2 * xz[7], x[8]])


def _head_look(stage: Stage, person: DrawnPerson, haired: bool) -> Tensor:
    """Of the head's vertices: sky, texture u, v, how much texture, colour, gloss: "v 8"."""
    weight, colour = stage.textured, person.colour
    is_skin = stage.textured[:, None] > 0
    if haired:
        stubble = (0.85 * (2 * stage.hairline + 0.6).clamp(0, 1)) * weight
        weight = weight - stubble
        colour = torch.where(is_skin, 0.6 * person.hair, colour)
    return torch.cat([stage.sky[:, None], stage.uv, weight[:, None], colour, stage.gloss[:, None]], 1)


def _prop_look(prop: Prop) -> Tensor:
    """The same of a thing's vertices "n 8"; its strength of grain is its negative share of texture."""
    n = len(prop.vertices)
    open_, gloss = torch.full((n, 1), 0.9), torch.full((n, 1), prop.gloss)
    return torch.cat([open_, prop.grain[:, :2], -prop.grain[:, 2:], prop.colour, gloss], 1)


def _lamp_seen(position: Tensor, triangles: Tensor, lamp: Tensor, head: Tensor) -> Tensor:
    """How much of the lamp each vertex sees: "v" in [0, 1], from a shadow map about the head "h 3"; what lies outside of it sees all."""
    helper = torch.tensor([0.0, 0, 1] if abs(float(lamp[2])) < 0.9 else [1.0, 0, 0])
    right = F.normalize(torch.linalg.cross(helper, lamp, dim=0), dim=0)
    axes = torch.stack([-right, torch.linalg.cross(lamp, right, dim=0), -lamp])
    flat = (position - head.mean(0)) @ axes.T
    around = flat[: len(head)]
    low, high = around[:, :2].min(0).values, around[:, :2].max(0).values
    scale = (_SHADOW_PX - 8) / float((high - low).max())
    mapped = torch.cat([(flat[:, :2] - low) * scale + 4, flat[:, 2:] + _FAR_MM], 1)
    depth = rasterize(mapped[None], triangles, (_SHADOW_PX, _SHADOW_PX), cull_back=True).depth_mm
    total = torch.zeros(len(position))
    for dx, dy in _TAPS:
        x = (mapped[:, 0] + dx).long().clamp(0, _SHADOW_PX - 1)
        y = (mapped[:, 1] + dy).long().clamp(0, _SHADOW_PX - 1)
        total += torch.sigmoid((depth[0, y, x] - mapped[:, 2] + _BIAS_MM) / 0.8)
    inside = ((mapped[:, :2] > 0) & (mapped[:, :2] < _SHADOW_PX)).all(1)
    return torch.where(inside, total / len(_TAPS), torch.ones(()))
