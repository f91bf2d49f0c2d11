"""A head with what it wears, drawn as a camera would see it: soft light with occlusion, a lamp with cast shadows, wet eyes.

Apart from the renderer that the fit uses: light is evaluated per pixel, hollows are dark because the sky above every vertex is
traced, and the lamp's shadows come from a shadow map. A method that explains pictures with nine harmonics is therefore not told its own story.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..geometry.camera import Camera
from ..geometry.chart_map import detailed_normals, unit
from ..geometry.light import shading
from ..geometry.mesh import vertex_normals
from ..model.morphable import MorphableModel
from ..render.bake import bake, dilate
from ..render.interpolate import interpolate
from ..render.raster import rasterize
from ..render.shade import sample_texture
from .scene import Light
from .shapes import Prop
from .wrinkles import light_map

SUPERSAMPLES = 2
_SKY, _SKY_PX = 32, 256  # directions and size of the maps that tell how open the sky is
_SHADOW_PX = 768
_FAR_MM = (
    1.0e4  # parallel light: so far that perspective does not matter, so near that float32 does not either
)
_BIAS_MM = 2.5
_WRAP = (0.30, 0.14, 0.10)  # how far light creeps round into shadow, red most: it travels under the skin
_SOFT_PX = 2.5


@dataclass(frozen=True)
class Skin:
    """How a head's surface looks.

    Attributes:
        colour: "v 3" linear, all parts. texture: "3 h w" linear, laid over it with "v" weight at "v 2" coordinates.
        relief_mm: "s s" displacement over the face chart that turns normals, for textures that lie over the chart; None: none.
    """

    colour: Tensor
    texture: Tensor
    uv: Tensor
    weight: Tensor
    relief_mm: Tensor | None = None


@dataclass(frozen=True)
class Drawn:
    """A picture before its background: linear premultiplied "1 4 h w", coverage "h w" of face skin that is seen, and of face skin that is hidden."""

    rgba: Tensor
    face: Tensor
    hidden: Tensor


def beyond_border(pairs: Tensor, uv: Tensor, inside: Tensor) -> Tensor:
    """Coordinates "v 2" with sensible values one ring outside of "v" bool: there a texture fades out, not into its corner.

    Args:
        pairs: "e 2", the mesh's edges.
    """
    pairs = torch.cat([pairs, pairs.flip(1)])
    pairs = pairs[inside[pairs[:, 0]] & ~inside[pairs[:, 1]]]
    total = torch.zeros_like(uv).index_add(0, pairs[:, 1], uv[pairs[:, 0]])
    count = torch.zeros(len(uv)).index_add(0, pairs[:, 1], torch.ones(len(pairs)))
    return torch.where(count[:, None] > 0, total / count.clamp_min(1)[:, None], uv)


@torch.no_grad()
def draw(
    model: MorphableModel,
    vertices: Tensor,
    face: Tensor,
    skin: Skin,
    props: Sequence[Prop],
    camera: Camera,
    light: Light,
) -> Drawn:
    """Draw a head "v 3" and what it wears.

    Args:
        face: "f" bool, the model's triangles that count as skin of the face.
    """
    assert model.chart is not None
    shown = torch.cat([model.part_triangles(name) for name in model.part_names if name != "lashes"])
    is_face = torch.cat(
        [face[model.part_of_triangle == i] for i, name in enumerate(model.part_names) if name != "lashes"]
    )
    scene = _assembled(model, vertices, shown, skin, props)
    is_face = torch.cat([is_face, torch.zeros(len(scene.triangles) - len(shown), dtype=torch.bool)])
    large = camera.resized(SUPERSAMPLES)
    position = large.to_camera(scene.vertices)
    normals = vertex_normals(position, scene.triangles)
    sky = open_sky(position, normals, scene.triangles)
    projected = large.project_camera(position)[None]
    fragments = rasterize(projected, scene.triangles, large.size_px)
    attributes = torch.cat([position, normals, sky[:, None], scene.look], 1)
    pixels = fragments.mask[0].flatten().nonzero().squeeze(1)
    drawn = interpolate(fragments, projected, scene.triangles, attributes)[0].flatten(1)[:, pixels]
    lamp = F.normalize(light.lamp.towards, dim=0)
    lamp_seen = _lamp_seen(position, scene.triangles, lamp, drawn[:3].T)
    relief = None
    if skin.relief_mm is not None:
        relief = _relief(model, position[: len(vertices)], normals[: len(vertices)], skin.relief_mm)
    width, height = large.size_px
    image = torch.zeros(4, height * width)
    image[:3, pixels], image[3, pixels] = _lit(drawn, skin, relief, lamp_seen, light), 1.0
    down = lambda values: F.avg_pool2d(values[None], SUPERSAMPLES)[0]  # noqa: E731
    ids = fragments.triangle_ids[0].clamp_min(0)
    seen = (is_face[ids] & fragments.mask[0]).float()
    alone = rasterize(projected[:, : len(vertices)], shown, large.size_px)
    would = (is_face[alone.triangle_ids[0].clamp_min(0)] & alone.mask[0]).float()
    rgba = down(image.reshape(4, height, width))
    return Drawn(rgba[None], down(seen[None])[0], down((would * (1 - seen))[None])[0])


def open_sky(position: Tensor, normals: Tensor, triangles: Tensor) -> Tensor:
    """The share of the sky above each vertex "v 3" that nothing hides, cosine-weighted: "v" in [0, 1]."""
    seen, total = torch.zeros(len(position)), torch.full((len(position),), 1e-6)
    for i in range(_SKY):  # a Fibonacci spiral over the sphere
        z = 1 - (2 * i + 1) / _SKY
        around = i * math.pi * (3 - math.sqrt(5))
        towards = torch.tensor([math.cos(around), math.sin(around), 0.0]) * math.sqrt(1 - z * z)
        towards[2] = z
        facing = (normals @ towards).clamp_min(0)
        depth, flat = _depth_from(position, triangles, towards, _SKY_PX)
        x, y = (flat[:, k].long().clamp(0, _SKY_PX - 1) for k in (0, 1))
        # A texel is over a millimetre wide: what lies that little behind its depth is the surface itself.
        seen += facing * torch.sigmoid((depth[y, x] - flat[:, 2] + 2 * _BIAS_MM) / 1.0)
        total += facing
    return seen / total


@dataclass(frozen=True)
class _Scene:
    """Head and props as one mesh; ``look`` "v 10": texture uv, its weight, colour, gloss, grain u, v and strength."""

    vertices: Tensor
    triangles: Tensor
    look: Tensor


def _assembled(
    model: MorphableModel, vertices: Tensor, shown: Tensor, skin: Skin, props: Sequence[Prop]
) -> _Scene:
    gloss = torch.full((len(vertices), 1), 0.035)
    for name in ("eye_left", "eye_right"):
        gloss[model.part_triangles(name).flatten()] = 1.0
    if "lips" in model.regions:
        gloss[model.regions["lips"]] = 0.09
    none = torch.zeros(len(vertices), 3)
    looks = [torch.cat([skin.uv, skin.weight[:, None], skin.colour, gloss, none], 1)]
    points, triangles, first = [vertices], [shown], len(vertices)
    for prop in props:
        n = len(prop.vertices)
        gloss = torch.full((n, 1), prop.gloss)
        looks.append(torch.cat([torch.zeros(n, 3), prop.colour, gloss, prop.grain], 1))
        points.append(prop.vertices)
        triangles.append(prop.triangles + first)
        first += n
    return _Scene(torch.cat(points), torch.cat(triangles), torch.cat(looks))


def _lit(drawn: Tensor, skin: Skin, relief: Tensor | None, lamp_seen: Tensor, light: Light) -> Tensor:
    """Linear colours "3 p" of pixels with interpolated values "17 p", of which "p" of the lamp is seen."""
    where, normal, sky, uv, weight, colour, gloss, grain = drawn.split([3, 3, 1, 2, 1, 3, 1, 3])
    normal = _unit(normal)
    albedo = weight * _look_up(skin.texture, uv) + (1 - weight) * colour
    albedo = albedo * (1 + grain[2:] * _look_up(_grain(), grain[:2] % 1))
    if relief is not None:
        turned = _look_up(relief, uv)
        amount = (2 * weight - 1).clamp_min(0)  # nothing where a triangle crosses the chart's border
        normal = _unit(normal + amount * turned[:3])
        sky = sky * (1 - amount * (1 - turned[3:]))
    lamp = F.normalize(light.lamp.towards, dim=0)[:, None]
    wrap = torch.tensor(_WRAP)[:, None]
    hue = light.lamp.colour[:, None]
    direct = (((normal * lamp).sum(0) + wrap) / (1 + wrap)).clamp_min(0) * lamp_seen * hue
    around = shading(normal.T, light.environment).T.clamp_min(0.02) * sky**1.2
    back = _unit(where)
    wet = gloss > 0.5
    sharp = torch.where(wet, 350.0, 14.0)
    shine = gloss * (normal * _unit(lamp - back)).sum(0).clamp_min(0) ** sharp * lamp_seen
    # Eyes and glasses mirror something bright even where no lamp is.
    window = F.normalize(torch.tensor([-0.35, -0.55, -1.0]), dim=0)
    bright = shading(window[None], light.environment).T.clamp_min(0)
    glint = 0.35 * wet * (normal * _unit(window[:, None] - back)).sum(0).clamp_min(0) ** 220.0 * sky
    return albedo * (around + direct) + 1.6 * shine * hue + glint * bright


def _look_up(texture: Tensor, uv: Tensor) -> Tensor:
    """Texture "c h w" at "2 p": "c p"."""
    return sample_texture(texture, uv[None, :, None])[0, :, 0]


def _unit(vectors: Tensor) -> Tensor:
    """Vectors "3 p" at length one; torch's own norm takes ten times as long over the first axis."""
    return vectors * vectors.square().sum(0).clamp_min(1e-20).rsqrt()


def _relief(model: MorphableModel, head_mm: Tensor, normals: Tensor, relief_mm: Tensor) -> Tensor:
    """What a relief adds to the normals, and how open its own sky is: "4 s s" over the face chart."""
    assert model.chart is not None
    topology = model.chart.topology
    every = torch.arange(len(topology.triangles))
    values = dilate(*bake(torch.cat([head_mm, normals], 1), topology, every, len(relief_mm)))
    smooth = unit(values[3:])
    turned = detailed_normals(values[:3], smooth, relief_mm) - smooth
    sky = light_map(values[:3], smooth, relief_mm, torch.ones(3), [])[:1]
    return torch.cat([turned, sky])


def _lamp_seen(position: Tensor, triangles: Tensor, lamp: Tensor, where: Tensor) -> Tensor:
    """How much of the lamp each of the points "p 3" sees: "p" in [0, 1], from a shadow map over the vertices "v 3", edges soft."""
    depth, flat = _depth_from(position, triangles, lamp, _SHADOW_PX, where)
    taps = [(0.0, 0.0)] + [(math.cos(a), math.sin(a)) for a in (0.3 + k * math.pi / 3 for k in range(6))]
    total = torch.zeros(len(where))
    for dx, dy in taps:
        x = (flat[:, 0] + _SOFT_PX * dx).long().clamp(0, _SHADOW_PX - 1)
        y = (flat[:, 1] + _SOFT_PX * dy).long().clamp(0, _SHADOW_PX - 1)
        total += torch.sigmoid((depth[y, x] - flat[:, 2] + _BIAS_MM) / 0.5)
    return total / len(taps)


def _depth_from(
    position: Tensor, triangles: Tensor, towards: Tensor, size: int, points: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Depth map "s s" along parallel light, and where points "p 3" (the vertices unless given) lie in it: x, y, depth "p 3"."""
    helper = torch.tensor([0.0, 0, 1] if abs(float(towards[2])) < 0.9 else [1.0, 0, 0])
    right = F.normalize(torch.linalg.cross(helper, towards, dim=0), dim=0)
    axes = torch.stack([right, torch.linalg.cross(towards, right, dim=0), -towards])
    centre = position.mean(0)
    flat = (position - centre) @ axes.T
    low, high = flat[:, :2].min(0).values, flat[:, :2].max(0).values
    scale = (size - 8) / float((high - low).max())
    to_map = lambda p: torch.cat([(p[:, :2] - low) * scale + 4, p[:, 2:] + _FAR_MM], 1)  # noqa: E731
    found = rasterize(to_map(flat)[None], triangles, (size, size))
    return found.depth_mm[0], to_map(flat if points is None else (points - centre) @ axes.T)


def _grain() -> Tensor:
    """Strands: "3 32 512", about one from -1 to 1 across u, long along v; for hair and cloth."""
    noise = torch.randn((1, 1, 6, 160), generator=torch.Generator().manual_seed(1))
    fine = torch.randn((1, 1, 3, 512), generator=torch.Generator().manual_seed(2))
    large = [F.interpolate(n, (32, 512), mode="bicubic", align_corners=False)[0] for n in (noise, fine)]
    return (0.5 * large[0] + 0.35 * large[1]).clamp(-1, 1.5).expand(3, -1, -1)
