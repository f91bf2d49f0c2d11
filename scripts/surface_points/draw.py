"""Pictures of random heads in the skins of photos, with the true place of every surface point: what the network learns from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from random_heads import random_code
from skins import Skin
from torch import Tensor

from vultus.detect.crop import Window, window_around
from vultus.detect.mesh import LEFT_EYE_OUTER, RIGHT_EYE_OUTER, mirror_indices
from vultus.geometry.light import ambient_and_directional, shading
from vultus.geometry.mesh import vertex_normals
from vultus.geometry.rigid import rotation_from_pose_angles
from vultus.model.face import FaceCode
from vultus.model.landmarks import LandmarkTable
from vultus.model.morphable import MorphableModel
from vultus.render.interpolate import interpolate
from vultus.render.raster import rasterize
from vultus.render.shade import linear_from_srgb, sample_texture, srgb_from_linear

SIZE_PX, DRAWN_PX, NUM_POINTS = 192, 288, 468
IDENTITY_SIGMA, BUMPS, BUMP_MM = 1.2, 12, 1.0
"""Wider than people vary, and bumps that no identity explains: the network must look, not guess."""


@dataclass(frozen=True)
class Drawn:
    """A crop "h w 3" bytes as the network sees it; true points "l 2" in its pixels; which face the camera "l"; yaw in degrees."""

    image: np.ndarray
    points: np.ndarray
    facing: np.ndarray
    yaw_deg: float


def surface_points(model: MorphableModel) -> tuple[np.ndarray, np.ndarray]:
    """Triangles (468,) and barycentric weights (468, 3): where MediaPipe's points lie on a frontal head, made mirror-symmetric."""
    table = model.landmarks["mediapipe478"]
    yaw, pitch = int(table.yaw_deg.abs().argmin()), int(table.pitch_deg.abs().argmin())
    triangle_ids = table.triangle_ids[yaw, pitch, :NUM_POINTS].numpy().copy()
    weights = table.barycentric[yaw, pitch, :NUM_POINTS].double().numpy().copy()
    assert model.mirror is not None
    triangles, mirror = model.triangles.numpy(), model.mirror.numpy()
    known = {tuple(sorted(corners)): i for i, corners in enumerate(triangles.tolist())}
    other = mirror_indices().numpy()
    for left in range(NUM_POINTS):
        right = other[left]
        if left < right:
            corners = mirror[triangles[triangle_ids[left]]]
            found = known[tuple(sorted(corners.tolist()))]
            order = [corners.tolist().index(corner) for corner in triangles[found].tolist()]
            triangle_ids[right], weights[right] = found, weights[left][order]
    return triangle_ids, weights


def surface_table(model: MorphableModel) -> LandmarkTable:
    """The same as a table with a single pose."""
    triangle_ids, weights = surface_points(model)
    one = torch.zeros(1)
    return LandmarkTable(
        "surface468", one, one, torch.from_numpy(triangle_ids)[None, None], torch.from_numpy(weights).float()[None, None],
        torch.zeros(1, 1, NUM_POINTS),
    )  # fmt: skip


@dataclass(frozen=True)
class Wardrobe:
    """What every picture needs: the model, its surface points, the skins; which triangles are drawn and which vertices are skin."""

    model: MorphableModel
    skins: Sequence[Skin]
    table: LandmarkTable
    shown: Tensor
    is_skin: Tensor


def wardrobe(model: MorphableModel, skins: Sequence[Skin]) -> Wardrobe:
    """Gather a :class:`Wardrobe`."""
    is_skin = torch.zeros(len(model.mean_mm), dtype=torch.bool)
    is_skin[model.part_triangles("skin").flatten()] = True
    shown = torch.cat([model.part_triangles(name) for name in model.part_names if name != "lashes"])
    return Wardrobe(model, skins, surface_table(model), shown, is_skin)


def random_vertices(model: MorphableModel, code: FaceCode, rng: np.random.Generator) -> Tensor:
    """The code's head with smooth bumps on it, "v 3"."""
    vertices = model.vertices(code)
    centres = vertices[torch.from_numpy(rng.choice(np.flatnonzero(model.regions["face"].numpy()), BUMPS))]
    width = torch.from_numpy(rng.uniform(8, 30, BUMPS)).float()
    near = torch.exp(-0.5 * (torch.cdist(vertices, centres) / width) ** 2)
    return vertices + near @ torch.from_numpy(rng.normal(0, BUMP_MM, (BUMPS, 3))).float()


def random_light(rng: np.random.Generator) -> Tensor:
    """Mild, for the photo brings its own."""
    tint = torch.tensor([1 + rng.normal(0, 0.06), 1.0, 1 + rng.normal(0, 0.08)]).float()
    towards = torch.tensor([rng.normal(0, 0.8), rng.normal(-0.4, 0.5), -1.0]).float()
    lamp = float(rng.uniform(0.0, 0.75))
    return ambient_and_directional(tint * (1 - 0.8 * lamp), lamp / tint, towards)


def draw(given: Wardrobe, seed: int) -> Drawn:
    """One picture, reproducibly."""
    model, skins, table, shown = given.model, given.skins, given.table, given.shown
    rng = np.random.default_rng(seed)
    skin, behind = (skins[i] for i in _two_skins(rng, len(skins)))
    vertices = random_vertices(model, random_code(model, rng, IDENTITY_SIGMA), rng)
    yaw = float(np.clip(rng.normal(0, 28), -80, 80))
    angles = torch.tensor([yaw, float(rng.normal(0, 10)), float(rng.normal(0, 8))])
    distance = float(np.exp(rng.uniform(np.log(300), np.log(2500))))
    aside = torch.tensor([*(rng.normal(0, 0.08, 2) * distance), distance]).float()
    position = (vertices - torch.tensor([0.0, -25.0, -30.0])) @ rotation_from_pose_angles(*angles).T + aside
    flat = 1000 * position[:, :2] / position[:, 2:]
    zero = torch.zeros(())
    lifted = torch.cat([flat, position], 1)
    at = table.points(lifted, model.triangles, zero, zero)
    # A mixture of projected corners is not the projected mixture, but within a triangle the difference is nothing.
    points = at[:, :2]
    window = window_around(points, points[RIGHT_EYE_OUTER], points[LEFT_EYE_OUTER], 1.5)
    side = window.side_px * float(np.exp(rng.normal(0, 0.07)))
    x, y = window.centre_px
    moved = Window(
        (x + rng.normal(0, 0.03) * side, y + rng.normal(0, 0.03) * side),
        side,
        window.roll_rad + rng.normal(0, 0.07),
    )
    vertices_px = torch.cat([moved.from_image(flat, DRAWN_PX), position[:, 2:]], 1)[None]
    normals = vertex_normals(position, model.triangles)
    light = random_light(rng)
    shade = shading(normals, light).clamp_min(0.02)
    weight = torch.from_numpy(skin.weight).float()[:, None]
    plain = torch.where(given.is_skin[:, None], torch.from_numpy(skin.tone), model.albedo_mean)
    attributes = torch.cat(
        [shade * weight, shade * (1 - weight) * plain, torch.from_numpy(skin.uv).float()], 1
    )
    fragments = rasterize(vertices_px, shown, (DRAWN_PX, DRAWN_PX))
    values = interpolate(fragments, vertices_px, shown, torch.nan_to_num(attributes))
    photo = _linear(skin.image)
    colour = values[:, :3] * sample_texture(photo, values[:, 6:]) + values[:, 3:6]
    picture = torch.where(fragments.mask[:, None], colour, _background(behind, rng, DRAWN_PX)[None])
    size = (SIZE_PX, SIZE_PX)
    small = torch.nn.functional.interpolate(
        picture, size, mode="bilinear", antialias=True, align_corners=False
    )
    image = srgb_from_linear(small.clamp(0, 1))[0].permute(1, 2, 0).numpy()
    inward = torch.nn.functional.normalize(position, dim=1)
    cosine = table.points(
        -(normals * inward).sum(1, keepdim=True).expand(-1, 3), model.triangles, zero, zero
    )[:, 0]
    return Drawn(
        np.uint8(image * 255 + 0.5), moved.from_image(points, SIZE_PX).numpy().astype(np.float32), cosine.numpy() > 0, yaw,
    )  # fmt: skip


def _two_skins(rng: np.random.Generator, number: int) -> np.ndarray:
    return rng.choice(number, 2, replace=False)


def skins_of(first_seed: int, number: int, num_skins: int) -> list[int]:
    """Which skin each picture of a shard wears."""
    return [int(_two_skins(np.random.default_rng(first_seed + i), num_skins)[0]) for i in range(number)]


def _background(skin: Skin, rng: np.random.Generator, size_px: int) -> Tensor:
    """Another photo, upside down so that it shows no second face; sometimes a plain colour. Linear "3 s s"."""
    if rng.uniform() < 0.25:
        return torch.from_numpy(rng.uniform(0, 0.9, (3, 1, 1))).float().expand(3, size_px, size_px)
    rows, columns = (np.arange(size_px) * side // size_px for side in skin.image.shape[:2])
    return _linear(skin.image[::-1][np.ix_(rows, columns)])


_LINEAR = linear_from_srgb(torch.arange(256) / 255)


def _linear(image: np.ndarray) -> Tensor:
    """Bytes "h w 3" -> linear RGB "3 h w"."""
    return _LINEAR[torch.from_numpy(np.ascontiguousarray(image)).long()].permute(2, 0, 1)


def drawn_shard(given: Wardrobe, seeds: range) -> dict[str, np.ndarray]:
    """Many pictures as arrays: image (n, h, w, 3) bytes, points (n, l, 2), facing (n, l), yaw_deg (n,)."""
    pictures = [draw(given, seed) for seed in seeds]
    return {
        "image": np.stack([p.image for p in pictures]),
        "points": np.stack([p.points for p in pictures]),
        "facing": np.stack([p.facing for p in pictures]),
        "yaw_deg": np.array([p.yaw_deg for p in pictures], np.float32),
    }
