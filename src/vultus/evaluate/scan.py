"""A reconstructed face against a scan of the same person: alignment, then scan-to-mesh distances.

The question a scan benchmark asks is how far the scanned surface is from the reconstruction, so every distance, those that the alignment
minimises included, runs from a point of the scan to the mesh and is measured in the scan's millimetres.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ..errors import BadInput
from ..geometry.closest import ClosestPoints, TriangleTree
from ..geometry.rigid import rotation_from_axis_angle, umeyama

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

    def inverse(self) -> Alignment:
        """From the scan's frame into the mesh's."""
        rotation, scale = self.rotation.T, 1 / self.scale
        return Alignment(scale, rotation, -scale * rotation @ self.translation)


@dataclass(frozen=True)
class ScanError:
    """Scan-to-mesh distances in millimetres, one per scan point, after alignment.

    Attributes:
        nearest: the closest points of the aligned mesh. alignment: from the mesh's frame into the scan's.
    """

    nearest: ClosestPoints
    alignment: Alignment

    @property
    def distances_mm(self) -> np.ndarray:
        """(n,), one per scan point."""
        return self.nearest.distances

    @property
    def median_mm(self) -> float:
        """The number that benchmarks quote."""
        return float(np.median(self.distances_mm))

    @property
    def mean_mm(self) -> float:
        """Mean distance."""
        return float(np.mean(self.distances_mm))

    @property
    def std_mm(self) -> float:
        """Standard deviation of the distances."""
        return float(np.std(self.distances_mm))


def align_points(source: np.ndarray, target: np.ndarray, *, with_scale: bool) -> Alignment:
    """Least-squares alignment of corresponding "n 3" points (:func:`~vultus.geometry.rigid.umeyama`).

    Raises:
        BadInput: fewer than three points, or lists of different length.
    """
    if source.shape != target.shape or len(source) < 3:
        raise BadInput(
            f"alignment needs three or more pairs of points, got {source.shape} and {target.shape}: pass the same landmarks twice"
        )
    pair = (torch.from_numpy(np.array(points, float)) for points in (source, target))
    found = umeyama(*pair, with_scale=with_scale)
    return Alignment(float(found.scale), found.rotation.numpy(), found.translation.numpy())


def align_to_scan(
    vertices: np.ndarray,
    triangles: np.ndarray,
    scan_points: np.ndarray,
    start: Alignment,
    *,
    with_scale: bool,
    max_steps: int = 20,
) -> Alignment:
    """Refine an alignment by point-to-plane ICP from the scan's points to the mesh.

    Chen and Medioni 1992, with Huber weights at twice the median distance, so that hair and holes do not pull. The unknown maps the scan
    into the mesh's frame, where the search tree is; its residuals are divided by its scale, because shrinking the scan
    would otherwise shrink the residuals as well and the mesh would come out too large.

    Args:
        vertices: "v 3" mesh, triangles "f 3". scan_points: "n 3", the part of the scan to explain.
        start: from landmarks. with_scale: similarity; else the scale of ``start`` stays.
        max_steps: on imperfect meshes the score settles within 0.003 mm in eight and then jitters with the matching.
    """
    tree = TriangleTree(vertices, triangles)
    corners = vertices[triangles]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    back = start.inverse()
    size_mm = float(np.linalg.norm(scan_points - scan_points.mean(0), axis=1).mean()) or 1.0
    for _ in range(max_steps):
        moved = back.apply(scan_points)
        found = tree.query(moved)
        normal = normals[found.triangle_ids]
        gap = ((found.points - moved) * normal).sum(1)
        weight = np.minimum(1, (2 * np.median(np.abs(gap)) + 1e-9) / np.maximum(np.abs(gap), 1e-12))
        centre = moved.mean(0)
        columns = [np.cross(moved - centre, normal), normal]
        if with_scale:
            # d/ds of (gap - s arm.n) / (1 + s) is -(arm.n + gap): the arm reaches to the foot point, not to the moved one.
            columns.append(((found.points - centre) * normal).sum(1)[:, None])
        design = np.concatenate(columns, 1)
        normal_matrix = design.T @ (weight[:, None] * design)
        step = np.linalg.solve(
            normal_matrix + 1e-9 * np.trace(normal_matrix) * np.eye(len(normal_matrix)) / len(normal_matrix),
            design.T @ (weight * gap),
        )
        turn = rotation_from_axis_angle(torch.from_numpy(step[:3])).numpy()
        grow = float(np.exp(step[6])) if with_scale else 1.0
        back = Alignment(
            grow * back.scale,
            turn @ back.rotation,
            grow * turn @ (back.translation - centre) + centre + step[3:6],
        )
        moved_by_mm = np.linalg.norm(step[3:6]) + size_mm * (
            np.linalg.norm(step[:3]) + abs(step[6] if with_scale else 0)
        )
        if moved_by_mm < 5e-3:
            break
    return back.inverse()


def scan_error(
    vertices: np.ndarray,
    triangles: np.ndarray,
    scan_points: np.ndarray,
    *,
    mesh_landmarks: np.ndarray,
    scan_landmarks: np.ndarray,
    with_scale: bool,
    num_alignment_points: int = 5000,
) -> ScanError:
    """Align by landmarks, refine by ICP, measure.

    Args:
        vertices: "v 3" predicted mesh (mm), triangles "f 3".
        scan_points: "n 3" (mm), the part of the scan to explain, best spread evenly (:func:`sample_surface`).
        mesh_landmarks, scan_landmarks: "l 3" corresponding points (three or more, seven are usual).
        with_scale: similarity alignment; else rigid.
        num_alignment_points: the ICP looks at about so many of the scan's points, the measurement at all.

    Raises:
        BadInput: nothing to measure, or a coordinate that is not finite.
    """
    for name, values in (
        ("vertices", vertices), ("scan_points", scan_points), ("mesh_landmarks", mesh_landmarks), ("scan_landmarks", scan_landmarks)
    ):  # fmt: skip
        if not len(values) or not np.isfinite(values).all():
            raise BadInput(
                f"{name} must be finite and not empty, got {values.shape}: leave out what was not measured"
            )
    start = align_points(mesh_landmarks, scan_landmarks, with_scale=with_scale)
    some = scan_points[:: max(1, len(scan_points) // num_alignment_points)]
    alignment = align_to_scan(vertices, triangles, some, start, with_scale=with_scale)
    found = TriangleTree(alignment.apply(vertices), triangles).query(scan_points)
    return ScanError(found, alignment)


def sample_surface(
    vertices: np.ndarray, triangles: np.ndarray, number: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Points "n 3" spread evenly over a surface "v 3", "f 3", and their triangles "n"; reproducible.

    A scan's vertices crowd where the scanner found detail; medians over them would count some square millimetres twice.
    Osada et al., "Shape distributions", TOG 2002, eq. 1; the areas are stratified, which lowers the variance.
    """
    rng = np.random.default_rng(seed)
    a, b, c = (vertices[triangles[:, i]] for i in range(3))
    area = np.cumsum(np.linalg.norm(np.cross(b - a, c - a), axis=1))
    place = (np.arange(number) + rng.uniform(size=number)) / number * area[-1]
    ids = rng.permutation(np.minimum(np.searchsorted(area, place, side="right"), len(triangles) - 1))
    root, along = np.sqrt(rng.uniform(size=(number, 1))), rng.uniform(size=(number, 1))
    return (1 - root) * a[ids] + root * (1 - along) * b[ids] + root * along * c[ids], ids


def face_area(scan_points: np.ndarray, nose_tip: np.ndarray, radius_mm: float = FACE_RADIUS_MM) -> np.ndarray:
    """ "n" bool: scan points within a ball around the nose tip; callers remove ears and scalp where they know them."""
    return np.linalg.norm(scan_points - nose_tip, axis=1) < radius_mm
