"""The skin's texture: what the photo shows, its mirror image where that was hidden, and the albedo model for the rest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..fit.poisson import divergence_of, gradient_of, solve_screened_poisson, surface_conductance
from ..model.face import CoarseFace
from ..render.shade import srgb_from_linear
from .skin_look import BLEND_SIZE, WORK_SIZE, SkinLook, bands, resized
from .surface_colour import mirror_gain, model_colour

_PHOTO_SCREENING = 1.0  # how firmly the blend stays at the photo, against 1 for one step of its gradient
_TONE_REACH_MM = 80.0  # along the skin: how far beyond the photo its local colour fades into the common tone
_ANCHOR = (
    0.3  # the same for mouth and eye sockets, whose colour has nothing to do with the skin's beside them
)
_OWN_TONE = 0.4  # of mouth and eye sockets, the rest is the skin's: the rims of its lids show
_TURNING = 0.75  # cosine to the camera below which the cheek begins to turn away
_CYCLES = 6
_SOFT_HAIR = 0.2, 0.5  # trust in the photo over which hair sets in
_LEAK = 0.003  # of what flows between texels of skin, between those of hair


@dataclass(frozen=True)
class Sources:
    """What a texture can be made of, at one resolution; every weight is smooth over several texels.

    Attributes:
        photo: "3 h w" sRGB, meaningless where ``weight`` is zero. weight: "1 h w", trust in it.
        mirrored: "3 h w", the photo's other side with this side's light. mirrored_weight: "1 h w".
        model: "3 h w", the albedo model in the photo's tone.
    """

    photo: Tensor
    weight: Tensor
    mirrored: Tensor
    mirrored_weight: Tensor
    model: Tensor

    @property
    def rest(self) -> Tensor:
        """Mirror image over model."""
        return torch.lerp(self.model, self.mirrored, self.mirrored_weight)

    @property
    def mixed(self) -> Tensor:
        """Photo over mirror image over model: right but for seams, which :func:`seam_correction` removes."""
        return torch.lerp(self.rest, self.photo, self.weight)


def skin_texture(look: SkinLook, coarse: CoarseFace, size: int) -> tuple[Tensor, Tensor]:
    """The skin as lit in the photo, complete: texture "3 s s" sRGB and how much of each texel is observed, "s s" in [0, 1].

    The sources are mixed with smooth weights at full size; the mix lacks only a smooth correction, which a Poisson
    equation gives at a quarter of the size: its gradients are those of the sources, its values the photo's where observed.
    """
    return completed_skin(look, coarse, look.photo, lambda rows: look.photo_rows(size, rows), size)


def completed_skin(
    look: SkinLook, coarse: CoarseFace, photo: Tensor, rows_of: Callable[[tuple[int, int]], Tensor], size: int
) -> tuple[Tensor, Tensor]:
    """The same for any colours seen under a face's light: ``photo`` and ``rows_of`` as in :func:`complete`."""
    light_gain = mirror_gain(look.model, look.normals, coarse.light)
    gains = light_gain if light_gain is not None else torch.ones_like(look.normals)
    colours = srgb_from_linear(model_colour(look.model, coarse, look.normals))
    maps = look.drawn(torch.cat([colours, gains], -1))
    return complete(look, photo, rows_of, maps[:3], maps[3:], light_gain is not None, size)


def complete(
    look: SkinLook,
    photo: Tensor,
    rows_of: Callable[[tuple[int, int]], Tensor],
    model_map: Tensor,
    gain_map: Tensor,
    mirrorable: bool,
    size: int,
) -> tuple[Tensor, Tensor]:
    """Colours for all of the skin from those that are seen: texture "3 s s" and how much of each texel is observed, "s s".

    Args:
        look: what is seen where. photo: "3 b b" sRGB at the blending's size, its colours.
        rows_of: gives rows of the same at full size, "3 r s".
        model_map: "3 w w" sRGB at the work size. gain_map: "3 w w", factors for the mirror image.
        mirrorable: whether there is a mirror image.
    """
    small = F.avg_pool2d(torch.cat([model_map, gain_map]), WORK_SIZE // BLEND_SIZE)
    small_model, gain = small.split(3)
    tone = common_tone(photo, small_model, (look.evidence * (1 - look.hair))[0], look.facing[0])
    small_model = small_model * torch.lerp(tone, torch.ones_like(tone), _OWN_TONE * look.pocket)
    screening = _ANCHOR * look.pocket[0] + texel_area(look.position) / _TONE_REACH_MM**2
    small_sources = _combine(photo, look.evidence, small_model, gain, mirrorable)
    correction = seam_correction(small_sources, screening, surface_conductance(look.position), look.hair)
    pocket = resized(look.pocket, WORK_SIZE, (0, WORK_SIZE))
    model_map = model_map * torch.lerp(tone, torch.ones_like(tone), _OWN_TONE * pocket)

    texture = photo.new_empty(3, size, size)
    observed = photo.new_empty(size, size)
    for rows in bands(size):
        weight = resized(look.evidence, size, rows)
        seen = rows_of(rows)
        models = resized(model_map, size, rows)
        sources = _combine(seen, weight, models, resized(gain, size, rows), mirrorable)
        texture[:, rows[0] : rows[1]] = sources.mixed + resized(correction, size, rows)
        observed[rows[0] : rows[1]] = weight[0]
    return texture.clamp_(0, 1), observed


def common_tone(photo: Tensor, model: Tensor, weight: Tensor, facing_map: Tensor) -> Tensor:
    """What to multiply the model's colours "3 h w" with so that they go on where the photo ends: "3 1 1".

    Read where the face turns away, without the brightest (highlights) and the darkest (hair and its shadow).
    """
    chosen = (weight > 0.3) & (facing_map < _TURNING)
    if int(chosen.sum()) < 200:
        chosen = weight > 0.3
    if int(chosen.sum()) < 50:
        return torch.ones_like(model[:, :1, :1])
    ratio = photo[:, chosen] / model[:, chosen].clamp_min(0.05)
    order = ratio.mean(0).argsort()
    middle = order[int(0.2 * len(order)) : int(0.6 * len(order)) + 1]
    return ratio[:, middle].mean(1).clamp(0.2, 4.0)[:, None, None]


def seam_correction(
    sources: Sources, screening: Tensor, conductance: tuple[Tensor, Tensor], hair: Tensor
) -> Tensor:
    """What the mix lacks to have the gradients of its sources, values of the photo where that is trusted: "3 h w", smooth.

    With f = mix + x, minimise c |grad f - g|^2 + weight^2 |f - photo|^2 + screening |f - mix|^2, where g is the gradient of the
    photo where it is trusted, else of the mirror image, else of the model.

    Args:
        sources: at the resolution to solve at.
        screening: "h w", positive: how firmly the mix is kept where the photo says nothing.
        conductance: c, of the edges between texels.
        hair: "1 h w" in [0, 1], where the photo shows no skin: a beard's or a fringe's colour says nothing about the skin that it
            borders on, so nothing flows out of it, and it ends as softly as its weight does.
    """
    skin = 1 - hair
    across, along = (c * (_at_edges(skin, d) + _LEAK) for c, d in zip(conductance, (-1, -2)))
    conductance = (across, along)
    mixed, rest = sources.mixed, sources.rest
    flow = []
    photo, mirrored, model, actual = (
        gradient_of(image) for image in (sources.photo, sources.mirrored, sources.model, mixed)
    )
    for axis, d in enumerate((-1, -2)):
        weight, mirrored_weight = (_at_edges(w, d) for w in (sources.weight, sources.mirrored_weight))
        wanted = torch.lerp(model[axis], mirrored[axis], mirrored_weight)
        flow.append(conductance[axis] * (torch.lerp(wanted, photo[axis], weight) - actual[axis]))
    seen_well = ((sources.weight - _SOFT_HAIR[0]) / (_SOFT_HAIR[1] - _SOFT_HAIR[0])).clamp(0, 1)
    firmness = _PHOTO_SCREENING * sources.weight.square() * torch.maximum(skin, seen_well)
    target = firmness * (1 - sources.weight) * (sources.photo - rest)
    divergence = divergence_of(flow[0], flow[1]) - target
    return solve_screened_poisson(
        divergence, firmness[0] + screening, conductance=conductance, cycles=_CYCLES
    )


def texel_area(position: Tensor) -> Tensor:
    """Square millimetres of skin under each texel of a position map "3 h w": "h w"."""
    down, right = torch.gradient(position, dim=(1, 2))
    return torch.linalg.cross(right, down, dim=0).norm(dim=0).clamp_min(1e-3)


def _combine(photo: Tensor, weight: Tensor, model: Tensor, gain: Tensor, mirrorable: bool) -> Sources:
    """Sources at any resolution; the atlas is its own mirror image where a model can be mirrored at all."""
    if not mirrorable:
        return Sources(photo, weight, model, torch.zeros_like(weight), model)
    return Sources(photo, weight, photo.flip(-1) * gain, weight.flip(-1), model)


def _at_edges(weight: Tensor, dim: int) -> Tensor:
    """The smaller weight of the two texels beside each edge."""
    length = weight.shape[dim] - 1
    return torch.minimum(weight.narrow(dim, 0, length), weight.narrow(dim, 1, length))
