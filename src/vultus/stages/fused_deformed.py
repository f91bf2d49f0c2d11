"""The deformed stage for several photos of one person: one map that all of them agree on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ..fit.deformation import Observation, evidence_of, fit_shared_deformation
from ..fit.openings import damage_of
from ..fit.outline import outline_of_mask
from ..fit.photometric import fit_light_and_albedo
from ..model.deformation import deformation_offsets
from ..model.morphable import MorphableModel
from ..model.result import FitReport
from .coarse import known_landmarks
from .deformed import MAP_SIZE, DeformedOptions
from .fused_coarse import FittedView

_LARGEST_MM = 15.0


def fit_deformed_jointly(
    fitted: Sequence[FittedView], model: MorphableModel, options: DeformedOptions | None = None
) -> tuple[list[FittedView], Tensor, FitReport]:
    """Deform one face towards several photos, which keep their expressions and poses; light and albedo of each are solved again.

    Returns:
        the views with their new light, the map "3 m m", and how it went. Zeros for a model without a face chart.
    """
    options = options or DeformedOptions()
    if model.chart is None or not options.deformation:
        return list(fitted), torch.zeros(3, MAP_SIZE, MAP_SIZE), FitReport("ok", (), {}, 0)
    seen = []
    for one in fitted:
        outline = outline_of_mask(one.view, one.view.person) if options.contour == "2d" else None
        evidence = evidence_of(one.view, model, one.coarse, *known_landmarks(one.view, model), outline)
        seen.append(Observation(one.view, one.coarse, evidence))
    fit_options = replace(
        options.fit, contour=options.contour, prior=replace(options.fit.prior, smoothness=options.smoothness)
    )
    found = fit_shared_deformation(seen, model, fit_options)
    deformation_mm = found.deformation_mm
    if not bool(torch.isfinite(deformation_mm).all()):
        advice = ("the photos did not determine a deformation: this is the coarse shape",)
        return (
            list(fitted),
            torch.zeros_like(deformation_mm),
            FitReport("doubtful", advice, {}, found.iterations),
        )
    offsets = deformation_offsets(model, deformation_mm)
    relit = []
    for one in fitted:
        vertices = model.vertices(one.coarse.code) + offsets
        light, albedo, residual = fit_light_and_albedo(
            one.view, model, one.coarse.code, options.photometric, vertices
        )
        if np.isfinite(residual):
            code = replace(one.coarse.code, albedo=albedo)
            one = replace(one, coarse=replace(one.coarse, code=code, light=light))
        relit.append(one)
    base = model.vertices(fitted[0].coarse.code)
    largest_mm = float(deformation_mm.norm(dim=0).max())
    flipped = damage_of(model, base, base + offsets).flipped_triangles
    advice = ()
    if largest_mm > _LARGEST_MM:
        advice = (f"the face was moved by up to {largest_mm:.0f} mm: look at overlay.png",)
    cost = found.cost | {"largest_mm": largest_mm, "flipped_triangles": float(flipped)}
    return relit, deformation_mm, FitReport("doubtful" if advice else "ok", advice, cost, found.iterations)
