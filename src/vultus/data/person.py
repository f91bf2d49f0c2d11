"""People who do not exist: a shape that a model gives, an expression, and a skin from a photo or made up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import FaceNotFound
from ..evaluate.regions import skin_surface
from ..geometry.mesh import edges
from ..model.deformation import deformation_offsets
from ..model.face import FaceCode
from ..model.morphable import MorphableModel
from ..render.bake import bake, dilate
from .expressions import random_face
from .photo_skin import Correspondence, photo_skin, through_the_chart
from .picture import Skin, beyond_border
from .rig import make_subject
from .worn import hairline
from .wrinkles import skin_albedo, wrinkle_map

_TEXELS = 512
_DARKER, _LIGHTER = (0.95, 1.05, 1.05), (0.6, 0.9, 1.2)  # per unit, in the logarithm of each channel
_IRIS = ((0.9, 0.55, 0.3), (0.5, 0.28, 0.15), (0.7, 0.9, 1.3), (0.6, 0.8, 0.55), (0.8, 0.85, 0.9))
_IDENTITY_SIGMA, _ALBEDO_SIGMA = 1.0, 0.45


@dataclass(frozen=True)
class Person:
    """Somebody as drawn.

    Attributes:
        group: where the shape comes from. model: theirs. code: with expression. deformation_mm: "3 m m", what the code does not explain.
        neutral, posed: "v 3" head frame, mm. skin: its looks. tone: "3" linear, of the cheeks. source: of the skin.
    """

    group: str
    model: MorphableModel
    code: FaceCode
    deformation_mm: Tensor
    expression: str
    neutral: Tensor
    posed: Tensor
    skin: Skin
    tone: Tensor
    source: str


def make_person(
    model: MorphableModel,
    group: str,
    number: int,
    seed: int,
    photos: Sequence[Path],
    rng: np.random.Generator,
) -> Person:
    """Shape, expression and skin of head number so-and-so.

    Args:
        group: "bundled": the model's heads are bent, so that no code explains them; otherwise its identities are used as they are.
        seed: of the set. photos: that skins come from; none: they are made.
    """
    if group != "bundled":
        identity = torch.from_numpy(rng.normal(0, _IDENTITY_SIGMA, len(model.identity_mm))).float()
        albedo = torch.from_numpy(rng.normal(0, _ALBEDO_SIGMA, len(model.albedo))).float()
        deformation = torch.zeros(3, 8, 8)
        bent = torch.zeros(())
    else:
        subject = make_subject(model, seed * 100_003 + number)
        identity, albedo, deformation = subject.identity, subject.albedo, subject.deformation_mm
        bent = deformation_offsets(model, deformation)
    weights, expression = random_face(model, rng)
    code = FaceCode(identity, weights, albedo)
    neutral = model.vertices(FaceCode(identity, torch.zeros_like(weights), albedo)) + bent
    posed = model.vertices(code) + bent
    skin, source = _skin(model, code, photos[number % len(photos)] if photos else None, rng)
    cheeks = model.regions["cheeks"]
    tone = skin.colour[cheeks].median(0).values
    return Person(group, model, code, deformation, expression, neutral, posed, skin, tone, source)


def _skin(
    own: MorphableModel, code: FaceCode, photo: Path | None, rng: np.random.Generator
) -> tuple[Skin, str]:
    """From a photo where there are photos with a face in them, else the model's albedo with wrinkles, moles, blotches and brows."""
    assert own.chart is not None
    colour = _eye_colours(own, own.vertex_albedo(code), rng)
    fixed = fixed_of(own)
    seed = int(rng.integers(2**31))
    depth, melanin = float(rng.uniform(0.05, 0.8)), float(rng.uniform(-0.5, 1.25))
    if photo is not None:
        try:
            found = photo_skin(photo, _place_of(own))
        except FaceNotFound:
            pass  # nobody in this one: a skin of our own does as well
        else:
            colour = torch.where(fixed.outer[:, None], found.tone, colour)
            uv = beyond_border(fixed.pairs, found.uv, found.weight > 0)
            return Skin(colour, found.photo, uv, found.weight * fixed.outer), photo.name
    shade = torch.exp(-melanin * torch.tensor(_DARKER if melanin > 0 else _LIGHTER))
    texture = dilate(skin_albedo(own, colour, _TEXELS, seed), fixed.covered) * shade[:, None, None]
    colour = torch.where(fixed.outer[:, None], colour * shade, colour)
    relief = wrinkle_map(own, _TEXELS, seed, depth)
    return Skin(colour, texture.clamp(0, 1), fixed.chart_uv, fixed.inside.float(), relief), "synthetic"


def _eye_colours(own: MorphableModel, colour: Tensor, rng: np.random.Generator) -> Tensor:
    """Vertex colours "v 3" with irises between brown and blue, and whites less white than the model's."""
    colour = colour.clone()
    tint = torch.tensor(_IRIS[int(rng.integers(len(_IRIS)))]) * float(np.exp(rng.normal(0, 0.2)))
    for part in ("eye_left", "eye_right"):
        ids = own.part_triangles(part).flatten().unique()
        bright = colour[ids].mean(1, keepdim=True)
        iris = ((0.45 - bright) / 0.1).clamp(0, 1)
        colour[ids] = colour[ids] * 0.82 * torch.lerp(torch.ones(3), tint, iris)
    return colour.clamp(0, 1)


@dataclass(frozen=True)
class Fixed:
    """What is the same for all heads of a model: outer skin "f 3", which of all triangles are skin of the face "f" bool, which vertices are outer
    skin or of the face "v" bool, edges "e 2", chart coordinates "v 2" and where they count "v" bool, hairline "v", texels of the chart "s s" bool."""

    model: MorphableModel
    surface: Tensor
    is_face: Tensor
    outer: Tensor
    face: Tensor
    pairs: Tensor
    chart_uv: Tensor
    inside: Tensor
    hairline: Tensor
    covered: Tensor


_fixed: dict[int, Fixed] = {}
_places: dict[int, Correspondence] = {}


def fixed_of(model: MorphableModel) -> Fixed:
    """Made when first asked for; takes half a second."""
    if id(model) not in _fixed:
        assert model.chart is not None
        surface, triangles = torch.from_numpy(skin_surface(model)), model.triangles
        outer = torch.zeros(len(model.mean_mm), dtype=torch.bool)
        outer[surface.flatten()] = True
        face = outer & (model.regions["face"] | model.regions["chin"])
        skin = model.part_of_triangle == 0
        pairs = edges(triangles)
        inside = torch.isfinite(model.chart.uv[:, 0])
        topology = model.chart.topology
        _, covered = bake(model.mean_mm, topology, torch.arange(len(topology.triangles)), _TEXELS)
        _fixed[id(model)] = Fixed(
            model, surface, skin & face[triangles].all(1), outer, face, pairs,
            beyond_border(pairs, torch.nan_to_num(model.chart.uv), inside), inside, hairline(model, pairs), covered,
        )  # fmt: skip
    return _fixed[id(model)]


def _place_of(model: MorphableModel) -> Correspondence:
    """The way through the chart takes a second."""
    if id(model) not in _places:
        _places[id(model)] = through_the_chart(fixed_of(model).model)
    return _places[id(model)]
