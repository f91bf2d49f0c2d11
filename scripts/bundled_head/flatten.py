"""Flatten a disc of triangles: Tutte's embedding to start, then as little distortion as the constraints allow."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.optimize import minimize
from scipy.sparse.linalg import splu


def tutte(triangles: np.ndarray, uv: np.ndarray, fixed: np.ndarray) -> np.ndarray:
    """Put every free coordinate at the mean of its neighbours' (n, 2).

    Tutte, "How to draw a graph", 1963: with a convex boundary fixed, no triangle flips. A mesh cut along its plane of
    symmetry keeps the guarantee when the vertices of the cut are fixed on the mirror line in one coordinate only.

    Args:
        triangles: (f, 3) indices into ``uv``; vertices in no triangle must be fixed.
        uv: (n, 2) the fixed coordinates; the others are ignored.
        fixed: (n, 2) bool, coordinate by coordinate.
    """
    n = len(uv)
    i, j = triangles.ravel(), np.roll(triangles, -1, axis=1).ravel()
    ends = (np.concatenate([i, j]), np.concatenate([j, i]))
    adjacency = sparse.csr_matrix((np.ones(len(ends[0])), ends), shape=(n, n))
    adjacency.data[:] = 1
    laplacian = sparse.csr_matrix(sparse.diags(np.asarray(adjacency.sum(1)).ravel()) - adjacency)
    out = uv.copy()
    for axis in range(2):
        free, held = np.flatnonzero(~fixed[:, axis]), np.flatnonzero(fixed[:, axis])
        rows = laplacian[free]
        out[free, axis] = splu(sparse.csc_matrix(rows[:, free])).solve(-rows[:, held] @ uv[held, axis])
    return out


def reference_triangles(points: np.ndarray, triangles: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """The wanted shape (f, 2, 2) of each flattened triangle: its own edges in its own plane, times ``scale`` (f,).

    Columns are the edges from the first to the second and third corner.
    """
    first, second = (points[triangles[:, k]] - points[triangles[:, 0]] for k in (1, 2))
    length = np.linalg.norm(first, axis=1)
    along = np.einsum("ij,ij->i", first, second) / length
    across = np.linalg.norm(np.cross(first, second), axis=1) / length
    shape = np.stack([np.stack([length, along], -1), np.stack([np.zeros_like(length), across], -1)], -2)
    return shape * scale[:, None, None]


def jacobians(uv: np.ndarray, triangles: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """The linear maps (f, 2, 2) from the wanted triangles to the flattened ones."""
    first, second = (uv[triangles[:, k]] - uv[triangles[:, 0]] for k in (1, 2))
    return np.stack([first, second], -1) @ np.linalg.inv(reference)


def untangle(
    triangles: np.ndarray,
    uv: np.ndarray,
    fixed: np.ndarray,
    reference: np.ndarray,
    weight: np.ndarray,
    *,
    num_rounds: int = 40,
) -> np.ndarray:
    """Turn flipped triangles back, where no theorem helps (a frame around a square is not convex); arguments as :func:`relax`.

    Garanzha, Kaporin, Kudryavtseva, Protais, Ray and Sokolov, "Foldover-free maps in 50 lines of code", ACM TOG 40(4),
    2021: the determinant D in the energy's denominator becomes (D + sqrt(eps^2 + D^2)) / 2, which is positive for a
    flipped triangle too; eps follows the worst triangle down to nothing.

    Raises:
        ValueError: some triangles stay flipped.
    """
    inverse = np.linalg.inv(reference)
    gradient = np.concatenate([-inverse.sum(1, keepdims=True), inverse], axis=1)  # (f, corner, column of J)
    free = ~fixed
    uv = uv.copy()

    def energy(values: np.ndarray, eps: float) -> tuple[float, np.ndarray]:
        points = uv.copy()
        points[free] = values
        j = jacobians(points, triangles, reference)
        d = j[:, 0, 0] * j[:, 1, 1] - j[:, 0, 1] * j[:, 1, 0]
        root = np.sqrt(eps**2 + d**2)
        chi = np.where(d > 0, (d + root) / 2, eps**2 / (2 * (root - d)))
        top = (j**2).sum((1, 2)) + d**2 + 1
        cofactor = np.stack([j[:, 1, 1], -j[:, 1, 0], -j[:, 0, 1], j[:, 0, 0]], -1).reshape(-1, 2, 2)
        by_d = 2 * d / chi - top / chi * (0.5 * (1 + d / root)) / chi
        by_j = weight[:, None, None] * (2 * j / chi[:, None, None] + by_d[:, None, None] * cofactor)
        by_corner = np.einsum("fcb,fkb->fkc", by_j, gradient)
        by_uv = [np.bincount(triangles.ravel(), by_corner[..., c].ravel(), len(points)) for c in range(2)]
        return float((weight * top / chi).sum()), np.stack(by_uv, -1)[free]

    for _ in range(num_rounds):
        worst = np.linalg.det(jacobians(uv, triangles, reference)).min()
        if worst > 0:
            return uv
        eps = np.sqrt(1e-9 + 0.04 * worst**2)
        found = minimize(
            energy, uv[free], args=(eps,), jac=True, method="L-BFGS-B", options={"maxiter": 300, "maxcor": 20}
        )
        uv[free] = found.x
    raise ValueError(f"still flipped after {num_rounds} rounds, smallest determinant {worst:.3g}")


def relax(
    triangles: np.ndarray,
    uv: np.ndarray,
    fixed: np.ndarray,
    reference: np.ndarray,
    weight: np.ndarray,
    *,
    num_steps: int = 40,
) -> np.ndarray:
    """Reduce distortion without ever flipping a triangle.

    Minimises the symmetric Dirichlet energy sum_f w_f (|J|^2 + |J^-1|^2) by reweighted local-global steps: Rabinovich, Poranne,
    Panozzo and Sorkine-Hornung, "Scalable locally injective mappings", ACM TOG 36(2), 2017. The energy is infinite for a
    flipped triangle, and the line search (Smith and Schaefer 2015) stops before the first one.

    Args:
        triangles: (f, 3). uv: (n, 2), without flipped triangles. fixed: (n, 2) bool, coordinate by coordinate.
        reference: (f, 2, 2) from :func:`reference_triangles`. weight: (f,), usually the wanted area.

    Raises:
        ValueError: a triangle is flipped at the start.
    """
    n, f = len(uv), len(triangles)
    inverse = np.linalg.inv(reference)
    # d(J column b) / d(uv of corner k): edge columns minus the first corner.
    gradient = np.concatenate([-inverse.sum(1, keepdims=True), inverse], axis=1)  # (f, corner, b)
    columns = 2 * triangles[:, :, None] + np.arange(2)  # (f, corner, c)
    free = np.flatnonzero(~fixed.ravel())

    def energy(points: np.ndarray) -> float:
        j = jacobians(points, triangles, reference)
        determinant = np.linalg.det(j)
        if (determinant <= 0).any():
            return np.inf
        square = (j**2).sum((1, 2))
        return float((weight * square * (1 + determinant**-2.0)).sum())

    value = energy(uv)
    if not np.isfinite(value):
        raise ValueError("the start has flipped triangles")
    for _ in range(num_steps):
        left, sigma, right = np.linalg.svd(jacobians(uv, triangles, reference))
        rotation = left @ right
        close = np.abs(sigma - 1) < 1e-6
        proxy = np.where(close, 4.0, (sigma - sigma**-3) / np.where(close, 1.0, sigma - 1))
        stiffness = left @ (np.sqrt(proxy)[..., None] * left.swapaxes(1, 2)) * np.sqrt(weight)[:, None, None]
        # residual_ab = sum_c stiffness_ac (J_cb - R_cb), J_cb = sum_k gradient_kb uv_kc
        entries = np.einsum("fac,fkb->fabkc", stiffness, gradient)
        rows = np.broadcast_to(np.arange(4 * f).reshape(f, 2, 2, 1, 1), entries.shape)
        cols = np.broadcast_to(columns[:, None, None], entries.shape)
        matrix = sparse.csr_matrix((entries.ravel(), (rows.ravel(), cols.ravel())), shape=(4 * f, 2 * n))
        wanted = (stiffness @ rotation).ravel() - matrix @ uv.ravel()
        matrix = sparse.csc_matrix(matrix[:, free])
        step = np.zeros(2 * n)
        step[free] = splu(sparse.csc_matrix(matrix.T @ matrix)).solve(matrix.T @ wanted)
        step = step.reshape(n, 2)
        size = min(1.0, 0.8 * _first_flip(uv, step, triangles))
        while size > 1e-8 and energy(uv + size * step) > value:
            size /= 2
        if size <= 1e-8:
            break
        uv = uv + size * step
        before, value = value, energy(uv)
        if before - value < 1e-5 * before:
            break
    return uv


def _first_flip(uv: np.ndarray, step: np.ndarray, triangles: np.ndarray) -> float:
    """The smallest positive t at which a triangle of ``uv + t step`` has no area."""

    def edges(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return tuple(points[triangles[:, k]] - points[triangles[:, 0]] for k in (1, 2))  # type: ignore[return-value]

    def cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]

    (a, b), (da, db) = edges(uv), edges(step)
    constant, linear, quadratic = cross(a, b), cross(a, db) + cross(da, b), cross(da, db)
    root = np.sqrt(np.maximum(linear**2 - 4 * quadratic * constant, 0))
    real = linear**2 - 4 * quadratic * constant >= 0
    with np.errstate(divide="ignore", invalid="ignore"):
        # 2c / (-b +- sqrt(...)) is stable for a vanishing quadratic term.
        times = np.stack([2 * constant / (-linear + root), 2 * constant / (-linear - root)])
    times = times[:, real]
    times = times[np.isfinite(times) & (times > 0)]
    return float(times.min()) if times.size else np.inf
