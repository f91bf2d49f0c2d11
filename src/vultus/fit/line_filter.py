"""Dark lines in a map: where they are, how surely, and the map smoothed along them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

_DIRECTIONS = 8
_SEGMENT_MM = 1.8  # standard deviation along a line within which it counts as straight
_GOES_ON_MM = 4.0  # from a point of a line to where it must still be one
_SPOT, _LINE = 0.2, 0.5  # of its answer there: of a spot, of a line that ends here
_DIRECTION_OVER_MM = 0.8
_FAINT = 0.002  # brightness below which nothing is called a line, be the skin as even as it may
_MANY = 20000  # texels that are enough for a median


@dataclass(frozen=True)
class Lines:
    """What :func:`find_lines` sees, "h w" each.

    Attributes:
        strength: of dark lines, in multiples of what the texture of this skin does by chance.
        spots: the same, of what is darker than its surroundings in every direction.
        smoothed: the image smoothed along the lines.
    """

    strength: Tensor
    spots: Tensor
    smoothed: Tensor


def find_lines(image: Tensor, texel_mm: float, weight: Tensor, widths_mm: tuple[float, ...]) -> Lines:
    """Find dark lines in an image "h w".

    Second derivatives of Gaussians across eight directions, longer than wide (Freeman and Adelson, "The design and use of steerable
    filters", 1991, without the steering). A spot answers as well as a line does, but not a little further along: an answer
    counts only as far as it goes on there. The image is smoothed in the direction that answers most around each texel, dark or bright,
    which takes out pores and noise and leaves creases; so is the strength, which closes gaps in a line.

    Args:
        weight: "h w" in [0, 1]; what is usual for this skin is measured where it is high.
        widths_mm: half-widths of the lines looked for.
    """
    reach = max(3, math.ceil(2.2 * _SEGMENT_MM / texel_mm))
    axis = torch.arange(-reach, reach + 1, dtype=image.dtype, device=image.device) * texel_mm
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    turns = [math.pi * k / _DIRECTIONS for k in range(_DIRECTIONS)]
    along = torch.stack([x * math.cos(t) + y * math.sin(t) for t in turns]) / _SEGMENT_MM
    across = torch.stack([y * math.cos(t) - x * math.sin(t) for t in turns])
    steps = [
        (round(_GOES_ON_MM / texel_mm * math.cos(t)), round(_GOES_ON_MM / texel_mm * math.sin(t)))
        for t in turns
    ]
    strength, spots, energy = [], [], torch.zeros_like(image)
    for width_mm in widths_mm:
        ridge = ((across / width_mm) ** 2 - 1) * torch.exp(-0.5 * ((across / width_mm) ** 2 + along**2))
        ridge = ridge - ridge.mean((1, 2), keepdim=True)
        answer = _filtered(image, ridge / ridge.abs().sum((1, 2), keepdim=True))
        answer = answer / (_usual(answer, weight) + _FAINT)
        energy = energy + answer.square()
        continued = [
            0.5 * (a.roll((-dy, -dx), (0, 1)) + a.roll((dy, dx), (0, 1)))
            for a, (dx, dy) in zip(answer, steps)
        ]
        share = torch.stack(continued) / answer.clamp_min(_FAINT)
        strength.append((answer * ((share - _SPOT) / (_LINE - _SPOT)).clamp(0, 1)).amax(0))
        spots.append(answer.amin(0))
    direction = blurred(energy, _DIRECTION_OVER_MM / texel_mm).argmax(0, keepdim=True)
    smooth = torch.exp(-0.5 * ((across / (0.5 * min(widths_mm))) ** 2 + along**2))
    smooth = smooth / smooth.sum((1, 2), keepdim=True)
    strongest = torch.stack(strength).amax(0)
    along_lines = [_filtered(each, smooth).gather(0, direction)[0] for each in (image, strongest)]
    return Lines(torch.maximum(along_lines[1], strongest), torch.stack(spots).amax(0), along_lines[0])


def blurred(image: Tensor, sigma: float) -> Tensor:
    """A Gaussian blur of "c h w" by ``sigma`` texels, cut at three sigma; beyond the border the map goes on as at it."""
    reach = max(1, round(3 * sigma))
    offsets = torch.arange(-reach, reach + 1, dtype=image.dtype, device=image.device)
    kernel = torch.exp(-0.5 * (offsets / max(sigma, 1e-3)) ** 2)
    kernel = (kernel / kernel.sum()).expand(len(image), 1, 1, -1)
    padded = F.pad(image[None], (reach,) * 4, mode="replicate")
    rows = F.conv2d(padded, kernel, groups=len(image))
    return F.conv2d(rows, kernel.transpose(-1, -2), groups=len(image))[0]


def _filtered(image: Tensor, kernels: Tensor) -> Tensor:
    """Correlations of "h w" with kernels "k r r": "k h w"."""
    reach = kernels.shape[-1] // 2
    return F.conv2d(F.pad(image[None, None], (reach,) * 4, mode="replicate"), kernels[:, None])[0]


def _usual(answer: Tensor, weight: Tensor) -> Tensor:
    """The typical size of answers "k h w" on trusted skin, as a standard deviation."""
    known = answer[:, weight > 0.3].abs()
    if not known.numel():
        return answer.new_zeros(())
    return 1.5 * known[:, :: max(1, known.shape[1] // _MANY)].median()
