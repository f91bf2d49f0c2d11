"""Learning rates and averages as functions of the step alone, so that a resumed run needs to remember neither."""

from __future__ import annotations

import math

from .config import ScheduleConfig


def learning_rate(config: ScheduleConfig, step: int, steps_per_epoch: int, total_steps: int) -> float:
    """The rate of step number ``step`` (from zero).

    Warm-up multiplies what the kind says by ``(step + 1) / warmup_steps``; the cosine begins after it. "halved" is the PRNet paper's
    (Feng et al., ECCV 2018, section 3.3): 1e-4, "decays half after each 5 epochs".
    """
    warmth = min(1.0, (step + 1) / config.warmup_steps) if config.warmup_steps else 1.0
    if config.kind == "constant":
        return warmth * config.rate
    if config.kind == "halved":
        return warmth * config.rate * 0.5 ** math.floor(step / (steps_per_epoch * config.halve_every_epochs))
    span = max(1, total_steps - config.warmup_steps)
    share = min(1.0, max(0, step - config.warmup_steps) / span)
    return warmth * config.rate * (config.final + (1 - config.final) * 0.5 * (1 + math.cos(math.pi * share)))


def average_decay(decay: float, step: int) -> float:
    """The decay of a running average at step ``step``: young averages forget faster, or they would keep the random weights of the start."""
    return min(decay, (1 + step) / (10 + step))
