"""The middle level: a coarse face moved, over its face chart, to where the photo shows it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import torch

from ..fit.deformation import Contour, DeformationOptions, evidence_of, fit_deformation
from ..fit.openings import damage_of
from ..fit.outline import outline_of_mask
from ..fit.photometric import PhotometricOptions, fit_light_and_albedo
from ..fit.smoothness import Smoothness
from ..geometry.view import View
from ..model.deformation import face_vertices
from ..model.face import CoarseFace, DeformedFace
from ..model.morphable import MorphableModel
from ..model.result import FitReport
from .coarse import known_landmarks

MAP_SIZE = 64
"""Texels per side of a deformation map, as published."""
_LARGEST_MM = 12.0
_MANY_FLIPPED = 20

Realign = Literal["off", "on", "flow"]
"""How the texture follows the deformation: not at all, by sampling again, or by the published flow (:mod:`.realign`)."""


@dataclass(frozen=True)
class DeformedOptions:
    """What can be switched, and the knobs.

    Attributes:
        deformation: False gives a map of zeros.
        contour: outline cost: none, the published row-wise one, or the two-dimensional one.
        smoothness: ``laplacian`` or the published ``tv``.
        fit: knobs of the fit; the switches above go over its own. photometric: of light and albedo, solved again afterwards.
    """

    deformation: bool = True
    contour: Contour = "2d"
    smoothness: Smoothness = "laplacian"
    fit: DeformationOptions = field(default_factory=DeformationOptions)
    photometric: PhotometricOptions = field(default_factory=PhotometricOptions)


def fit_deformed(
    view: View, model: MorphableModel, coarse: CoarseFace, options: DeformedOptions | None = None
) -> tuple[DeformedFace, FitReport]:
    """Deform a coarse face towards its photo.

    The code's shape and the pose stay; light and albedo are solved again on the deformed shape.

    Args:
        view: posed. coarse: of :func:`~vultus.stages.coarse.fit_coarse`, or any other.

    Raises:
        BadInput: the model has no face chart.
    """
    options = options or DeformedOptions()
    nothing = torch.zeros(3, MAP_SIZE, MAP_SIZE)
    if not options.deformation:
        return DeformedFace(coarse, nothing), FitReport("ok", (), {}, 0)
    fit_options = replace(
        options.fit, contour=options.contour, prior=replace(options.fit.prior, smoothness=options.smoothness)
    )
    outline = None
    if options.contour == "2d":
        outline = outline_of_mask(view, view.person)
    found = fit_deformation(
        view,
        model,
        coarse,
        evidence_of(view, model, coarse, *known_landmarks(view, model), outline),
        fit_options,
    )
    if not bool(torch.isfinite(found.deformation_mm).all()):
        advice = ("the photo did not determine a deformation: this is the coarse shape",)
        return DeformedFace(coarse, nothing), FitReport("doubtful", advice, {}, found.iterations)
    face = DeformedFace(coarse, found.deformation_mm)
    vertices = face_vertices(model, face)
    light, albedo, residual = fit_light_and_albedo(view, model, coarse.code, options.photometric, vertices)
    if np.isfinite(residual):
        face = replace(face, coarse=replace(coarse, code=replace(coarse.code, albedo=albedo), light=light))
    damage = damage_of(model, model.vertices(coarse.code), vertices)
    largest_mm = float(found.deformation_mm.norm(dim=0).max())
    advice = []
    if largest_mm > _LARGEST_MM:
        advice.append(
            f"the face was moved by up to {largest_mm:.0f} mm: look at overlay.png, or use level coarse"
        )
    if damage.flipped_triangles > _MANY_FLIPPED:
        advice.append(f"the deformation folded {damage.flipped_triangles} triangles: use level coarse")
    cost = found.cost | {
        "photometric_residual": residual,
        "largest_mm": largest_mm,
        "flipped_triangles": float(damage.flipped_triangles),
        "lid_depth_mm": damage.lid_depth_mm,
        "lip_gap_mm": damage.lip_gap_mm,
    }
    return face, FitReport("doubtful" if advice else "ok", tuple(advice), cost, found.iterations)
