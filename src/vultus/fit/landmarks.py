"""The landmark fit: pose, focal length, identity and expression from detected points, by Gauss-Newton with analytic derivatives.

A landmark lies where the model puts it, plus what the detector is known to err: modes of errors that many points share, found by
calibration, whose coefficients are unknowns with a unit prior (so the noise covariance is modes^T modes + diagonal, without a large
matrix), plus independent noise. Residuals are re-weighted against outliers; identity has a unit Gaussian prior, expression a Gaussian
one inside its bounds (active set). Positions and modes depend on the pose, so they are looked up again in every iteration.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial.transform import Rotation

from .landmark_basis import LandmarkBasis

FRONTAL = np.diag([1.0, -1.0, -1.0])


@dataclass(frozen=True)
class LandmarkOptions:
    """Knobs of :func:`fit_landmarks`.

    Attributes:
        iterations: Gauss-Newton steps with all unknowns.
        noise_mm: detector noise on top of the table's spread.
        correlation: how many neighbouring landmarks err together beyond the modes; their information is divided by it.
        edge_correlation: the same for the rims of lids and lips.
        outlier_sigma: residuals beyond this many sigmas lose their influence (Geman-McClure).
        focal_log_sigma: how far the focal length may be from its guess; 0 keeps it.
        identity_sigma: of the identity prior; expression_sigma: factor on the model's own.
    """

    iterations: int = 8
    noise_mm: float = 0.5
    correlation: float = 30.0
    edge_correlation: float = 8.0
    outlier_sigma: float = 10.0
    focal_log_sigma: float = 0.25
    identity_sigma: float = 0.6
    expression_sigma: float = 1.0


@dataclass(frozen=True)
class LandmarkFit:
    """What the landmarks say.

    Attributes:
        rotation: (3, 3) and translation: (3,), head -> camera, millimetres. focal_px.
        identity: (k,) sigma. expression: (e,) weights. bias: (m,) coefficients of the detector's error modes.
        weight: (l,) robust weight of each landmark in [0, 1]. residual_px: (l, 2), projection minus detection. cost: final objective.
        normal: (7 + k + e) squared, the objective's curvature in rotation, translation, log focal length, identity and
            expression, with the detector's bias marginalised.
    """

    rotation: np.ndarray
    translation: np.ndarray
    focal_px: float
    identity: np.ndarray
    expression: np.ndarray
    bias: np.ndarray
    weight: np.ndarray
    residual_px: np.ndarray
    normal: np.ndarray
    cost: float


@dataclass(frozen=True)
class ExpressionPrior:
    """Gaussian around zero inside bounds: sigma (e,), low (e,), high (e,)."""

    sigma: np.ndarray
    low: np.ndarray
    high: np.ndarray


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


@dataclass(frozen=True)
class Linearised:
    """The MAP objective around a fit: ``normal @ step = right`` over rotation, translation, log focal length, identity, expression, bias.

    Attributes:
        normal: (n, n) curvature with all priors. right: (n,) downhill. weight: (l,) robust weights.
        reprojection_px: (l, 2). cost: of the fit that it was made around.
    """

    normal: np.ndarray
    right: np.ndarray
    weight: np.ndarray
    reprojection_px: np.ndarray
    cost: float


def _step(
    basis, fit, landmarks_px, principal_px, focal_guess_px, prior, options, trust, *, code
) -> LandmarkFit:
    """One Gauss-Newton step of the MAP objective; returns the moved fit with weights and cost of the point it started from."""
    here = linearise(basis, fit, landmarks_px, principal_px, focal_guess_px, prior, options, trust, code=code)
    if not code:
        return moved(fit, here, np.linalg.solve(here.normal, here.right), prior)
    first = 7 + len(fit.identity)
    return moved(fit, here, bounded_solve(here.normal, here.right, fit.expression, prior, first), prior)


def linearise(
    basis: LandmarkBasis,
    fit: LandmarkFit,
    landmarks_px: np.ndarray,
    principal_px: np.ndarray,
    focal_guess_px: float,
    prior: ExpressionPrior,
    options: LandmarkOptions,
    trust: np.ndarray,
    *,
    code: bool = True,
) -> Linearised:
    """The objective of :func:`fit_landmarks` around a fit; without ``code`` over the pose alone."""
    yaw_deg, pitch_deg, roll_deg = pose_angles_deg(fit.rotation)
    response = basis.response(yaw_deg) if code else None
    mean, identity, expression, spread = basis.at(
        yaw_deg, pitch_deg, identity=code and response is None, expression=code
    )
    shape = mean
    if code:  # before the first such step identity and expression are zero
        shape = mean + np.tensordot(fit.expression, expression, 1)
        if response is None:
            shape = shape + np.tensordot(fit.identity, identity, 1)
    turned = shape @ fit.rotation.T
    camera = turned + fit.translation
    depth = camera[:, 2]
    projected = fit.focal_px * camera[:, :2] / depth[:, None]
    cosine, sine = np.cos(np.radians(roll_deg)), np.sin(np.radians(roll_deg))
    to_image = fit.focal_px / depth.mean() * np.array([[cosine, sine], [-sine, cosine]])
    modes = basis.error_modes(yaw_deg) @ to_image.T
    reprojection = projected + principal_px - landmarks_px
    if response is not None:
        response = response @ to_image.T
        reprojection = reprojection + np.tensordot(fit.identity, response, 1)
    residual = reprojection + np.tensordot(fit.bias, modes, 1)
    sigma_px = fit.focal_px / depth * np.sqrt(spread**2 + options.noise_mm**2)
    normalised = (residual**2).sum(1) / sigma_px**2 / 2
    robust = 1 / (1 + normalised / options.outlier_sigma**2) ** 2
    information = trust / np.where(basis.edges, options.edge_correlation, options.correlation)
    weight = np.sqrt(information * robust) / sigma_px

    num_identity, num_expression = len(fit.identity), len(fit.expression)
    num_code = num_identity + num_expression if code else 0
    size = 7 + num_code + (len(modes) if code else 0)
    jacobian = np.zeros((len(shape), 2, size))
    to_pixel = np.zeros((len(shape), 2, 3))
    to_pixel[:, 0, 0] = to_pixel[:, 1, 1] = fit.focal_px / depth
    to_pixel[:, :, 2] = -projected / depth[:, None]
    x, y, z = turned.T
    zero = np.zeros_like(x)
    turn = np.stack([np.stack([zero, z, -y], 1), np.stack([-z, zero, x], 1), np.stack([y, -x, zero], 1)], 1)
    jacobian[:, :, 0:3] = to_pixel @ turn
    jacobian[:, :, 3:6] = to_pixel
    jacobian[:, :, 6] = projected
    if code:
        moved = to_pixel @ fit.rotation
        first = 7 + num_identity
        jacobian[:, :, 7:first] = (
            moved @ identity.transpose(1, 2, 0) if response is None else response.transpose(1, 2, 0)
        )
        jacobian[:, :, first : first + num_expression] = moved @ expression.transpose(1, 2, 0)
        jacobian[:, :, 7 + num_code :] = np.moveaxis(modes, 0, -1)

    precision = np.full(size, 1e-9)
    precision[7 + num_code :] = 1.0
    pull = np.zeros(size)
    if options.focal_log_sigma > 0:
        precision[6] = 1 / options.focal_log_sigma**2
        pull[6] = precision[6] * np.log(fit.focal_px / focal_guess_px)
    else:
        precision[6] = 1e12
    if code:
        precision[7 : 7 + num_identity] = 1 / options.identity_sigma**2
        precision[7 + num_identity : 7 + num_code] = 1 / (options.expression_sigma * prior.sigma) ** 2
        pull[7:] = precision[7:] * np.concatenate([fit.identity, fit.expression, fit.bias])
    weighted = (jacobian * weight[:, None, None]).reshape(-1, jacobian.shape[-1])
    right = -(weighted.T @ (residual * weight[:, None]).ravel() + pull)
    normal = weighted.T @ weighted + np.diag(precision)
    cost = float(
        (information * options.outlier_sigma**2 * normalised / (options.outlier_sigma**2 + normalised)).sum()
        + 0.5 * (fit.bias**2).sum()
        + 0.5 * (fit.identity**2).sum() / options.identity_sigma**2
        + 0.5 * (fit.expression**2 / (options.expression_sigma * prior.sigma) ** 2).sum()
    )
    return Linearised(normal, right, robust, reprojection, cost)


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
        normal=marginal(here.normal, last if code else 7),
        cost=here.cost,
    )


def marginal(normal: np.ndarray, size: int) -> np.ndarray:
    """Precision of the first ``size`` unknowns when the others are integrated out (Schur complement)."""
    kept, rest, mixed = normal[:size, :size], normal[size:, size:], normal[:size, size:]
    return kept - mixed @ np.linalg.solve(rest, mixed.T) if len(rest) else kept


def bounded_solve(normal, right, expression, prior, first) -> np.ndarray:
    """Solve ``normal @ step = right`` with the expression kept inside its bounds: those that would leave are fixed at the bound."""
    last = first + len(expression)
    fixed = np.zeros(len(right), bool)
    value = np.zeros(len(right))
    step = value
    for _ in range(4):
        free = ~fixed
        step = value.copy()
        step[free] = np.linalg.solve(
            normal[np.ix_(free, free)], right[free] - normal[np.ix_(free, fixed)] @ value[fixed]
        )
        target = expression + step[first:last]
        outside = ((target < prior.low - 1e-9) | (target > prior.high + 1e-9)) & ~fixed[first:last]
        if not outside.any():
            break
        ids = first + np.flatnonzero(outside)
        fixed[ids] = True
        value[ids] = (np.clip(target, prior.low, prior.high) - expression)[outside]
    return step


def pose_angles_deg(rotation: np.ndarray) -> tuple[float, float, float]:
    """Yaw, pitch, roll as :func:`vultus.geometry.rigid.pose_angles`, in numpy."""
    r = FRONTAL @ rotation
    return (
        float(np.degrees(np.arcsin(np.clip(-r[2, 0], -1, 1)))),
        float(np.degrees(np.arctan2(r[2, 1], r[2, 2]))),
        float(np.degrees(np.arctan2(r[1, 0], r[0, 0]))),
    )
