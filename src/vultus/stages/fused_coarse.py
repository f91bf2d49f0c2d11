"""The coarse stage for several photos of one person: who is a stranger, then one identity and each photo's own pose, expression and light."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from ..fit.joint_landmarks import JointFit, JointOptions, LandmarkView, fit_landmarks_jointly
from ..fit.opening_width import fit_openings
from ..fit.photometric import PhotometricOptions
from ..fit.refine import RefineOptions, refine_jointly
from ..fit.same_person import agreement, identity_evidence
from ..geometry.view import View
from ..model.face import CoarseFace, FaceCode
from ..model.morphable import MorphableModel
from ..model.result import FitReport
from .coarse import expression_prior, known_landmarks, landmark_report, posed_by
from .fused_views import PersonView

STRANGER = -0.7
"""Log odds below which a photo is left out: 2 % of photos of the same person are below (benchmarks/fuse.py)."""


@dataclass(frozen=True)
class FusedCoarseOptions:
    """Knobs of the joint coarse stage."""

    joint: JointOptions = field(default_factory=JointOptions)
    photometric: PhotometricOptions = field(default_factory=PhotometricOptions)
    refine: RefineOptions = field(default_factory=RefineOptions)


@dataclass(frozen=True, eq=False)
class FittedView:
    """A photo of the person, explained.

    Attributes:
        person: the photo. view: its cut-out, posed.
        coarse: identity shared by all views; expression, pose, light and albedo of this one.
        report: of its landmarks; ``reprojection`` among the costs.
    """

    person: PersonView
    view: View
    coarse: CoarseFace
    report: FitReport


def tell_strangers(persons: Sequence[PersonView], model: MorphableModel) -> dict[str, str]:
    """Photos that do not show the same person as the others, one after the other, the least fitting first: name -> why."""
    prior, options = expression_prior(model), FusedCoarseOptions().joint
    evidence = {
        person.name: identity_evidence(_landmark_view(person, model), prior, options.landmarks)
        for person in persons
    }
    left_out: dict[str, str] = {}
    while len(evidence) > 1:
        odds = dict(zip(evidence, agreement(list(evidence.values()), options.shared_error)))
        # Two photos that differ differ alike: the one that shows the person worse goes.
        worst = min(odds, key=lambda name: (round(odds[name], 6), _sharpness_of(persons, name)))
        if odds[worst] >= STRANGER:
            break
        left_out[worst] = (
            f"seems to show another person (log odds {odds[worst]:.1f}); if it does not, keep it with --keep-all"
        )
        del evidence[worst]
    return left_out


def fit_coarse_jointly(
    persons: Sequence[PersonView], model: MorphableModel, options: FusedCoarseOptions | None = None
) -> tuple[list[FittedView], JointFit]:
    """Landmarks of all photos together, then their pixels."""
    options = options or FusedCoarseOptions()
    seen = [_landmark_view(person, model) for person in persons]
    joint = fit_landmarks_jointly(seen, expression_prior(model), options.joint)
    views = [posed_by(person.view, fit) for person, fit in zip(persons, joint.fits)]
    codes = [
        FaceCode(
            torch.from_numpy(fit.identity).float(),
            torch.from_numpy(fit.expression).float(),
            torch.zeros(len(model.albedo)),
        )
        for fit in joint.fits
    ]
    refined = refine_jointly(
        views, model, codes, joint.roots, joint.num_shared, options.photometric, options.refine
    )
    result = []
    for person, known, fit, (view, code, light, cost) in zip(persons, seen, joint.fits, refined):
        coarse = CoarseFace(fit_openings(view, model, code), view.camera.T_camera_head, light)
        costs = {"landmarks": fit.cost, "photometric": cost}
        result.append(FittedView(person, view, coarse, landmark_report(fit, known.trust, person.view, costs)))
    return result, joint


def _landmark_view(person: PersonView, model: MorphableModel) -> LandmarkView:
    camera = person.view.camera
    basis, points, trust = known_landmarks(person.view, model)
    principal = camera.principal_px.double().numpy()
    sigma = person.focal.log_sigma
    return LandmarkView(basis, points, trust, principal, float(camera.focal_px), sigma, person.T_camera_world)


def _sharpness_of(persons: Sequence[PersonView], name: str) -> float:
    return next(person.sharpness for person in persons if person.name == name)
