"""Everything that a predicted face gets wrong against a scan, aligned rigidly and with scale."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from ..errors import BadInput
from ..geometry.mesh import vertex_normals
from .benchmark import FaceMesh, Points
from .corresponded import Correspondence, corresponded_distances, find_correspondence, weighted_median
from .regions import REGIONS, region_of
from .scan import FACE_RADIUS_MM, Alignment, ScanError, sample_surface, scan_error
from .scan_truth import ScanTruth

COMPLETE_MM = 5.0
"""A scan's point counts as covered when the prediction lies at most so far from it."""
KINDS = ("similarity", "rigid")
"""Alignments: with scale, and without."""
_ALIGNMENT_POINTS = 3000
_REVERSE_POINTS = 8000


def score_against_scan(
    mesh: FaceMesh, truth: ScanTruth, *, corresponded: bool = False, kinds: tuple[str, ...] = KINDS
) -> tuple[dict[str, float], dict[str, NDArray[np.float32]]]:
    """Numbers and samples of a prediction against a scan.

    Alignment starts from seven landmarks and is refined by ICP (:func:`~.scan.align_to_scan`). For each kind of alignment ``k``:
    ``k_median_mm``, ``k_mean_mm``, ``k_std_mm``, ``k_p90_mm``: distances of the scan's face to the mesh; ``k_<region>_mm``: their median in
    a region; ``k_chamfer_mm``: mean of the mean distances there and back; ``k_completeness_percent``: share of the scan's face within 5 mm of
    the mesh; ``k_normal_deg``: mean angle of the normals; ``k_scale``: what the mesh was multiplied with;
    ``k_corresponded_median_mm``, ``k_corresponded_mean_mm``: :mod:`.corresponded`, if asked for.

    Args:
        mesh: with landmarks. truth: see :func:`~.scan_truth.truth_of_scan`.
        corresponded: also register the template to the mesh (about a second).
        kinds: of :data:`KINDS`; a mesh in units of nobody's can only be aligned with scale.

    Returns:
        The values; and samples: ``distance_mm`` (n,) and ``head_vertex`` (n,) of the first kind.

    Raises:
        BadInput: no landmarks, or nothing that could be measured.
    """
    seven = mesh.seven
    if seven is None:
        raise BadInput("the mesh has no landmarks: give seven or 68, see `vultus evaluate --help`")
    values: dict[str, float] = {}
    samples: dict[str, NDArray[np.float32]] = {}
    meant, there = _correspondences(mesh, truth) if corresponded else (None, None)
    for kind in kinds:
        error = scan_error(
            mesh.vertices, mesh.triangles, truth.points, mesh_landmarks=seven, scan_landmarks=truth.seven,
            with_scale=kind == "similarity", num_alignment_points=_ALIGNMENT_POINTS,
        )  # fmt: skip
        distance = error.distances_mm
        found = {
            "median_mm": error.median_mm,
            "mean_mm": error.mean_mm,
            "std_mm": error.std_mm,
            "p90_mm": float(np.percentile(distance, 90)),
            "completeness_percent": 100 * float((distance <= COMPLETE_MM).mean()),
            "chamfer_mm": (error.mean_mm + _back_mm(mesh, truth, error.alignment)) / 2,
            "normal_deg": _normal_deg(mesh, truth, error),
            "scale": error.alignment.scale,
        }
        for i, name in enumerate(REGIONS):
            if (truth.region == i).any():
                found[f"{name}_mm"] = float(np.median(distance[truth.region == i]))
        if meant is not None and there is not None:
            apart, weight = corresponded_distances(meant, there, with_scale=kind == "similarity")
            found["corresponded_median_mm"] = weighted_median(apart, weight)
            found["corresponded_mean_mm"] = float(np.nansum(apart * weight) / max(weight.sum(), 1e-12))
        values |= {f"{kind}_{name}": value for name, value in found.items()}
        if not samples:
            samples = {"distance_mm": distance.astype(np.float32), "head_vertex": truth.head_vertex.astype(np.float32)}  # fmt: skip
    return values, samples


def _correspondences(mesh: FaceMesh, truth: ScanTruth) -> tuple[Correspondence, Correspondence]:
    """The template on both surfaces, held by the landmarks that both have."""
    assert mesh.landmarks is not None and mesh.seven is not None
    if len(mesh.landmarks) == len(truth.landmarks) == 68:
        return find_correspondence(mesh.vertices, mesh.triangles, mesh.landmarks), truth.by_all
    return find_correspondence(mesh.vertices, mesh.triangles, mesh.seven), truth.by_seven


def _back_mm(mesh: FaceMesh, truth: ScanTruth, alignment: Alignment) -> float:
    """Mean distance from the mesh's face to the scan; where the scan ends, nothing is known."""
    vertices = alignment.apply(mesh.vertices)
    near = (np.linalg.norm(vertices - truth.seven[4], axis=1) < FACE_RADIUS_MM)[mesh.triangles].any(1)
    if not near.any():
        return float("nan")
    points, _ = sample_surface(vertices, mesh.triangles[near], _REVERSE_POINTS)
    points = points[region_of(points, truth.laid) >= 0]
    if not len(points):
        return float("nan")
    found = truth.tree.query(points)
    known = ~truth.at_border[found.triangle_ids]
    return float(found.distances[known].mean()) if known.any() else float("nan")


def _normal_deg(mesh: FaceMesh, truth: ScanTruth, error: ScanError) -> float:
    """Mean angle between the scan's normals and those of the mesh at the closest points; whichever way its triangles are wound."""
    vertices = torch.from_numpy(error.alignment.apply(mesh.vertices))
    normals = vertex_normals(vertices, torch.from_numpy(mesh.triangles)).numpy()
    found = error.nearest
    there = (normals[mesh.triangles[found.triangle_ids]] * found.barycentric[..., None]).sum(1)
    return mean_angle_deg(there, truth.normals)


def mean_angle_deg(normals: Points, others: Points) -> float:
    """Mean angle of normals (n, 3), not necessarily of unit length; a surface that is inside out is turned round first."""
    length = np.linalg.norm(normals, axis=1) * np.linalg.norm(others, axis=1)
    cosine = (normals * others).sum(1) / np.maximum(length, 1e-12)
    if cosine.mean() < 0:
        cosine = -cosine
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))).mean())
