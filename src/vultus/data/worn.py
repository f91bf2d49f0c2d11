"""Cloth and hair on a posed head: a shirt and cropped hair that hide nothing, a mask and a scarf that do."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..geometry.mesh import edges, vertex_normals
from ..model.morphable import MorphableModel
from ..render.shade import linear_from_srgb
from .shapes import Prop, sheet


@dataclass(frozen=True)
class Wearer:
    """A posed head: vertices "v 3", landmarks "68 3", skin tone "3" linear, hair colour "3" linear."""

    model: MorphableModel
    vertices: Tensor
    landmarks: Tensor
    tone: Tensor
    hair: Tensor


def shirt(wearer: Wearer, rng: np.random.Generator) -> Prop:
    """A collar round the neck's lower end, shoulders, and a body down out of the picture."""
    p = wearer.vertices
    skin = p[wearer.model.part_triangles("skin").flatten().unique()]
    # Where the neck is narrowest below the chin, whatever the model has below.
    chin = float(wearer.landmarks[8, 1])
    bottom = max(float(skin[:, 1].min()) + 6, chin - 62)
    slab = skin[(skin[:, 1] - bottom).abs() < 6]
    middle = (slab.max(0).values + slab.min(0).values) / 2
    half = (slab.max(0).values - slab.min(0).values) / 2
    wide, deep = float(half[0]), float(half[2])
    # Height over the collar, half widths: the collar stands off a little, shoulders are 40 cm apart.
    profile = torch.tensor([
        [10, wide + 3, deep + 3], [12, wide + 7, deep + 7], [2, wide + 12, deep + 12], [-14, wide + 30, deep + 18], [-30, 130, 80],
        [-46, 175, 92], [-70, 198, 100], [-110, 208, 108], [-200, 205, 112], [-420, 200, 115],
    ])  # fmt: skip
    for row in profile[2:]:  # some models have shoulders of their own: the cloth goes over them
        level = skin[(skin[:, 1] - bottom - row[0]).abs() < 8]
        if len(level):
            reach = (level - middle).abs().max(0).values
            row[1:] = torch.maximum(row[1:], torch.stack([reach[0], reach[2]]) + 5)
    columns = 64
    angle = torch.arange(columns) * (2 * math.pi / columns)
    rows = torch.stack([
        profile[:, 1:2] * angle.sin(), profile[:, :1].expand(-1, columns) + 0 * angle, profile[:, 2:] * angle.cos()
    ], 2)  # fmt: skip
    centre = torch.tensor([float(middle[0]), bottom, float(middle[2])])
    # Collars dip in front.
    rows[:3, :, 1] -= 16 * (0.5 + 0.5 * angle.cos()) ** 2
    rows[3:5, :, 1] -= 8 * (0.5 + 0.5 * angle.cos()) ** 2
    vertices = (centre + rows).flatten(0, 1)
    folds = torch.stack([angle / math.pi * 4 % 1 + 0 * profile[:, :1], profile[:, :1] / 300 + 0 * angle, 0.10 + 0 * rows[..., 0]], 2)  # fmt: skip
    colour = random_colour(rng, 0.08, 0.7)
    return Prop("shirt", vertices, sheet(len(profile), columns, closed=True), colour.expand(len(vertices), 3), folds.flatten(0, 1), 0.01)  # fmt: skip


def hairline(model: MorphableModel, pairs: Tensor, rounds: int = 14) -> Tensor:
    """How far inside the hair each vertex is, "v": one on the crown, zero at the hairline, negative outside.

    Args:
        pairs: "e 2", the mesh's edges.
    """
    both = torch.cat([pairs, pairs.flip(1)])
    member = model.regions["scalp"].float()
    count = torch.zeros(len(member)).index_add(0, both[:, 0], torch.ones(len(both))).clamp_min(1)
    for _ in range(rounds):
        member = torch.zeros_like(member).index_add(0, both[:, 0], member[both[:, 1]]) / count
    return 2 * member - 1


def cropped_hair(wearer: Wearer, depth: Tensor, rng: np.random.Generator) -> Prop:
    """The scalp again, lifted by some millimetres that fade out at the hairline (``depth`` as it comes from there)."""
    model, p = wearer.model, wearer.vertices
    skin = model.part_triangles("skin")
    used, triangles = torch.unique(skin[(depth[skin] > 0).any(1)], return_inverse=True)
    q = cut_at_zero(p[used], depth[used], edges(triangles))
    away, d = vertex_normals(p, skin)[used], depth[used].clamp(0, 1)
    thick = float(rng.uniform(3, 20))
    waves = torch.sin(q[:, 0] / 11 + 3 * torch.sin(q[:, 1] / 17)) * torch.sin(q[:, 2] / 13)
    q = q + away * (0.5 + thick * d**0.6 * (1 + 0.12 * waves))[:, None]
    crown = torch.tensor([0.0, 90.0, -110.0])
    arm = F.normalize(q - crown, dim=1)
    around = torch.atan2(arm[:, 0], arm[:, 2]) / math.pi
    along = (q - crown).norm(dim=1) / 260
    grain = torch.stack([around % 1, along % 1, torch.full_like(along, 0.7)], 1)
    return Prop("hair", q, triangles, wearer.hair.expand(len(q), 3), grain, gloss=0.04)


def mask(wearer: Wearer, rng: np.random.Generator) -> Prop:
    """Cloth from the nose's ridge to under the chin."""
    marks = wearer.landmarks
    top = torch.lerp(marks[27], marks[30], float(rng.uniform(0.35, 0.75)))[1]
    side = marks[[2, 14], 1].mean()
    x, y = wearer.vertices[:, 0], wearer.vertices[:, 1]
    # Upper edge from the nose down to the ears; the back edge at the ears' front.
    level = torch.lerp(top, side, (x.abs() / 70).clamp(0, 1) ** 1.5) - y
    inside = torch.minimum(level, wearer.vertices[:, 2] - (marks[[1, 15], 2].mean() + 12))
    pleats = 1.2 * torch.sin(y * float(rng.uniform(0.35, 0.6)))
    colour = (
        random_colour(rng, 0.1, 0.8)
        if rng.random() < 0.6
        else linear_from_srgb(torch.tensor([0.55, 0.75, 0.86]))
    )
    return _cloth("mask", wearer, inside, 6.0 + pleats, colour, smooth=25, neck=False)


def scarf(wearer: Wearer, rng: np.random.Generator) -> Prop:
    """Thick cloth round neck, chin and mouth."""
    marks = wearer.landmarks
    top = torch.lerp(marks[33], marks[57], float(rng.uniform(-0.3, 0.9)))[1]
    p = wearer.vertices
    tilt = float(rng.normal(0, 0.08))
    inside = top + tilt * p[:, 0] + 2.0 * torch.sin(p[:, 0] / 14) - p[:, 1]
    turn = torch.atan2(p[:, 0], p[:, 2] + 60)
    folds = 2.5 * torch.sin(p[:, 1] / 5 + 2 * torch.sin(1.7 * turn)) + 1.5 * torch.sin(
        p[:, 1] / 2.9 - 3 * turn
    )
    return _cloth("scarf", wearer, inside, 11.0 + folds, random_colour(rng, 0.08, 0.75), smooth=60, neck=True)


def _cloth(
    name: str, wearer: Wearer, inside: Tensor, thick_mm: Tensor, colour: Tensor, *, smooth: int, neck: bool
) -> Prop:
    """The skin where a function of it "v" is positive, smoothed and lifted off."""
    model = wearer.model
    wanted = model.regions["face"] | (model.regions["neck"] if neck else False) | model.regions["chin"]
    skin = model.part_triangles("skin")
    for hidden in ("inner_mouth", "eye_sockets", "ears"):
        if hidden in model.regions:
            wanted = wanted & ~model.regions[hidden]
    if model.chart is not None:  # an open mouth is no hole in a mask
        skin = torch.cat([skin, model.chart.triangles[model.chart.is_membrane]])
    keep = wanted[skin].all(1) & (inside[skin] > 0).any(1)
    used, triangles = torch.unique(skin[keep], return_inverse=True)
    p, f, thick = (
        wearer.vertices[used].clone(),
        inside[used],
        thick_mm[used] if thick_mm.ndim else thick_mm.expand(len(used)),
    )
    pairs = edges(triangles)
    p = cut_at_zero(p, f, pairs)
    both = torch.cat([pairs, pairs.flip(1)])
    count = torch.zeros(len(p)).index_add(0, both[:, 0], torch.ones(len(both))).clamp_min(1)[:, None]
    rim = torch.zeros(len(p), dtype=torch.bool)
    edge_of = torch.cat([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]).sort(1).values
    unique, times = torch.unique(edge_of, dim=0, return_counts=True)
    rim[unique[times == 1].flatten()] = True
    normals = vertex_normals(p, triangles)
    q, slack = p.clone(), 0.7 * float(thick.min())
    for step in range(smooth):
        mean = torch.zeros_like(q).index_add(0, both[:, 0], q[both[:, 1]]) / count
        q = torch.where(rim[:, None], q, mean)
        if (
            step % 5 == 4 or step == smooth - 1
        ):  # cloth bridges hollows and hides lips, but noses do not come through
            below = (((p - q) * normals).sum(1) - slack).clamp_min(0)
            q = q + below[:, None] * normals
    away = F.normalize(vertex_normals(q, triangles), dim=1)
    q = q + away * torch.where(rim, 0.4 * thick, thick)[:, None]
    grain = torch.stack([q[:, 0] / 30 % 1, q[:, 1] / 40 % 1, torch.full_like(f, 0.06)], 1)
    return Prop(name, q, triangles, colour.expand(len(q), 3), grain, gloss=0.01)


def cut_at_zero(p: Tensor, f: Tensor, pairs: Tensor) -> Tensor:
    """Vertices where a function is negative, moved along their edges to where it is zero: a clean border."""
    both = torch.cat([pairs, pairs.flip(1)])
    both = both[(f[both[:, 0]] > 0) & (f[both[:, 1]] <= 0)]
    share = (f[both[:, 0]] / (f[both[:, 0]] - f[both[:, 1]]))[:, None]
    crossing = torch.lerp(p[both[:, 0]], p[both[:, 1]], share)
    total = torch.zeros_like(p).index_add(0, both[:, 1], crossing)
    count = torch.zeros(len(p)).index_add(0, both[:, 1], torch.ones(len(both)))[:, None]
    return torch.where(count > 0, total / count.clamp_min(1), p)


def random_colour(rng: np.random.Generator, dark: float, bright: float) -> Tensor:
    """Linear RGB "3" between two greys (sRGB), tinted."""
    grey = rng.uniform(dark, bright)
    return linear_from_srgb(torch.from_numpy(np.clip(grey + rng.normal(0, 0.07, 3), 0.02, 0.95)).float())
