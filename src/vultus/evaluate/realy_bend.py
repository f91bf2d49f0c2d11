"""The non-rigid step of REALY: a scanned region is bent onto the prediction, so that what it is compared with means the same.

Chai et al., "REALY: Rethinking the Evaluation of 3D Face Reconstruction", ECCV 2022, section 3.3; the weights, the schedule and the rule that ends
it are those of the public evaluator (github.com/czh-98/REALY). The energy is Amberg et al., "Optimal step nonrigid ICP algorithms for surface
registration", CVPR 2007, eq. 12: every vertex i of the scan has an affine map X_i, 4 x 3.
"""

from __future__ import annotations

import math

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray
from scipy.spatial import KDTree

from ..geometry.register import factorised
from .benchmark import Points

_STIFFNESS = 50.0
_KEY_STIFFNESS = 150.0
_KEY_WEIGHT = 50.0
_KEY_AXES = (
    2.0,
    2.0,
    3.0,
    2.0,
)  # the first step holds the three rows of the linear part and the translation apart
_MOST_STEPS = (
    11  # with key points; the evaluator sets no limit without them, we stop where it would run on for ever
)
_MOST_FREE_STEPS = 100


def bend(
    scan: Points,
    triangles: NDArray[np.int64],
    targets: Points,
    key_ids: NDArray[np.int64] | None = None,
    key_targets: Points | None = None,
) -> Points:
    """Bend a region of a scan onto points of a prediction.

    Minimises over X, again and again with new nearest points and from the scan as bent so far,
    ``stiffness^2 sum_edges |G (X_i - X_j)|^2 + sum_i w_i |x_i X_i - u_i|^2 + k^2 sum_keys |x_k X_k - p_k|^2``
    where u_i is the nearest target, w_i is 0 beyond twice the mean distance (at least one unit) and 1 within. The stiffness falls from 50 by
    exp(-1/2) in three stages. With key points a stiff step that sees them alone comes first, and their weight decays with every step.

    Args:
        scan: (n, 3) vertices of the region, in its own units; every vertex belongs to a triangle. triangles: (f, 3).
        targets: (m, 3) points of the prediction's surface. key_ids: (k,) vertices of the scan. key_targets: (k, 3) where they belong.

    Returns:
        (n, 3), the bent vertices.
    """
    smooth, stiffer = _smoothness(triangles, len(scan))
    nearest = KDTree(targets)
    keyed = key_ids is not None and key_targets is not None
    key_points = np.zeros_like(scan)
    is_key = np.zeros(len(scan))
    if keyed:
        is_key[key_ids] = 1
        key_points[key_ids] = key_targets
    bent, change, steps = scan, math.inf, 0
    previous = np.ones((4 * len(scan), 3))
    if keyed:
        found = _solve(
            stiffer * _KEY_STIFFNESS**2,
            bent,
            _KEY_WEIGHT**2 * is_key,
            _KEY_WEIGHT**2 * is_key[:, None] * key_points,
        )
        bent, change, previous, steps = _apply(bent, found), _norm(found - previous), found, 1
    for stage in range(3):
        stiffness, enough = _STIFFNESS * math.exp(-0.5 * stage), 0.5**stage
        for _ in range(_MOST_STEPS if keyed else _MOST_FREE_STEPS):
            if change <= enough:
                break
            distance, ids = nearest.query(bent)
            seen = (distance < max(2 * distance.mean(), 1.0)).astype(float)
            key = is_key * (_KEY_WEIGHT * math.exp(-0.9 * steps) / 10) ** 2
            pull = seen[:, None] * targets[ids] + key[:, None] * key_points
            found = _solve(smooth * stiffness**2, bent, seen + key, pull)
            bent, change, previous = _apply(bent, found), _norm(found - previous), found
            steps += 1
    return bent


def _smoothness(triangles: NDArray[np.int64], count: int) -> tuple[sparse.csc_matrix, sparse.csc_matrix]:
    """Normal matrices (4n, 4n) of the smoothness term at stiffness one: as it is, and with the axes of the first step."""
    edges = np.unique(
        np.sort(np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]), 1), axis=0
    )
    rows = np.arange(len(edges))
    arcs = sparse.csr_matrix(
        (np.repeat([1.0, -1.0], len(edges)), (np.concatenate([rows, rows]), edges.T.ravel())),
        (len(edges), count),
    )
    graph = arcs.T @ arcs
    return (
        sparse.csc_matrix(sparse.kron(graph, sparse.eye(4))),
        sparse.csc_matrix(sparse.kron(graph, sparse.diags(np.square(_KEY_AXES)))),
    )


def _solve(
    smooth: sparse.csc_matrix, points: Points, weight: NDArray[np.float64], pull: Points
) -> NDArray[np.float64]:
    """The affine maps (4n, 3) that minimise the energy: normal equations by a sparse factorisation."""
    count = len(points)
    rows = np.repeat(np.arange(count), 4)
    place = sparse.csr_matrix(
        (_homogeneous(points).ravel(), (rows, np.arange(4 * count))), (count, 4 * count)
    )
    matrix = smooth + place.T @ sparse.diags(weight) @ place
    # Islands without key points or targets are free in the energy: the smallest ridge towards "stay where you are" decides for them.
    ridge = 1e-12 * matrix.diagonal().max()
    stay = np.tile(np.eye(4)[:, :3], (count, 1))
    matrix = sparse.csc_matrix(matrix + ridge * sparse.eye(4 * count))
    return factorised(matrix).solve(place.T @ pull + ridge * stay)


def _homogeneous(points: Points) -> NDArray[np.float64]:
    return np.concatenate([points, np.ones((len(points), 1))], 1)


def _apply(points: Points, maps: NDArray[np.float64]) -> Points:
    return np.einsum("ni,nij->nj", _homogeneous(points), maps.reshape(-1, 4, 3))


def _norm(values: NDArray[np.float64]) -> float:
    return float(np.linalg.norm(values))
