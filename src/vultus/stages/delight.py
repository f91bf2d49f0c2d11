"""The skin's own colour: the photo without its light.

Three things lie on the albedo of a photographed face, and each is taken off with what it can be told by: the light, as white spherical
harmonics on the known shape; what that light does not explain (cast shadows, a harder lamp, a wrong cheek), as the slow part of the brightness
between the photo and the albedo model; and highlights (:mod:`.sheen`), which are brighter and greyer than the skin around them.
Blemishes, freckles and redness are none of these. Hues are the photo's own throughout.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ..fit.line_filter import blurred
from ..fit.map_light import fit_map_light
from ..geometry.light import shading
from ..model.face import CoarseFace
from ..render.shade import linear_from_srgb, srgb_from_linear
from .plain_skin import bearded, plain_skin, slow_part, weighted_median
from .sheen import dulled, usual_colour
from .skin_look import BLEND_SIZE, WORK_SIZE, SkinLook, resized
from .skin_texture import complete
from .surface_colour import mirror_gain, occluded_albedo

_DARKEST = 0.12  # of the median light: a photo shows nothing of skin that is darker
_DARK_RANK, _DARKER = 0.03, 0.8  # light on the darkest skin seen, and how much less there may be elsewhere
_SURPRISING = 0.8  # logarithm: differences in brightness that count less
_REACH_MM = 12.0  # light varies more slowly than this where the harmonics are wrong, skin faster
_MOST_UNEVEN = 1.2  # logarithm: the darkest shadow that is believed
_BRIGHT = (
    0.12,
    0.45,
)  # logarithms, over the median of the face: so brightly lit, skin may shine, and cameras bleach it
_SOFT_TEXELS = 2.0
_USUAL_LEVEL = 0.95  # of a white surface on the face
_TRUST_IN_LEVEL, _TRUST_IN_HUE = 0.2, 0.15
_LUMINANCE = (0.2126, 0.7152, 0.0722)


@dataclass(frozen=True)
class Delighting:
    """Smooth maps "3 b b" that turn a photo into an albedo.

    Attributes:
        shading: what the light makes of white skin: the fitted harmonics, and what they do not explain.
        usual: the skin's colour around each texel, without light and highlights.
        bright: "1 b b" in [0, 1], plain skin lit so brightly that sheen may lie over a whole cheek.
    """

    shading: Tensor
    usual: Tensor
    bright: Tensor

    def apply(self, photo: Tensor, rows: tuple[int, int], size: int) -> Tensor:
        """Rows of a photo, "3 r s" sRGB -> albedo, "3 r s" sRGB."""
        shade, usual, bright = (resized(part, size, rows) for part in (self.shading, self.usual, self.bright))
        return srgb_from_linear(dulled(linear_from_srgb(photo) / shade, usual, bright).clamp(0, 1))


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
    plain = look.evidence[0] * plain_skin(look)
    light = fit_map_light(colour, albedo, normals, plain, light)
    # White from all sides: the channels are fitted one by one, and where the face turns away their difference would paint the cheeks' rims.
    # Photos are white-balanced; what hue is left in the light cannot be told from the skin's.
    light = light.mean(0, keepdim=True).expand(3, -1)
    floor = _least_light(colour / albedo.clamp_min(0.02), plain).mean()
    shade = shading(normals.permute(1, 2, 0), light).permute(2, 0, 1)
    shade = floor + F.softplus((shade - floor) / floor, beta=2.0) * floor
    shade = shade * likely_exposure(shade, plain)
    shade = shade * unexplained_light(look, colour / shade, albedo, plain)
    strength = shade.mean(0).log()
    bright = ((strength - weighted_median(strength, plain) - _BRIGHT[0]) / (_BRIGHT[1] - _BRIGHT[0])).clamp(
        0, 1
    )
    bright = bright[None] * blurred(plain_skin(look)[None], _SOFT_TEXELS)
    return Delighting(shade, usual_colour(look, colour / shade, albedo, plain, bright[0]), bright)


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
    level = weighted_median(brightness, plain)
    hairy = bearded(look)
    trust = plain
    slow = torch.zeros_like(brightness)
    for _ in range(3):
        slow = slow_part(look, brightness[None] - level, trust, _REACH_MM)[0]
        rest = brightness - level - slow
        sure = 1 / (1 + (rest / _SURPRISING) ** 2)
        dark_hair = 1 / (1 + ((brightness - level).clamp_max(0) / 0.25) ** 2) ** 2
        trust = plain * sure * torch.lerp(torch.ones_like(dark_hair), dark_hair, hairy)
    slow = slow.clamp(-_MOST_UNEVEN, _MOST_UNEVEN)
    return slow.exp().expand(3, -1, -1)


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
