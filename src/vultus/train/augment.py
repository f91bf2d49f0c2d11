"""What is done to training samples by chance: the crop is moved, so that picture and truth move together; then the picture alone is changed.

Feng et al., ECCV 2018, section 3.3 (docs/training.md says which numbers are the paper's). All chance comes from the generator that is given.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..geometry.position_map import FaceCrop
from .config import AugmentConfig

_EXTENT = (0.1, 0.45)  # sides of an occluder, in sides of the crop
_CELLS = (2, 24)  # how many cells of noise an occluder is across


def moved(crop: FaceCrop, config: AugmentConfig, rng: np.random.Generator) -> FaceCrop:
    """The crop turned about its centre, shifted, and drawn larger or smaller."""
    turn = math.radians(rng.uniform(-config.rotation_deg, config.rotation_deg))
    dx, dy = rng.uniform(-config.translation, config.translation, 2) * crop.side_px
    x, y = crop.centre_px
    side = crop.side_px / rng.uniform(*config.scale)  # the face is larger in a smaller square
    return replace(
        crop, centre_px=(x + float(dx), y + float(dy)), side_px=float(side), roll_rad=crop.roll_rad + turn
    )


def recoloured(image: Tensor, config: AugmentConfig, rng: np.random.Generator) -> Tensor:
    """Channels of an image "3 h w" multiplied by one number each, clipped to [0, 1]."""
    factors = torch.from_numpy(rng.uniform(*config.colour, 3).astype(np.float32))
    return (image * factors[:, None, None]).clamp_(0, 1)


def worsened(image: Tensor, config: AugmentConfig, rng: np.random.Generator) -> Tensor:
    """An image "3 h w" as a poor camera, or a great distance, would have shown it: soft, grey, or both. Ours, not the paper's."""
    if config.grey and rng.random() < config.grey:
        image = image.mean(0, keepdim=True).expand_as(image).contiguous()
    if config.soften and rng.random() < config.soften:
        height, width = image.shape[-2:]
        times = float(rng.uniform(1.5, 5.0))
        small = (max(8, round(height / times)), max(8, round(width / times)))
        shrunk = F.interpolate(image[None], small, mode="area")
        image = F.interpolate(shrunk, (height, width), mode="bilinear", align_corners=False)[0]
    return image


def occluded(
    image: Tensor, mask: Tensor, config: AugmentConfig, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Patches of noise over an image "3 h w", and the mask "h w" of what is seen of the face without what they cover."""
    if config.most_occluders == 0 or rng.random() >= config.occluders:
        return image, mask
    for _ in range(int(rng.integers(1, config.most_occluders + 1))):
        cover = _patch(image.shape[-2:], rng)
        image = torch.where(cover, _noise(image.shape[-2:], rng), image)
        mask = mask * ~cover
    return image, mask


def _patch(size: torch.Size, rng: np.random.Generator) -> Tensor:
    """A turned rectangle or ellipse somewhere: "h w" bool."""
    height, width = size
    x, y = rng.uniform(0, 1, 2)
    a, b = rng.uniform(*_EXTENT, 2) / 2
    angle, round_ = rng.uniform(0, math.pi), rng.random() < 0.5
    columns = (torch.arange(width) + 0.5) / width - float(x)
    rows = (torch.arange(height) + 0.5)[:, None] / height - float(y)
    u = (math.cos(angle) * columns + math.sin(angle) * rows) / float(a)
    v = (math.cos(angle) * rows - math.sin(angle) * columns) / float(b)
    return u * u + v * v < 1 if round_ else torch.maximum(u.abs(), v.abs()) < 1


def _noise(size: torch.Size, rng: np.random.Generator) -> Tensor:
    """A texture "3 h w": noise of one coarseness about one colour."""
    cells = int(rng.integers(*_CELLS))
    grain = torch.from_numpy(rng.uniform(-0.5, 0.5, (1, 3, cells, cells)).astype(np.float32))
    colour = torch.from_numpy(rng.uniform(0, 1, 3).astype(np.float32))[:, None, None]
    strength = float(rng.uniform(0.1, 1.0))
    texture = F.interpolate(grain, tuple(size), mode="bilinear", align_corners=False)[0]
    return (colour + strength * texture).clamp_(0, 1)
