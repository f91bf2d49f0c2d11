"""Second-order spherical-harmonic light on Lambertian skin.

A light is the distant radiance around the head, projected on the nine real orthonormal spherical harmonics up to order two: "... 3 9",
a row per colour channel (27 numbers), in linear RGB. It lives in the **camera frame** (x right, y down, z forward), so it stays with the
photo when the head turns: pass normals in that frame; a face that looks at the camera has normals near (0, 0, -1).

Reflected light is albedo / pi times irradiance, and irradiance is the radiance convolved with the clamped cosine, which in this
basis is a factor per band: pi, 2 pi / 3, pi / 4 (Ramamoorthi & Hanrahan, "An efficient representation for irradiance environment maps",
SIGGRAPH 2001, eq. 8-10). Uniform radiance 1 therefore shows the albedo itself.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

COSINE_LOBE = (1.0,) + (2 / 3,) * 3 + (1 / 4,) * 5
"""The clamped cosine's factor for each basis function, divided by pi."""

_CONSTANT_SHARE, _MOST_HUE = 0.05, 3.0
_Y0 = math.sqrt(1 / (4 * math.pi))
_Y1 = math.sqrt(3 / (4 * math.pi))
_Y2 = math.sqrt(15 / (4 * math.pi))
_Y20 = math.sqrt(5 / (16 * math.pi))
_Y22 = math.sqrt(15 / (16 * math.pi))


def sh_basis(normals: Tensor) -> Tensor:
    """Real orthonormal spherical harmonics of unit vectors "... 3" -> "... 9".

    Order (l, m): 00, 1-1 (y), 10 (z), 11 (x), 2-2 (xy), 2-1 (yz), 20, 21 (xz), 22; all positive multiples of the monomials.
    """
    x, y, z = normals.unbind(-1)
    one = torch.ones_like(x)
    quadratic = (_Y2 * x * y, _Y2 * y * z, _Y20 * (3 * z * z - 1), _Y2 * x * z, _Y22 * (x * x - y * y))
    return torch.stack([_Y0 * one, _Y1 * y, _Y1 * z, _Y1 * x, *quadratic], -1)


def shading(normals: Tensor, light: Tensor) -> Tensor:
    """What a white surface reflects: unit normals "... n 3" and light "... 3 9" -> "... n 3", linear RGB.

    A second-order light may come out slightly negative on the far side of a hard lamp; it is not clamped, to keep the gradient.
    """
    return (sh_basis(normals) * normals.new_tensor(COSINE_LOBE)) @ light.transpose(-1, -2)


def shade(albedo: Tensor, normals: Tensor, light: Tensor) -> Tensor:
    """Reflected linear RGB "... n 3" of albedo "... n 3" with unit normals "... n 3" under light "... 3 9"."""
    return albedo * shading(normals, light)


def in_one_hue(light: Tensor) -> Tensor:
    """A light "3 9" whose every order has the hue of the constant one: what all channels share, for lamps differ in hue less than skin does.

    Behind one hard lamp the constant term may come out at nothing or less, and says nothing about the lamp's hue: then it is grey.
    """
    grey, constant = light.mean(0), light[:, :1]
    lit = grey[:1] > _CONSTANT_SHARE * grey.abs().max()
    hue = torch.where(lit, constant / grey[:1], torch.ones_like(constant)).clamp(0, _MOST_HUE)
    return grey * hue


def ambient_and_directional(ambient: Tensor, colour: Tensor, towards_light: Tensor) -> Tensor:
    """Uniform light plus one distant lamp: a light "... 3 9".

    Args:
        ambient: "... 3" linear RGB; alone it shows albedo times this.
        colour: "... 3" linear RGB of a white surface that faces the lamp (6 % more in a second-order light: the clamped
            cosine's series stops at 1.0625 there).
        towards_light: "... 3", the direction to the lamp in the camera frame, any length.
    """
    basis = sh_basis(torch.nn.functional.normalize(towards_light, dim=-1))
    lamp = math.pi * colour[..., :, None] * basis[..., None, :]
    constant = torch.zeros_like(lamp[..., 0, :])
    constant[..., 0] = 1 / _Y0
    return ambient[..., :, None] * constant[..., None, :] + lamp


def frontal_light(*, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu") -> Tensor:
    """A soft lamp above the camera and some ambient light, "3 9": for previews and as the start of a fit."""
    grey = torch.ones(3, dtype=dtype, device=device)
    return ambient_and_directional(
        0.45 * grey, 0.5 * grey, torch.tensor([0.0, -0.4, -1.0], dtype=dtype, device=device)
    )


def light_from_gamma(gamma: Tensor) -> Tensor:
    """The 27 light coefficients of Deep3D and HRN ("... 27", channel by channel) -> light "... 3 9" in our camera frame.

    Their colour is albedo * sum_k (gamma_k + 0.8 [k = 0]) H_k(n) with H = (a0 c0, -a1 c1 y, a1 c1 z, -a1 c1 x, a2 c2 xy, -a2 c2 yz,
    a2 c2 (3 z^2 - 1) / (2 sqrt 3), -a2 c2 xz, a2 c2 (x^2 - y^2) / 2), a = (pi, 2 pi / sqrt 3, 2 pi / sqrt 8), c = (1, sqrt 3, 3 sqrt 5 / sqrt 3) / sqrt(4 pi),
    with y up and z towards the viewer. The same functions as ours up to a factor each, so the conversion is exact. Mind that their colours
    are sRGB values used as if they were linear: only the shape of the light carries over, not its contrast.
    Source: Deng et al., "Accurate 3D face reconstruction with weakly-supervised learning", CVPRW 2019, as in the authors' code.
    """
    return (gamma.unflatten(-1, (3, 9)) + gamma.new_tensor(_GAMMA_OFFSET)) * gamma.new_tensor(
        _LIGHT_PER_GAMMA
    )


def gamma_from_light(light: Tensor) -> Tensor:
    """Inverse of :func:`light_from_gamma`: "... 3 9" -> "... 27"."""
    return (light / light.new_tensor(_LIGHT_PER_GAMMA) - light.new_tensor(_GAMMA_OFFSET)).flatten(-2)


def _light_per_gamma() -> tuple[float, ...]:
    root = math.sqrt(4 * math.pi)
    band1 = 2 * math.pi / math.sqrt(3) * math.sqrt(3) / root
    band2 = 2 * math.pi / math.sqrt(8) * 3 * math.sqrt(5) / math.sqrt(12 * math.pi)
    theirs = [math.pi / root] + [band1] * 3 + [band2, band2, band2 / (2 * math.sqrt(3)), band2, band2 / 2]
    ours = [_Y0] + [_Y1] * 3 + [_Y2, _Y2, _Y20, _Y2, _Y22]
    # Theirs at (x, -y, -z) of ours: their own minus signs on y, x, yz, xz times the flips of y, z, xy, xz.
    signs = (1, 1, -1, -1, -1, -1, 1, 1, 1)
    return tuple(s * t / (o * lobe) for s, t, o, lobe in zip(signs, theirs, ours, COSINE_LOBE, strict=True))


_GAMMA_OFFSET = (0.8,) + (0.0,) * 8
_LIGHT_PER_GAMMA = _light_per_gamma()
