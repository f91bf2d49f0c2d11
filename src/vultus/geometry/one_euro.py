"""The 1-euro filter: smooth what rests, follow what moves.

Casiez, Roussel and Vogel, "1 euro filter: a simple speed-based low-pass filter for noisy input in interactive systems", CHI 2012: a low-pass filter of first
order whose cutoff grows with the speed. Jitter is seen when things rest, lag when they move, so each is paid for where it is not seen.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import BadInput


@dataclass(frozen=True)
class OneEuro:
    """How much to smooth.

    Attributes:
        cutoff_hz: of what rests (the paper's fcmin); lower is calmer.
        slope: by how many Hz the cutoff grows per unit of speed (the paper's beta); higher follows faster.
        speed_cutoff_hz: of the speed itself (the paper's dcutoff).

    Raises:
        BadInput: a cutoff that is not positive, or a negative slope.
    """

    cutoff_hz: float = 1.0
    slope: float = 1.0
    speed_cutoff_hz: float = 1.0

    def __post_init__(self) -> None:
        if not (self.cutoff_hz > 0 and self.speed_cutoff_hz > 0 and self.slope >= 0):
            raise BadInput(
                f"1-euro filter with cutoffs {self.cutoff_hz} and {self.speed_cutoff_hz} Hz and slope {self.slope}: cutoffs must be positive, the slope not negative"
            )


@dataclass(frozen=True, eq=False)
class OneEuroState:
    """What the filter remembers.

    Attributes:
        time_s: of the last value. raw: "... c" that value. value: "... c" smoothed: the answer. rate: "... c" per second, smoothed.
    """

    time_s: float
    raw: Tensor
    value: Tensor
    rate: Tensor


def length_of(rate: Tensor) -> Tensor:
    """Rates "... c" -> speeds "... 1": every point has its own cutoff, the same for its coordinates, so the filter turns with the axes."""
    return torch.linalg.vector_norm(rate, dim=-1, keepdim=True)


def smooth(
    settings: OneEuro,
    state: OneEuroState | None,
    value: Tensor,
    time_s: float,
    speed: Callable[[Tensor], Tensor] = length_of,
) -> OneEuroState:
    """One step: values "... c" at a time -> the next state; its ``value`` is the smoothed one.

    Frames may come at any distance in time: what a first-order low-pass does to a constant input in one long step is what it does in two short
    ones. (The paper's gain, 1 / (1 + 1 / (2 pi f dt)), is the first order of ours, 1 - exp(-2 pi f dt).) Speeds are differences of raw values, so
    lag does not add to them.

    Args:
        state: None starts anew, without smoothing.
        speed: rates "... c" -> speeds that broadcast to them, in the unit that ``slope`` is about.

    Raises:
        BadInput: time stands still or runs backwards.
    """
    if state is None:
        return OneEuroState(time_s, value, value, torch.zeros_like(value))
    elapsed_s = time_s - state.time_s
    if not elapsed_s > 0:
        raise BadInput(f"a frame at {time_s} s after one at {state.time_s} s: times must grow")
    rate = torch.lerp(
        state.rate,
        (value - state.raw) / elapsed_s,
        1 - math.exp(-2 * math.pi * settings.speed_cutoff_hz * elapsed_s),
    )
    cutoff_hz = settings.cutoff_hz + settings.slope * speed(rate)
    gain = -torch.expm1(-2 * math.pi * elapsed_s * cutoff_hz)
    return OneEuroState(time_s, value, state.value + gain * (value - state.value), rate)
