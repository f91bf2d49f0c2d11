"""One fitted photo as an albedo over the face chart, and how far to believe each texel of it.

The light is taken off as reconstructions take it off (:mod:`vultus.stages.delight`): white harmonics on the fitted normals, then what is slow in
brightness and not in the model's mean skin, then highlights. Light and albedo are known up to a factor only; that factor is the pipeline's too: photos
are exposed so that white skin would not burn out, and what the model's prior says weighs a fifth. Hence tones are as sure as exposures are.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import BadFile, BadInput
from ..geometry.view import View
from ..io.files import atomic_file
from ..model.face import CoarseFace, FaceCode
from ..model.morphable import MorphableModel
from ..render.bake import bake, dilate
from ..render.lab import typology_deg
from ..render.shade import linear_from_srgb, sample_texture
from .fast_skin import CHART_IN_ATLAS
from .photo_fit import PhotoFit, camera_of

_BLEACHED, _KEPT = (
    (0.92, 1.0),
    0.3,
)  # of the brightest linear channel: beyond, hues are guesses; how far they are believed
_WHITE = (0.80, 0.97)  # of the darkest channel: beyond, nothing is left of the skin
_SHADOW = (0.25, 0.5)  # of the median light: below the first, colours are noise and guesses about the light
_SLOW = 1 / 16  # of the chart's side: people are alike on both sides at this size, light is not
_LEAST_SEEN = 0.15  # of the face's texels, else there is nothing to learn from
# Directions of the logarithms of colours, and spreads along them: melanin, blood, exposure; and tints, more from lamps to daylight than from green to magenta.
_SKIN = ((0.55, 1.0, 1.45), 0.5), ((0.25, 1.0, 0.75), 0.17), ((1.0, 1.0, 1.0), 0.5)
_TINT = ((1.0, 0.0, -1.0), 0.14), ((-0.5, 1.0, -0.5), 0.06)
_NOSTRILS_MM = 3.0  # around them skin is dark because no light gets there
_LEAST_BARE = 0.5  # of what is seen; the rest may be brows and beard
_FLOOR = 0.02


@dataclass(frozen=True)
class ChartAlbedo:
    """What one photo says about somebody's skin.

    Attributes:
        key: of the fit. albedo: "3 s s" linear light, meaningless without confidence. confidence: "s s" in [0, 1].
        asymmetry: RMS of half the slow difference between the sides (logarithm; :func:`balanced`): what is left of the light.
        typology_deg: of the cheeks (:func:`vultus.render.lab.typology_deg`).
    """

    key: str
    albedo: Tensor
    confidence: Tensor
    asymmetry: float
    typology_deg: float


def albedo_of_fit(model: MorphableModel, fit: PhotoFit, size_px: int) -> ChartAlbedo | None:
    """The albedo that a fit shows; None where it shows too little. Half a second.

    Raises:
        BadInput: the fit holds no light (drawn samples do not).
    """
    from ..stages.delight import find_delighting  # here: the command line is up before the stages are
    from ..stages.photo_evidence import depth_buffer
    from ..stages.skin_look import BLEND_SIZE, WORK_SIZE, look_at_skin
    from ..stages.surface_colour import occluded_albedo

    sample = fit.sample
    if sample.light is None:
        raise BadInput(f"{sample.key}: a fit without light; make it with vultus dataset fit")
    to = torch.from_numpy
    image = to(sample.image).permute(2, 0, 1).float() / 255
    view = View(image, camera_of(sample), to(sample.landmarks_px)[:, :2], "ibug68", to(sample.mask) > 127)
    vertices = to(sample.vertices_mm)
    with torch.no_grad():
        look = look_at_skin(view, model, vertices, depth_buffer(view, model, vertices))
        mean = model.mean_code()
        coarse = CoarseFace(FaceCode(mean.identity, mean.expression, mean.albedo), view.camera.T_camera_head, to(sample.light))  # fmt: skip
        known = look.drawn(torch.cat([occluded_albedo(model, coarse), look.normals], -1))
        known = F.avg_pool2d(known, WORK_SIZE // BLEND_SIZE)
        delighting = find_delighting(look, coarse.light, known[:3], F.normalize(known[3:], dim=0))
        albedo = linear_from_srgb(delighting.apply(look.photo, (0, BLEND_SIZE), BLEND_SIZE))
        trust = look.evidence[0] * _exposed(
            linear_from_srgb(look.photo), delighting.shading, look.evidence[0]
        )
        albedo, confidence = _in_chart(albedo, trust, size_px)
        confidence = confidence * face_skin(model, size_px)
        cheeks = chart_region(model, "cheeks", size_px) & (confidence > 0.5)
        bare = look.evidence * (1 - look.hair)
        if float((confidence > 0.5).float().mean()) < _LEAST_SEEN or int(cheeks.sum()) < 20:
            return None
        if float(bare.sum()) < _LEAST_BARE * float(look.evidence.sum()):
            return None
        gain = white_balance(model, albedo[:, cheeks].median(1).values)
        albedo = (albedo / gain[:, None, None]).clamp(0, 1)
        asymmetry = balanced(albedo, confidence)[1]
        angle = typology_deg(albedo[:, cheeks].median(1).values)
    return ChartAlbedo(sample.key, albedo, confidence, asymmetry, float(angle))


def white_balance(model: MorphableModel, cheeks: Tensor) -> Tensor:
    """The tint "3" that a photo's white balance most probably left on skin of a linear colour "3"; it does not change the level.

    Logarithms of skin colours are the model's mean plus melanin, blood and exposure, and tints lie across (Beer and Lambert; Tsumura et al., "Image-based
    skin color and texture analysis/synthesis", SIGGRAPH 2003). All are normal; the spreads were chosen so that together
    they are those of the portraits, how much of that is skin was not measured (:data:`_SKIN`, :data:`_TINT`).
    """
    usual = model.albedo_mean[model.regions["cheeks"]].mean(0).log()
    skin, tint = (
        torch.stack([spread * F.normalize(torch.tensor(axis), dim=0) for axis, spread in axes])
        for axes in (_SKIN, _TINT)
    )
    rest = torch.linalg.solve(skin.T @ skin + tint.T @ tint, cheeks.clamp_min(0.005).log() - usual)
    return (tint.T @ (tint @ rest)).exp()


def _exposed(photo: Tensor, shading: Tensor, evidence: Tensor) -> Tensor:
    """Trust "h w" in linear colours "3 h w": neither burnt out nor in deep shadow."""
    rise = lambda value, low, high: ((value - low) / (high - low)).clamp(0, 1)  # noqa: E731
    strength = shading.mean(0)
    seen = strength[evidence > 0.3]
    usual = seen.median() if len(seen) else strength.median()
    bleached, white = rise(photo.amax(0), *_BLEACHED), rise(photo.amin(0), *_WHITE)
    return (1 - (1 - _KEPT) * bleached) * (1 - white) * rise(strength / usual, *_SHADOW)


def _in_chart(albedo: Tensor, trust: Tensor, size_px: int) -> tuple[Tensor, Tensor]:
    """From the atlas "3 b b", "b b" to the chart "3 s s", "s s": averages by trust, so that what is not seen does not bleed in."""
    low, high = CHART_IN_ATLAS
    axis = (torch.arange(2 * size_px) + 0.5) / (2 * size_px) * (high - low) + low
    v, u = torch.meshgrid(axis, axis, indexing="ij")
    both = torch.cat([albedo * trust, trust[None]])
    found = F.avg_pool2d(sample_texture(both, torch.stack([u, v])[None]), 2)[0]
    return found[:3] / found[3].clamp_min(1e-4), found[3]


def balanced(albedo: Tensor, confidence: Tensor) -> tuple[Tensor, float]:
    """Albedo "3 s s" without what is slow and differs between the sides, and how much that was (RMS over both halves, logarithm).

    It is read where both sides are seen and fades out beyond; moles and freckles are not slow, and stay.
    """
    level = (albedo + _FLOOR).log()
    both = torch.minimum(confidence, confidence.flip(-1))
    odd = (level - level.flip(-1)) / 2
    weight = _blurred(both[None])
    slow = _blurred(odd * both) / weight.clamp_min(0.02)
    asymmetry = ((slow.square().mean(0) * both).sum() / both.sum().clamp_min(1e-6)).sqrt()
    return ((level - slow).exp() - _FLOOR).clamp(0, 1), float(asymmetry)


def _blurred(image: Tensor) -> Tensor:
    """Three box filters in a row: nearly a Gaussian of :data:`_SLOW` of the side."""
    reach = max(1, round(image.shape[-1] * _SLOW))
    for _ in range(3):
        image = F.avg_pool2d(image[None], 2 * reach + 1, 1, reach, count_include_pad=True)[0]
    return image


def face_skin(model: MorphableModel, size_px: int) -> Tensor:
    """Which texels of the chart are skin, wholly: "s s" bool. Not the membranes over eyes and mouth, nor the nostrils, nor what lies beside them."""
    assert model.chart is not None
    topology = model.chart.topology
    closed = bake(torch.ones(len(model.mean_mm), 1), topology, model.chart.is_membrane.nonzero().squeeze(1), 4 * size_px)[1]  # fmt: skip
    inside = bake(torch.ones(len(model.mean_mm), 1), topology, torch.arange(len(topology.triangles)), 4 * size_px)[1]  # fmt: skip
    hole = F.max_pool2d((closed | ~inside).float()[None], 5, 1, 2)
    nostrils = model.mean_mm[model.regions["nostrils"]]
    close = (torch.cdist(model.mean_mm, nostrils).amin(1) < _NOSTRILS_MM).float()[:, None]
    dark = bake(close, topology, torch.arange(len(topology.triangles)), 4 * size_px)[0] > 0.5
    return F.max_pool2d(torch.maximum(hole, dark.float()), 4)[0] == 0


def chart_region(model: MorphableModel, name: str, size_px: int) -> Tensor:
    """Texels "s s" bool of the chart in a region of the model."""
    assert model.chart is not None
    topology = model.chart.topology
    drawn = dilate(*bake(model.regions[name].float()[:, None], topology, torch.arange(len(topology.triangles)), size_px))  # fmt: skip
    return drawn[0] > 0.5


def write_albedo(path: Path, key: str, found: ChartAlbedo | None) -> None:
    """Keep an albedo; None: that a fit shows none.

    Raises:
        BadFile: it cannot be written.
    """
    fields = {"key": np.array(key)}
    if found is not None:
        fields |= {
            "albedo": found.albedo.numpy().astype(np.float16), "confidence": (found.confidence * 255).round().byte().numpy(),
            "asymmetry": np.float32(found.asymmetry), "typology_deg": np.float32(found.typology_deg),
        }  # fmt: skip
    with atomic_file(path) as partial, partial.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **fields)


def read_albedo(path: Path) -> ChartAlbedo | None:
    """A kept albedo; None where the fit shows none.

    Raises:
        BadFile: damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            if "albedo" not in file.files:
                str(file["key"])
                return None
            return ChartAlbedo(
                str(file["key"]), torch.from_numpy(file["albedo"].astype(np.float32)), torch.from_numpy(file["confidence"].astype(np.float32) / 255),
                float(file["asymmetry"]), float(file["typology_deg"]),
            )  # fmt: skip
    except Exception as error:
        raise BadFile(f"{path}: cannot be read ({error}); delete it and run the command again") from error
