"""Non-rigid registration: bend a template until it lies on another head's surface.

Amberg, Romdhani, Vetter, "Optimal step nonrigid ICP algorithms for surface registration", CVPR 2007, with the displacement's
Laplacian as stiffness (Sumner's deformation gradients are not needed where the template starts close) and, because closest points
slide, with landmarks that stay from beginning to end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import SuperLU, splu

from .closest import TriangleTree


@dataclass(frozen=True)
class RegisterOptions:
    """Knobs of :func:`register`; the defaults suit heads in millimetres.

    Attributes:
        stiffness: weight of the displacement's Laplacian, one solve series per value, from rigid to soft.
        steps: solves per stiffness.
        max_distance_mm: farther closest points are not believed. max_angle_deg: nor are those with another normal.
        facing: look for the closest point among triangles that face the same way, instead of giving up where the closest one does not
            (lips that touch, wings of the nose).
    """

    stiffness: Sequence[float] = (300.0, 100.0, 30.0, 10.0, 3.0)
    steps: int = 4
    max_distance_mm: float = 12.0
    max_angle_deg: float = 50.0
    facing: bool = False


def register(
    template: np.ndarray,
    triangles: np.ndarray,
    target: np.ndarray,
    target_triangles: np.ndarray,
    *,
    landmark_ids: np.ndarray | None = None,
    landmark_points: np.ndarray | None = None,
    landmark_weight: float | np.ndarray = 5.0,
    weight: np.ndarray | None = None,
    options: RegisterOptions | None = None,
) -> np.ndarray:
    """Vertices of the template, moved onto the target.

    Args:
        template: "v 3" millimetres, roughly aligned already. triangles: "f 3".
        target: "w 3"; target_triangles: "g 3".
        landmark_ids: "l" template vertices that belong at landmark_points "l 3".
        landmark_weight: one for all or "l", relative to one vertex's pull towards the surface.
        weight: "v" >= 0, how much each vertex is drawn to the surface (0: it only follows its neighbours).
        options: see :class:`RegisterOptions`.

    Returns:
        "v 3": where the surface was out of reach, the smooth continuation of what was found around it.
    """
    options = options or RegisterOptions()
    weight = np.ones(len(template)) if weight is None else np.asarray(weight, float)
    tree = TriangleTree(target, target_triangles)
    target_normals = _unit(_triangle_normals(target, target_triangles))
    stiff = bending_matrix(template, triangles)
    pinned, pins = _landmark_rows(len(template), landmark_ids, landmark_points, landmark_weight)
    borders = border_triangles(target_triangles)

    moved = template.copy()
    for stiffness in options.stiffness:
        for _ in range(options.steps):
            normals = _vertex_normals(moved, triangles)
            found = tree.query(moved, normals if options.facing else None, options.max_angle_deg)
            agree = (normals * target_normals[found.triangle_ids]).sum(1) > np.cos(
                np.deg2rad(options.max_angle_deg)
            )
            believed = agree & (found.distances < options.max_distance_mm) & ~borders[found.triangle_ids]
            believed &= found.triangle_ids >= 0
            pull = weight * believed
            # Only the offset along the normal is known; moving tangentially to the very foot point would stop all sliding.
            offset = np.nan_to_num(((found.points - moved) * normals).sum(1, keepdims=True)) * normals
            data = sparse.diags(pull)
            system = stiffness * stiff + data + pinned + 1e-6 * sparse.eye(len(template))
            right = data @ (moved + offset - template) + (pins - pinned @ template)
            moved = template + factorised(system.tocsc()).solve(right)
    return moved


def factorised(matrix: sparse.csc_matrix) -> SuperLU:
    """A symmetric positive definite matrix, ready to solve with; SuperLU told so takes a third of its usual time."""
    return splu(matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})


def bending_matrix(vertices: np.ndarray, triangles: np.ndarray) -> sparse.csr_matrix:
    """``L^T L`` of the edge-length weighted graph Laplacian "v v": zero for displacements that are linear along the surface."""
    pairs = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    pairs = np.unique(np.sort(pairs, 1), axis=0)
    length = np.linalg.norm(vertices[pairs[:, 0]] - vertices[pairs[:, 1]], axis=1)
    weight = length.mean() / np.maximum(length, 0.05 * length.mean())
    size = (len(vertices), len(vertices))
    adjacency = sparse.coo_matrix((weight, pairs.T), size)
    adjacency = (adjacency + adjacency.T).tocsr()
    degree = np.asarray(adjacency.sum(1)).ravel()
    laplacian = sparse.diags(1 / np.maximum(degree, 1e-12)) @ (sparse.diags(degree) - adjacency)
    return (laplacian.T @ laplacian).tocsr()


def _landmark_rows(size, ids, points, weight) -> tuple[sparse.csr_matrix, np.ndarray]:
    right = np.zeros((size, 3))
    if ids is None or points is None or len(ids) == 0:
        return sparse.csr_matrix((size, size)), right
    diagonal = np.zeros(size)
    diagonal[ids] = weight
    right[ids] = diagonal[ids, None] * np.asarray(points)
    return sparse.csr_matrix(sparse.diags(diagonal)), right


def border_triangles(triangles: np.ndarray) -> np.ndarray:
    """Triangles with an edge that no other triangle shares: beyond them the surface is unknown."""
    pairs = np.sort(np.stack([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]], 1), axis=2)
    _, inverse, count = np.unique(pairs.reshape(-1, 2), axis=0, return_inverse=True, return_counts=True)
    return (count[inverse.reshape(-1, 3)] == 1).any(1)


def _triangle_normals(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    a, b, c = (vertices[triangles[:, i]] for i in range(3))
    return np.cross(b - a, c - a)


def _vertex_normals(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    faces = _triangle_normals(vertices, triangles)
    total = np.zeros_like(vertices)
    for i in range(3):
        np.add.at(total, triangles[:, i], faces)
    return _unit(total)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
