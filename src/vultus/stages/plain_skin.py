"""Where a face is plain skin, whose albedo the model knows, and maps that vary slowly along it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..fit.poisson import solve_screened_poisson, surface_conductance
from .photo_evidence import grown, texels_of
from .skin_look import BLEND_SIZE, SkinLook
from .skin_texture import texel_area

# Texels of about a millimetre around what is no plain skin: brows, lips and lashes are never quite where the model has them, and a few
# dark hairs taken for skin in shadow would brighten all the skin beside them.
_AROUND = {"brows": 4, "lips": 3, "nostrils": 3, "inner_mouth": 3, "eye_sockets": 3}
_WHERE_NOTHING_IS_KNOWN = 0.01  # of the screening: a slow map fades out over ten times its reach


def plain_skin(look: SkinLook) -> Tensor:
    """Texels "b b" in {0, 1} whose albedo the model knows: the face without brows, lips, nostrils and eyes."""
    model = look.model
    inside = (
        texels_of(model, model.regions["face"], BLEND_SIZE)
        if "face" in model.regions
        else look.evidence[0] >= 0
    )
    for name, around in _AROUND.items():
        if name in model.regions:
            inside = inside & ~grown(texels_of(model, model.regions[name], BLEND_SIZE), around)
    return inside.to(look.photo)


def bearded(look: SkinLook) -> Tensor:
    """Texels "b b" in {0, 1} where a beard may grow."""
    model = look.model
    found = torch.zeros(BLEND_SIZE, BLEND_SIZE, dtype=torch.bool, device=look.photo.device)
    for name in ("mouth", "chin"):
        if name in model.regions:
            found = found | texels_of(model, model.regions[name], BLEND_SIZE)
    return found.to(look.photo)


def slow_part(look: SkinLook, values: Tensor, weight: Tensor, reach_mm: float) -> Tensor:
    """The smooth map "c b b" nearest to trusted values: minimises weight (x - value)^2 + reach^2 |grad x|^2 on the skin.

    Where nothing is trusted it fades to zero, slowly.
    """
    half = lambda image: F.avg_pool2d(image[None], 2)[0]  # noqa: E731
    position, share = half(look.position), half(weight[None])
    small = half(values * weight) / share.clamp_min(1e-6)
    area = texel_area(position) / reach_mm**2
    screening = area * share[0]
    found = solve_screened_poisson(
        -screening * small,
        screening + _WHERE_NOTHING_IS_KNOWN * area,
        conductance=surface_conductance(position),
        cycles=4,
    )
    return F.interpolate(found[None], values.shape[1:], mode="bilinear", align_corners=False)[0]


def weighted_median(values: Tensor, weight: Tensor) -> Tensor:
    """The median of "h w" where trusted; zero if nowhere."""
    chosen = values[weight > 0.3]
    return chosen.median() if len(chosen) else values.new_zeros(())
