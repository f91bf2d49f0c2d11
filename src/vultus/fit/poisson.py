"""Screened Poisson equations on a grid, by multigrid: smooth corrections that blend images without seams."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

Edges = tuple[Tensor, Tensor]
"""Values at the edges between neighbours: "c h w-1" to the right, "c h-1 w" downwards."""
_SMOOTHING_STEPS = 2
_TINY = 1e-30
_DAMPING = 0.8  # of Jacobi's method in two dimensions
_COARSEST = 4


def solve_screened_poisson(
    divergence: Tensor, screening: Tensor, *, conductance: Edges | None = None, cycles: int = 8
) -> Tensor:
    """The image x that minimises sum c |grad x - g|^2 + sum screening * x^2, from the divergence of c g.

    In cells i with neighbours j: sum_j c_ij (x_i - x_j) + screening_i x_i = -divergence_i; nothing flows across the border
    (Neumann). To pull towards a target t instead of zero, add ``-screening * t`` to the divergence. Conjugate
    gradients, preconditioned with cell-centred multigrid: each step leaves about a fifth of the error where the conductance is even,
    a half where it favours one direction 25 times; the work is proportional to the cells. Coarser grids add up the equations of four.

    Source: Perez, Gangnet and Blake, "Poisson image editing", SIGGRAPH 2003; Trottenberg et al., "Multigrid", 2001, section 2.8.4.

    Args:
        divergence: "c h w".
        screening: "h w", not negative and somewhere positive (otherwise x is known up to a constant only, and diverges).
        conductance: positive, "1 h w-1" and "1 h-1 w", of the edges between neighbours; 1 by default. For a grid laid over
            a surface, with :func:`surface_conductance`, the solution is smooth on the surface instead of the grid.
        cycles: how many steps, of one V-cycle each.

    Returns:
        "c h w".
    """
    height, width = screening.shape
    if conductance is None:
        conductance = screening.new_ones(1, height, width - 1), screening.new_ones(1, height - 1, width)
    levels = _levels(screening[None], conductance)
    rhs = -divergence
    x = _nested_start(rhs, levels)
    residual = rhs - _apply(x, levels[0])
    # Conjugate gradients with a V-cycle as preconditioner; Polak-Ribiere's formula allows it to be not quite symmetric.
    old_residual, direction, old_fit = residual, torch.zeros_like(x), torch.ones_like(x[:, :1, :1])
    for _ in range(cycles):
        better = _v_cycle(torch.zeros_like(residual), residual, levels)
        fit = _dot(residual, better)
        direction = better + (fit - _dot(old_residual, better)) / old_fit.clamp_min(_TINY) * direction
        applied = _apply(direction, levels[0])
        step = _dot(direction, residual) / _dot(direction, applied).clamp_min(_TINY)
        x = x + step * direction
        old_residual, old_fit = residual, fit
        residual = residual - step * applied
    return x


def surface_conductance(position: Tensor, *, limit: float = 6.0) -> Edges:
    """Conductances of a grid over a surface "3 h w": how wide over how long the strip of surface along each edge is.

    With them the grid's energy is the surface's Dirichlet energy, as far as rows and columns meet at right angles. Ratios beyond
    ``limit`` are cut, for multigrid's sake.
    """
    down, right = (d.norm(dim=0, keepdim=True) for d in torch.gradient(position, dim=(1, 2)))
    ratio = (down / right.clamp_min(1e-6)).clamp(1 / limit, limit)
    flat = 1 / ratio
    return (ratio[..., :-1] + ratio[..., 1:]) / 2, (flat[..., :-1, :] + flat[..., 1:, :]) / 2


def divergence_of(flow_x: Tensor, flow_y: Tensor) -> Tensor:
    """Divergence "c h w" of a field given at the edges between neighbours: "c h w-1" to the right, "c h-1 w" downwards."""
    return (F.pad(flow_x, (0, 1)) - F.pad(flow_x, (1, 0))) + (
        F.pad(flow_y, (0, 0, 0, 1)) - F.pad(flow_y, (0, 0, 1, 0))
    )


def gradient_of(image: Tensor) -> tuple[Tensor, Tensor]:
    """Differences between neighbours: "c h w-1" to the right, "c h-1 w" downwards."""
    return image.diff(dim=-1), image.diff(dim=-2)


@dataclass(frozen=True)
class _Level:
    """One grid's equations: screening "1 h w", conductances, and the matrix' diagonal "1 h w"."""

    screening: Tensor
    conductance: Edges
    diagonal: Tensor


def _levels(screening: Tensor, conductance: Edges) -> list[_Level]:
    """From the grid given to the coarsest."""
    levels = []
    while True:
        across, along = conductance
        diagonal = screening + F.pad(across, (0, 1)) + F.pad(across, (1, 0))
        diagonal = diagonal + F.pad(along, (0, 0, 0, 1)) + F.pad(along, (0, 0, 1, 0))
        levels.append(_Level(screening, conductance, diagonal.clamp_min(1e-12)))
        if min(screening.shape[-2:]) <= _COARSEST:
            return levels
        screening = _add_up(screening)
        # Edges between coarse cells: two fine ones side by side, each twice as long.
        across, along = across[..., 1::2], along[..., 1::2, :]
        across = _add_up(across, columns=False) / 2
        along = _add_up(along, rows=False) / 2
        conductance = across, along


def _nested_start(rhs: Tensor, levels: list[_Level]) -> Tensor:
    """A first guess from the coarser grids, so that the V-cycles only have to correct it."""
    if len(levels) == 1:
        return _v_cycle(torch.zeros_like(rhs), rhs, levels)
    coarse_rhs = _add_up(rhs)
    coarse = _v_cycle(_nested_start(coarse_rhs, levels[1:]), coarse_rhs, levels[1:])
    return _refine(coarse, rhs.shape[-2:])


def _v_cycle(x: Tensor, rhs: Tensor, levels: list[_Level]) -> Tensor:
    level = levels[0]
    if len(levels) == 1:
        return _smooth(x, rhs, level, 30)
    x = _smooth(x, rhs, level, _SMOOTHING_STEPS)
    residual = _add_up(rhs - _apply(x, level))
    x = x + _refine(_v_cycle(torch.zeros_like(residual), residual, levels[1:]), rhs.shape[-2:])
    return _smooth(x, rhs, level, _SMOOTHING_STEPS)


def _smooth(x: Tensor, rhs: Tensor, level: _Level, steps: int) -> Tensor:
    step = _DAMPING / level.diagonal
    for _ in range(steps):
        x = torch.addcmul(x, step, rhs - _apply(x, level))
    return x


def _apply(x: Tensor, level: _Level) -> Tensor:
    result = level.screening * x
    right, down = (c * d for c, d in zip(level.conductance, gradient_of(x)))
    result[..., :, :-1] -= right
    result[..., :, 1:] += right
    result[..., :-1, :] -= down
    result[..., 1:, :] += down
    return result


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum((1, 2), keepdim=True)


def _add_up(image: Tensor, *, rows: bool = True, columns: bool = True) -> Tensor:
    """Sums over 2 x 2 cells, or only over pairs of rows or columns; an odd last one stays alone."""
    height, width = image.shape[-2:]
    padded = F.pad(image, (0, width % 2 if columns else 0, 0, height % 2 if rows else 0))
    pair = (2 if rows else 1, 2 if columns else 1)
    return F.avg_pool2d(padded, pair) * (pair[0] * pair[1])


def _refine(image: Tensor, size: tuple[int, int] | torch.Size) -> Tensor:
    """Bilinear from cells twice as large."""
    doubled = F.interpolate(image[None], scale_factor=2, mode="bilinear", align_corners=False)[0]
    return doubled[..., : size[0], : size[1]]
