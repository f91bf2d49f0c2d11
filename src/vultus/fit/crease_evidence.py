"""Which changes of brightness on a face may be shape: creases are long, colourless and have two flanks; spots, hair and freckles are not.

Everything happens in maps of the face chart, so lengths are taken from the map's metric.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..geometry.chart_map import metric
from .poisson import solve_screened_poisson, surface_conductance

_BRIGHTEST, _DARKEST = 0.15, -0.40  # logarithms: beyond is a highlight, or hair and the inside of folds
_COLOURED, _COLOUR_OF_HOLLOWS = 0.05, 0.35
_DOUBTFUL_LINE, _SURE_LINE = 1.5, 3.5  # multiples of what the skin's texture does by chance
_FAINT = 0.002  # brightness below which nothing is called a line, be the skin as even as it may
_DIRECTIONS = 8
_SEGMENT_MM = 1.4  # of a line whose direction is looked at
_BANKS_MM = 1.2  # beside a line, which belong to it


@dataclass(frozen=True)
class EvidenceOptions:
    """Knobs of :func:`crease_evidence`.

    Attributes:
        reach_mm: brightness that varies more slowly than this is albedo, light or large shape, and is taken out.
        widths_mm: of the creases looked for.
    """

    reach_mm: float = 1.8
    widths_mm: tuple[float, ...] = (0.6, 1.1)


@dataclass(frozen=True)
class CreaseEvidence:
    """Maps "h w" for :func:`~vultus.fit.displacement.fit_displacement`.

    Attributes:
        brightness: logarithm, low frequencies removed. weight: trust in it as shading. hollow: whether darkness means depth.
    """

    brightness: Tensor
    weight: Tensor
    hollow: Tensor


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
    brightness, colour = detail[0], detail[1:].abs().amax(0)
    excess = (colour - _COLOUR_OF_HOLLOWS * brightness.abs()).clamp_min(0)
    colourless = 1 / (1 + (excess / _COLOURED) ** 2)
    clipped = brightness.clamp(_DARKEST, _BRIGHTEST)
    texel_mm = float(metric(position).area_mm2.median().clamp_min(1e-6).sqrt())
    lines = [find_lines(clipped, texel_mm, weight, width) for width in options.widths_mm]
    line = torch.stack([found.strength for found in lines]).amax(0)
    ramp = ((line - _DOUBTFUL_LINE) / (_SURE_LINE - _DOUBTFUL_LINE)).clamp(0, 1)
    # Twice the blurred lines: full on a line and its banks, fading beyond.
    hollow = (2.5 * blurred(ramp[None], _BANKS_MM / texel_mm)[0]).clamp_max(1)
    hollow = hollow * blurred(colourless[None], 0.4 / texel_mm)[0]
    trust = weight * colourless
    return CreaseEvidence(lines[0].smoothed, trust, hollow)


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


@dataclass(frozen=True)
class Lines:
    """What :func:`find_lines` sees: ``strength`` "h w" and the image "h w" smoothed along the lines."""

    strength: Tensor
    smoothed: Tensor


def find_lines(image: Tensor, texel_mm: float, weight: Tensor, width_mm: float) -> Lines:
    """How surely each texel of "h w" lies on a dark line, in multiples of what the texture of this skin does by chance.

    Second derivatives of Gaussians across eight directions, longer than wide. A spot answers as well as a line does, but not a little
    further along: the answer counts only as far as it goes on there. The image is smoothed in the direction that answers most
    around each texel, dark or bright, which takes out pores and noise and leaves creases.
    """
    reach = max(3, math.ceil(2.5 * _SEGMENT_MM / texel_mm))
    axis = torch.arange(-reach, reach + 1, dtype=image.dtype, device=image.device) * texel_mm
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    across_kernels, along_kernels, shifts = [], [], []
    for k in range(_DIRECTIONS):
        cosine, sine = math.cos(math.pi * k / _DIRECTIONS), math.sin(math.pi * k / _DIRECTIONS)
        along, across = (x * cosine + y * sine) / _SEGMENT_MM, y * cosine - x * sine
        ridge = ((across / width_mm) ** 2 - 1) * torch.exp(-0.5 * ((across / width_mm) ** 2 + along**2))
        across_kernels.append((ridge - ridge.mean()) / ridge.abs().sum())
        smooth = torch.exp(-0.5 * ((across / (0.5 * width_mm)) ** 2 + along**2))
        along_kernels.append(smooth / smooth.sum())
        step = 1.8 * _SEGMENT_MM / texel_mm
        shifts.append((round(step * cosine), round(step * sine)))
    padded = F.pad(image[None, None], (reach,) * 4, mode="replicate")
    answer = F.conv2d(padded, torch.stack(across_kernels)[:, None])[0]
    smoothed = F.conv2d(padded, torch.stack(along_kernels)[:, None])[0]
    direction = blurred(answer.square(), 0.8 / texel_mm).argmax(0, keepdim=True)
    known = answer[:, weight > 0.3].abs()
    known = known[:, :: max(1, known.shape[1] // 20000)]
    usual = 1.5 * known.median() if known.numel() else answer.new_zeros(())
    continued = torch.stack(
        [0.5 * (a.roll((-dy, -dx), (0, 1)) + a.roll((dy, dx), (0, 1))) for a, (dx, dy) in zip(answer, shifts)]
    )
    strength = torch.minimum(answer, 1.5 * continued).amax(0) / (usual + _FAINT)
    return Lines(strength, smoothed.gather(0, direction)[0])


def blurred(image: Tensor, sigma: float) -> Tensor:
    """A Gaussian blur of "c h w" by ``sigma`` texels, cut at three sigma; beyond the border the map goes on as at it."""
    reach = max(1, round(3 * sigma))
    offsets = torch.arange(-reach, reach + 1, dtype=image.dtype, device=image.device)
    kernel = torch.exp(-0.5 * (offsets / max(sigma, 1e-3)) ** 2)
    kernel = (kernel / kernel.sum()).expand(len(image), 1, 1, -1)
    padded = F.pad(image[None], (reach,) * 4, mode="replicate")
    rows = F.conv2d(padded, kernel, groups=len(image))
    return F.conv2d(rows, kernel.transpose(-1, -2), groups=len(image))[0]
