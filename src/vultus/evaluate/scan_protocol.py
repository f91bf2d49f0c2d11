"""What the protocols share that hold a predicted mesh against a scan: seven points, a crop, an alignment, distances, rows.

NoW, the Stirling/ESRC challenge and Florence all ask how far the points of a scanned face are from the predicted surface. They differ in the
crop, in what the alignment may change and in which means they quote; those choices live in their own modules.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ..errors import BadFile, BadInput
from ..geometry.closest import TriangleTree
from ..geometry.rigid import rotation_from_axis_angle
from ..io.meshes import read_mesh
from .benchmark import Curve, FaceMesh, ItemScore, Points, Row
from .scan import Alignment
from .summary import curve, pooled_row

NOSE_BASE_SEVEN = (36, 39, 42, 45, 33, 48, 54)
"""iBUG numbers (from 0) of the eye corners, the base of the nose and the mouth corners: the seven points of NoW and of the FG 2018
challenge. Their nose point is the junction of nose and lip, not the tip: T. Bolkart in soubhiksanyal/now_evaluation#5 (landmark 16 of 51) and
the script in patrikhuber/fg2018-competition#4, whose vertex 270 is point 34 of 68 in patrikhuber/eos (counted from 1)."""

DISTANCES = "distance_mm"
"""Name of the distances in :attr:`ItemScore.samples`."""

_FIRST_POINTS = 5000


@dataclass(frozen=True)
class ScanFiles:
    """Where the scan of a person lies, and the points that were picked on it."""

    mesh: Path
    landmarks: Path


@lru_cache(maxsize=2)
def scan_points(path: Path) -> Points:
    """The finite vertices "n 3" of a scan; those of the last two are kept, because a benchmark asks for one scan many times in a row.

    Raises:
        BadFile: it cannot be read, or has no finite vertex.
    """
    vertices = read_mesh(path).vertices.double().numpy()
    vertices = vertices[np.isfinite(vertices).all(1)]
    if not len(vertices):
        raise BadFile(f"{path}: has no finite vertex; get the scan again")
    vertices.setflags(write=False)
    return vertices


def named_points(face: FaceMesh | None, seven: Sequence[int], benchmark: str, key: str) -> Points:
    """The seven landmarks "7 3" of a prediction that can be measured; seven that come as such are taken as the protocol's own.

    Args:
        seven: which of 68 they are.

    Raises:
        BadInput: no mesh, nothing to align it by, or a coordinate that is not finite.
    """
    if face is None:
        raise BadInput(
            f"{key}: {benchmark} measures a mesh and the prediction has none; use a method that makes one"
        )
    if face.landmarks is None:
        raise BadInput(
            f"{key}: {benchmark} aligns by seven landmarks and the mesh has none; put them beside it as .npy or .txt (7 or 68 rows of x y z)"
        )
    if face.landmarks.shape not in ((7, 3), (68, 3)):
        raise BadInput(f"{key}: landmarks must be 7 or 68 rows of x y z, got {face.landmarks.shape}")
    points = face.landmarks if len(face.landmarks) == 7 else face.landmarks[list(seven)]
    if not len(face.triangles) or not np.isfinite(face.vertices).all() or not np.isfinite(points).all():
        raise BadInput(
            f"{key}: the mesh has no triangles, or a vertex or landmark that is not finite; predict it again"
        )
    return np.asarray(points, np.float64)


def inner_face(points: Points, landmarks: Points, factor: float) -> NDArray[np.bool_]:
    """ "n" bool: which points of a scan lie in the ball around the face that the FG 2018 challenge drew and NoW widened.

    Centre: from the base of the nose three tenths of the way to the bridge (the middle of the inner eye corners). Radius: ``factor`` times half
    the sum of the distance of the outer eye corners and the length of the nose.

    Args:
        points: (n, 3) mm. landmarks: (7, 3) mm, on the scan.
    """
    base, bridge = landmarks[4], (landmarks[1] + landmarks[2]) / 2
    radius_mm = factor * (np.linalg.norm(landmarks[0] - landmarks[3]) + np.linalg.norm(bridge - base)) / 2
    return np.linalg.norm(points - (base + 0.3 * (bridge - base)), axis=1) <= radius_mm


def cropped(points: Points, keep: NDArray[np.bool_], key: str) -> Points:
    """The points that a protocol measures at.

    Raises:
        BadInput: there are none: the landmarks are those of another scan.
    """
    if not keep.any():
        raise BadInput(
            f"{key}: no point of the scan lies within the face that its landmarks mark; are they of the same scan, in millimetres?"
        )
    return points[keep]


def measured_points(mesh: Path, on_scan: Points, factor: float, key: str) -> Points:
    """The vertices of a scan within the inner face (:func:`inner_face`) around its seven landmarks (7, 3).

    Raises:
        BadInput: there are none. BadFile: the scan cannot be read.
    """
    scan = scan_points(mesh)
    return cropped(scan, inner_face(scan, on_scan, factor), key)


def align_least_squares(
    face: FaceMesh, points: Points, start: Alignment, *, with_scale: bool, max_steps: int = 100
) -> Alignment:
    """The similarity (or motion) of a mesh that minimises the sum of squared distances of scan points to it, in the scan's units.

    The objective of NoW's ``rigid_scan_2_mesh_alignment``: true distances to the surface, its border included, and no robust weights, where
    :func:`.scan.align_to_scan` has the planes' distances and Huber's weights. By Levenberg and Marquardt, in the frame of the mesh, where the
    search tree is; first on a share of the points, then on all.

    Args:
        points: (n, 3). start: the mesh into the scan's frame, from landmarks. with_scale: else the scale of ``start`` stays.
        max_steps: of either part.
    """
    tree = TriangleTree(face.vertices, face.triangles)
    corners = face.vertices[face.triangles]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-30)
    back = start.inverse()
    step = max(1, len(points) // _FIRST_POINTS)
    for some in (points[::step], points) if step > 1 else (points,):
        back = _descend(tree, normals, some, back, with_scale, max_steps)
    return back.inverse()


def _descend(
    tree: TriangleTree, normals: Points, points: Points, back: Alignment, with_scale: bool, max_steps: int
) -> Alignment:
    """Improve ``back``, the scan into the mesh's frame, until a step gains less than a part in a hundred million."""
    moved = back.apply(points)
    found = tree.query(moved)
    cost, damping = (found.distances**2).sum() / back.scale**2, 1e-6
    for _ in range(max_steps):
        away = moved - found.points
        far = found.distances[:, None]
        away = np.where(far > 1e-12, away / np.maximum(far, 1e-12), normals[found.triangle_ids])
        centre = found.points.mean(
            0
        )  # about it, scale and shift do not mix, however far off the scan still is
        columns = [np.cross(moved - centre, away), away]
        if with_scale:
            # The residual is the distance over the scale of `back`: its derivative by the logarithm reaches to the foot point.
            columns.append(((found.points - centre) * away).sum(1)[:, None])
        design = np.concatenate(columns, 1)
        normal_matrix, slope = design.T @ design, design.T @ found.distances
        floor = 1e-12 * np.trace(normal_matrix) * np.eye(len(slope))
        while True:
            change = -np.linalg.solve(
                normal_matrix + damping * np.diag(np.diag(normal_matrix)) + floor, slope
            )
            trial = _changed(back, change, centre)
            trial_moved = trial.apply(points)
            trial_found = tree.query(trial_moved)
            trial_cost = (trial_found.distances**2).sum() / trial.scale**2
            if trial_cost < cost or damping > 1e6:
                break
            damping *= 10
        if not trial_cost < cost:
            return back
        gain, damping = cost - trial_cost, max(damping / 10, 1e-9)
        back, moved, found, cost = trial, trial_moved, trial_found, trial_cost
        if gain < 1e-8 * cost:
            break
    return back


def _changed(back: Alignment, change: NDArray[np.float64], centre: NDArray[np.float64]) -> Alignment:
    turn = rotation_from_axis_angle(torch.from_numpy(change[:3])).numpy()
    grow = float(np.exp(change[6])) if len(change) == 7 else 1.0
    return Alignment(
        grow * back.scale,
        turn @ back.rotation,
        grow * turn @ (back.translation - centre) + centre + change[3:6],
    )


def surface_distances(face: FaceMesh, alignment: Alignment, points: Points) -> NDArray[np.float64]:
    """From every point (n, 3) of a scan to the closest point of the aligned mesh: (n,) in the scan's millimetres."""
    return TriangleTree(alignment.apply(face.vertices), face.triangles).query(points).distances


def root_mean_square(distances: NDArray[np.float64]) -> float:
    """Of some distances."""
    return float(np.sqrt(np.mean(np.square(distances))))


def of_group(scores: Sequence[ItemScore], group: str) -> list[ItemScore]:
    """The scores of one group; all of them for an empty name."""
    return [s for s in scores if not group or s.group == group]


def groups_of(scores: Sequence[ItemScore]) -> tuple[str, ...]:
    """An empty name for everything, then the groups by name, if there are two or more."""
    groups = sorted({s.group for s in scores if s.group})
    return ("", *groups) if len(groups) > 1 else ("",)


def named(what: str, group: str) -> str:
    """What a row or curve is called: ``median`` of all, ``median, selfie`` of a group."""
    return f"{what}, {group}" if group else what


def pooled_rows(scores: Sequence[ItemScore]) -> tuple[Row, ...]:
    """Median, mean and standard deviation of all distances thrown together, of everything and then of every group."""
    statistics = (("median", np.median), ("mean", np.mean), ("standard deviation", np.std))
    return tuple(
        pooled_row(
            named(what, group), "mm", of_group(scores, group), DISTANCES, lambda a, f=function: float(f(a))
        )
        for group in groups_of(scores)
        for what, function in statistics
    )


def pooled_curves(scores: Sequence[ItemScore]) -> tuple[Curve, ...]:
    """The cumulative curve of all distances, of everything and then of every group."""
    return tuple(
        curve(
            named("distance", group),
            np.concatenate([s.samples[DISTANCES] for s in of_group(scores, group)]),
            "mm",
        )
        for group in groups_of(scores)
    )
