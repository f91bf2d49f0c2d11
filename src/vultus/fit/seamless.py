"""The smooth correction that makes one picture fit another where both are known."""

from __future__ import annotations

import torch
from torch import Tensor

from .poisson import solve_screened_poisson

_FREE = 1e-6  # pull towards zero where nothing is known, so that the solution exists


def smooth_offset(difference: Tensor, weight: Tensor) -> Tensor:
    """The smoothest field that agrees with a difference where it is known: adding it to a picture keeps the picture's details.

    The membrane of Perez, Gangnet and Blake, "Poisson image editing", SIGGRAPH 2003, with a soft boundary: min |grad x|^2 + weight |x - difference|^2, so
    a hair that crosses the boundary does not run into the face.

    Args:
        difference: "c h w", what to add; read only where the weight is positive.
        weight: "h w", not negative: how firmly to agree. About 1 / r^2 averages over r pixels.

    Returns:
        "c h w"; zero if the weight is zero everywhere.
    """
    if not bool((weight > 0).any()):
        return torch.zeros_like(difference)
    known = torch.where(weight > 0, difference, 0.0)
    return solve_screened_poisson(-weight * known, weight + _FREE, cycles=10)
