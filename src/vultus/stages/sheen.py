"""Highlights: brighter than the skin around them, and greyer, for they show the lamp's colour instead of the skin's."""

from __future__ import annotations

import torch
from torch import Tensor

from ..fit.line_filter import blurred
from .plain_skin import plain_skin, slow_part, weighted_median
from .skin_look import SkinLook

_HUE_REACH_MM = 45.0
_GREYER = 0.06  # than most of the skin: probably shiny
_PALE = 1.2  # times the skin around: what is no brighter is no highlight
_CLEARLY_BRIGHTER, _EXCESS_KEPT = 0.2, 0.1  # than the skin around, relative to its brightness
_HUE_RESTORED = 0.9
_STRAYING = 3.0  # times as fast as hue is lost, other shifts of hue are taken for the camera's
_HARDLY_COLOURED = 1e-3
_AROUND_FEATURES_MM = 4.0
_SOFT_TEXELS = 2.0


def usual_colour(look: SkinLook, unlit: Tensor, albedo: Tensor, plain: Tensor, bright: Tensor) -> Tensor:
    """The colour "3 b b" of the skin around each texel, highlights left out.

    Its brightness is the model's, for slow differences to that have been taken off as light; its hue is the photo's. Where the model has
    brows and lips it is that of the skin beside them: the photo's own may lie elsewhere.

    Args:
        unlit: "3 b b" linear, photo over all of the light. albedo: "3 b b", the model's.
        plain: "b b", trust as plain skin. bright: "b b" in [0, 1], lit more than expected.
    """
    albedo = _without_features(look, albedo)
    brightness, expected = unlit.mean(0), albedo.mean(0).clamp_min(1e-3)
    level = weighted_median(brightness / expected, plain).clamp(0.05, 20)
    usual_share = albedo / expected
    share = unlit / brightness.clamp_min(1e-3)
    typical = torch.stack([weighted_median(channel, plain) for channel in share - usual_share])[:, None, None]
    greyness = share.amin(0)
    matt = plain / (1 + ((greyness - weighted_median(greyness, plain)).clamp_min(0) / _GREYER) ** 2) ** 2
    difference = slow_part(look, share - usual_share - typical, matt * (1 - 0.9 * bright), _HUE_REACH_MM)
    share = (usual_share + typical + difference).clamp_min(0.05)
    return (level * expected * share / share.mean(0)).clamp_min(0.005)


def _without_features(look: SkinLook, albedo: Tensor) -> Tensor:
    """The model's albedo "3 b b" with plain skin in place of brows, lips, eyes and nostrils."""
    plain = plain_skin(look)
    beside = slow_part(look, albedo, plain, _AROUND_FEATURES_MM)
    known = slow_part(look, plain[None], plain, _AROUND_FEATURES_MM).clamp_min(1e-3)
    return torch.lerp(beside / known, albedo, blurred(plain[None], _SOFT_TEXELS) * plain)


def dulled(unlit: Tensor, usual: Tensor, bright: Tensor) -> Tensor:
    """Colours without highlights: what is clearly brighter than usual keeps a tenth of the excess, and gets back the hue it lost to white.

    A highlight adds the lamp's white to the skin's colour (the dichromatic model, Shafer 1985), and the channel that is strongest in skin is the
    first that a camera clips. How much is read from what that channel has lost, so redness and freckles stay, which have lost nothing.

    Args:
        unlit: "3 h w" linear, photo over light. usual: "3 h w", the skin around each texel.
        bright: "1 h w" in [0, 1], where a shine may be broader than the skin that it is compared with.
    """
    brightness, level = unlit.mean(0).clamp_min(1e-4), usual.mean(0).clamp_min(1e-4)
    excess = (brightness / level - _PALE).clamp_min(0)
    wanted = torch.where(excess > 0, level * (_PALE + _EXCESS_KEPT * excess), brightness)
    hue, colourful = unlit / brightness - 1, usual / level - 1
    kept = (hue * colourful).sum(0) / colourful.square().sum(0).clamp_min(_HARDLY_COLOURED)
    strongest = colourful.argmax(0, keepdim=True)
    lost = 1 - hue.gather(0, strongest)[0] / colourful.gather(0, strongest)[0].clamp_min(_HARDLY_COLOURED)
    shiny = torch.maximum(bright[0], (excess / _CLEARLY_BRIGHTER).clamp(0, 1))
    restored = _HUE_RESTORED * shiny * lost.clamp(0, 1)
    stray = (hue - kept * colourful) * (1 - (_STRAYING * restored).clamp_max(1))
    return wanted * (1 + torch.minimum(kept + restored, kept.clamp_min(1)) * colourful + stray)
