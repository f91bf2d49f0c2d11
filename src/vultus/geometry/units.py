"""Units of length that files come in."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..errors import BadInput

MM_PER_UNIT = {"mm": 1.0, "cm": 10.0, "m": 1000.0}
_HEAD_MM = (90.0, 2500.0)  # the longest side of a scan: a face alone, up to a whole person


def in_millimetres(vertices: NDArray[np.floating], unit: str) -> NDArray[np.float64]:
    """A scan's vertices "n 3" in millimetres.

    Args:
        unit: mm, cm or m.

    Raises:
        BadInput: an unknown unit, nothing finite, or a size that no head has in this unit.
    """
    if unit not in MM_PER_UNIT:
        raise BadInput(f"--unit {unit}: say mm, cm or m")
    scaled = np.asarray(vertices, np.float64) * MM_PER_UNIT[unit]
    finite = scaled[np.isfinite(scaled).all(1)]
    if not len(finite):
        raise BadInput("the scan has no finite vertex: export it again")
    side_mm = float(np.ptp(finite, axis=0).max())
    likely = likely_units(side_mm, unit, _HEAD_MM)
    if unit not in likely:
        remedy = f"use --unit {' or '.join(likely)}" if likely else "this is no scan of a head"
        raise BadInput(f"the scan is {side_mm:.3g} mm large if its unit is {unit}: {remedy}")
    return scaled


def likely_units(length_mm: float, unit: str, plausible_mm: tuple[float, float]) -> list[str]:
    """Which units would make a length plausible that is ``length_mm`` if the unit is ``unit``."""
    low, high = plausible_mm
    return [name for name, mm in MM_PER_UNIT.items() if low < length_mm / MM_PER_UNIT[unit] * mm < high]
