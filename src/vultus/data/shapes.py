"""Simple solids to build things from that people wear: tubes, ellipsoids, sheets; a thing is several of them joined."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Prop:
    """Something drawn with a head.

    Attributes:
        name: what it is. vertices: "n 3" head frame, mm. triangles: "t 3", counter-clockwise from outside. colour: "n 3" linear.
        grain: "n 3", coordinates in the texture of strands and how strongly it shows.
        gloss: of its surface, 0 to 1.
    """

    name: str
    vertices: Tensor
    triangles: Tensor
    colour: Tensor
    grain: Tensor
    gloss: float = 0.03


Solid = tuple[Tensor, Tensor]
"""Vertices "n 3" and triangles "t 3"."""


def joined(name: str, parts: Sequence[tuple[Tensor, Tensor, Tensor]], gloss: float = 0.03) -> Prop:
    """Parts (vertices, triangles, one colour "3" or one per vertex) as one thing without grain."""
    points, triangles, colours, first = [], [], [], 0
    for vertices, faces, colour in parts:
        points.append(vertices)
        triangles.append(faces + first)
        colours.append(colour.expand(len(vertices), 3))
        first += len(vertices)
    whole = torch.cat(points)
    return Prop(name, whole, torch.cat(triangles), torch.cat(colours), torch.zeros_like(whole), gloss)


def sheet(rows: int, columns: int, *, closed: bool = False) -> Tensor:
    """Triangles "t 3" between the rows of a grid of vertices; ``closed``: the last column meets the first."""
    across = columns if closed else columns - 1
    row, column = torch.meshgrid(torch.arange(rows - 1), torch.arange(across), indexing="ij")
    a = (row * columns + column).flatten()
    b = (row * columns + (column + 1) % columns).flatten()
    return torch.cat([torch.stack([a, a + columns, b], 1), torch.stack([b, a + columns, b + columns], 1)])


def tube(path: Tensor, radius: Tensor | float, *, sides: int = 14, closed: bool = False) -> Solid:
    """A tube along a path "k 3" with round ends, its radius one number or "k"; ``closed``: a ring."""
    radius = torch.as_tensor(radius).float().expand(len(path))
    if closed:
        ahead = torch.roll(path, -1, 0) - torch.roll(path, 1, 0)
    else:
        ends = torch.tensor([-0.95, -0.7, -0.3])
        cap = (1 - ends**2).sqrt()
        start, end = F.normalize(path[1] - path[0], dim=0), F.normalize(path[-1] - path[-2], dim=0)
        path = torch.cat([path[0] + radius[0] * ends[:, None] * start, path, path[-1] - radius[-1] * ends.flip(0)[:, None] * end])  # fmt: skip
        radius = torch.cat([radius[0] * cap, radius, radius[-1] * cap.flip(0)])
        ahead = torch.gradient(path, dim=0)[0]
    ahead = F.normalize(ahead, dim=1)
    helper = torch.tensor([0.0, 0, 1]) if float(ahead[:, 2].abs().max()) < 0.9 else torch.tensor([0.0, 1, 0])
    right = F.normalize(torch.linalg.cross(ahead, helper.expand_as(ahead)), dim=1)
    up = torch.linalg.cross(right, ahead)
    angle = torch.arange(sides) * (2 * math.pi / sides)
    ring = angle.cos()[None, :, None] * right[:, None] + angle.sin()[None, :, None] * up[:, None]
    points = path[:, None] + radius[:, None, None] * ring
    if closed:
        points = torch.cat([points, points[:1]])
    return points.flatten(0, 1), sheet(len(points), sides, closed=True)


def ellipsoid(centre: Tensor, half_axes: Tensor, rows: int = 14, columns: int = 24) -> Solid:
    """An ellipsoid along the axes; its poles are at +z and -z."""
    down = torch.linspace(0.02, math.pi - 0.02, rows)[:, None]
    around = torch.arange(columns)[None] * (2 * math.pi / columns)
    ball = torch.stack([down.sin() * around.cos(), down.sin() * around.sin(), down.cos().expand(rows, columns)], 2)  # fmt: skip
    return (centre + ball * half_axes).flatten(0, 1), sheet(rows, columns, closed=True)


def is_outward(vertices: Tensor, triangles: Tensor) -> bool:
    """Whether a closed solid's triangles run counter-clockwise from outside: its signed volume is positive."""
    a, b, c = (vertices[triangles[:, i]] - vertices.mean(0) for i in range(3))
    return float((a * torch.linalg.cross(b, c)).sum()) > 0
