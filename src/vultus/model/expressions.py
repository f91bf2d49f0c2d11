"""How much faces use each ARKit expression: the prior of every fit."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

_REST = 0.15  # most units rest most of the time
# What faces do every day, left and right alike; set by hand.
_USUAL = {
    "mouthSmile": 0.5, "eyeBlink": 0.4, "eyeSquint": 0.4, "cheekSquint": 0.35, "jawOpen": 0.35, "browInnerUp": 0.3,
    "browOuterUp": 0.3, "browDown": 0.3, "eyeWide": 0.3, "mouthUpperUp": 0.3, "mouthLowerDown": 0.3, "mouthPucker": 0.3,
    "mouthFunnel": 0.25, "mouthStretch": 0.25, "mouthFrown": 0.25, "mouthPress": 0.2, "mouthDimple": 0.2, "noseSneer": 0.2,
    "eyeLookUp": 0.4, "eyeLookDown": 0.4, "eyeLookIn": 0.4, "eyeLookOut": 0.4,
    "jaw": 0.1, "jawForward": 0.1, "mouth": 0.1, "cheekPuff": 0.1, "tongueOut": 0.02,
}  # fmt: skip


def expression_sigma(names: Sequence[str]) -> Tensor:
    """How large each ARKit unit "e" usually is, as a standard deviation."""
    both = [name.removesuffix("Left").removesuffix("Right") for name in names]
    return torch.tensor([_USUAL.get(name, _REST) for name in both])
