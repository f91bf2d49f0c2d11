"""Smooth corrections of a surface: given displacements at some vertices, the least bent field that has them."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import splu

from vultus.model.subdivide import Subdivision


class SmoothField:
    """The displacement field of least bending (biharmonic) on part of a surface; zero on the rest.

    Botsch and Kobbelt, "An intuitive framework for real-time freeform modeling", SIGGRAPH 2004: minimises the integral of the
    squared Laplacian, here discretised with cotangents, plus weighted distances from the wanted displacements.
    """

    def __init__(self, points: np.ndarray, triangles: np.ndarray, free: np.ndarray):
        """Prepare a surface (v, 3), (f, 3) of which the vertices ``free`` (v,) may move."""
        self._free = np.flatnonzero(free)
        inside = triangles[free[triangles].any(1)]
        laplacian, area = _cotangents(points, inside)
        used = np.flatnonzero(area > 0)
        rows = laplacian[used][:, self._free]
        self._bending = sparse.csc_matrix(rows.T @ sparse.diags(1 / area[used]) @ rows)
        self._num_points = len(points)

    def __call__(self, ids: np.ndarray, displacements: np.ndarray, weight: np.ndarray | float) -> np.ndarray:
        """The field (v, c) that follows the values (n, c) of the vertices ``ids`` (n,) as far as their weights (n,) demand.

        A weight of 100 per vertex is nearly hard for millimetre-sized triangles. Several fields may be solved at once: their
        coordinates side by side.
        """
        place = np.full(self._num_points, -1)
        place[self._free] = np.arange(len(self._free))
        kept = place[ids] >= 0
        ids, wanted = place[ids[kept]], displacements[kept]
        w = np.broadcast_to(weight, kept.shape)[kept]
        n = len(self._free)
        data = np.bincount(ids, w, n)
        right = np.stack([np.bincount(ids, w * column, n) for column in wanted.T], 1)
        system = sparse.csc_matrix(self._bending + sparse.diags(data + 1e-9))
        field = np.zeros((self._num_points, right.shape[1]))
        field[self._free] = splu(system).solve(right)
        return field


class Coarsen:
    """Displacements of the fine mesh as displacements of the coarse one, least squares through the subdivision."""

    def __init__(self, subdivision: Subdivision):
        self._matrix = sparse.csr_matrix(subdivision.matrix)

    def __call__(self, field: np.ndarray) -> np.ndarray:
        """Coarse (v_coarse, c) whose subdivision is nearest to a fine (v, c) field; zero where that is zero."""
        rows = np.flatnonzero(np.abs(field).max(1) > 1e-5)
        matrix = self._matrix[rows]
        columns = np.unique(matrix.indices)
        matrix = sparse.csc_matrix(matrix[:, columns])
        normal = matrix.T @ matrix + 1e-4 * sparse.identity(len(columns))
        coarse = np.zeros((self._matrix.shape[1], field.shape[1]))
        coarse[columns] = splu(sparse.csc_matrix(normal)).solve(matrix.T @ field[rows])
        return coarse


def fair(points: np.ndarray, triangles: np.ndarray, keep: np.ndarray) -> np.ndarray:
    """Surface (v, 3) with crumpled places smoothed: each vertex that is not kept moves towards the least bending with even spacing.

    Taubin, "A signal processing approach to fair surface design", SIGGRAPH 1995, solved implicitly with uniform weights.

    Args:
        keep: (v,) how firmly a vertex stays: 0 free, infinite (above 1e3) fixed.
    """
    n = len(points)
    i, j = triangles.ravel(), np.roll(triangles, -1, axis=1).ravel()
    adjacency = sparse.csr_matrix((np.ones(2 * len(i)), (np.r_[i, j], np.r_[j, i])), shape=(n, n))
    adjacency.data[:] = 1
    degree = np.asarray(adjacency.sum(1)).ravel()
    laplacian = sparse.identity(n) - sparse.diags(1 / np.maximum(degree, 1)) @ adjacency
    free = np.flatnonzero((keep < 1e3) & (degree > 0))
    rows = sparse.csr_matrix(laplacian)[np.flatnonzero(degree > 0)]
    own = sparse.csc_matrix(rows[:, free])
    system = own.T @ own + sparse.diags(keep[free])
    held = points.copy()
    held[free] = 0
    right = keep[free, None] * points[free] - own.T @ (rows @ held)
    moved = points.copy()
    moved[free] = splu(sparse.csc_matrix(system)).solve(right)
    return moved


def reach(points: np.ndarray, centres: np.ndarray, near_mm: float, far_mm: float) -> np.ndarray:
    """Weight (v,): one up to ``near_mm`` from the nearest of some points (n, 3), smoothly down to zero at ``far_mm``."""
    from scipy.spatial import cKDTree

    t = np.clip((far_mm - cKDTree(centres).query(points)[0]) / (far_mm - near_mm), 0, 1)
    return t * t * (3 - 2 * t)


def _cotangents(points: np.ndarray, triangles: np.ndarray) -> tuple[sparse.csr_matrix, np.ndarray]:
    """The integrated Laplacian (v, v) and a third of the triangles' area around each vertex (v,)."""
    n = len(points)
    rows, columns, values = [], [], []
    area = np.zeros(n)
    for k in range(3):
        a, b, c = (triangles[:, (k + i) % 3] for i in range(3))
        first, second = points[b] - points[a], points[c] - points[a]
        twice_area = np.maximum(np.linalg.norm(np.cross(first, second), axis=1), 1e-6)
        # Nearly degenerate corners would outweigh everything.
        half = 0.5 * np.clip((first * second).sum(1) / twice_area, -2, 8)
        rows += [b, c]
        columns += [c, b]
        values += [half, half]
        area += np.bincount(a, twice_area / 6, n)
    weights = sparse.csr_matrix(
        (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), shape=(n, n)
    )
    return sparse.csr_matrix(sparse.diags(np.asarray(weights.sum(1)).ravel()) - weights), area
