"""Colours as people see them: CIE L*a*b*, and the tone of skin."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_XYZ = (
    (0.4124564, 0.3575761, 0.1804375),
    (0.2126729, 0.7151522, 0.0721750),
    (0.0193339, 0.1191920, 0.9503041),
)
_WHITE = (0.95047, 1.0, 1.08883)  # D65, of sRGB
_EDGE = 6 / 29

TONES = ("very light", "light", "intermediate", "tan", "brown", "dark")
"""Names of skin tones, lightest first."""
TONE_EDGES_DEG = (55.0, 41.0, 28.0, 10.0, -30.0)
"""Typology angles between :data:`TONES` (Del Bino and Bernerd, "Variations in skin colour and the biological consequences of ultraviolet
radiation exposure", British Journal of Dermatology 169, 2013)."""


def lab_from_linear(colour: Tensor) -> Tensor:
    """Linear sRGB "3 ..." -> L* in [0, 100], a*, b* "3 ..." (CIE 15, white D65)."""
    xyz = torch.tensordot(colour.new_tensor(_XYZ), colour.clamp_min(0), dims=1)
    share = xyz / colour.new_tensor(_WHITE).reshape(3, *[1] * (colour.ndim - 1))
    x, y, z = torch.where(
        share > _EDGE**3, share.clamp_min(_EDGE**3) ** (1 / 3), share / (3 * _EDGE**2) + 4 / 29
    )
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def typology_deg(colour: Tensor) -> Tensor:
    """The individual typology angle of skin, linear sRGB "3 ..." -> "...": large is light, negative dark (Chardon et al., 1991)."""
    lightness, _, yellow = lab_from_linear(colour)
    return torch.atan2(lightness - 50, yellow.clamp_min(1e-3)) * (180 / math.pi)


def tone_of(angle_deg: float) -> int:
    """Which of :data:`TONES` an angle belongs to."""
    return sum(angle_deg <= edge for edge in TONE_EDGES_DEG)
