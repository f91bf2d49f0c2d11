"""The landmark fit: pose, focal length, identity and expression from detected points, by Gauss-Newton with analytic derivatives.

A landmark lies where the model puts it, plus what the detector is known to err: modes of errors that many points share, found by
calibration, whose coefficients are unknowns with a unit prior (so the noise covariance is modes^T modes + diagonal, without a large
matrix), plus independent noise. Residuals are re-weighted against outliers; identity has a unit Gaussian prior, expression a Gaussian
one inside its bounds (active set). Positions and modes depend on the pose, so they are looked up again in every iteration.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.spatial.transform import Rotation

from .eliminate import ExpressionPrior, bounded_solve
from .landmark_basis import LandmarkBasis
from .landmark_system import LandmarkFit, LandmarkOptions, Linearised, linearise


def fit_landmarks(
    basis: LandmarkBasis,
    landmarks_px: np.ndarray,
    principal_px: np.ndarray,
    focal_px: float,
    expression_prior: ExpressionPrior,
    options: LandmarkOptions | None = None,
    trust: np.ndarray | None = None,
) -> LandmarkFit:
    """Explain detected landmarks.

    Args:
        basis: the model's landmarks. landmarks_px: (l, 2). principal_px: (2,). focal_px: its guess (or value).
        expression_prior: see :class:`ExpressionPrior`. trust: (l,) extra weight of each landmark, 1 when omitted.
    """
    options = options or LandmarkOptions()
    trust = np.ones(len(landmarks_px)) if trust is None else trust
    num_identity, num_expression = basis.identity_mm.shape[1], basis.expression_mm.shape[1]
    rotation, translation = _first_pose(basis, landmarks_px, principal_px, focal_px, trust)
    fit = LandmarkFit(rotation, translation, focal_px, np.zeros(num_identity), np.zeros(num_expression),
                      np.zeros(basis.error_modes_mm.shape[1]), np.ones(len(trust)), np.zeros_like(landmarks_px), np.eye(7), np.inf)  # fmt: skip
    pose_only = replace(options, focal_log_sigma=0.0, outlier_sigma=20.0)
    for _ in range(3):
        fit = _step(
            basis, fit, landmarks_px, principal_px, focal_px, expression_prior, pose_only, trust, code=False
        )
    for _ in range(options.iterations):
        previous = fit.cost
        fit = _step(
            basis, fit, landmarks_px, principal_px, focal_px, expression_prior, options, trust, code=True
        )
        if abs(previous - fit.cost) < 1e-3 * fit.cost:
            break
    return fit


def _first_pose(basis, landmarks_px, principal_px, focal_px, trust) -> tuple[np.ndarray, np.ndarray]:
    """Scaled orthographic pose of the mean head (DeMenthon and Davis 1995, "POS"), tried from several yaw bins; the best fits best."""
    best = (np.inf, np.eye(3), np.zeros(3))
    for yaw in (0.0, -50.0, 50.0):
        mean, _, _, spread = basis.at(yaw, 0.0, identity=False, expression=False)
        weight = trust / (spread**2 + 1)
        centre3, centre2 = (weight @ mean) / weight.sum(), (weight @ landmarks_px) / weight.sum()
        x, y = mean - centre3, landmarks_px - centre2
        design = (x * weight[:, None]).T @ x
        rows = np.linalg.solve(design, (x * weight[:, None]).T @ y).T  # 2 x 3
        scale = np.linalg.norm(rows, axis=1).mean()
        u, _, vt = np.linalg.svd(rows, full_matrices=False)
        top = u @ vt
        rotation = np.vstack([top, np.cross(top[0], top[1])])
        error = (weight[:, None] * (scale * x @ top.T - y) ** 2).sum() / weight.sum() / scale**2
        depth = focal_px / scale
        ray = np.append((centre2 - principal_px) / focal_px, 1.0)
        if error < best[0]:
            best = (error, rotation, depth * ray - rotation @ centre3)
    return best[1], best[2]


def _step(
    basis, fit, landmarks_px, principal_px, focal_guess_px, prior, options, trust, *, code
) -> LandmarkFit:
    """One Gauss-Newton step of the MAP objective; returns the moved fit with weights and cost of the point it started from."""
    here = linearise(basis, fit, landmarks_px, principal_px, focal_guess_px, prior, options, trust, code=code)
    if not code:
        return moved(fit, here, np.linalg.solve(here.normal, here.right), prior)
    first = 7 + len(fit.identity)
    return moved(fit, here, bounded_solve(here.normal, here.right, fit.expression, prior, first), prior)


def moved(fit: LandmarkFit, here: Linearised, step: np.ndarray, prior: ExpressionPrior) -> LandmarkFit:
    """A fit after a step, with weights, cost and curvature of the point it started from."""
    first, last = 7 + len(fit.identity), 7 + len(fit.identity) + len(fit.expression)
    code = len(step) > 7
    return LandmarkFit(
        rotation=Rotation.from_rotvec(step[:3]).as_matrix() @ fit.rotation,
        translation=fit.translation + step[3:6],
        focal_px=fit.focal_px * float(np.exp(np.clip(step[6], -0.3, 0.3))),
        identity=fit.identity + step[7:first] if code else fit.identity,
        expression=np.clip(fit.expression + step[first:last], prior.low, prior.high)
        if code
        else fit.expression,
        bias=fit.bias + step[last:] if code else fit.bias,
        weight=here.weight,
        residual_px=here.reprojection_px,
        curvature=here.normal,
        cost=here.cost,
    )
