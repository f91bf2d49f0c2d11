"""The skin's own colour: the photo without its light.

Three things lie on the albedo of a photographed face, and each is taken off with what it can be told by: the light, as white spherical
harmonics on the known shape; what that light does not explain (cast shadows, a harder lamp, a wrong cheek), as the slow part of the brightness
between the photo and the albedo model; and highlights, which are brighter than the skin around them and lose most of their excess.
Blemishes, freckles and redness are none of these. Hues are the photo's own throughout.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ..fit.map_light import fit_map_light
from ..fit.poisson import solve_screened_poisson, surface_conductance
from ..geometry.light import shading
from ..model.face import CoarseFace
from ..render.shade import linear_from_srgb, srgb_from_linear
from .photo_evidence import texels_of
from .skin_look import BLEND_SIZE, WORK_SIZE, SkinLook, resized
from .skin_texture import complete, texel_area
from .surface_colour import mirror_gain, occluded_albedo

_DARKEST = 0.12  # of the median light: a photo shows nothing of skin that is darker
_DARK_RANK, _DARKER = 0.03, 0.8  # light on the darkest skin seen, and how much less there may be elsewhere
_SURPRISING = 0.8  # logarithm: differences in brightness that count less
_REACH_MM = 12.0  # light varies more slowly than this where the harmonics are wrong, skin faster
_HUE_REACH_MM = 45.0
_MOST_UNEVEN = 1.2  # logarithm: the darkest shadow that is believed
_USUAL_LEVEL = 0.95  # of a white surface on the face
_TRUST_IN_LEVEL, _TRUST_IN_HUE = 0.2, 0.15
_SHEEN_REACH_MM = 14.0
_PALE = 1.2  # times the skin around: what is no brighter is no highlight
_CLEARLY_BRIGHTER, _EXCESS_KEPT = 0.2, 0.1  # than the skin around, relative to its brightness
_HUE_RESTORED = 0.8
_MARGIN = 4  # texels of about a millimetre around brows and lips
_LUMINANCE = (0.2126, 0.7152, 0.0722)


@dataclass(frozen=True)
class Delighting:
    """Smooth maps "3 b b" that turn a photo into an albedo.

    Attributes:
        shading: what the fitted light makes of white skin. usual: photo over shading around each texel, highlights left out.
        plain: "1 b b" in [0, 1], skin without brows and lips, whose brightness has other reasons than sheen.
        uneven: what to divide by once highlights are gone: shadows that the fitted light does not explain.
    """

    shading: Tensor
    usual: Tensor
    uneven: Tensor
    plain: Tensor

    def apply(self, photo: Tensor, rows: tuple[int, int], size: int) -> Tensor:
        """Rows of a photo, "3 r s" sRGB -> albedo, "3 r s" sRGB."""
        maps = (self.shading, self.usual, self.uneven, self.plain)
        shade, usual, uneven, plain = (resized(part, size, rows) for part in maps)
        unlit = linear_from_srgb(photo) / shade
        matt = torch.lerp(unlit, dulled(unlit, usual), plain)
        return srgb_from_linear((matt / uneven).clamp(0, 1))


def skin_albedo(look: SkinLook, coarse: CoarseFace, size: int) -> Tensor:
    """The skin's albedo, complete: "3 s s" sRGB. What the photo does not show is mirrored, else the model's."""
    photo, rows_of = seen_albedo(look, coarse, lambda rows: look.photo_rows(size, rows), size)
    return completed_albedo(look, coarse, photo, rows_of, size)


def seen_albedo(
    look: SkinLook, coarse: CoarseFace, photo_rows: Callable[[tuple[int, int]], Tensor], size: int
) -> tuple[Tensor, Callable[[tuple[int, int]], Tensor]]:
    """The albedo of the skin that the photo shows: "3 b b" sRGB, and what gives rows of it at full size, from rows of the photo."""
    known = F.avg_pool2d(_known(look, coarse), WORK_SIZE // BLEND_SIZE)
    delighting = find_delighting(look, coarse.light, known[:3], F.normalize(known[3:], dim=0))
    photo = delighting.apply(look.photo, (0, BLEND_SIZE), BLEND_SIZE)
    return photo, lambda rows: delighting.apply(photo_rows(rows), rows, size)


def completed_albedo(
    look: SkinLook, coarse: CoarseFace, photo: Tensor, rows_of: Callable[[tuple[int, int]], Tensor], size: int
) -> Tensor:
    """Albedo for all of the skin "3 s s" from what is seen of it, ``photo`` and ``rows_of`` as in :func:`.skin_texture.complete`."""
    mirrorable = mirror_gain(look.model, look.normals, coarse.light) is not None
    model_map = srgb_from_linear(_known(look, coarse)[:3].clamp(0, 1))
    return complete(look, photo, rows_of, model_map, torch.ones_like(model_map), mirrorable, size)[0]


def _known(look: SkinLook, coarse: CoarseFace) -> Tensor:
    """Albedo of the model's mean skin (how colours differ over a face; level and hue come from the photo) and normals: "6 w w"."""
    average = replace(coarse, code=replace(coarse.code, albedo=torch.zeros_like(coarse.code.albedo)))
    return look.drawn(torch.cat([occluded_albedo(look.model, average), look.normals], -1))


def find_delighting(look: SkinLook, light: Tensor, albedo: Tensor, normals: Tensor) -> Delighting:
    """What lies on the skin in this photo.

    Args:
        light: "3 9", of the coarse level: a start. albedo: "3 b b" linear, the model's. normals: "3 b b" unit, camera frame.
    """
    colour = linear_from_srgb(look.photo)
    plain = look.evidence[0] * _plain_skin(look)
    light = fit_map_light(colour, albedo, normals, plain, light)
    # White from all sides: the channels are fitted one by one, and where the face turns away their difference would paint the cheeks' rims.
    # Photos are white-balanced; what hue is left in the light cannot be told from the skin's.
    light = light.mean(0, keepdim=True).expand(3, -1)
    floor = _least_light(colour / albedo.clamp_min(0.02), plain).mean()
    shade = shading(normals.permute(1, 2, 0), light).permute(2, 0, 1)
    shade = floor + F.softplus((shade - floor) / floor, beta=2.0) * floor
    shade = shade * likely_exposure(shade, plain)
    unlit = colour / shade
    usual = usual_colour(look, unlit, albedo, plain)
    inside = _inside_plain_skin(look)
    matt = torch.lerp(unlit, dulled(unlit, usual), inside)
    return Delighting(shade, usual, unexplained_light(look, matt, albedo, plain), inside)


def likely_exposure(shade: Tensor, plain: Tensor) -> Tensor:
    """The factor "3 1 1" that makes a fitted light as bright and as white as photographers' lights are.

    Light and albedo are known up to a factor per channel only. Photos are exposed so that white skin does not burn out and white-balanced so
    that lamps are grey; what the albedo model says weighs less than that.
    """
    chosen = plain > 0.3
    if not bool(chosen.any()):
        return torch.ones_like(shade[:, :1, :1])
    mean = shade[:, chosen].mean(1).clamp_min(1e-3)
    level = mean.mean()
    wanted = _USUAL_LEVEL * (level / _USUAL_LEVEL) ** _TRUST_IN_LEVEL * (mean / level) ** _TRUST_IN_HUE
    return (wanted / mean)[:, None, None]


def unexplained_light(look: SkinLook, lit: Tensor, albedo: Tensor, plain: Tensor) -> Tensor:
    """The factor "3 b b" by which a photo divided by its fitted light still differs, slowly, from the albedo model.

    Its brightness may change within a centimetre, as shadows do; its hue is white. Where hair grows, what is much darker is hair.

    Args:
        lit: "3 b b" linear, photo over shading. albedo: "3 b b", the model's. plain: "b b", trust as plain skin.
    """
    weights = lit.new_tensor(_LUMINANCE)[:, None, None]
    brightness = ((lit * weights).sum(0) + 1e-3).log() - ((albedo * weights).sum(0) + 1e-3).log()
    level = _weighted_median(brightness, plain)
    bearded = _bearded(look)
    trust = plain
    slow = torch.zeros_like(brightness)
    for _ in range(3):
        slow = _slow_part(look, brightness[None] - level, trust, _REACH_MM)[0]
        rest = brightness - level - slow
        sure = 1 / (1 + (rest / _SURPRISING) ** 2)
        dark_hair = 1 / (1 + ((brightness - level).clamp_max(0) / 0.25) ** 2) ** 2
        trust = plain * sure * torch.lerp(torch.ones_like(dark_hair), dark_hair, bearded)
    slow = slow.clamp(-_MOST_UNEVEN, _MOST_UNEVEN)
    return slow.exp().expand(3, -1, -1)


def usual_colour(look: SkinLook, unlit: Tensor, albedo: Tensor, plain: Tensor) -> Tensor:
    """The colour "3 b b" of the skin around each texel, highlights left out; the model's where nothing is seen."""
    brightness = unlit.mean(0)
    level = _weighted_median(brightness, plain)
    ratio = unlit / albedo.clamp_min(0.02)
    gain = torch.stack([_weighted_median(channel, plain) for channel in ratio]).clamp(0.05, 20)
    albedo = albedo * gain[:, None, None]
    share = (unlit / brightness.clamp_min(1e-3)) - albedo / albedo.mean(0).clamp_min(1e-3)
    greyness = unlit.amin(0) / brightness.clamp_min(1e-3)
    # Highlights are greyer than most of the skin, and brighter.
    matt = plain / (1 + ((greyness - _weighted_median(greyness, plain)).clamp_min(0) / 0.06) ** 2) ** 2
    trust = plain
    found = albedo.mean(0)
    for _ in range(3):
        found = _slow_part(look, (unlit - albedo).mean(0)[None], trust, _SHEEN_REACH_MM)[0] + albedo.mean(0)
        excess = (brightness - torch.minimum(found, 1.15 * level)) / level.clamp_min(0.02)
        trust = plain / (1 + (excess.clamp_min(0) / 0.08) ** 2) ** 2
    hue = _slow_part(look, share, matt * trust, _HUE_REACH_MM) + albedo / albedo.mean(0).clamp_min(1e-3)
    return (found * hue).clamp_min(0.005)


def dulled(unlit: Tensor, usual: Tensor) -> Tensor:
    """Colours with highlights compressed: what is clearly brighter than usual keeps a tenth of the excess and gets the usual hue.

    Cameras bend bright tones towards white, each in its own way: taking white off highlights leaves wrong hues, the skin around them does not.

    Args:
        unlit: "3 h w" linear, photo over shading. usual: "3 h w", the skin around each texel.
    """
    brightness, level = unlit.mean(0).clamp_min(1e-4), usual.mean(0).clamp_min(1e-4)
    excess = (brightness / level - _PALE).clamp_min(0)
    wanted = torch.where(excess > 0, level * (_PALE + _EXCESS_KEPT * excess), brightness)
    share = _HUE_RESTORED * (excess / _CLEARLY_BRIGHTER).clamp(0, 1)
    hue = torch.lerp(unlit / brightness, usual / level, share)
    return wanted * hue


def _plain_skin(look: SkinLook) -> Tensor:
    """Texels "b b" in {0, 1} whose albedo the model knows: the face without brows, lips, nostrils and pockets."""
    model = look.model
    inside = (
        texels_of(model, model.regions["face"], BLEND_SIZE)
        if "face" in model.regions
        else look.evidence[0] >= 0
    )
    for name in ("brows", "lips", "nostrils", "inner_mouth", "eye_sockets"):
        if name in model.regions:
            inside = inside & ~texels_of(model, model.regions[name], BLEND_SIZE)
    return inside.to(look.photo)


def _inside_plain_skin(look: SkinLook) -> Tensor:
    """Plain skin a few millimetres away from what is none, softly: "1 b b" in [0, 1]."""
    none = 1 - _plain_skin(look)[None, None]
    near = F.max_pool2d(none, 2 * _MARGIN + 1, 1, _MARGIN)
    return F.avg_pool2d(1 - near, 2 * _MARGIN + 1, 1, _MARGIN)[0]


def _bearded(look: SkinLook) -> Tensor:
    """Texels "b b" in {0, 1} where a beard may grow."""
    model = look.model
    found = torch.zeros(BLEND_SIZE, BLEND_SIZE, dtype=torch.bool, device=look.photo.device)
    for name in ("mouth", "chin"):
        if name in model.regions:
            found = found | texels_of(model, model.regions[name], BLEND_SIZE)
    return found.to(look.photo)


def _slow_part(look: SkinLook, values: Tensor, weight: Tensor, reach_mm: float) -> Tensor:
    """The smooth map "c b b" nearest to trusted values: minimises weight (x - value)^2 + reach^2 |grad x|^2 on the skin.

    Where nothing is trusted it fades to zero, slowly.
    """
    half = lambda image: F.avg_pool2d(image[None], 2)[0]  # noqa: E731
    position, share = half(look.position), half(weight[None])
    small = half(values * weight) / share.clamp_min(1e-6)
    area = texel_area(position) / reach_mm**2
    screening = area * share[0]
    found = solve_screened_poisson(
        -screening * small, screening + 0.01 * area, conductance=surface_conductance(position), cycles=4
    )
    return F.interpolate(found[None], values.shape[1:], mode="bilinear", align_corners=False)[0]


def _least_light(light: Tensor, plain: Tensor) -> Tensor:
    """What at least falls on skin, "3 1 1": a second-order light may come out at nothing or less behind a hard lamp.

    Args:
        light: "3 b b", photo over albedo. plain: "b b", trust as plain skin.
    """
    chosen = light[:, plain > 0.3]
    if chosen.shape[1] < 100:
        return light.new_full((3, 1, 1), _DARKEST)
    dark, usual = chosen.quantile(_DARK_RANK, dim=1), chosen.median(1).values
    return torch.maximum(_DARKER * dark, _DARKEST * usual).clamp_min(1e-3)[:, None, None]


def _weighted_median(values: Tensor, weight: Tensor) -> Tensor:
    """The median of "h w" where trusted; zero if nowhere."""
    chosen = values[weight > 0.3]
    return chosen.median() if len(chosen) else values.new_zeros(())
