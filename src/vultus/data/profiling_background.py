"""What surrounds a head in a photo, made ready for the head to turn: the hair and neck beside it in depth, and the place behind them filled in.

Two layers. The *backdrop* does not move: the photo, with the head and its hair taken out and filled smoothly from around them. The *sheet* is
the photo again, on a mesh that starts behind the head's outline at the outline's own depth and falls back from there; only where it shows the
person beside what turns of the head is it seen. It turns with the head; shoulders and background stay where they are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from ..fit.poisson import solve_screened_poisson
from ..geometry.camera import Camera
from ..render.bake import dilate

STEP_PX = 6
_BEHIND_MM, _SLOPE, _DEEPEST_MM = 3.0, 0.9, 70.0
_UNDER_PX = 5  # so far the sheet goes on behind the head, lest the two part
_RIM_PX, _FADE_PX = 4, 4  # of background that goes with the person, and over which the sheet fades
_ALL, _HALF = 0.9, 0.5  # of the turn
_FARTHEST_MM = 80.0  # from the head's outline: what is further away is not its hair
_NOBODY, _UNSURE, _SURELY = 0.35, 0.5, 0.85
_FIRM = 4.0  # how firmly the fill keeps to the photo around it
_GRAIN_PX = 2.0
_CROWN_MM, _LONGEST_MM = (0.0, 95.0, -105.0), 260.0


@dataclass(frozen=True, eq=False)
class Sheet:
    """The photo around a head, as a mesh.

    Attributes:
        camera_mm: "n 3" as photographed. triangles: "t 3".
        whole: "h w" in [0, 1], opacity with a rim of background: at rest it hides every seam. person: "h w", opacity without the rim.
    """

    camera_mm: Tensor
    triangles: Tensor
    whole: Tensor
    person: Tensor


def make_sheet(
    camera: Camera, head_depth_mm: Tensor, head_share: Tensor, person: Tensor, down: Tensor, lowest_mm: float
) -> tuple[Sheet, Tensor]:
    """The sheet of a photo, and the hole "h w" bool that head, hair and neck leave in the backdrop.

    Args:
        camera: of the photo. head_depth_mm: "h w", infinite where the drawn head is not. person: "h w" probability.
        head_share: "h w", how much of the turn the drawn head takes part in; what goes on from its outline does the same.
        down, lowest_mm: "3" camera frame, the head's own downward direction, unit, and how far along it from the camera hair still turns: what is
            lower lies on shoulders, or is a collar, and stays.
    """
    head = head_depth_mm.isfinite().numpy()
    z, share, distance_px = _around(head, head_depth_mm, head_share)
    distance_mm = distance_px * z / camera.focal_px
    height, width = head.shape
    rows, columns = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    z = z + _BEHIND_MM + (_SLOPE * distance_mm).clamp_max(_DEEPEST_MM)
    points = unprojected(camera, torch.stack([columns, rows, z], -1))
    moving = (torch.from_numpy(head) & (head_share > _HALF)) | (
        (person > _NOBODY) & (share > _ALL) & (distance_mm < _FARTHEST_MM) & (points @ down < lowest_mm)
    )
    hole = torch.from_numpy(ndimage.binary_dilation(moving.numpy(), iterations=_RIM_PX))
    away = torch.from_numpy(ndimage.distance_transform_edt(~hole.numpy())).float()  # type: ignore[arg-type]
    whole = (1 - away / _FADE_PX).clamp(0, 1)
    inside = torch.from_numpy(ndimage.distance_transform_edt(head)).float()  # type: ignore[arg-type]
    # Turned, the head goes on where the photo's outline was: nothing of the sheet is needed before it there.
    solid = ramp(person, _UNSURE, _SURELY) * (inside <= 1)
    step = STEP_PX
    ids = [sorted({*range(0, side, step), side - 1}) for side in (height, width)]
    grid = torch.meshgrid(torch.tensor(ids[0]), torch.tensor(ids[1]), indexing="ij")
    used = (whole > 0) & (inside <= _UNDER_PX)
    triangles = _grid_triangles(_any_nearby(used, step)[grid])
    return Sheet(points[grid].reshape(-1, 3), triangles, whole, whole * solid), hole


def fill_hole(image: Tensor, hole: Tensor, seed: int = 0) -> Tensor:
    """An image "3 h w" with the pixels of a hole "h w" taken from around it.

    Membrane interpolation: the colours at the rim, continued so that they are nowhere rougher than they must be
    (Perez et al., "Poisson image editing", SIGGRAPH 2003, with no guidance), and the grain of the rest of the picture on top.
    """
    if not bool(hole.any()) or bool(hole.all()):
        return image
    small = 2  # smooth anyway
    known = (~hole).float()[None]
    odd = (0, image.shape[-1] % small, 0, image.shape[-2] % small)
    share = F.avg_pool2d(F.pad(known, odd), small)
    colour = F.avg_pool2d(F.pad(image * known, odd), small) / share.clamp_min(1e-6)
    screening = _FIRM * share[0]
    start = dilate(colour, share[0] > 0)
    # Solved for what the quick fill lacks: a few steps are enough.
    right, down = start.diff(dim=-1), start.diff(dim=-2)
    divergence = -(F.pad(right, (0, 1)) - F.pad(right, (1, 0)) + F.pad(down, (0, 0, 0, 1)) - F.pad(down, (0, 0, 1, 0)))  # fmt: skip
    smooth = start + solve_screened_poisson(divergence, screening + 1e-5, cycles=4)
    large = F.interpolate(smooth[None], scale_factor=small, mode="bilinear", align_corners=False)[0]
    large = large[:, : image.shape[1], : image.shape[2]] + _grain(image, hole, seed)
    return torch.where(hole, large, image).clamp(0, 1)


def unprojected(camera: Camera, pixels: Tensor) -> Tensor:
    """Camera-frame points "... 3" of (x_px, y_px, depth_mm): the inverse of :meth:`~vultus.geometry.camera.Camera.project_camera`."""
    xy = (pixels[..., :2] - camera.principal_px) * pixels[..., 2:] / camera.focal_px
    return torch.cat([xy, pixels[..., 2:]], -1)


def ramp(value: Tensor, low: float, high: float) -> Tensor:
    """From 0 at ``low`` to 1 at ``high`` (which may be the smaller), smooth at both ends."""
    t = ((value - low) / (high - low)).clamp(0, 1)
    return t * t * (3 - 2 * t)


def _around(head: np.ndarray, *maps: Tensor) -> tuple[Tensor, ...]:
    """Maps "h w" of the head continued outwards from its outline, smoothed along it, and the distance from it in pixels; inside the head, of its rim."""
    rim = head & ~np.asarray(ndimage.binary_erosion(head, iterations=2), bool)
    _, nearest = ndimage.distance_transform_edt(~rim, return_indices=True)  # type: ignore[misc]
    outside = np.asarray(ndimage.distance_transform_edt(~head))
    # The rim of an ear and the cheek beside it differ by centimetres: what goes on from them must not tear.
    smooth = [
        ndimage.gaussian_filter(np.where(rim, values.numpy(), 0)[tuple(nearest)], 6.0) for values in maps
    ]
    return *(torch.from_numpy(np.asarray(values)).float() for values in smooth), torch.from_numpy(
        outside
    ).float()


def _grain(image: Tensor, hole: Tensor, seed: int) -> Tensor:
    """Noise as strong as the photo's own, measured where it is smooth: a fill without any looks like plastic."""
    fine = image - F.avg_pool2d(image[None], 3, 1, 1, count_include_pad=False)[0]
    level = fine[:, ~hole].abs().flatten().kthvalue(max(1, int(0.3 * fine[:, ~hole].numel()))).values
    noise = torch.randn((1, *image.shape[1:]), generator=torch.Generator().manual_seed(seed))
    return (noise * level * _GRAIN_PX).clamp(-0.03, 0.03)


def _any_nearby(mask: Tensor, reach: int) -> Tensor:
    """Where a mask "h w" is true within so many pixels along either axis."""
    return F.max_pool2d(mask.float()[None], 2 * reach + 1, 1, reach)[0] > 0


def _grid_triangles(used: Tensor) -> Tensor:
    """Triangles "t 3" between the vertices "r c" of a grid, those with a used corner; counter-clockwise seen from the camera."""
    rows, columns = used.shape
    a = (torch.arange(rows - 1)[:, None] * columns + torch.arange(columns - 1)).flatten()
    quads = torch.stack([a, a + columns, a + columns + 1, a + 1], 1)
    quads = quads[used.flatten()[quads].any(1)]
    return torch.cat([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])


def strands(head_mm: Tensor) -> Tensor:
    """How dark or bright hair is at points "n 3" of the head (head frame), "n" around zero, about unit variance: strands that run down from the crown."""
    crown = head_mm.new_tensor(_CROWN_MM)
    arm = head_mm - crown
    around = torch.atan2(arm[:, 0], arm[:, 2]) / math.pi
    along = arm.norm(dim=1) / _LONGEST_MM * 2 - 1
    return F.grid_sample(_strand_noise(), torch.stack([around, along], -1)[None, None], padding_mode="border", align_corners=False)[0, 0, 0]  # fmt: skip


@lru_cache(maxsize=1)
def _strand_noise() -> Tensor:
    """Noise "1 1 24 768": fine across, long along, coarser locks under it; the last column goes on at the first."""
    rng = torch.Generator().manual_seed(3)
    total = torch.zeros(1, 1, 24, 768)
    for rows, columns, amount in ((4, 96, 0.6), (3, 256, 0.6), (3, 768, 0.5)):
        noise = torch.randn((1, 1, rows, columns), generator=rng)
        total = total + amount * F.interpolate(noise, (24, 768), mode="bicubic", align_corners=False)
    return total
