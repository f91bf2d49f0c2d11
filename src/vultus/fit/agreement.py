"""Photos of one surface agree: what one photo shows at a point of the skin, all others that see the point show as well.

Brows, lips, spots and creases are looked at in a band of sizes and relative to their surroundings, so that light and exposure hardly matter.
Where photos disagree, the point is not where the shape says: for photos from different sides that is depth, as in stereo.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..geometry.camera import Camera
from ..geometry.view import View
from ..render.shade import linear_from_srgb
from .linear_terms import LinearTerm, vertex_jacobian

_SIGMA_PX = 1.5  # of the finer blur, in pixels of the shrunken photo
_BAND = 3.0  # the coarser blur is this much wider
_DARK = 0.02  # linear light added before the logarithm
_FLAT = 0.04  # contrast of skin without any structure


@dataclass(frozen=True)
class Appearance:
    """A photo's structure of one size.

    Attributes:
        image: "1 1 h w", about -2 to 2, without light and exposure.
        scale: its pixels per pixel of the photo.
    """

    image: Tensor
    scale: float

    def at(self, points_px: Tensor) -> Tensor:
        """Values "n" at positions "n 2" of the photo; differentiable."""
        size = points_px.new_tensor(self.image.shape[:1:-1])
        grid = 2 * points_px * self.scale / size - 1
        return F.grid_sample(self.image, grid[None, None], padding_mode="border", align_corners=False)[
            0, 0, 0
        ]


def appearance_of(view: View, sigma_mm: float) -> Appearance:
    """What a posed view shows of structures of about ``sigma_mm`` on the skin; what is no skin is filled in from around."""
    px_per_mm = float(view.camera.focal_px / view.camera.T_camera_head[2, 3])
    scale = min(1.0, _SIGMA_PX / (sigma_mm * px_per_mm))
    sigma = sigma_mm * px_per_mm * scale
    width, height = view.camera.resized(scale).size_px
    small = F.interpolate(view.image[None], (height, width), mode="area")
    mask = F.interpolate(view.skin_mask[None, None].float(), (height, width), mode="area")
    grey = (linear_from_srgb(small).mean(1, keepdim=True) + _DARK).log()
    fine, coarse = (_within(grey, mask, sigma * factor) for factor in (1.0, _BAND))
    band = fine - coarse
    contrast = _within(band.square(), mask, sigma * _BAND).clamp_min(0).sqrt()
    return Appearance(band / (contrast + _FLAT), scale)


def disagreement(values: Tensor, weight: Tensor, noise: float, outlier: float) -> Tensor:
    """Robust squared differences of n photos from their mean at p points, "n p", in units of the noise.

    Args:
        values: "n p". weight: "n p", zero where a photo does not show a point.
    """
    total = weight.sum(0).clamp_min(1e-6)
    squared = ((values - (weight * values).sum(0) / total) / noise).square()
    return squared * outlier**2 / (squared + outlier**2)


def _within(image: Tensor, mask: Tensor, sigma_px: float) -> Tensor:
    """Gaussian blur of "1 1 h w" by what the mask shows alone."""
    return _blurred(image * mask, sigma_px) / _blurred(mask, sigma_px).clamp_min(1e-3)


def _blurred(image: Tensor, sigma_px: float) -> Tensor:
    reach = max(1, math.ceil(2.5 * sigma_px))
    x = torch.arange(-reach, reach + 1, dtype=image.dtype)
    kernel = torch.exp(-0.5 * (x / sigma_px) ** 2)
    kernel = kernel / kernel.sum()
    image = F.conv2d(F.pad(image, (reach, reach, 0, 0), mode="replicate"), kernel[None, None, None])
    return F.conv2d(F.pad(image, (0, 0, reach, reach), mode="replicate"), kernel[None, None, :, None])


def agreement_term(
    cameras: Sequence[Camera],
    appearances: Sequence[Appearance],
    shapes: Sequence[Tensor],
    weight: Tensor,
    *,
    noise: float,
    outlier: float,
    pose_error: tuple[float, float, float],
) -> LinearTerm:
    """Differences of n photos from their mean at the vertices, as a function of offsets that all views share.

    The mean of what the photos show moves with the offsets as well, so only what moves differently in different photos counts. Each photo's pose
    may be a little off: those errors are modes.

    Args:
        shapes: n of "v 3", head frame: one person with each photo's expression.
        weight: "n v", independent observations at each vertex, zero where a photo does not show it.
        pose_error: of each photo: rotation in degrees, shift across and along the line of sight in mm.
    """
    values, slopes, levers = [], [], []
    for camera, seen, shape in zip(cameras, appearances, shapes):
        points = camera.project(shape)[:, :2].detach().requires_grad_()
        value = seen.at(points)
        (slope,) = torch.autograd.grad(value.sum(), points)
        position = camera.to_camera(shape)
        depth = position[:, 2].clamp_min(1)
        scale = camera.focal_px / depth
        by_camera = scale[:, None] * torch.stack(
            [slope[:, 0], slope[:, 1], -(slope * position[:, :2]).sum(1) / depth], 1
        )
        turned = position - camera.T_camera_head[:3, 3]
        values.append(value.detach())
        slopes.append(by_camera @ camera.T_camera_head[:3, :3])
        degree, across, along = pose_error
        turns = math.radians(degree) * torch.linalg.cross(turned, by_camera, dim=1)
        levers.append(torch.cat([turns, by_camera * by_camera.new_tensor([across, across, along])], 1))
    value, slope, lever = (torch.stack(part) for part in (values, slopes, levers))
    total = weight.sum(0).clamp_min(1e-9)
    share = weight / total
    residual = value - (share * value).sum(0)
    slope = slope - (share[..., None] * slope).sum(0)
    robust = 1 / (1 + (residual / (noise * outlier)).square()) ** 2
    used = (weight > 0) & (share < 1 - 1e-6)
    view, vertex = used.nonzero().T
    num, num_vertices = weight.shape
    jacobian = vertex_jacobian(torch.arange(len(view)), vertex, slope[used], (len(view), num_vertices))
    modes = torch.zeros(len(view), num, lever.shape[-1])
    for other in range(num):
        moved = ((view == other).float() - share[other, vertex])[:, None]
        modes[:, other] = moved * lever[other, vertex]
    precision = (weight * robust)[used] / noise**2
    return LinearTerm(
        residual[used].double().numpy(),
        jacobian,
        precision.double().numpy(),
        modes.flatten(1).double().numpy(),
    )
