"""Normal equations of which some unknowns are eliminated (Schur complement) and the expression has bounds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ExpressionPrior:
    """Gaussian around zero inside bounds: sigma (e,), low (e,), high (e,)."""

    sigma: np.ndarray
    low: np.ndarray
    high: np.ndarray


def marginal(normal: np.ndarray, size: int) -> np.ndarray:
    """Precision of the first ``size`` unknowns when the others are integrated out (Schur complement)."""
    kept, rest, mixed = normal[:size, :size], normal[size:, size:], normal[:size, size:]
    return kept - mixed @ np.linalg.solve(rest, mixed.T) if len(rest) else kept


def bounded_solve(normal, right, expression, prior, first) -> np.ndarray:
    """Solve ``normal @ step = right`` with the expression kept inside its bounds: those that would leave are fixed at the bound.

    Whatever has no bounds is eliminated once (Schur complement), so that every further try solves for the expression alone.
    """
    bounded = np.arange(first, first + len(expression))
    others = np.delete(np.arange(len(right)), bounded)
    mixed = normal[np.ix_(others, bounded)]
    gain = np.linalg.solve(normal[np.ix_(others, others)], np.column_stack([mixed, right[others]]))
    share = normal[np.ix_(bounded, bounded)] - mixed.T @ gain[:, :-1]
    step = np.zeros(len(right))
    step[bounded] = _inside(
        share, right[bounded] - mixed.T @ gain[:, -1], prior.low - expression, prior.high - expression
    )
    step[others] = gain[:, -1] - gain[:, :-1] @ step[bounded]
    return step


def _inside(normal: np.ndarray, right: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Solve ``normal @ step = right``; what would leave ``[low, high]`` stays at the bound (active set, in a few rounds)."""
    fixed, value = np.zeros(len(right), bool), np.zeros(len(right))
    step = value
    for _ in range(4):
        free = ~fixed
        step = value.copy()
        step[free] = np.linalg.solve(
            normal[np.ix_(free, free)], right[free] - normal[np.ix_(free, fixed)] @ value[fixed]
        )
        outside = ((step < low - 1e-9) | (step > high + 1e-9)) & free
        if not outside.any():
            break
        fixed |= outside
        value[outside] = np.clip(step, low, high)[outside]
    return step
