"""The optimiser of a network, clipping, and the running average of its weights."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from .config import OptimiserConfig
from .schedule import average_decay


def make_optimiser(network: nn.Module, config: OptimiserConfig) -> torch.optim.Optimizer:
    """Fused Adam or AdamW in two groups: matrices and kernels decay, vectors (biases, scales of norms) do not."""
    trained = [p for p in network.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": config.decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    kind = torch.optim.Adam if config.kind == "adam" else torch.optim.AdamW
    return kind([g for g in groups if g["params"]], lr=0.0, betas=config.betas, fused=True)


def clip_gradients(network: nn.Module, longest: float | None) -> Tensor:
    """Shorten the gradient to ``longest``; returns its norm before that, a scalar on the network's device."""
    trained = [p for p in network.parameters() if p.requires_grad]
    return nn.utils.clip_grad_norm_(trained, float("inf") if longest is None else longest).detach()


def take_step(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """One step at a learning rate; the gradients are gone afterwards."""
    for group in optimiser.param_groups:
        group["lr"] = rate
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)


class Average:
    """Exponential running average of a network's weights (Polyak and Juditsky 1992; as an average over time, Tarvainen and Valpola 2017).

    Buffers (running statistics of norms) are copied: they are averages already.

    Attributes:
        network: the averaged copy, in evaluation mode.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.network = copy.deepcopy(network).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Take in the weights after step number ``step`` (from zero)."""
        ours = [p.detach() for p in self.network.parameters()]
        theirs = [p.detach() for p in network.parameters()]
        decay = average_decay(self.decay, step) if self.decay else 0.0
        get_ema_multi_avg_fn(decay)(ours, theirs, step)
        for mine, other in zip(self.network.buffers(), network.buffers()):
            mine.copy_(other)
