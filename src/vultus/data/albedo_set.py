"""The albedo basis from fitted photos: a texture of each is kept beside the basis, people are weighed, and the components learnt.

Whoever is seldom among the photos counts for more, so that the mean is nobody's colour by majority; whoever's two sides differ slowly counts for less, for that is
light. Every texture is used as it is and mirrored.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import BadInput
from ..fit.albedo_basis import learn_components
from ..io.files import atomic_file
from ..model.albedo_basis import AlbedoBasis, fields_of
from ..model.morphable import MorphableModel
from ..render.bake import dilate
from ..render.lab import TONES, tone_of
from .albedo_texture import ChartAlbedo, albedo_of_fit, balanced, face_skin, read_albedo, write_albedo
from .limits import check_limits
from .photo_fit import TERMS, list_fits, read_fit
from .recipe import claim

OFFSET = 0.02
"""Added to albedos before the logarithm: what is darker differs by noise."""
_BLOCK = 4  # texels that share their confidence, per axis
_EVEN, _LIT = 0.08, 0.15  # asymmetries: at the first a texture counts by half, beyond the second not at all
_MOST = 6.0  # times the share that a tone has by itself
_ITERATIONS = 12
_PRETENDED = 2.0
_SELDOM = (
    0.04,
    0.25,
)  # of people: texels that fewer show are no part of the basis, and fade in where more do


@dataclass(frozen=True)
class AlbedoOptions:
    """What an albedo basis is learnt from, and how large it is.

    Raises:
        BadInput: a number out of range, or a folder without fits.
    """

    fits: tuple[Path, ...]
    """Folders that `vultus dataset fit` made; a photo that is in several counts once."""
    components: int = 80
    """How many; the mean comes beside them."""
    size_px: int = 128
    """Texels per side of the face chart; a multiple of four."""
    space: Literal["log", "linear"] = "log"
    """Learn in the logarithm of albedo, or in albedo."""

    def __post_init__(self) -> None:
        check_limits(self, {"components": (1, 1000), "size_px": (32, 512)})
        if self.size_px % _BLOCK:
            raise BadInput(f"--size-px {self.size_px}: choose a multiple of {_BLOCK}")
        fits_of(self)


def fits_of(options: AlbedoOptions) -> tuple[Path, ...]:
    """The fits' files, one per photo, by name."""
    return tuple(path for _, path in sorted({path.stem: path for folder in options.fits for path in list_fits(folder)}.items()))  # fmt: skip


def textures_of(out: Path) -> Path:
    """Where the textures of a basis are kept."""
    return out.with_name(out.stem + "-textures")


def make_textures(model: MorphableModel, out: Path, options: AlbedoOptions) -> Iterator[tuple[Path, bool]]:
    """The texture of each fit, and whether it is new; what is there is not made again.

    Raises:
        BadInput: the folder holds textures of another size. BadFile: a file that cannot be read or written.
    """
    folder, fits = textures_of(out), fits_of(options)
    recipe = {"maker": "vultus dataset albedo", "version": 2, "size_px": options.size_px, "fits": len(fits)}
    claim(folder, recipe, grows="fits", what="albedo textures")
    for fit in fits:
        path = folder / fit.name
        new = not path.is_file()
        if new:
            write_albedo(path, fit.stem, albedo_of_fit(model, read_fit(fit), options.size_px))
        yield path, new


def read_textures(paths: Sequence[Path]) -> tuple[ChartAlbedo, ...]:
    """Kept textures, without the fits that show none."""
    return tuple(found for path in paths if (found := read_albedo(path)) is not None)


def learn_basis(
    model: MorphableModel,
    textures: Sequence[ChartAlbedo],
    options: AlbedoOptions,
    *,
    iterations: int = _ITERATIONS,
) -> AlbedoBasis:
    """The basis of some textures, with a card about them.

    Raises:
        BadInput: too few people for so many components.
    """
    used = [texture for texture in textures if texture.asymmetry <= _LIT]
    if 2 * len(used) <= options.components:
        raise BadInput(
            f"{len(used)} usable textures for {options.components} components: give more fits, or ask for fewer --components"
        )
    share = torch.tensor(_shares(used))
    offset = OFFSET if options.space == "log" else None
    skin = face_skin(model, options.size_px)
    values, confidence = _observed(used, skin, offset)
    found = learn_components(values, confidence, share.repeat(2), number=options.components, iterations=iterations, pretended=_PRETENDED)  # fmt: skip
    seen = _seen(confidence, share.repeat(2), skin)
    known = skin & (seen > 0.5)
    maps = torch.stack(
        [_continued(_image(part, options.size_px), seen, skin) for part in (found.mean, *found.directions)]
    )
    mean = (maps[0] + maps[0].flip(-1)) / 2
    card = _card(textures, used, share, options, found.sigma, found.noise)
    return AlbedoBasis(mean, maps[1:], found.sigma, known, found.noise, offset, card)


def _continued(image: Tensor, seen: Tensor, skin: Tensor) -> Tensor:
    """A map "3 s s" that goes over to what lies beside it where few people show anything, and goes on where nobody does."""
    known = skin & (seen > 0.5)
    beside = dilate(image, skin & (seen > 0.9))
    return dilate(torch.lerp(beside, image, seen), known)


def _seen(confidence: Tensor, share: Tensor, skin: Tensor) -> Tensor:
    """How well the texels "s s" are known, in [0, 1], from confidence "n g": smooth, and rising with the share of people that show them."""
    side = math.isqrt(confidence.shape[1])
    support = ((share @ confidence) / share.sum()).reshape(1, 1, side, side)
    blocks = F.max_pool2d(skin.float()[None, None], _BLOCK)
    support = dilate((support / blocks.clamp_min(1e-6))[0], blocks[0, 0] > 0)[None]
    smooth = F.interpolate(support, skin.shape, mode="bilinear", align_corners=False)[0, 0]
    return ((smooth - _SELDOM[0]) / (_SELDOM[1] - _SELDOM[0])).clamp(0, 1)


def write_basis(out: Path, basis: AlbedoBasis) -> None:
    """Keep a basis, whole or not at all.

    Raises:
        BadFile: it cannot be written.
    """
    with atomic_file(out) as partial, partial.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **fields_of(basis))


def _shares(textures: Sequence[ChartAlbedo]) -> list[float]:
    """How much each texture counts: all tones alike as far as :data:`_MOST` allows, uneven light less."""
    tones = [tone_of(texture.typology_deg) for texture in textures]
    each = {tone: len(tones) / (len(set(tones)) * tones.count(tone)) for tone in set(tones)}
    return [min(each[tone], _MOST) / (1 + (texture.asymmetry / _EVEN) ** 2) for tone, texture in zip(tones, textures)]  # fmt: skip


def _observed(textures: Sequence[ChartAlbedo], skin: Tensor, offset: float | None) -> tuple[Tensor, Tensor]:
    """Textures and their mirror images as the learner wants them: values "2n g p" and confidence "2n g"; g are blocks of texels."""
    values, confidence = [], []
    for texture in textures:
        even, _ = balanced(texture.albedo, texture.confidence)
        filled = dilate(even, (texture.confidence > 0.05) & skin)
        # A block is as sure as its least sure texel of skin; blocks without skin are not seen.
        trust = torch.where(skin, texture.confidence, 1.0)[None]
        trust = -F.max_pool2d(-trust, _BLOCK) * F.max_pool2d(skin.float()[None], _BLOCK)
        values.append(filled if offset is None else (filled.clamp_min(0) + offset).log())
        confidence.append(trust[0])
    image, trust = torch.stack(values), torch.stack(confidence)
    return torch.cat([_blocks(image), _blocks(image.flip(-1))]), torch.cat([trust, trust.flip(-1)]).flatten(1)


def _blocks(images: Tensor) -> Tensor:
    """Images "n 3 s s" -> "n g p", a row per block of texels."""
    return F.pixel_unshuffle(images, _BLOCK).flatten(2).transpose(1, 2).contiguous()


def _image(blocks: Tensor, size_px: int) -> Tensor:
    """The inverse, of one: "g p" -> "3 s s"."""
    side = size_px // _BLOCK
    return F.pixel_shuffle(blocks.T.reshape(1, -1, side, side), _BLOCK)[0]


def _card(
    textures: Sequence[ChartAlbedo], used: Sequence[ChartAlbedo], share: Tensor, options: AlbedoOptions, sigma: Tensor, noise: float
) -> dict[str, Any]:  # fmt: skip
    """What a basis says about itself."""
    tones = np.array([tone_of(texture.typology_deg) for texture in used])
    weight = share.numpy() / float(share.sum())
    by_tone = lambda values: {name: round(float(values[tones == i].sum()), 4) for i, name in enumerate(TONES)}  # noqa: E731
    return {
        "maker": "vultus dataset albedo", "components": options.components, "size_px": options.size_px, "space": options.space,
        "photos": len(textures), "dropped_for_uneven_light": len(textures) - len(used),
        "counted_by_half_or_less": sum(texture.asymmetry >= _EVEN for texture in used),
        "effective_photos": round(1 / float((weight**2).sum()), 1),
        "tones_of_photos": by_tone(np.full(len(used), 1 / len(used))), "tones_as_weighed": by_tone(weight),
        "typology_deg": [round(float(q), 1) for q in np.quantile([t.typology_deg for t in used], [0, 0.05, 0.5, 0.95, 1])],
        "noise": round(noise, 5), "sigma": [round(float(s), 4) for s in sigma], "licence": TERMS,
    }  # fmt: skip
