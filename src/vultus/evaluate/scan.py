"""A reconstructed face against a scan of the same person: alignment, then scan-to-mesh distances."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..geometry.closest import TriangleTree

FACE_RADIUS_MM = 95.0


@dataclass(frozen=True)
class Alignment:
    """``aligned = scale * points @ rotation.T + translation``: from the mesh's frame into the scan's."""

    scale: float
    rotation: np.ndarray
    translation: np.ndarray

    def apply(self, points: np.ndarray) -> np.ndarray:
        """Move "n 3" points."""
        return self.scale * points @ self.rotation.T + self.translation


@dataclass(frozen=True)
class ScanError:
    """Scan-to-mesh distances in millimetres of the scan points that take part, after alignment."""

    distances_mm: np.ndarray
    alignment: Alignment

    @property
    def median_mm(self) -> float:
        """The number that benchmarks quote."""
        return float(np.median(self.distances_mm))

    @property
    def mean_mm(self) -> float:
        """Mean distance."""
        return float(np.mean(self.distances_mm))


def align_points(source: np.ndarray, target: np.ndarray, *, with_scale: bool) -> Alignment:
    """Least-squares alignment of corresponding "n 3" points (Umeyama 1991)."""
    source_mean, target_mean = source.mean(0), target.mean(0)
    x, y = source - source_mean, target - target_mean
    u, s, vt = np.linalg.svd(y.T @ x)
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    rotation = (u * sign) @ vt
    scale = float((s * sign).sum() / (x**2).sum()) if with_scale else 1.0
    return Alignment(scale, rotation, target_mean - scale * rotation @ source_mean)


def align_to_scan(
    vertices: np.ndarray,
    triangles: np.ndarray,
    scan_points: np.ndarray,
    start: Alignment,
    *,
    with_scale: bool,
    max_steps: int = 40,
) -> Alignment:
    """Refine an alignment by point-to-plane ICP from the scan's points to the mesh.

    Chen and Medioni 1992, with Huber weights at twice the median distance, so that hair and holes do not pull.

    Args:
        vertices: "v 3" mesh, triangles "f 3". scan_points: "n 3", the part of the scan to explain.
        start: from landmarks. with_scale: similarity rather than rigid.
    """
    tree = TriangleTree(vertices, triangles)
    corners = vertices[triangles]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    # The unknown maps the scan into the mesh's frame (where the tree is); it is inverted at the end.
    scale, rotation = 1 / start.scale, start.rotation.T
    translation = -scale * rotation @ start.translation
    previous = np.inf
    for _ in range(max_steps):
        moved = scale * scan_points @ rotation.T + translation
        found = tree.query(moved)
        normal = normals[found.triangle_ids]
        gap = ((found.points - moved) * normal).sum(1)
        limit = 2 * np.median(np.abs(gap)) + 1e-9
        weight = np.minimum(1, limit / np.maximum(np.abs(gap), 1e-12))
        centre = moved.mean(0)
        arm = moved - centre
        columns = [np.cross(arm, normal), normal] + ([(arm * normal).sum(1)[:, None]] if with_scale else [])
        design = np.concatenate(columns, 1)
        step = np.linalg.solve(
            design.T @ (weight[:, None] * design) + 1e-9 * np.eye(design.shape[1]), design.T @ (weight * gap)
        )
        turn = _rotation(step[:3])
        grow = 1 + step[6] if with_scale else 1.0
        rotation, scale = turn @ rotation, grow * scale
        translation = grow * turn @ (translation - centre) + centre + step[3:6]
        cost = float((weight * gap**2).mean())
        if abs(previous - cost) < 1e-7 * max(cost, 1e-12) and np.abs(step).max() < 1e-4:
            break
        previous = cost
    return Alignment(1 / scale, rotation.T, -rotation.T @ translation / scale)


def scan_error(
    vertices: np.ndarray,
    triangles: np.ndarray,
    scan_vertices: np.ndarray,
    *,
    mesh_landmarks: np.ndarray,
    scan_landmarks: np.ndarray,
    scan_mask: np.ndarray,
    with_scale: bool,
) -> ScanError:
    """Align by landmarks, refine by ICP, measure.

    Args:
        vertices: "v 3" predicted mesh (mm), triangles "f 3". scan_vertices: "n 3" (mm).
        mesh_landmarks, scan_landmarks: "l 3" corresponding points (7 or more).
        scan_mask: "n" bool, the points to explain, see :func:`face_area`.
        with_scale: similarity alignment; else rigid.
    """
    start = align_points(mesh_landmarks, scan_landmarks, with_scale=with_scale)
    points = scan_vertices[scan_mask]
    alignment = align_to_scan(vertices, triangles, points, start, with_scale=with_scale)
    found = TriangleTree(alignment.apply(vertices), triangles).query(points)
    return ScanError(found.distances, alignment)


def face_area(scan_vertices: np.ndarray, nose_tip: np.ndarray, radius_mm: float = FACE_RADIUS_MM) -> np.ndarray:
    """"n" bool: scan points within a ball around the nose tip; callers remove ears and scalp where they know them."""
    return np.linalg.norm(scan_vertices - nose_tip, axis=1) < radius_mm


def _rotation(axis_angle: np.ndarray) -> np.ndarray:
    angle = float(np.linalg.norm(axis_angle))
    if angle < 1e-12:
        return np.eye(3)
    x, y, z = axis_angle / angle
    skew = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * skew + (1 - np.cos(angle)) * skew @ skew
