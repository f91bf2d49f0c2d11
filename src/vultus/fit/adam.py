"""Adam (Kingma and Ba, ICLR 2015, algorithm 1), step for step as torch's own.

Not torch.optim: making its first optimiser imports torch's compiler and sympy, which costs every process two seconds and 100 MB.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

_BETA1, _BETA2, _EPSILON = 0.9, 0.999, 1e-8  # the paper's


class Adam:
    """Moves unknowns, in place, down the gradient of an energy."""

    def __init__(self, unknowns: Sequence[Tensor], step_size: float):
        self._unknowns = list(unknowns)
        self._step_size = step_size
        self._mean = [torch.zeros_like(unknown) for unknown in self._unknowns]
        self._square = [torch.zeros_like(unknown) for unknown in self._unknowns]
        self._steps = 0

    def step(self, energy: Tensor) -> None:
        """One step; ``energy`` is a scalar that was computed from all unknowns as they are now."""
        gradients = torch.autograd.grad(energy, self._unknowns)
        self._steps += 1
        step_size = self._step_size / (1 - _BETA1**self._steps)
        unbiased = (1 - _BETA2**self._steps) ** 0.5
        with torch.no_grad():
            for unknown, gradient, mean, square in zip(self._unknowns, gradients, self._mean, self._square):
                mean.lerp_(gradient, 1 - _BETA1)
                square.mul_(_BETA2).addcmul_(gradient, gradient, value=1 - _BETA2)
                unknown.addcdiv_(mean, (square.sqrt() / unbiased).add_(_EPSILON), value=-step_size)
