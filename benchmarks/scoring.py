"""A head against a scan: alignment, median distance over the face and per region, beside the mean head's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from heads import Head, bundled_model, mean_head, skin_surface
from scipy.spatial import Delaunay

from vultus.evaluate.scan import FACE_RADIUS_MM, align_points, align_to_scan, sample_surface, scan_error
from vultus.geometry.closest import TriangleTree

REGIONS = ("nose", "mouth", "forehead", "cheeks", "eyes", "chin")


@dataclass(frozen=True)
class Target:
    """A neutral face to be met: points "n 3" spread evenly over it, the region of each (index into REGIONS), seven landmarks."""

    name: str
    points: np.ndarray
    region: np.ndarray
    landmarks: np.ndarray


@dataclass(frozen=True)
class Score:
    """Distances in mm, similarity-aligned and rigid: median and mean over the face; region -> similarity-aligned median."""

    similarity: float
    similarity_mean: float
    rigid: float
    rigid_mean: float
    scale: float
    regions: dict[str, float]


def make_target(
    name: str,
    vertices: np.ndarray,
    triangles: np.ndarray,
    landmarks: np.ndarray,
    num_points: int,
    eye_outlines: Sequence[np.ndarray] = (),
    seed: int = 0,
) -> Target:
    """Choose what of a scan counts: 95 mm around the nose tip, without ears, scalp, neck, hair and eyeballs.

    Eyeballs are wet: scanners see them as hollows. A scan that has them comes with the outline "l 3" of each eye's opening.
    The parts are told by the nearest part of the aligned mean head, so they are the same for every method.
    """
    mean = mean_head()
    near = (np.linalg.norm(vertices - landmarks[4], axis=1) < FACE_RADIUS_MM)[triangles].any(1)
    points, _ = sample_surface(vertices, triangles[near], num_points, seed)
    points = points[np.linalg.norm(points - landmarks[4], axis=1) < FACE_RADIUS_MM]
    for outline in eye_outlines:
        points = points[~_behind(points, outline)]
    alignment = align_points(mean.landmarks, landmarks, with_scale=True)
    # Twice: the first alignment is pulled by hair and ears, the second sees what the first calls the face.
    for _ in range(2):
        label = _nearest_region(points, alignment.apply(mean.vertices))
        face = points[label >= 0][:5000]
        alignment = align_to_scan(mean.vertices, mean.triangles, face, alignment, with_scale=True)
    label = _nearest_region(points, alignment.apply(mean.vertices))
    return Target(name, points[label >= 0], label[label >= 0], landmarks)


def score(head: Head, target: Target) -> Score:
    similar, rigid = (
        scan_error(
            head.vertices,
            head.triangles,
            target.points,
            mesh_landmarks=head.landmarks,
            scan_landmarks=target.landmarks,
            with_scale=with_scale,
            num_alignment_points=3000,
        )
        for with_scale in (True, False)
    )
    by_region = {
        name: float(np.median(similar.distances_mm[target.region == i]))
        for i, name in enumerate(REGIONS)
        if (target.region == i).any()
    }
    return Score(
        similar.median_mm, similar.mean_mm, rigid.median_mm, rigid.mean_mm, similar.alignment.scale, by_region
    )


def _behind(points: np.ndarray, outline: np.ndarray, depth_mm: float = 15.0) -> np.ndarray:
    """Which points lie within a convex outline, seen across its plane."""
    centre = outline.mean(0)
    axes = np.linalg.svd(outline - centre)[2]
    flat, deep = (points - centre) @ axes[:2].T, (points - centre) @ axes[2]
    return (Delaunay((outline - centre) @ axes[:2].T).find_simplex(flat) >= 0) & (np.abs(deep) < depth_mm)


def _nearest_region(points: np.ndarray, vertices: np.ndarray, max_distance_mm: float = 15.0) -> np.ndarray:
    """Index into REGIONS of each point; -1 where the nearest skin is of no face region, or far: ears, neck, hair, clothes."""
    model, triangles = bundled_model(), skin_surface()
    found = TriangleTree(vertices, triangles).query(points)
    nearest = triangles[found.triangle_ids, found.barycentric.argmax(1)]
    label = np.full(len(points), -1)
    for i, name in enumerate(REGIONS):
        label[model.regions[name].numpy()[nearest]] = i
    label[found.distances > max_distance_mm] = -1
    return label
