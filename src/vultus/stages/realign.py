"""Texture re-alignment as published: warp the texture instead of looking the photo up again.

Once the shape is deformed, texels look at other pixels than before. Sampling the photo with the deformed mesh is the simple way, and
what :func:`vultus.stages.texture.texture` does. HRN's paper instead turns the deformation into a flow of texels, inverts it and warps the
texture that was sampled with the coarse mesh; that is kept here for comparison.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_STEPS = 6
_LARGEST_STEP = 4.0  # texels: where the surface is seen edge-on, a pixel is many texels


def realignment_flow(coarse_px: Tensor, deformed_px: Tensor) -> Tensor:
    """Where in the old texture each texel finds what the photo shows at its new place: flow "2 h w", in texels.

    Texel t looked at pixel p(t) and shall look at q(t); its flow f solves p(t + f) = q(t). Newton's method with the image's derivative
    along the texture (the inverted flow of Lei et al., CVPR 2023, section 3.3, without its linearisation).

    Args:
        coarse_px: "2 h w", p: where each texel lies in the photo on the coarse shape. deformed_px: "2 h w", q: on the deformed one.
    """
    size = coarse_px.shape[-2:]
    start = _texel_centres(size, coarse_px)
    by_row, by_column = torch.gradient(coarse_px, dim=(1, 2))
    derivative = torch.cat([by_column, by_row])
    flow = torch.zeros_like(coarse_px)
    for _ in range(_STEPS):
        here = warp_by_flow(torch.cat([coarse_px, derivative]), flow, start=start)
        missing = deformed_px - here[:2]
        (a, c), (b, d) = here[2:4], here[4:6]  # dx/du, dy/du; dx/dv, dy/dv
        determinant = a * d - b * c
        usable = determinant.abs() > 1e-6
        inverse = torch.where(usable, 1 / torch.where(usable, determinant, torch.ones_like(determinant)), 0)
        step = torch.stack([d * missing[0] - b * missing[1], a * missing[1] - c * missing[0]]) * inverse
        flow = flow + step.clamp(-_LARGEST_STEP, _LARGEST_STEP)
    return flow


def warp_by_flow(texture: Tensor, flow: Tensor, *, start: Tensor | None = None) -> Tensor:
    """The texture "c h w" looked up at each texel plus its flow "2 h w" (u right, v down, in texels): "c h w", bilinear."""
    size = texture.shape[-2:]
    place = (_texel_centres(size, flow) if start is None else start) + flow
    grid = 2 * place.permute(1, 2, 0) / place.new_tensor([size[1], size[0]]) - 1
    return F.grid_sample(texture[None], grid[None], padding_mode="border", align_corners=False)[0]


def _texel_centres(size: torch.Size, like: Tensor) -> Tensor:
    row, column = (torch.arange(side, device=like.device, dtype=like.dtype) + 0.5 for side in size)
    return torch.stack(torch.meshgrid(row, column, indexing="ij")[::-1])
