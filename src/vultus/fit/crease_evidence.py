"""Which changes of brightness on a face may be shape: creases are long, colourless and have two flanks; spots, hair and freckles are not.

Everything happens in maps of the face chart, so lengths are taken from the map's metric.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..geometry.chart_map import metric
from .line_filter import blurred, find_lines
from .poisson import solve_screened_poisson, surface_conductance

_BRIGHTEST, _DARKEST = 0.15, -0.30  # logarithms: beyond is a highlight, or hair and the inside of folds
_PERHAPS_COLOURED, _COLOURED = 0.04, 0.12
_COLOUR_OF_HOLLOWS, _COLOUR_OVER_MM = 0.35, 0.7
_DOUBTFUL_LINE, _SURE_LINE = 2.0, 4.0  # multiples of what the skin's texture does by chance
_PERHAPS_SPOT, _SPOT = 1.5, 3.5
_AROUND_SPOTS_MM = 1.2
_BANKS_MM = 1.2  # beside a line, which belong to it
_ROUGH_OVER_MM = 3.0
_PERHAPS_HAIR, _SURELY_HAIR = 1.6, 2.3  # times as rough as the smoother part of the face
_LEAST_ROUGH = 0.002


@dataclass(frozen=True)
class EvidenceOptions:
    """Knobs of :func:`crease_evidence`.

    Attributes:
        reach_mm: brightness that varies more slowly than this is albedo, light or large shape, and is taken out.
        widths_mm: half-widths of the creases looked for.
    """

    reach_mm: float = 1.8
    widths_mm: tuple[float, ...] = (0.6, 1.1, 1.8)


@dataclass(frozen=True)
class CreaseEvidence:
    """Maps "h w" for :func:`~vultus.fit.displacement.fit_displacement`.

    Attributes:
        brightness: logarithm, low frequencies removed. weight: trust in it as shading. hollow: whether darkness means depth.
        noise: typical brightness of what is no crease: pores, freckles, the camera's noise.
    """

    brightness: Tensor
    weight: Tensor
    hollow: Tensor
    noise: float


def crease_evidence(
    log_light: Tensor, position: Tensor, weight: Tensor, options: EvidenceOptions | None = None
) -> CreaseEvidence:
    """Sort a photo's colours on the surface into what may be shading of creases and what is not.

    Args:
        log_light: "3 h w", logarithm of the linear RGB that the photo shows, over the shading of the smooth surface.
        position: "3 h w" mm. weight: "h w" in [0, 1], how far the photo shows skin there.
    """
    options = options or EvidenceOptions()
    luminance = (
        log_light.exp().mul(log_light.new_tensor([0.2126, 0.7152, 0.0722])[:, None, None]).sum(0).log()
    )
    signals = torch.stack([luminance, log_light[0] - log_light[1], log_light[0] - log_light[2]])
    detail = high_pass(signals, position, weight, options.reach_mm)
    texel_mm = float(metric(position).area_mm2.median().clamp_min(1e-6).sqrt())
    clipped = detail[0].clamp(_DARKEST, _BRIGHTEST)
    lines = find_lines(clipped, texel_mm, weight, options.widths_mm)
    colourless = 1 - _ramp(colour_excess(detail, texel_mm), _PERHAPS_COLOURED, _COLOURED)
    spots = blurred(_ramp(lines.spots, _PERHAPS_SPOT, _SPOT)[None], _AROUND_SPOTS_MM / texel_mm)[0]
    # More than the blurred lines: full on a line and its banks, fading beyond.
    near = (
        2.5 * blurred(_ramp(lines.strength, _DOUBTFUL_LINE, _SURE_LINE)[None], _BANKS_MM / texel_mm)[0]
    ).clamp_max(1)
    hollow = near * colourless * (1 - 6 * spots).clamp(0, 1)
    trust = weight * colourless * bare_skin(clipped - lines.smoothed, texel_mm, weight)
    plain = lines.smoothed[(weight > 0.5) & (hollow < 0.1)]
    noise = 1.48 * float(plain.abs().median()) if len(plain) else 0.0
    return CreaseEvidence(lines.smoothed, trust, hollow, noise)


def colour_excess(detail: Tensor, texel_mm: float) -> Tensor:
    """How much more the hue changes than it does in hollows, "h w".

    Shading leaves the hue alone; light that has been reflected inside a hollow is redder, about in proportion. Spots change it more.

    Args:
        detail: "3 h w", logarithms of brightness and of two ratios of channels, low frequencies removed.
    """
    smooth = blurred(detail, _COLOUR_OVER_MM / texel_mm)
    return smooth[1:].abs().amax(0) - _COLOUR_OF_HOLLOWS * smooth[0].abs()


def bare_skin(texture: Tensor, texel_mm: float, weight: Tensor) -> Tensor:
    """Where no hair grows, "h w" in [0, 1]: beards and stubble are rougher than the smoother part of the same face.

    Args:
        texture: "h w", what has no direction in the brightness.
    """
    sums = blurred(torch.stack([texture.abs() * weight, weight]), _ROUGH_OVER_MM / texel_mm)
    rough = sums[0] / sums[1].clamp_min(1e-3)
    seen = rough[weight > 0.5]
    if not len(seen):
        return torch.ones_like(weight)
    usual = seen[:: max(1, len(seen) // 20000)].quantile(0.25).clamp_min(_LEAST_ROUGH)
    return ((_SURELY_HAIR - rough / usual) / (_SURELY_HAIR - _PERHAPS_HAIR)).clamp(0, 1)


def high_pass(signals: Tensor, position: Tensor, weight: Tensor, reach_mm: float) -> Tensor:
    """Signals "c h w" without what varies slowly along the surface, as far as ``weight`` "h w" trusts them.

    The slow part minimises weight (x - signal)^2 + reach^2 |grad x|^2 over the surface, at half the resolution, robustly (twice).
    """
    half = lambda image: F.avg_pool2d(image[None], 2)[0]  # noqa: E731
    share = half(weight[None])
    small = half(signals * weight) / share.clamp_min(1e-6)
    small_position = half(position)
    conductance = surface_conductance(small_position)
    area = metric(small_position).area_mm2 / reach_mm**2
    trust = share[0]
    slow = torch.zeros_like(small)
    for _ in range(2):
        screening = area * trust.clamp_min(1e-4)
        slow = solve_screened_poisson(-screening * small, screening, conductance=conductance, cycles=4)
        rest = (small[0] - slow[0]).abs()
        typical = (rest * share[0]).sum() / share.sum().clamp_min(1e-6)
        trust = share[0] / (1 + (rest / (2 * typical + 1e-4)) ** 2)
    slow = F.interpolate(slow[None], signals.shape[1:], mode="bilinear", align_corners=False)[0]
    return torch.where(weight > 0, signals - slow, 0)


def _ramp(values: Tensor, low: float, high: float) -> Tensor:
    """From 0 at ``low`` to 1 at ``high``."""
    return ((values - low) / (high - low)).clamp(0, 1)
