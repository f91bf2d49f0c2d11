"""Several views of one person: identity shared, pose, expression and detector error each view's own (MV-HRN, with known cameras as well).

Every view is linearised as in :mod:`.landmarks`; what is its own is eliminated (Schur complement), what is shared is solved for once, and
the own unknowns follow within their bounds. With known cameras the head's pose in the world is shared too, which triangulates it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.spatial.transform import Rotation

from .landmark_basis import LandmarkBasis
from .landmarks import (
    ExpressionPrior,
    LandmarkFit,
    LandmarkOptions,
    Linearised,
    bounded_solve,
    fit_landmarks,
    linearise,
    moved,
)


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
        shared_error: correlation of the detector's identity errors between photos of one person (it errs alike each time): with n
            views the information grows by n / (1 + shared_error (n - 1)) instead of n.
    """

    iterations: int = 10
    landmarks: LandmarkOptions = field(default_factory=LandmarkOptions)
    shared_error: float = 0.3


def fit_landmarks_jointly(
    views: Sequence[LandmarkView], prior: ExpressionPrior, options: JointOptions | None = None
) -> tuple[LandmarkFit, ...]:
    """Explain the landmarks of several photos of one person.

    Returns:
        one fit per view, with one identity. ``normal`` of each holds what the other views know about identity.
    """
    options = options or JointOptions()
    each = [replace(options.landmarks, focal_log_sigma=view.focal_log_sigma) for view in views]
    fits = [
        fit_landmarks(view.basis, view.points_px, view.principal_px, view.focal_px, prior, own, view.trust)
        for view, own in zip(views, each)
    ]
    if len(views) == 1:
        return tuple(fits)
    identity = np.mean([fit.identity for fit in fits], axis=0)
    fits = [replace(fit, identity=identity) for fit in fits]
    turns = [None if view.T_camera_world is None else view.T_camera_world[:3, :3] for view in views]
    known = all(turn is not None for turn in turns)
    if known:
        fits = _in_one_place(fits, views)
    # Identity's prior counts once, not once per view.
    each = [replace(own, identity_sigma=np.inf) for own in each]
    discount = 1 / (1 + options.shared_error * (len(views) - 1))
    for _ in range(options.iterations):
        here = [
            linearise(
                view.basis, fit, view.points_px, view.principal_px, view.focal_px, prior, own, view.trust
            )
            for view, fit, own in zip(views, fits, each)
        ]
        fits = _joint_step(fits, here, turns if known else None, prior, options, discount)
    return tuple(fits)


def _joint_step(
    fits: list[LandmarkFit],
    here: list[Linearised],
    turns: list | None,
    prior: ExpressionPrior,
    options: JointOptions,
    discount: float,
) -> list[LandmarkFit]:
    num_identity = len(fits[0].identity)
    shared_ids = np.r_[0 : 6 if turns else 0, 7 : 7 + num_identity]
    size = len(shared_ids)
    normal, right = np.zeros((size, size)), np.zeros(size)
    precision = 1 / options.landmarks.identity_sigma**2
    diagonal = np.arange(size - num_identity, size)
    normal[diagonal, diagonal] = precision
    right[diagonal] = -precision * fits[0].identity
    told = []
    for i, lin in enumerate(here):
        own = np.setdiff1d(np.arange(len(lin.right)), shared_ids)
        own_normal, mixed = lin.normal[np.ix_(own, own)], lin.normal[np.ix_(shared_ids, own)]
        gain = np.linalg.solve(own_normal, mixed.T).T
        turn = np.eye(size)
        if turns:  # a step of the head in the world, seen by this camera
            turn[:3, :3] = turn[3:6, 3:6] = turns[i]
        share = discount * turn.T @ (lin.normal[np.ix_(shared_ids, shared_ids)] - gain @ mixed.T) @ turn
        told.append(share)
        normal += share
        right += discount * turn.T @ (lin.right[shared_ids] - gain @ lin.right[own])
    step = np.linalg.solve(normal, right)
    result = []
    for i, (fit, lin) in enumerate(zip(fits, here)):
        whole = np.zeros(len(lin.right))
        whole[shared_ids] = step
        if turns:
            whole[:3], whole[3:6] = turns[i] @ step[:3], turns[i] @ step[3:6]
        own = np.setdiff1d(np.arange(len(whole)), shared_ids)
        left = lin.right[own] - lin.normal[np.ix_(own, shared_ids)] @ whole[shared_ids]
        first = int(np.flatnonzero(own == 7 + num_identity)[0])
        whole[own] = bounded_solve(lin.normal[np.ix_(own, own)], left, fit.expression, prior, first)
        after = moved(fit, lin, whole, prior)
        others = normal - told[i]
        known = after.normal.copy()
        ids = np.arange(7, 7 + num_identity)
        known[np.ix_(ids, ids)] += others[-num_identity:, -num_identity:]
        result.append(replace(after, normal=known))
    return result


def _in_one_place(fits: list[LandmarkFit], views: Sequence[LandmarkView]) -> list[LandmarkFit]:
    """Poses that agree: the mean rotation in the world, and the point that lies nearest to all lines of sight to the head."""
    in_world = [view.T_camera_world for view in views]
    rotations = Rotation.from_matrix([T[:3, :3].T @ f.rotation for T, f in zip(in_world, fits)])  # type: ignore[index]
    rotation = rotations.mean().as_matrix()
    normal, right = np.zeros((3, 3)), np.zeros(3)
    for T, fit in zip(in_world, fits):
        assert T is not None
        centre = -T[:3, :3].T @ T[:3, 3]
        ray = T[:3, :3].T @ fit.translation
        ray = ray / np.linalg.norm(ray)
        across = np.eye(3) - np.outer(ray, ray)
        normal += across
        right += across @ centre
    place = np.linalg.lstsq(normal, right, rcond=None)[0]
    return [
        replace(fit, rotation=T[:3, :3] @ rotation, translation=T[:3, :3] @ place + T[:3, 3])  # type: ignore[index]
        for fit, T in zip(fits, in_world)
    ]
