"""Several views of one person: identity shared; pose, expression and detector error each view's own (MV-HRN, with known cameras as well).

Every view is linearised as in :mod:`.landmarks`; what is its own is eliminated (Schur complement), what is shared is solved for once, and
the own unknowns follow within their bounds. With known cameras the head's pose in the world is shared too, which triangulates it; so is
the world's scale, because face models do not know how large a head is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.linalg import block_diag, solve_triangular
from scipy.spatial.transform import Rotation

from .eliminate import ExpressionPrior, bounded_solve, marginal
from .landmark_basis import LandmarkBasis
from .landmark_system import LandmarkFit, LandmarkOptions, Linearised, linearise
from .landmarks import fit_landmarks, moved

_SCALE_LOG_SIGMA = 0.1  # of heads against the model's mean, and of what people call a millimetre
_ALONG = 0.1  # a landmark fit's depth is this much less certain than what lies across its line of sight
_POSE = 6  # a view's unknowns: rotation, translation, log focal length, identity, expression
_FIRST_IDENTITY = 7


@dataclass(frozen=True)
class LandmarkView:
    """What one photo gives.

    Attributes:
        basis: the landmarks' linear model. points_px: (l, 2). trust: (l,). principal_px: (2,).
        focal_px: its guess; focal_log_sigma: how sure, 0 when it is known.
        T_camera_world: (4, 4) millimetres, or None when nobody knows where the camera stood.
    """

    basis: LandmarkBasis
    points_px: np.ndarray
    trust: np.ndarray
    principal_px: np.ndarray
    focal_px: float
    focal_log_sigma: float
    T_camera_world: np.ndarray | None = None


@dataclass(frozen=True)
class JointOptions:
    """Knobs of :func:`fit_landmarks_jointly`.

    Attributes:
        iterations: Gauss-Newton steps. landmarks: of each view.
        shared_error: correlation of the detector's errors between photos of one person (it errs alike each time): with n views the
            information grows by n / (1 + shared_error (n - 1)) instead of n.
    """

    iterations: int = 10
    landmarks: LandmarkOptions = field(default_factory=LandmarkOptions)
    shared_error: float = 0.3


@dataclass(frozen=True)
class JointFit:
    """What the landmarks of all views say.

    Attributes:
        fits: one per view, with one identity.
        roots: per view (7 + k + e, s + o): a root of the posterior's covariance. It takes independent standard normal numbers, ``s`` that
            all views share and then ``o`` of the view alone, to steps of rotation, translation, log focal length, identity, expression.
        num_shared: s.
        scale: millimetres of the model per millimetre of the cameras' world; 1 when no cameras are known.
    """

    fits: tuple[LandmarkFit, ...]
    roots: tuple[np.ndarray, ...]
    num_shared: int
    scale: float = 1.0


def fit_landmarks_jointly(
    views: Sequence[LandmarkView], prior: ExpressionPrior, options: JointOptions | None = None
) -> JointFit:
    """Explain the landmarks of several photos of one person.

    Args:
        views: with cameras for all of them or for none.
    """
    options = options or JointOptions()
    each = [replace(options.landmarks, focal_log_sigma=view.focal_log_sigma) for view in views]
    fits = [
        fit_landmarks(view.basis, view.points_px, view.principal_px, view.focal_px, prior, own, view.trust)
        for view, own in zip(views, each)
    ]
    identity = np.mean([fit.identity for fit in fits], axis=0)
    fits = [replace(fit, identity=identity) for fit in fits]
    scale = 1.0
    cameras = [view.T_camera_world for view in views if view.T_camera_world is not None]
    if cameras:
        fits, scale = _in_one_place(fits, cameras)
    # Identity's prior counts once, not once per view.
    each = [replace(own, identity_sigma=np.inf) for own in each]
    system = None
    for _ in range(options.iterations):
        here = [
            linearise(
                view.basis, fit, view.points_px, view.principal_px, view.focal_px, prior, own, view.trust
            )
            for view, fit, own in zip(views, fits, each)
        ]
        system = _System.of(here, fits[0].identity, scale, cameras, options)
        fits, scale = system.step(fits, here, scale, prior)
    assert system is not None
    return JointFit(tuple(fits), tuple(system.roots(fits)), len(system.right), scale)


@dataclass(frozen=True)
class _System:
    """The shared unknowns' normal equations: identity, or the head's rotation, place, log scale and identity in the world.

    Attributes:
        normal: (s, s). right: (s,).
        ids: which of a view's unknowns the shared ones determine. turns: per view (ids, s), how.
    """

    normal: np.ndarray
    right: np.ndarray
    ids: np.ndarray
    turns: tuple[np.ndarray, ...]

    @staticmethod
    def of(
        here: Sequence[Linearised],
        identity: np.ndarray,
        scale: float,
        cameras: Sequence[np.ndarray],
        options: JointOptions,
    ) -> _System:
        number = len(identity)
        ids = np.r_[0 : _POSE if cameras else 0, _FIRST_IDENTITY : _FIRST_IDENTITY + number]
        turns = [_turn(T, scale, number) for T in cameras] if cameras else [np.eye(number)] * len(here)
        size = turns[0].shape[1]
        precision, pull = np.full(size, 1e-9), np.zeros(size)
        precision[-number:] = 1 / options.landmarks.identity_sigma**2
        pull[-number:] = precision[-number:] * identity
        if cameras:
            precision[_POSE] = _SCALE_LOG_SIGMA**-2
            pull[_POSE] = precision[_POSE] * np.log(scale)
        normal, right = np.diag(precision), -pull
        discount = 1 / (1 + options.shared_error * (len(here) - 1))
        for lin, turn in zip(here, turns):
            share, down = told(lin, ids)
            normal += discount * turn.T @ share @ turn
            right += discount * turn.T @ down
        return _System(normal, right, ids, tuple(turns))

    def step(
        self, fits: Sequence[LandmarkFit], here: Sequence[Linearised], scale: float, prior: ExpressionPrior
    ) -> tuple[list[LandmarkFit], float]:
        """All views moved; what is theirs alone stays inside its bounds."""
        shared = np.linalg.solve(self.normal, self.right)
        result = []
        for fit, lin, turn in zip(fits, here, self.turns):
            whole = np.zeros(len(lin.right))
            whole[self.ids] = turn @ shared
            own = np.setdiff1d(np.arange(len(whole)), self.ids)
            left = lin.right[own] - lin.normal[np.ix_(own, self.ids)] @ whole[self.ids]
            first = int(np.flatnonzero(own == _FIRST_IDENTITY + len(fit.identity))[0])
            whole[own] = bounded_solve(lin.normal[np.ix_(own, own)], left, fit.expression, prior, first)
            result.append(moved(fit, lin, whole, prior))
        known = len(self.ids) > len(fits[0].identity)
        return result, scale * float(np.exp(shared[_POSE])) if known else scale

    def roots(self, fits: Sequence[LandmarkFit]) -> list[np.ndarray]:
        """See :class:`JointFit`."""
        spread = _root(self.normal)
        result = []
        for fit, turn in zip(fits, self.turns):
            size = len(fit.normal)
            own = np.setdiff1d(np.arange(size), self.ids)
            normal = fit.normal[np.ix_(own, own)]
            root = np.zeros((size, len(spread) + len(own)))
            moved_ids = turn @ spread
            root[self.ids, : len(spread)] = moved_ids
            root[own, : len(spread)] = -np.linalg.solve(normal, fit.normal[np.ix_(own, self.ids)] @ moved_ids)
            root[own, len(spread) :] = _root(normal)
            result.append(root)
        return result


def told(lin: Linearised, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What a view says about some of its unknowns, the others integrated out: precision (n, n) and downhill (n,)."""
    own = np.setdiff1d(np.arange(len(lin.right)), ids)
    gain = np.linalg.solve(lin.normal[np.ix_(own, own)], lin.normal[np.ix_(own, ids)]).T
    order = np.concatenate([ids, own])
    return marginal(lin.normal[np.ix_(order, order)], len(ids)), lin.right[ids] - gain @ lin.right[own]


def _root(precision: np.ndarray) -> np.ndarray:
    """A root of the covariance: precision^-1 = root root'."""
    factor = np.linalg.cholesky(precision + 1e-9 * np.eye(len(precision)))
    return solve_triangular(factor, np.eye(len(precision)), lower=True).T


def _turn(T_camera_world: np.ndarray, scale: float, num_identity: int) -> np.ndarray:
    """How a step of the head in the world, of the world's scale and of identity moves the head before one camera: (6 + k, 7 + k)."""
    rotation, translation = T_camera_world[:3, :3], T_camera_world[:3, 3]
    turn = block_diag(rotation, rotation, np.eye(num_identity))
    turn = np.insert(np.asarray(turn), _POSE, 0.0, axis=1)
    turn[3:6, _POSE] = scale * translation
    return turn


def _in_one_place(
    fits: Sequence[LandmarkFit], cameras: Sequence[np.ndarray]
) -> tuple[list[LandmarkFit], float]:
    """Poses that agree: the mean rotation in the world, and the place and scale that the lines of sight meet in.

    Each view has the head at t; with T = [R | c] the head's place p in the world and the scale s should give R p + s c = t. Across the line
    of sight that is known well, along it only roughly.
    """
    rotations = Rotation.from_matrix([T[:3, :3].T @ fit.rotation for T, fit in zip(cameras, fits)])
    rotation = rotations.mean().as_matrix()
    rows = [np.array([[0.0, 0.0, 0.0, 1 / _SCALE_LOG_SIGMA]])]
    right = [np.array([1 / _SCALE_LOG_SIGMA])]
    for T, fit in zip(cameras, fits):
        distance = np.linalg.norm(fit.translation)
        ray = fit.translation / distance
        weight = (np.eye(3) - (1 - _ALONG) * np.outer(ray, ray)) / (_ALONG * distance)
        rows.append(weight @ np.column_stack([T[:3, :3], T[:3, 3]]))
        right.append(weight @ fit.translation)
    *place, scale = np.linalg.lstsq(np.concatenate(rows), np.concatenate(right), rcond=None)[0]
    scale = float(np.clip(scale, 0.5, 2.0))
    moved_fits = [
        replace(
            fit, rotation=T[:3, :3] @ rotation, translation=T[:3, :3] @ np.array(place) + scale * T[:3, 3]
        )
        for fit, T in zip(fits, cameras)
    ]
    return moved_fits, scale
