"""How the numba kernels are compiled, and the geometry they share.

When you edit this file, touch the kernels' files as well: numba recompiles what changed, not what calls it from another file.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit


def kernel(function: Callable[..., Any], *, parallel: bool = False) -> Any:
    """Compile on first use and keep the result on disk; in memory only where no folder can be written."""
    try:
        return njit(nogil=True, cache=True, parallel=parallel, error_model="numpy")(function)
    except RuntimeError:
        return njit(nogil=True, parallel=parallel, error_model="numpy")(function)


parallel = functools.partial(kernel, parallel=True)
NO_CORNERS = (0.0,) * 9


@kernel
def corners(corner, i, j, k):
    """x, y and 1/z of three vertices, in float64."""
    ax, ay, wa = np.float64(corner[i, 0]), np.float64(corner[i, 1]), 1 / np.float64(corner[i, 2])
    bx, by, wb = np.float64(corner[j, 0]), np.float64(corner[j, 1]), 1 / np.float64(corner[j, 2])
    cx, cy, wc = np.float64(corner[k, 0]), np.float64(corner[k, 1]), 1 / np.float64(corner[k, 2])
    return ax, ay, wa, bx, by, wb, cx, cy, wc


@kernel
def edges(ax, ay, bx, by, cx, cy):
    """Edge functions opposite to the corners, which are given relative to the pixel centre."""
    return bx * cy - by * cx, cx * ay - cy * ax, ax * by - ay * bx


@kernel
def inverse(value):
    """1 / value, and 0 for 0: a triangle moved until it shows no area has no weight and no gradient, not NaN."""
    return 1 / value if value != 0 else 0.0
