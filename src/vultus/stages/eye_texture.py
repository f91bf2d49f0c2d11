"""A drawn eye: fibres, limbal ring, pupil, a white with veins and the shadow of the lids.

Raw pixels would carry lids, lashes and highlights along, and look wrong as soon as the eye moves.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..model.morphable import MorphableModel
from ..render.shade import srgb_from_linear
from .eye_colour import EyeColour, iris_radius, polar

PUPIL = 0.35  # radius in iris radii, indoors
_FIBRES = 96
_SEED = 4


def eye_texture(model: MorphableModel, part: str, colour: EyeColour, size: int = 256) -> Tensor:
    """The eyeball's texture "3 s s" sRGB: straight ahead is the centre, u towards the subject's left, v down.

    Everything is drawn in linear light relative to the measured colours, so the zone where the iris was measured keeps its colour
    on average.
    """
    radius, angle = polar(2 * size, colour.iris)  # twice as large, then averaged: no jagged rings
    relative = radius / iris_radius(model, part)
    noise = torch.Generator().manual_seed(_SEED + model.part_names.index(part))
    fibres = _fibres(relative, angle, noise)
    shadow = _lid_shadow(radius, angle)
    iris = _iris(relative, fibres, colour.iris, shadow)
    white = _white(relative, angle, colour.white, noise)
    inside = 1 - _step(relative, 0.97, 1.05)
    image = torch.lerp(white, iris, inside)
    image = image * shadow
    return srgb_from_linear(F.avg_pool2d(image[None], 2)[0]).clamp(0, 1)


def _iris(relative: Tensor, fibres: Tensor, colour: Tensor, shadow: Tensor) -> Tensor:
    """Linear RGB: lighter and warmer around the pupil (collarette), streaked, dark towards the limbus; black pupil.

    The colour was measured in the lids' shadow "h w", which will be laid over the iris again: it is taken off here.
    """
    collarette = torch.exp(-(((relative - 0.50) / 0.10) ** 2))
    shade = (0.92 + 0.55 * fibres) * (1 + 0.18 * collarette)
    shade = shade * (1 - 0.62 * _step(relative, 0.80, 1.0)) * (1 - 0.25 * _step(-relative, -0.46, -0.38))
    warm = colour.new_tensor([1.12, 1.0, 0.82])[:, None, None]
    tint = 1 + (warm - 1) * (0.8 * collarette)
    zone = (relative > 0.45) & (relative < 0.85)
    iris = colour[:, None, None] * shade.clamp_min(0.25) * tint
    iris = iris * (colour / (iris * shadow)[:, zone].mean(1).clamp_min(1e-5))[:, None, None]
    pupil = 0.05 * colour[:, None, None] + 0.002
    return torch.lerp(pupil.expand_as(iris), iris, _step(relative, PUPIL - 0.025, PUPIL + 0.025))


def _fibres(relative: Tensor, angle: Tensor, noise: torch.Generator) -> Tensor:
    """Streaks that run from the pupil outwards, wavering a little: "h w" around zero."""
    total = torch.zeros_like(relative)
    for count, rings, weight in ((_FIBRES, 3, 0.55), (_FIBRES // 2, 4, 0.35), (24, 3, 0.25), (9, 3, 0.15)):
        total = total + weight * _polar_noise(relative, angle, count, rings, noise)
    return 0.5 * total


def _polar_noise(relative: Tensor, angle: Tensor, count: int, rings: int, noise: torch.Generator) -> Tensor:
    """Smooth noise with ``count`` values around and ``rings`` from the centre to 1.2 iris radii; periodic in the angle."""
    values = torch.randn(rings, count, generator=noise).to(relative)
    values = torch.cat([values, values[:, :2]], 1)
    around = (angle / (2 * math.pi) + 0.5) * count + 0.5
    grid = torch.stack([(around + 0.5) * (2 / (count + 2)) - 1, relative / 0.6 - 1], -1)
    return F.grid_sample(values[None, None], grid[None], "bicubic", "border", align_corners=False)[0, 0]


def _white(relative: Tensor, angle: Tensor, colour: Tensor, noise: torch.Generator) -> Tensor:
    """Linear RGB of the sclera: bluish beside the iris, redder and veined towards the corners of the eye."""
    sideways = (relative * torch.cos(angle)).abs()
    redness = 0.16 * _step(sideways, 1.3, 2.6) + 0.03
    wandering = angle + 0.10 * _polar_noise(relative / 3, angle, 40, 9, noise)
    ridge = 1 - _polar_noise(relative / 3, wandering, 56, 4, noise).abs() / 0.10
    veins = ridge.clamp(0, 1) * _step(relative, 1.25, 2.0) * (0.25 + 0.75 * _step(sideways, 1.0, 2.2))
    red = colour.new_tensor([1.0, 0.52, 0.46])[:, None, None]
    amount = (redness + 0.22 * veins).clamp(0, 0.5)
    return colour[:, None, None] * (1 + (red - 1) * amount)


def _lid_shadow(radius: Tensor, angle: Tensor) -> Tensor:
    """How much light passes the lids: less from above, a little less from below and towards the corners."""
    right, down = radius * torch.cos(angle), radius * torch.sin(angle)
    above, below = _step(-down, 0.01, 0.14), _step(down, 0.10, 0.24)
    return (1 - 0.68 * above) * (1 - 0.22 * below) * (1 - 0.30 * _step(right.abs(), 0.16, 0.36))


def _step(x: Tensor, low: float, high: float) -> Tensor:
    """Smoothly from 0 at ``low`` to 1 at ``high``."""
    t = ((x - low) / (high - low)).clamp(0, 1)
    return t * t * (3 - 2 * t)
