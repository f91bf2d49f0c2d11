"""One look tells whether a registration worked: the scan, its levels, and where each misses it."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..evaluate.scan_levels import Surface
from ..geometry.camera import Camera
from ..geometry.light import ambient_and_directional
from ..geometry.rigid import rigid_transform, rotation_from_pose_angles
from ..render.shade import over, render, srgb_from_linear

_SIDE_PX = 360
_VIEWS_DEG = (0.0, 40.0)
_WORST_MM = 1.0
_BACKDROP = 0.16


def scan_picture(
    scan: NDArray[np.float64],
    triangles: NDArray[np.int64],
    levels: dict[str, Surface],
    errors_mm: dict[str, NDArray[np.float64]],
) -> Tensor:
    """A picture "3 h w" sRGB: a column for the scan and one per level; shapes from the front and the side, below them the scan coloured by its
    distance to the level (grey: none, red: 1 mm or more; dark: not measured).

    Args:
        scan: (n, 3) in the head frame, triangles (m, 3).
        levels: name -> surface in the same frame. errors_mm: name -> (n,) distance of each scan vertex, NaN where none was measured.
    """
    surface = torch.from_numpy(scan).float(), torch.from_numpy(triangles)
    columns = [[draw_clay(*surface, yaw) for yaw in _VIEWS_DEG]]
    columns[0] += [torch.full_like(columns[0][0], _BACKDROP) for _ in _VIEWS_DEG]
    for name, level in levels.items():
        shape = torch.from_numpy(level.vertices).float(), torch.from_numpy(level.triangles)
        colour = error_colours(torch.from_numpy(errors_mm[name]).float(), _WORST_MM)
        pictures = [draw_clay(*shape, yaw) for yaw in _VIEWS_DEG]
        columns.append(pictures + [draw_clay(*surface, yaw, colour) for yaw in _VIEWS_DEG])
    return srgb_from_linear(torch.cat([torch.cat(column, 1) for column in columns], 2).clamp(0, 1))


def draw_clay(vertices: Tensor, triangles: Tensor, yaw_deg: float, colour: Tensor | None = None) -> Tensor:
    """A head "v 3" in the head frame, seen from a side: linear "3 h w"; grey, or with a linear colour "v 3"."""
    light = ambient_and_directional(
        torch.full((3,), 0.22), torch.full((3,), 0.62), torch.tensor([0.6, -0.6, -1.0])
    )
    rotation = rotation_from_pose_angles(torch.tensor(yaw_deg), torch.zeros(()), torch.zeros(()))
    translation = torch.tensor([0.0, 0.0, 900.0]) - rotation @ torch.tensor([0.0, -25.0, 20.0])
    focal_px = torch.tensor(_SIDE_PX * 900 / 210.0)
    camera = Camera(
        focal_px, torch.full((2,), _SIDE_PX / 2), (_SIDE_PX, _SIDE_PX), rigid_transform(rotation, translation)
    )
    albedo = torch.full_like(vertices, 0.65) if colour is None else colour
    drawn = render(vertices, triangles, camera, light, albedo=albedo, samples=2)
    return over(drawn, torch.full((3,), _BACKDROP))[0]


def error_colours(errors_mm: Tensor, worst_mm: float) -> Tensor:
    """Grey for nothing, over yellow, to red for ``worst_mm`` and more; dark where nothing was measured. "n" -> linear "n 3"."""
    share = (errors_mm / worst_mm).clamp(0, 1)[:, None]
    stops = torch.tensor([[0.65, 0.65, 0.65], [0.9, 0.6, 0.05], [0.75, 0.02, 0.02]])
    low = torch.lerp(stops[0], stops[1], (2 * share).clamp(0, 1))
    colour = torch.lerp(low, stops[2].expand_as(low), (2 * share - 1).clamp(0, 1))
    return torch.where(torch.isfinite(errors_mm)[:, None], colour, torch.tensor([0.12, 0.13, 0.16]))
