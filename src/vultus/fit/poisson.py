"""Screened Poisson equations on a grid, by multigrid: smooth corrections that blend images without seams."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_SMOOTHING_STEPS = 2
_DAMPING = 0.8  # of Jacobi's method in two dimensions
_COARSEST = 4


def solve_screened_poisson(divergence: Tensor, screening: Tensor, *, cycles: int = 8) -> Tensor:
    """The image x that minimises sum |grad x - g|^2 + sum screening * x^2, from the divergence of g.

    In cells i with neighbours j: sum_j (x_i - x_j) + screening_i x_i = -divergence_i; nothing flows across the border (Neumann).
    To pull towards a target t instead of zero, add ``-screening * t`` to the divergence. Each V-cycle of cell-centred multigrid
    leaves about a fifth of the error; the work is proportional to the cells. Coarser grids add up the equations of
    four cells, which keeps the same five-point stencil.

    Source: Perez, Gangnet and Blake, "Poisson image editing", SIGGRAPH 2003; Trottenberg et al., "Multigrid", 2001, section 2.8.4.

    Args:
        divergence: "c h w".
        screening: "h w", not negative and somewhere positive (otherwise x is known up to a constant only, and diverges).
        cycles: how many V-cycles.

    Returns:
        "c h w".
    """
    rhs, screening = -divergence, screening[None]
    x = _nested_start(rhs, screening)
    for _ in range(cycles):
        x = _v_cycle(x, rhs, screening)
    return x


def divergence_of(flow_x: Tensor, flow_y: Tensor) -> Tensor:
    """Divergence "c h w" of a field given at the edges between neighbours: "c h w-1" to the right, "c h-1 w" downwards."""
    return (F.pad(flow_x, (0, 1)) - F.pad(flow_x, (1, 0))) + (
        F.pad(flow_y, (0, 0, 0, 1)) - F.pad(flow_y, (0, 0, 1, 0))
    )


def gradient_of(image: Tensor) -> tuple[Tensor, Tensor]:
    """Differences between neighbours: "c h w-1" to the right, "c h-1 w" downwards."""
    return image.diff(dim=-1), image.diff(dim=-2)


def _nested_start(rhs: Tensor, screening: Tensor) -> Tensor:
    """A first guess from the coarser grids, so that the V-cycles only have to correct it."""
    if min(rhs.shape[-2:]) <= _COARSEST:
        return _v_cycle(torch.zeros_like(rhs), rhs, screening)
    coarse_rhs, coarse_screening = _add_up(rhs), _add_up(screening)
    coarse = _nested_start(coarse_rhs, coarse_screening)
    coarse = _v_cycle(coarse, coarse_rhs, coarse_screening)
    return _refine(coarse, rhs.shape[-2:])


def _v_cycle(x: Tensor, rhs: Tensor, screening: Tensor) -> Tensor:
    coarsest = min(rhs.shape[-2:]) <= _COARSEST
    diagonal = _num_neighbours(rhs) + screening
    x = _smooth(x, rhs, screening, diagonal, 30 if coarsest else _SMOOTHING_STEPS)
    if coarsest:
        return x
    residual = rhs - _apply(x, screening)
    coarse_residual, coarse_screening = _add_up(residual), _add_up(screening)
    correction = _v_cycle(torch.zeros_like(coarse_residual), coarse_residual, coarse_screening)
    x = x + _refine(correction, rhs.shape[-2:])
    return _smooth(x, rhs, screening, diagonal, _SMOOTHING_STEPS)


def _smooth(x: Tensor, rhs: Tensor, screening: Tensor, diagonal: Tensor, steps: int) -> Tensor:
    step = _DAMPING / diagonal
    for _ in range(steps):
        x = x + step * (rhs - _apply(x, screening))
    return x


def _apply(x: Tensor, screening: Tensor) -> Tensor:
    result = screening * x
    right, down = gradient_of(x)
    result[..., :, :-1] -= right
    result[..., :, 1:] += right
    result[..., :-1, :] -= down
    result[..., 1:, :] += down
    return result


def _num_neighbours(image: Tensor) -> Tensor:
    """How many neighbours each cell has, "1 h w"; at least one, so that a single cell can be divided by it."""
    height, width = image.shape[-2:]
    count = image.new_full((1, height, width), 4.0)
    count[:, 0] -= 1
    count[:, -1] -= 1
    count[..., 0] -= 1
    count[..., -1] -= 1
    return count.clamp_min(1)


def _add_up(image: Tensor) -> Tensor:
    """Sums over 2 x 2 cells; an odd last row or column stays alone."""
    height, width = image.shape[-2:]
    padded = F.pad(image, (0, width % 2, 0, height % 2))
    return F.avg_pool2d(padded, 2) * 4


def _refine(image: Tensor, size: tuple[int, int] | torch.Size) -> Tensor:
    """Bilinear from cells twice as large."""
    doubled = F.interpolate(image[None], scale_factor=2, mode="bilinear", align_corners=False)[0]
    return doubled[..., : size[0], : size[1]]
