"""Heads with wrinkles that are known: creases drawn into the face chart, and pictures of them under hard and soft lamps.

For tests and benchmarks of the detail level, and later for training. Nothing here shares code or assumptions with the fit: light comes from
lamps, not from spherical harmonics, and hollows are dark because the horizon is traced, not because of a Laplacian.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy.spatial import KDTree
from torch import Tensor

from ..geometry.camera import Camera
from ..geometry.chart_map import detailed_normals
from ..geometry.mesh import vertex_normals
from ..model.morphable import MorphableModel
from ..render.bake import bake
from ..render.interpolate import interpolate
from ..render.raster import rasterize
from ..render.shade import sample_texture, srgb_from_linear

# Creases as polylines in the chart, u right and v down: the subject's right half (u < 0.5); the left half is its mirror image. Depth and
# half-width in mm.
# fmt: off
_CREASES: dict[str, tuple[list[list[tuple[float, float]]], float, float]] = {
    "forehead": ([[(0.20, 0.125), (0.34, 0.105), (0.50, 0.115)], [(0.22, 0.085), (0.36, 0.068), (0.50, 0.078)],
                  [(0.26, 0.05), (0.38, 0.035), (0.50, 0.04)]], 0.8, 0.9),
    "crows_feet": ([[(0.185, 0.285), (0.14, 0.25), (0.10, 0.20)], [(0.18, 0.295), (0.135, 0.28), (0.09, 0.26)],
                    [(0.18, 0.305), (0.135, 0.315), (0.095, 0.33)], [(0.185, 0.318), (0.15, 0.345), (0.12, 0.38)]], 0.6, 0.65),
    "nasolabial": ([[(0.385, 0.565), (0.345, 0.62), (0.31, 0.70), (0.295, 0.76)]], 1.8, 1.7),
    "glabella": ([[(0.465, 0.155), (0.462, 0.19), (0.47, 0.23)]], 0.8, 0.8),
    "lower_lid": ([[(0.20, 0.375), (0.26, 0.40), (0.33, 0.395), (0.385, 0.365)]], 0.7, 1.0),
    "marionette": ([[(0.335, 0.785), (0.32, 0.83), (0.32, 0.87)]], 0.9, 1.1),
    "cheek": ([[(0.27, 0.55), (0.22, 0.63), (0.20, 0.72)], [(0.24, 0.52), (0.18, 0.58), (0.15, 0.66)],
               [(0.16, 0.42), (0.13, 0.47), (0.12, 0.54)]], 0.45, 0.8),
}
# fmt: on
_AZIMUTHS = 8
_REACH_TEXELS = (1, 2, 3, 5, 8, 12)


@dataclass(frozen=True)
class Lamp:
    """A distant lamp: the direction "3" to it in the camera frame, and its linear colour "3" on a white surface that faces it."""

    towards: Tensor
    colour: Tensor


def wrinkle_map(model: MorphableModel, size: int, seed: int = 0, strength: float = 1.0) -> Tensor:
    """A displacement map "s s" in mm with creases of an old face, varied by ``seed``: grooves between slightly raised banks.

    Args:
        strength: factor on every depth; 0 is a smooth face.
    """
    assert model.chart is not None
    rng = np.random.default_rng(seed)
    topology = model.chart.topology
    ids = torch.arange(len(topology.triangles))
    position = bake(model.mean_mm, topology, ids, size)[0].double().numpy()
    total = np.zeros((size, size))
    for lines, depth_mm, width_mm in _CREASES.values():
        for line in lines:
            for mirrored in (False, True):
                wander = rng.normal(0, 0.004, (len(line), 2))
                path = _smooth_path(np.array(line) + wander)
                path = path * [-1, 1] + [1, 0] if mirrored else path
                depth, width = depth_mm * rng.uniform(0.5, 1.3), width_mm * rng.uniform(0.8, 1.25)
                _carve(total, position, path, depth, width)
    return strength * torch.from_numpy(total).float()


def skin_albedo(model: MorphableModel, code_albedo: Tensor, size: int, seed: int = 0) -> Tensor:
    """Skin "3 s s" linear with what must not become shape: moles, freckles, blotches, hairs of the brows."""
    assert model.chart is not None
    rng = np.random.default_rng(seed)
    topology = model.chart.topology
    ids = torch.arange(len(topology.triangles))
    brows = model.regions["brows"].float()[:, None] if "brows" in model.regions else 0 * code_albedo[:, :1]
    values, _ = bake(torch.cat([code_albedo, brows], -1), topology, ids, size)
    colour, brow = values[:3], values[3]
    melanin = torch.tensor([0.55, 1.0, 1.45])[:, None, None]
    blood = torch.tensor([0.25, 1.0, 0.75])[:, None, None]
    spots = _noise(size, 2.0, rng).clamp_min(1.0) - 1.0
    darkness = 0.06 * spots + 0.03 * _noise(size, 1.5, rng) + 0.03 * _noise(size, 14.0, rng)
    axis = (torch.arange(size) + 0.5) / size
    for _ in range(14):
        u, v = rng.uniform(0.08, 0.92, 2)
        radius, dark = rng.uniform(0.6, 1.8) / 200, rng.uniform(0.5, 1.3)
        distance = torch.hypot(axis[None] - float(u), axis[:, None] - float(v)) / radius
        darkness = darkness + dark * torch.sigmoid(6 * (1 - distance))
    redness = 0.05 * _noise(size, 30.0, rng) + 0.02 * _noise(size, 3.0, rng)
    hairs = (brow.clamp(0, 1) * (1.0 + 0.7 * _noise(size, 1.2, rng))).clamp_min(0)
    return (colour * torch.exp(-melanin * darkness - blood * redness - 1.1 * hairs)).clamp(0.005, 1)


def light_map(
    position: Tensor, smooth: Tensor, displacement_mm: Tensor, ambient: Tensor, lamps: list[Lamp]
) -> Tensor:
    """What a white wrinkled surface reflects: "3 h w", with the occlusion and the shadows of its own relief.

    Args:
        position: "3 h w" camera frame, mm. smooth: "3 h w" unit normals. displacement_mm: "h w".
        ambient: "3" linear colour from all around.
    """
    normals = detailed_normals(position, smooth, displacement_mm)
    right = F.normalize(torch.gradient(position, dim=2)[0], dim=0)
    right = F.normalize(right - (right * smooth).sum(0) * smooth, dim=0)
    down = torch.linalg.cross(right, smooth, dim=0)
    horizon = _horizon(position, displacement_mm)
    open_sky = (1 / (1 + horizon**2)).mean(
        0
    )  # cos^2 of the horizon's elevation: cosine-weighted sky above it
    total = ambient[:, None, None] * open_sky
    for lamp in lamps:
        towards = F.normalize(lamp.towards, dim=0)[:, None, None]
        facing = (normals * towards).sum(0).clamp_min(0) * ((smooth * towards).sum(0) > -0.05)
        x, y, z = ((axis * towards).sum(0) for axis in (right, down, smooth))
        turn = (torch.atan2(y, x) / (2 * math.pi) % 1) * _AZIMUTHS
        first = turn.floor().long() % _AZIMUTHS
        between = turn - turn.floor()
        edge = torch.lerp(
            horizon.gather(0, first[None])[0], horizon.gather(0, ((first + 1) % _AZIMUTHS)[None])[0], between
        )
        slope = z / torch.hypot(x, y).clamp_min(1e-3)
        lit = torch.sigmoid((slope - edge) / 0.12)  # soft, as the shadow of a lamp with an area
        total = total + lamp.colour[:, None, None] * facing * lit
    return total


def photograph(
    model: MorphableModel,
    vertices: Tensor,
    vertex_albedo: Tensor,
    displacement_mm: Tensor,
    camera: Camera,
    ambient: Tensor,
    lamps: list[Lamp],
    *,
    seed: int = 0,
    noise: float = 0.01,
) -> tuple[Tensor, Tensor]:
    """A picture "3 h w" sRGB of a wrinkled head, and its coverage "h w".

    The relief is in the light; it does not move the outline, which for tenths of a millimetre no photo shows.
    """
    assert model.chart is not None
    topology = model.chart.topology
    camera_mm = camera.to_camera(vertices)
    normals = vertex_normals(camera_mm, model.triangles)
    everything = torch.arange(len(topology.triangles))
    drawn, _ = bake(torch.cat([camera_mm, normals], -1), topology, everything, displacement_mm.shape[0])
    lit = light_map(drawn[:3], F.normalize(drawn[3:], dim=0), displacement_mm, ambient, lamps)
    texture = lit * skin_albedo(model, vertex_albedo, displacement_mm.shape[0], seed)
    shade = ambient.expand_as(normals)
    for lamp in lamps:
        shade = shade + (normals @ F.normalize(lamp.towards, dim=0)).clamp_min(0)[:, None] * lamp.colour
    solid = torch.cat([model.part_triangles(name) for name in model.part_names if name != "lashes"])
    in_chart = _are_rows_of(solid, model.chart.triangles)
    large = camera.resized(2)
    projected = large.project_camera(camera_mm)[None]
    fragments = rasterize(projected, solid, large.size_px)
    drawn = interpolate(
        fragments,
        projected,
        solid,
        torch.cat([vertex_albedo * shade, topology.uv.to(shade)], -1),  # type: ignore[union-attr]
    )
    wrinkled = in_chart[fragments.triangle_ids[0].clamp_min(0)]
    colour = torch.where(wrinkled, sample_texture(texture, drawn[:, 3:])[0], drawn[0, :3])
    covered = fragments.mask[0].to(colour)
    colour = F.avg_pool2d((colour * covered + 0.2 * (1 - covered))[None], 2)[0]
    image = srgb_from_linear(colour.clamp(0, 1))
    image = image + noise * torch.randn(image.shape, generator=torch.Generator().manual_seed(seed))
    return (image.clamp(0, 1) * 255).round() / 255, F.avg_pool2d(covered[None, None], 2)[0, 0]


def _carve(
    relief: np.ndarray, position: np.ndarray, path: np.ndarray, depth_mm: float, width_mm: float
) -> None:
    """Cut one crease along a path "k 2" of chart coordinates into a relief "s s", in place; it fades towards its ends."""
    size = len(relief)
    column, row = (path[:, axis] * size for axis in (0, 1))
    margin = size // 25
    left, right = (int(np.clip(c + d, 0, size)) for c, d in ((column.min(), -margin), (column.max(), margin)))
    top, bottom = (int(np.clip(c + d, 0, size)) for c, d in ((row.min(), -margin), (row.max(), margin)))
    bed = position[:, row.astype(int).clip(0, size - 1), column.astype(int).clip(0, size - 1)].T
    around = position[:, top:bottom, left:right].reshape(3, -1).T
    distance, nearest = KDTree(bed).query(around)
    taper = np.sin(np.pi * np.clip(nearest / (len(path) - 1), 0.02, 0.98)) ** 0.7
    cut = depth_mm * taper * _groove(distance / width_mm)
    relief[top:bottom, left:right] -= cut.reshape(bottom - top, right - left)


def _groove(r: np.ndarray) -> np.ndarray:
    """Depth at r half-widths from a crease's bottom: a sharp valley between raised, round banks."""
    return np.exp(0.3 - np.hypot(1.3 * r, 0.3)) - 0.3 * np.exp(-0.5 * (r / 2.5) ** 2)


def _smooth_path(corners: np.ndarray, count: int = 200) -> np.ndarray:
    """A parabola (or line) through the corners "k 2", as "count 2" points."""
    at = np.linspace(0, 1, len(corners))
    degree = min(2, len(corners) - 1)
    t = np.linspace(0, 1, count)
    return np.stack([np.polyval(np.polyfit(at, corners[:, i], degree), t) for i in (0, 1)], -1)


def _noise(size: int, scale: float, rng: np.random.Generator) -> Tensor:
    """Smooth noise "s s" of unit variance whose blobs are about ``scale`` times 1/512 of the map wide."""
    cells = max(4, round(512 / scale))
    coarse = torch.from_numpy(rng.normal(size=(1, 1, cells, cells))).float()
    fine = F.interpolate(coarse, (size, size), mode="bicubic", align_corners=False)[0, 0]
    return fine / fine.std().clamp_min(1e-6)


def _horizon(position: Tensor, displacement_mm: Tensor) -> Tensor:
    """The steepest rise (mm per mm, at least 0) of the relief in each of eight directions, from right over down: "8 h w"."""
    steep = []
    for k in range(_AZIMUTHS):
        dx, dy = (
            round(1.4 * math.cos(2 * math.pi * k / _AZIMUTHS)),
            round(1.4 * math.sin(2 * math.pi * k / _AZIMUTHS)),
        )
        rise = torch.zeros_like(displacement_mm)
        for reach in _REACH_TEXELS:
            there = _shifted(displacement_mm[None], dx * reach, dy * reach)[0]
            apart = (
                (_shifted(position, dx * reach, dy * reach) - position).square().sum(0).sqrt().clamp_min(0.05)
            )
            rise = torch.maximum(rise, (there - displacement_mm) / apart)
        steep.append(rise)
    return torch.stack(steep)


def _shifted(image: Tensor, dx: int, dy: int) -> Tensor:
    """What lies ``dx`` texels to the right and ``dy`` below, "c h w"; beyond the border the map goes on as at it."""
    pad = max(abs(dx), abs(dy))
    padded = F.pad(image[None], (pad,) * 4, mode="replicate")[0]
    height, width = image.shape[1:]
    return padded[:, pad + dy : pad + dy + height, pad + dx : pad + dx + width]


def _are_rows_of(rows: Tensor, among: Tensor) -> Tensor:
    """Which triangles "n 3" are also in "m 3", corner for corner: "n" bool."""
    span = int(torch.maximum(rows.max(), among.max())) + 1
    key = lambda t: (t[:, 0] * span + t[:, 1]) * span + t[:, 2]  # noqa: E731
    return torch.isin(key(rows), key(among))
