"""What of a scan counts as the face to be met: points spread evenly over it with their normals and regions, the same for every method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import Delaunay

from ..errors import BadInput
from ..geometry.closest import TriangleTree
from ..geometry.register import border_triangles
from .benchmark import Points, seven_of
from .corresponded import Correspondence, find_correspondence
from .regions import lay_mean_face, mean_face, nearest_on_mean
from .scan import FACE_RADIUS_MM, Alignment, sample_surface
from .scan_levels import point_normals

_AROUND_MM = 140.0  # what the template's registration looks at, whatever the size of the head
_EYE_DEPTH_MM = 15.0


@dataclass(frozen=True)
class ScanTruth:
    """A scanned face.

    Attributes:
        points: (n, 3) mm, spread evenly over the face; normals: (n, 3) unit.
        region: (n,) index into :data:`~.regions.REGIONS`. head_vertex: (n,) the mean head's nearest vertex.
        landmarks: (7, 3) or (68, 3). vertices, triangles: the scan around its face, a little beyond what counts.
        laid: takes the mean head onto the scan.
    """

    points: Points
    normals: Points
    region: NDArray[np.int64]
    head_vertex: NDArray[np.int64]
    landmarks: Points
    vertices: Points
    triangles: NDArray[np.int64]
    laid: Alignment

    @property
    def seven(self) -> Points:
        """Eye corners, nose tip, mouth corners (7, 3)."""
        return seven_of(self.landmarks)

    @cached_property
    def tree(self) -> TriangleTree:
        """For points closest to a prediction's."""
        return TriangleTree(self.vertices, self.triangles)

    @cached_property
    def at_border(self) -> NDArray[np.bool_]:
        """(f,) triangles beyond which the scan says nothing."""
        return border_triangles(self.triangles)

    @cached_property
    def by_seven(self) -> Correspondence:
        """The template's vertices on this scan, told by seven landmarks; seconds of work, done when it is first asked for."""
        return find_correspondence(self.vertices, self.triangles, self.seven)

    @cached_property
    def by_all(self) -> Correspondence:
        """The same, told by all of the landmarks."""
        return find_correspondence(self.vertices, self.triangles, self.landmarks)


def truth_of_scan(
    vertices: Points,
    triangles: NDArray[np.int64],
    landmarks: Points,
    *,
    num_points: int = 8000,
    eye_outlines: Sequence[Points] = (),
    seed: int = 0,
) -> ScanTruth:
    """Choose what of a scan counts: 95 mm around the nose tip, without ears, scalp, neck, hair and eyeballs.

    Eyeballs are wet: scanners see them as hollows.

    Args:
        vertices: (v, 3) mm. triangles: (f, 3). landmarks: (7, 3), or (68, 3) in iBUG's order.
        eye_outlines: (l, 3) around the opening of each eye; those of the mean head laid on the scan when not given.

    Raises:
        BadInput: nothing of a face around the landmarks.
    """
    seven = seven_of(landmarks)
    points, ids, near = face_sample(vertices, triangles, seven, num_points, seed)
    laid = lay_mean_face(points, seven)
    for outline in eye_outlines or _mean_eyes(laid):
        open_eye = _behind(points, outline)
        points, ids = points[~open_eye], ids[~open_eye]
    region, nearest = nearest_on_mean(points, laid)
    face = region >= 0
    if face.sum() < 50:
        raise BadInput(
            "no surface of a face around the scan's landmarks: check their order (eye corners from the image's left to its"
            " right, nose tip, mouth corners) and that they belong to this scan"
        )
    normals = point_normals(vertices, triangles, ids[face], points[face])
    return ScanTruth(
        points[face], normals, region[face], nearest[face], landmarks, vertices, triangles[near], laid
    )


def face_sample(
    vertices: Points, triangles: NDArray[np.int64], landmarks: Points, num_points: int, seed: int = 0
) -> tuple[Points, NDArray[np.int64], NDArray[np.int64]]:
    """Points (n, 3) of a surface within 95 mm of the nose tip, their triangles (n,), and all triangles (m,) near there.

    Raises:
        BadInput: no triangle there.
    """
    away = np.linalg.norm(vertices - landmarks[4], axis=1)
    near, face = (
        np.flatnonzero((away < radius)[triangles].any(1)) for radius in (_AROUND_MM, FACE_RADIUS_MM)
    )
    if not len(face):
        raise BadInput(
            f"no surface within {FACE_RADIUS_MM:.0f} mm of the nose tip: do landmarks and mesh share frame and unit?"
        )
    points, ids = sample_surface(vertices, triangles[face], num_points, seed)
    inside = np.linalg.norm(points - landmarks[4], axis=1) < FACE_RADIUS_MM
    return points[inside], face[ids[inside]], near


def _mean_eyes(laid: Alignment) -> list[Points]:
    marks = mean_face().landmarks
    assert marks is not None
    return [laid.apply(marks[eye]) for eye in (slice(36, 42), slice(42, 48))]


def _behind(points: Points, outline: Points) -> NDArray[np.bool_]:
    """Which points lie within a convex outline, seen across its plane."""
    centre = outline.mean(0)
    axes = np.linalg.svd(outline - centre)[2]
    flat, deep = (points - centre) @ axes[:2].T, (points - centre) @ axes[2]
    inside = Delaunay((outline - centre) @ axes[:2].T).find_simplex(flat) >= 0
    return inside & (np.abs(deep) < _EYE_DEPTH_MM)
