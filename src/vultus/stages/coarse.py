"""The coarse stage: a morphable model's explanation of one view, from landmarks first, then from the pixels."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import torch

from ..fit.landmark_basis import LandmarkBasis, landmark_basis
from ..fit.landmarks import ExpressionPrior, LandmarkFit, LandmarkOptions, fit_landmarks
from ..fit.opening_width import fit_openings
from ..fit.photometric import PhotometricOptions
from ..fit.refine import RefineOptions, refine
from ..geometry.rigid import rigid_transform
from ..geometry.view import View
from ..model.face import CoarseFace, FaceCode
from ..model.morphable import MorphableModel
from ..model.result import FitReport

GOOD_RESIDUAL = 0.03  # median reprojection error relative to the eye distance above which a fit is doubtful


@dataclass(frozen=True)
class CoarseOptions:
    """Knobs of the coarse stage; ``focal_log_sigma`` as in :class:`~vultus.stages.views.FocalGuess`."""

    focal_log_sigma: float = 0.25
    landmarks: LandmarkOptions = field(default_factory=LandmarkOptions)
    photometric: PhotometricOptions = field(default_factory=PhotometricOptions)
    refine: RefineOptions = field(default_factory=RefineOptions)


def fit_coarse(
    view: View, model: MorphableModel, options: CoarseOptions | None = None
) -> tuple[View, CoarseFace, FitReport]:
    """Pose, focal length, identity, expression, albedo and light of one view.

    Returns:
        the view with its camera posed and its focal length refined, the face, and how it went.
    """
    options = options or CoarseOptions()
    basis, points, trust = known_landmarks(view, model)
    prior = expression_prior(model)
    found = fit_landmarks(
        basis,
        points,
        view.camera.principal_px.double().numpy(),
        float(view.camera.focal_px),
        prior,
        replace(options.landmarks, focal_log_sigma=options.focal_log_sigma),
        trust,
    )
    posed = posed_by(view, found)
    code = FaceCode(_float(found.identity), _float(found.expression), torch.zeros(len(model.albedo)))
    posed, code, light, cost = refine(posed, model, code, found.normal, options.photometric, options.refine)
    face = CoarseFace(fit_openings(posed, model, code), posed.camera.T_camera_head, light)
    return posed, face, landmark_report(found, trust, view, {"landmarks": found.cost, "photometric": cost})


def known_landmarks(view: View, model: MorphableModel) -> tuple[LandmarkBasis, np.ndarray, np.ndarray]:
    """The basis that a view's landmarks belong to, their positions (l, 2) in its order, and which may be trusted (l,)."""
    basis = landmark_basis(model, view.landmark_scheme)
    return basis, *_as_scheme(view.landmarks_px.double().numpy(), basis.mean_mm.shape[1])


def expression_prior(model: MorphableModel) -> ExpressionPrior:
    """The model's own, for the landmark fit."""
    return ExpressionPrior(
        model.expression_sigma.double().numpy(), *model.expression_range.double().numpy().T
    )


def _as_scheme(points: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Pad landmarks that a scheme lacks (the irises of 468 points) and say which may be trusted."""
    trust = np.ones(number)
    if len(points) < number:
        trust[len(points) :] = 0
        points = np.concatenate([points, np.tile(points.mean(0), (number - len(points), 1))])
    unknown = ~np.isfinite(points).all(axis=1)
    trust[unknown] = 0
    return np.where(np.expand_dims(unknown, 1), np.nanmean(points, axis=0), points), trust


def posed_by(view: View, found: LandmarkFit) -> View:
    """The view with the pose and focal length of a landmark fit."""
    pose = rigid_transform(_float(found.rotation), _float(found.translation))
    return replace(
        view, camera=replace(view.camera, focal_px=torch.tensor(found.focal_px).float(), T_camera_head=pose)
    )


def landmark_report(found: LandmarkFit, trust: np.ndarray, view: View, cost: dict[str, float]) -> FitReport:
    """How well landmarks fit, as ``reprojection`` among the costs: median distance relative to the face's size."""
    from .views import EYES

    eyes = view.landmarks_px[list(EYES[view.landmark_scheme])].double().numpy()
    span = max(float(np.linalg.norm(eyes[0] + eyes[1] - eyes[2] - eyes[3])) / 2, 1.0)
    face = max(span, 0.35 * float(np.ptp(view.landmarks_px.double().numpy()[:, 1])))
    error = float(np.median(np.linalg.norm(found.residual_px[trust > 0], axis=1))) / face
    advice = []
    if error > GOOD_RESIDUAL:
        advice.append(
            "the landmarks do not fit a head well: look at overlay.png, or bring landmarks from a file"
        )
    if found.weight[trust > 0].mean() < 0.6:
        advice.append("much of the face seems hidden or misdetected")
    return FitReport("doubtful" if advice else "ok", tuple(advice), cost | {"reprojection": error}, 0)


def _float(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).float()
