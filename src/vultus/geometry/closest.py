"""Exact closest points on a triangle mesh, by a bounding-volume hierarchy over triangles sorted along a Morton curve."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit, prange

LEAF_SIZE = 4
_CHUNK = 256  # queries that one thread takes after each other


class ClosestPoints(NamedTuple):
    """For each of "n" queries: the foot point "n 3", distance "n", triangle "n" and barycentric weights "n 3"."""

    points: np.ndarray
    distances: np.ndarray
    triangle_ids: np.ndarray
    barycentric: np.ndarray


class TriangleTree:
    """A search tree over one mesh; build once, query often.

    The hierarchy is an implicit complete binary tree: node ``i`` has children ``2i + 1`` and ``2i + 2``; its leaves hold
    ``LEAF_SIZE`` triangles that are neighbours on the Morton curve through the triangles' centres (Lauterbach et al. 2009).
    """

    def __init__(self, vertices: np.ndarray, triangles: np.ndarray):
        """Index "v 3" vertices and "f 3" triangles; triangles with a non-finite corner are never found."""
        corners = np.asarray(vertices, np.float64)[triangles]
        usable = np.isfinite(corners).all((1, 2))
        if not usable.any():
            raise ValueError("a mesh without a single finite triangle has no closest point")
        ids = np.flatnonzero(usable)
        corners = corners[ids]
        order = np.argsort(_morton_codes(corners.mean(1)), kind="stable")
        self._ids, self._corners = ids[order], np.ascontiguousarray(corners[order])
        self._low, self._high = _boxes(self._corners)
        a, b, c = self._corners[:, 0], self._corners[:, 1], self._corners[:, 2]
        normals = np.cross(b - a, c - a)
        self._normals = normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-30)

    def query(
        self, points: np.ndarray, normals: np.ndarray | None = None, max_angle_deg: float = 60.0
    ) -> ClosestPoints:
        """The exact closest point of the mesh to each of "n 3" points.

        All NaN, and triangle -1, for a non-finite query or where no triangle qualifies.

        Args:
            points: "n 3".
            normals: "n 3" unit length; if given, only triangles that face the same way within ``max_angle_deg`` qualify, so that points of
                the upper lip do not find the lower one that touches it.
        """
        points = np.ascontiguousarray(points, np.float64)
        facing = np.zeros((0, 3)) if normals is None else np.ascontiguousarray(normals, np.float64)
        least_cosine = float(np.cos(np.deg2rad(max_angle_deg)))
        # Neighbours after each other: what one finds is a good bound for the next, and the tree stays in the cache.
        order = np.argsort(_morton_codes(np.nan_to_num(points, posinf=0.0, neginf=0.0)), kind="stable")
        slots, weights = _query(
            points, order, facing, least_cosine, self._corners, self._normals, self._low, self._high
        )
        feet = (self._corners[slots] * weights[:, :, None]).sum(1)
        distances = np.linalg.norm(points - feet, axis=1)
        return ClosestPoints(feet, distances, np.where(slots < 0, -1, self._ids[slots]), weights)


def closest_points(points: np.ndarray, vertices: np.ndarray, triangles: np.ndarray) -> ClosestPoints:
    """One-shot :meth:`TriangleTree.query`."""
    return TriangleTree(vertices, triangles).query(points)


def _morton_codes(points: np.ndarray) -> np.ndarray:
    if not len(points):
        return np.zeros(0, np.uint64)
    low, high = points.min(0), points.max(0)
    cell = ((points - low) / np.maximum(high - low, 1e-30).max() * 1023).astype(np.uint64)
    code = np.zeros(len(points), np.uint64)
    for bit in range(10):
        for axis in range(3):
            code |= ((cell[:, axis] >> np.uint64(bit)) & np.uint64(1)) << np.uint64(3 * bit + axis)
    return code


def _boxes(corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Boxes of the implicit tree, root first; leaves beyond the last triangle are empty (low = +inf, high = -inf)."""
    num_leaves = 1
    while num_leaves * LEAF_SIZE < len(corners):
        num_leaves *= 2
    padded_low = np.full((num_leaves * LEAF_SIZE, 3), np.inf)
    padded_high = np.full((num_leaves * LEAF_SIZE, 3), -np.inf)
    padded_low[: len(corners)], padded_high[: len(corners)] = corners.min(1), corners.max(1)
    low, high = [padded_low.reshape(-1, LEAF_SIZE, 3).min(1)], [padded_high.reshape(-1, LEAF_SIZE, 3).max(1)]
    while len(low[-1]) > 1:
        low.append(low[-1].reshape(-1, 2, 3).min(1))
        high.append(high[-1].reshape(-1, 2, 3).max(1))
    return np.concatenate(low[::-1]), np.concatenate(high[::-1])


@njit(cache=True, inline="always")
def _box_distance(point, low, high):
    total = 0.0
    for axis in range(3):
        outside = max(low[axis] - point[axis], point[axis] - high[axis], 0.0)
        total += outside * outside
    return total


@njit(cache=True, inline="always")
def _dot(ax, ay, az, bx, by, bz):
    return ax * bx + ay * by + az * bz


@njit(cache=True)
def _closest_barycentric(p, triangle):
    """Ericson, "Real-time collision detection" 2005, section 5.1.5: the Voronoi region of the triangle that holds p.

    In scalars, because small arrays would be allocated on the heap for every triangle (ten times slower).
    """
    ax, ay, az = triangle[0, 0], triangle[0, 1], triangle[0, 2]
    px, py, pz = p[0] - ax, p[1] - ay, p[2] - az
    bx, by, bz = triangle[1, 0] - ax, triangle[1, 1] - ay, triangle[1, 2] - az
    cx, cy, cz = triangle[2, 0] - ax, triangle[2, 1] - ay, triangle[2, 2] - az
    d1, d2 = _dot(bx, by, bz, px, py, pz), _dot(cx, cy, cz, px, py, pz)
    if d1 <= 0 and d2 <= 0:
        return 1.0, 0.0, 0.0
    d3, d4 = _dot(bx, by, bz, px - bx, py - by, pz - bz), _dot(cx, cy, cz, px - bx, py - by, pz - bz)
    if d3 >= 0 and d4 <= d3:
        return 0.0, 1.0, 0.0
    vc = d1 * d4 - d3 * d2
    if vc <= 0 and d1 >= 0 and d3 <= 0:
        t = d1 / (d1 - d3) if d1 != d3 else 0.0
        return 1.0 - t, t, 0.0
    d5, d6 = _dot(bx, by, bz, px - cx, py - cy, pz - cz), _dot(cx, cy, cz, px - cx, py - cy, pz - cz)
    if d6 >= 0 and d5 <= d6:
        return 0.0, 0.0, 1.0
    vb = d5 * d2 - d1 * d6
    if vb <= 0 and d2 >= 0 and d6 <= 0:
        t = d2 / (d2 - d6) if d2 != d6 else 0.0
        return 1.0 - t, 0.0, t
    va = d3 * d6 - d5 * d4
    if va <= 0 and d4 - d3 >= 0 and d5 - d6 >= 0:
        span = (d4 - d3) + (d5 - d6)
        t = (d4 - d3) / span if span > 0 else 0.0
        return 0.0, 1.0 - t, t
    total = va + vb + vc
    return va / total, vb / total, vc / total


@njit(cache=True)
def _distance_to(point, triangle, u, v, w):
    total = 0.0
    for axis in range(3):
        foot = u * triangle[0, axis] + v * triangle[1, axis] + w * triangle[2, axis]
        total += (point[axis] - foot) ** 2
    return total


@njit(cache=True)
def _faces(facing, i, normals, slot, least_cosine):
    if len(facing) == 0:
        return True
    return (
        _dot(facing[i, 0], facing[i, 1], facing[i, 2], normals[slot, 0], normals[slot, 1], normals[slot, 2])
        >= least_cosine
    )


@njit(cache=True, nogil=True, parallel=True)
def _query(points, order, facing, least_cosine, corners, normals, low, high):
    slots = np.full(len(points), -1, np.int64)
    weights = np.full((len(points), 3), np.nan)
    for chunk in prange((len(points) + _CHUNK - 1) // _CHUNK):
        stack, bound = np.empty(64, np.int64), np.empty(64)
        before = -1
        for place in range(chunk * _CHUNK, min((chunk + 1) * _CHUNK, len(points))):
            i = order[place]
            slot, u, v, w = _closest_slot(
                points[i], i, before, stack, bound, facing, least_cosine, corners, normals, low, high
            )
            if slot >= 0:
                slots[i], before = slot, slot
                weights[i, 0], weights[i, 1], weights[i, 2] = u, v, w
    return slots, weights


@njit(cache=True)
def _closest_slot(point, i, before, stack, bound, facing, least_cosine, corners, normals, low, high):
    """Depth first, the nearer child first; ``before`` is where the previous query ended, or -1."""
    found, best, best_u, best_v, best_w = -1, np.inf, np.nan, np.nan, np.nan
    if not np.isfinite(point[0] + point[1] + point[2]):
        return found, best_u, best_v, best_w
    if before >= 0 and _faces(facing, i, normals, before, least_cosine):
        best_u, best_v, best_w = _closest_barycentric(point, corners[before])
        found, best = before, _distance_to(point, corners[before], best_u, best_v, best_w)
    num_inner = len(low) // 2
    stack[0], bound[0], top = 0, 0.0, 1
    while top > 0:
        top -= 1
        node = stack[top]
        if bound[top] >= best:
            continue
        if node >= num_inner:
            first = (node - num_inner) * LEAF_SIZE
            for slot in range(first, min(first + LEAF_SIZE, len(corners))):
                if not _faces(facing, i, normals, slot, least_cosine):
                    continue
                u, v, w = _closest_barycentric(point, corners[slot])
                distance = _distance_to(point, corners[slot], u, v, w)
                if distance < best:
                    found, best, best_u, best_v, best_w = slot, distance, u, v, w
            continue
        left, right = 2 * node + 1, 2 * node + 2
        to_left = _box_distance(point, low[left], high[left])
        to_right = _box_distance(point, low[right], high[right])
        near, near_bound, far, far_bound = left, to_left, right, to_right
        if to_right < to_left:
            near, near_bound, far, far_bound = right, to_right, left, to_left
        if far_bound < best:
            stack[top], bound[top] = far, far_bound
            top += 1
        if near_bound < best:
            stack[top], bound[top] = near, near_bound
            top += 1
    return found, best_u, best_v, best_w
