"""The landmark fit's objective around a fit: unknowns, priors and analytic derivatives.

Derivatives are laid out one unknown a row, so that writing them, weighing them and multiplying them run along memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .eliminate import ExpressionPrior, marginal
from .landmark_basis import LandmarkBasis, pose_angles_deg


@dataclass(frozen=True)
class LandmarkOptions:
    """Knobs of :func:`~vultus.fit.landmarks.fit_landmarks`.

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
        curvature: (n, n) of the objective in rotation, translation, log focal length, identity, expression and bias; (7, 7) before
            the first step with all of them.
    """

    rotation: np.ndarray
    translation: np.ndarray
    focal_px: float
    identity: np.ndarray
    expression: np.ndarray
    bias: np.ndarray
    weight: np.ndarray
    residual_px: np.ndarray
    curvature: np.ndarray
    cost: float

    @cached_property
    def normal(self) -> np.ndarray:
        """(7 + k + e) squared, the curvature with the detector's bias marginalised; only the last step's is ever asked for."""
        return marginal(self.curvature, 7 + len(self.identity) + len(self.expression))


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
    """The objective of :func:`~vultus.fit.landmarks.fit_landmarks` around a fit; without ``code`` over the pose alone."""
    seen = _seen(basis, fit, code)
    reprojection = seen.projected + principal_px - landmarks_px
    if seen.response is not None:
        reprojection = reprojection + np.tensordot(fit.identity, seen.response, 1) @ seen.to_image.T
    residual = reprojection + np.tensordot(fit.bias, seen.modes, 1) @ seen.to_image.T
    sigma_px = fit.focal_px / seen.depth * np.sqrt(seen.spread**2 + options.noise_mm**2)
    normalised = (residual**2).sum(1) / sigma_px**2 / 2
    robust = 1 / (1 + normalised / options.outlier_sigma**2) ** 2
    information = trust / np.where(basis.edges, options.edge_correlation, options.correlation)
    weight = np.sqrt(information * robust) / sigma_px

    upright = seen.to_image / np.linalg.norm(seen.to_image[0])
    rows = _derivatives(fit, seen, weight, upright, code).reshape(-1, 2 * len(weight))
    precision, pull = _priors(fit, focal_guess_px, prior, options, len(rows))
    right = -(rows @ (residual @ upright * weight[:, None]).T.ravel() + pull)
    normal = rows @ rows.T
    normal[np.diag_indices_from(normal)] += precision
    cost = float(
        (information * options.outlier_sigma**2 * normalised / (options.outlier_sigma**2 + normalised)).sum()
        + 0.5 * (fit.bias**2).sum()
        + 0.5 * (fit.identity**2).sum() / options.identity_sigma**2
        + 0.5 * (fit.expression**2 / (options.expression_sigma * prior.sigma) ** 2).sum()
    )
    return Linearised(normal, right, robust, reprojection, cost)


@dataclass(frozen=True)
class _Seen:
    """Where a fit puts the landmarks, and what moves them.

    Attributes:
        turned: (l, 3) in the camera's axes, millimetres from the head's origin. depth, spread: (l,). projected: (l, 2) from the
            principal point.
        identity: (k, l, 3), empty where the detector's response (k, l, 2) takes its place. expression: (e, l, 3). modes: (m, l, 2).
        to_image: (2, 2), millimetres of response and modes, which keep the head upright, to pixels.
    """

    turned: np.ndarray
    depth: np.ndarray
    spread: np.ndarray
    projected: np.ndarray
    identity: np.ndarray
    response: np.ndarray | None
    expression: np.ndarray
    modes: np.ndarray
    to_image: np.ndarray


def _seen(basis: LandmarkBasis, fit: LandmarkFit, code: bool) -> _Seen:
    yaw_deg, pitch_deg, roll_deg = pose_angles_deg(fit.rotation)
    response = basis.response(yaw_deg) if code else None
    shape, identity, expression, spread = basis.at(
        yaw_deg, pitch_deg, identity=code and response is None, expression=code
    )
    if code:  # before the first such step identity and expression are zero
        shape = shape + np.tensordot(fit.expression, expression, 1)
        if response is None:
            shape = shape + np.tensordot(fit.identity, identity, 1)
    turned = shape @ fit.rotation.T
    camera = turned + fit.translation
    depth = camera[:, 2]
    cosine, sine = np.cos(np.radians(roll_deg)), np.sin(np.radians(roll_deg))
    to_image = fit.focal_px / depth.mean() * np.array([[cosine, sine], [-sine, cosine]])
    return _Seen(
        turned,
        depth,
        spread,
        fit.focal_px * camera[:, :2] / depth[:, None],
        identity,
        response,
        expression,
        basis.error_modes(yaw_deg),
        to_image,
    )


def _derivatives(
    fit: LandmarkFit, seen: _Seen, weight: np.ndarray, upright: np.ndarray, code: bool
) -> np.ndarray:
    """Of the weighted residuals in the upright head's axes, one unknown a row: (n, 2, l).

    The two coordinates of a landmark weigh the same, so the axes do not matter; in these, response and modes are not turned.
    """
    num_identity, num_expression = len(fit.identity), len(fit.expression)
    size = 7 + (num_identity + num_expression + len(seen.modes) if code else 0)
    rows = np.empty((size, 2, len(seen.depth)))
    to_pixel = np.zeros((len(seen.depth), 2, 3))
    to_pixel[:, 0, 0] = to_pixel[:, 1, 1] = fit.focal_px
    to_pixel[:, :, 2] = -seen.projected
    to_pixel = upright.T @ to_pixel * (weight / seen.depth)[:, None, None]
    rows[0:3] = np.cross(seen.turned[:, None], to_pixel).transpose(2, 1, 0)
    rows[3:6] = to_pixel.transpose(2, 1, 0)
    rows[6] = (seen.projected @ upright).T * weight
    if code:
        moves = to_pixel @ fit.rotation
        scaled = weight * np.linalg.norm(seen.to_image[0])
        first, last = 7 + num_identity, 7 + num_identity + num_expression
        if seen.response is None:
            rows[7:first] = _projected(seen.identity, moves)
        else:
            np.multiply(seen.response.transpose(0, 2, 1), scaled, out=rows[7:first])
        rows[first:last] = _projected(seen.expression, moves)
        np.multiply(seen.modes.transpose(0, 2, 1), scaled, out=rows[last:])
    return rows


def _projected(modes_mm: np.ndarray, moves: np.ndarray) -> np.ndarray:
    """(k, 2, l) pixels that modes (k, l, 3) move the landmarks by, each millimetre by (l, 2, 3) pixels."""
    return (moves @ modes_mm.transpose(1, 2, 0)).transpose(2, 1, 0)


def _priors(
    fit: LandmarkFit, focal_guess_px: float, prior: ExpressionPrior, options: LandmarkOptions, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Precision (n,) of the Gaussian priors, and how hard they pull (n,) at the fit."""
    precision, pull = np.full(size, 1e-9), np.zeros(size)
    if options.focal_log_sigma > 0:
        precision[6] = 1 / options.focal_log_sigma**2
        pull[6] = precision[6] * np.log(fit.focal_px / focal_guess_px)
    else:
        precision[6] = 1e12
    if size > 7:
        first, last = 7 + len(fit.identity), 7 + len(fit.identity) + len(fit.expression)
        precision[7:first] = 1 / options.identity_sigma**2
        precision[first:last] = 1 / (options.expression_sigma * prior.sigma) ** 2
        precision[last:] = 1.0
        pull[7:] = precision[7:] * np.concatenate([fit.identity, fit.expression, fit.bias])
    return precision, pull
