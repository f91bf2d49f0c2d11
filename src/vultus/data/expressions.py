"""Random faces that people make: a few units each, no further than looks natural."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from ..model.morphable import MorphableModel

# fmt: off
MILD: dict[str, float] = {
    "mouthSmile": 0.5, "browInnerUp": 0.5, "browDown": 0.4, "eyeSquint": 0.4, "eyeWide": 0.4, "jawOpen": 0.15,
    "mouthPress": 0.4, "mouthStretch": 0.3, "mouthFrown": 0.3, "mouthUpperUp": 0.25, "cheekSquint": 0.5,
}
"""Units, each with the most that counts as mild."""
STRONG: tuple[dict[str, float], ...] = (
    {"mouthSmile": 0.9, "cheekSquint": 0.7, "eyeSquint": 0.3, "jawOpen": 0.12},
    {"mouthSmile": 0.8, "cheekSquint": 0.6, "jawOpen": 0.4, "browOuterUp": 0.2},
    {"jawOpen": 0.65, "browInnerUp": 0.7, "browOuterUp": 0.7, "eyeWide": 0.6},
    {"browDown": 0.9, "noseSneer": 0.6, "mouthPress": 0.5, "eyeSquint": 0.4},
    {"browInnerUp": 0.8, "mouthFrown": 0.8, "eyeSquint": 0.3, "mouthShrugLower": 0.4},
    {"mouthPucker": 0.9, "browInnerUp": 0.2},
    {"mouthFunnel": 0.7, "jawOpen": 0.3, "browOuterUp": 0.4},
    {"mouthUpperUp": 0.6, "mouthLowerDown": 0.5, "mouthStretch": 0.4, "noseSneer": 0.4, "browDown": 0.5},
    {"cheekPuff": 0.8, "browDown": 0.2},
    {"jawLeft": 0.5, "mouthLeft": 0.5, "browOuterUp": 0.3},
    {"mouthSmile": 0.5, "mouthDimple": 0.6, "eyeBlink": 0.35},
)
"""Faces at their height."""
# fmt: on
_GAZE = 0.35


def random_expression(
    model: MorphableModel, rng: np.random.Generator, units: Mapping[str, float], count: int = 2
) -> Tensor:
    """Some of the units at 30 to 100 % of their most: weights "e" of a model."""
    chosen: dict[str, float] = {}
    for name in rng.choice(list(units), count, replace=False):
        chosen[str(name)] = float(rng.uniform(0.3, 1.0)) * units[str(name)]
    return weights_of(model, chosen)


def random_face(model: MorphableModel, rng: np.random.Generator) -> tuple[Tensor, str]:
    """Weights "e" and what they are: neutral (with the eyes somewhere), mild or strong; a side of the face may do less than the other."""
    kind = str(rng.choice(["neutral", "mild", "strong"], p=[0.35, 0.35, 0.3]))
    weights = torch.zeros(len(model.expression_names))
    if kind == "mild":
        weights = random_expression(model, rng, MILD, 3)
    elif kind == "strong":
        weights = weights_of(model, STRONG[int(rng.integers(len(STRONG)))]) * float(rng.uniform(0.7, 1.0))
    for side in ("Left", "Right"):
        less = float(rng.uniform(0.75, 1.0))
        here = torch.tensor([name.endswith(side) for name in model.expression_names])
        weights = torch.where(here, weights * less, weights)
    across, up = (float(v) for v in rng.normal(0, _GAZE, 2).clip(-0.8, 0.8))
    sides = ("eyeLookOutLeft", "eyeLookInRight") if across > 0 else ("eyeLookInLeft", "eyeLookOutRight")
    height = "eyeLookUp" if up > 0 else "eyeLookDown"
    gaze = weights_of(model, {name: abs(across) for name in sides} | {height: 0.6 * abs(up)})
    return weights + gaze, kind


def weights_of(model: MorphableModel, units: Mapping[str, float]) -> Tensor:
    """Weights "e" of a model; a name without side means both, units that the model lacks are left out."""
    weights = torch.zeros(len(model.expression_names))
    for unit, value in units.items():
        for index, known in enumerate(model.expression_names):
            if known in (unit, f"{unit}Left", f"{unit}Right"):
                weights[index] = value
    return weights
