"""What people wear and hold before their faces: meshes in the head frame, fitted to one posed head. Shading and shadows come with drawing them.

Shapes are simple, but they are where such things are: glasses sit on the nose and reach the ears, a mask follows cheeks and chin, a hand
comes from below or from the side, hair falls from the hairline along the head.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .shapes import Prop, ellipsoid, joined, sheet, tube
from .worn import Wearer, mask, random_colour, scarf

_AXIS_MM = -60.0  # z of the head's vertical axis


def random_occluder(wearer: Wearer, rng: np.random.Generator) -> Prop:
    """Sunglasses, a mask, a scarf, a hand or hair."""
    make: Callable[[Wearer, np.random.Generator], Prop] = (sunglasses, mask, scarf, hand, fringe)[
        int(rng.integers(5))
    ]
    return make(wearer, rng)


def sunglasses(wearer: Wearer, rng: np.random.Generator) -> Prop:
    """Two lenses in rims, a bridge, and temples to the ears."""
    marks = wearer.landmarks
    right, left = marks[36:42].mean(0), marks[42:48].mean(0)
    apart = float((left - right).norm())
    half_w, half_h = apart * float(rng.uniform(0.38, 0.45)), apart * float(rng.uniform(0.27, 0.36))
    square = float(rng.uniform(2.2, 4.0))  # exponent of the superellipse
    front = float(torch.maximum(marks[27, 2] - 2, torch.stack([left, right])[:, 2].max() + 11))
    lens, frame = random_colour(rng, 0.02, 0.10), random_colour(rng, 0.02, 0.5)
    # A bend round the face, so that the lenses' outer ends come back.
    bend = lambda p: torch.stack([p[:, 0], p[:, 1], p[:, 2] - 0.0032 * p[:, 0] ** 2], 1)  # noqa: E731
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    for centre in (right, left):
        middle = torch.tensor([float(centre[0]), float(centre[1]) - 2, front])
        angle = torch.arange(48) * (2 * math.pi / 48)
        c, s = angle.cos(), angle.sin()
        size = (c.abs() ** square + s.abs() ** square) ** (-1 / square)
        rim = torch.stack([half_w * size * c, half_h * size * s, torch.zeros(48)], 1) + middle
        rings = torch.stack([middle + (rim - middle) * share for share in (0.01, 0.35, 0.7, 1.0)])
        parts.append((bend(rings.flatten(0, 1)), sheet(4, 48, closed=True), lens))
        parts.append((*tube(bend(rim), 1.8, closed=True), frame))
    inner = [
        torch.tensor([float(c[0]) - math.copysign(half_w - 1, float(c[0])), float(c[1]) + 4, front])
        for c in (right, left)
    ]
    top = torch.stack([inner[0], (inner[0] + inner[1]) / 2 + torch.tensor([0.0, 2.0, 1.0]), inner[1]])
    parts.append((*tube(bend(top), 1.6), frame))
    side = _side_mm(wearer)
    for centre in (right, left):
        sign = math.copysign(1.0, float(centre[0]))
        hinge = bend(torch.tensor([[float(centre[0]) + sign * (half_w - 1), float(centre[1]) + 6, front]]))[0]
        ear = torch.tensor([sign * (side + 2), float(centre[1]) + 4, -80.0])
        parts.append(
            (
                *tube(
                    torch.stack(
                        [hinge, torch.lerp(hinge, ear, 0.15) + torch.tensor([sign * 3.0, 0, 0]), ear]
                    ),
                    1.9,
                ),
                frame,
            )
        )
    return joined("sunglasses", parts, gloss=0.6)


def hand(wearer: Wearer, rng: np.random.Generator) -> Prop:
    """Four fingers, a thumb, a palm and a forearm, laid over a part of the face."""
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    nail = (wearer.tone * torch.tensor([1.1, 1.0, 1.0])).clamp(0, 1)
    for x, length, splay in ((-27, 62, -0.13), (-9, 74, -0.03), (9, 70, 0.05), (26, 54, 0.15)):
        along = torch.linspace(0, 1, 9)[:, None]
        curl = float(rng.uniform(6, 16))
        path = (
            torch.tensor([float(x), 36.0, 0])
            + along * torch.tensor([splay * length, float(length), 0])
            - along**2 * torch.tensor([0, 0, curl])
        )
        radius = 8.6 - 1.8 * along[:, 0] + 0.5 * torch.sin(along[:, 0] * 3 * math.pi).abs()
        parts.append((*tube(path, radius), torch.lerp(wearer.tone, nail, along[-1])))
    along = torch.linspace(0, 1, 7)[:, None]
    thumb = (
        torch.tensor([20.0, -26, 2])
        + along * torch.tensor([34.0, 30, 3])
        + along**2 * torch.tensor([-6.0, 14, -6])
    )
    parts.append((*tube(thumb, 11.0 - 2.2 * along[:, 0]), wearer.tone))
    parts.append((*ellipsoid(torch.tensor([0.0, 2, 0]), torch.tensor([42.0, 47, 14])), wearer.tone))
    arm = torch.stack([torch.tensor([0.0, -30 - 75 * k, -4 * k]) for k in range(8)])
    parts.append((*tube(arm, torch.tensor([24.0, 26, 28, 31, 34, 36, 38, 40])), wearer.tone))
    whole = joined("hand", parts, gloss=0.05)
    side = 1.0 if rng.random() < 0.5 else -1.0
    target = wearer.landmarks[((48, 54), (36, 45), (33, 33), (57, 57))[int(rng.integers(4))][int(side > 0)]]
    lean = side * math.radians(float(rng.uniform(5, 60)))
    c, s = math.cos(lean), math.sin(lean)
    # Fingers point up and towards the face's middle; the palm looks at the face.
    turn = torch.tensor([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])
    placed = whole.vertices * torch.tensor([side, 1, 1]) if side < 0 else whole.vertices
    triangles = whole.triangles.flip(1) if side < 0 else whole.triangles
    placed = placed @ turn.T
    tips = turn @ torch.tensor([0.0, float(rng.uniform(30, 75)), 0])
    placed = placed + target - tips
    near = (wearer.vertices[:, None, :2] - placed[::23, :2][None]).square().sum(-1).min(1).values < 64
    lift = (
        float(wearer.vertices[near & (wearer.vertices[:, 2] > -40), 2].max())
        if bool(near.any())
        else float(target[2])
    )
    placed = placed + torch.tensor([0, 0, lift + 7 - float(target[2])])
    return replace(whole, vertices=placed, triangles=triangles)


def fringe(wearer: Wearer, rng: np.random.Generator) -> Prop:
    """Locks from the hairline over forehead, eyes or a cheek."""
    marks, p = wearer.landmarks, wearer.vertices
    radii = _radii(p[wearer.model.part_triangles("skin").flatten().unique()])
    brow = float(marks[17:27, 1].mean())
    lowest = brow + float(rng.uniform(-70, 5))
    side = float(rng.uniform(-0.7, 0.7))
    highest = brow + 72.0
    parts, grains = [], []
    for i in range(110):
        turn = side + float(rng.normal(0, 0.42))
        heights = torch.linspace(highest, lowest + float(rng.normal(0, 9)) + 35 * abs(turn - side), 16)
        drift = float(rng.normal(0.10 * math.copysign(1, side), 0.10))
        turns = turn * torch.linspace(0.55, 1.0, 16) + drift * torch.linspace(0, 1, 16) ** 2
        path = _on_head(radii, turns, heights, 3.0 + float(rng.uniform(0, 7)))
        width = torch.linspace(1, 0.25, 16) * float(rng.uniform(2.0, 5.5))
        across = torch.stack([torch.cos(turns), torch.zeros(16), -torch.sin(turns)], 1) * width[:, None]
        rows = torch.stack(
            [path - across, path + F.normalize(path * torch.tensor([1, 0, 1.0]), dim=1) * 0.8, path + across],
            1,
        )
        shade = wearer.hair * float(np.exp(rng.normal(0, 0.22)))
        parts.append((rows.flatten(0, 1), sheet(16, 3), shade))
        u = float(rng.uniform(0, 1)) + torch.tensor([0.0, 0.03, 0.06]).expand(16, 3)
        v = (i * 0.37 + torch.linspace(0, 0.9, 16))[:, None].expand(16, 3)
        grains.append(torch.stack([u, v, torch.full_like(u, 0.7)], 2).flatten(0, 1))
    return replace(joined("hair", parts, gloss=0.06), grain=torch.cat(grains))


def _radii(points: Tensor) -> Tensor:
    """How far a head "n 3" reaches from its vertical axis: a table of angles (5 degrees) by heights (5 mm, from -200 mm)."""
    away = points[:, [0, 2]] - torch.tensor([0.0, _AXIS_MM])
    turn = (torch.atan2(away[:, 0], away[:, 1]) / math.radians(5)).round().long() % 72
    height = ((points[:, 1] + 200) / 5).round().long().clamp(0, 79)
    table = (
        torch.zeros(72 * 80).scatter_reduce(0, turn * 80 + height, away.norm(dim=1), "amax").reshape(72, 80)
    )
    round_ = torch.cat([table[-2:], table, table[:2]])
    reach = F.max_pool2d(F.pad(round_[None, None], (2, 2, 0, 0)), 5, 1)[0, 0]
    return torch.where(reach > 0, reach, 60.0)


def _on_head(radii: Tensor, turns: Tensor, heights: Tensor, above_mm: float) -> Tensor:
    """Places "k 3" over a head at angles about its vertical axis (0: front) and heights."""
    r = radii[
        (turns / math.radians(5)).round().long() % 72, ((heights + 200) / 5).round().long().clamp(0, 79)
    ]
    r = F.avg_pool1d(F.pad(r[None, None], (1, 1), mode="replicate"), 3, 1)[0, 0] + above_mm
    return torch.stack([r * torch.sin(turns), heights, _AXIS_MM + r * torch.cos(turns)], 1)


def _side_mm(wearer: Wearer) -> float:
    """Half the head's width before the ears."""
    p = wearer.vertices
    near = (p[:, 1].abs() < 15) & (p[:, 2] > -75) & (p[:, 2] < -40)
    return float(p[near, 0].abs().quantile(0.9))
