"""A morphable model's nearest explanation of a scanned head: where it lies, how large it is, who and what expression.

Landmarks say roughly where the face is; then every vertex of the model's face slides towards the surface of the scan (point to plane, Chen and
Medioni 1992, exact closest points) while position, size, identity and expression are solved for together. The scan moves and the model
changes its shape, so all residuals are millimetres in the head frame, and neither shrinking one nor the other makes them smaller.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from ..errors import BadInput
from ..geometry.closest import TriangleTree
from ..geometry.rigid import Similarity, rotation_from_axis_angle, umeyama
from ..model.face import FaceCode
from ..model.morphable import MorphableModel
from .eliminate import ExpressionPrior, bounded_solve

SEVEN = (36, 39, 42, 45, 30, 48, 54)
"""iBUG-68 numbers of the seven points that are enough: eye corners, nose tip, mouth corners, from the image's left to its right."""
_PLAUSIBLE_SCALE = (0.6, 1.6)
_PICKED_MM = 1.5


@dataclass(frozen=True)
class ScanLandmarks:
    """Points of a scan that are known on the model too.

    Attributes:
        points: (l, 3) in the scan's frame and unit.
        ids, weight: (l, m) model vertices whose weighted mean is the same point (:meth:`LandmarkTable.vertex_weight`).
        sigma_mm: (l,) how far the two may be apart.
    """

    points: NDArray[np.float64]
    ids: NDArray[np.int64]
    weight: NDArray[np.float64]
    sigma_mm: NDArray[np.float64]

    def on_model(self, vertices: NDArray[np.float64]) -> NDArray[np.float64]:
        """Where they are on a head "v 3": (l, 3)."""
        return (vertices[self.ids] * self.weight[..., None]).sum(1)


@dataclass(frozen=True)
class ScanCodeOptions:
    """Knobs of :func:`fit_code_to_scan`.

    Attributes:
        steps: Gauss-Newton steps, each with new closest points.
        num_vertices: of the face's vertices so many are laid on the scan, evenly chosen.
        noise_mm: typical distance between a scan and the best head of the model. correlation: how many neighbouring vertices err together.
        expression: factor on the model's own expression sigmas; a scan shows shapes of the mouth that no one unit explains, and
            would otherwise be explained by many at once.
        reach_mm: closest points farther away than this count for nothing in the first step, and less far ones later (down to a fifth).
        max_angle_deg: nor do those that face elsewhere.
    """

    steps: int = 12
    num_vertices: int = 3000
    noise_mm: float = 0.7
    correlation: float = 5.0
    expression: float = 0.5
    reach_mm: float = 20.0
    max_angle_deg: float = 50.0


def scan_landmarks(
    model: MorphableModel, points: NDArray[np.floating], scheme: str = "seven", sigma_mm: float = _PICKED_MM
) -> ScanLandmarks:
    """Picked landmarks (l, 3) on a scan, paired with the model's surface.

    Args:
        points: 7 in the order of :data:`SEVEN`, or 68 in that of iBUG (the jaw's contour, which is no place on the skin, is left out).
        scheme: ``seven``, ``ibug68``, or ``mediapipe478`` for what the detector found on pictures of the scan.

    Raises:
        BadInput: another number of points, not finite, or all in one place; or the model lacks landmarks.
    """
    points = np.asarray(points, np.float64)
    table_name = "mediapipe478" if scheme == "mediapipe478" else "ibug68"
    wanted = {"seven": 7, "ibug68": 68, "mediapipe478": 478}[scheme]
    if points.shape != (wanted, 3):
        raise BadInput(
            f"landmarks of shape {points.shape}: give {wanted} points (x, y, z) in the scan's own frame"
        )
    if table_name not in model.landmarks:
        raise BadInput(f"model {model.name} has no {table_name} landmarks: use the bundled model")
    table, zero = model.landmarks[table_name], torch.zeros(())
    ids, weight = (t.numpy() for t in table.vertex_weight(model.triangles, zero, zero))
    if scheme == "mediapipe478":
        sigma = np.hypot(table.spread_at(zero, zero).double().numpy(), 1.0)
        chosen = np.flatnonzero(np.isfinite(points).all(1) & (sigma < 3.5))
        sigma = sigma * 4.0  # hundreds of points that err together must not outvote the surface
    else:
        chosen = np.array(SEVEN if scheme == "seven" else range(17, 68))
        points = points if scheme == "ibug68" else _scattered(points, chosen, 68)
        sigma = np.full(len(points), sigma_mm)
    found = np.asarray(points[chosen], np.float64)
    if (
        len(found) < 4
        or not np.isfinite(found).all()
        or np.linalg.norm(found - found.mean(0), axis=1).max() < 1e-9
    ):
        raise BadInput("the landmarks are not finite, or lie in one place: pick them on the scan's surface")
    return ScanLandmarks(found, ids[chosen], weight[chosen].astype(np.float64), sigma[chosen])


def fit_code_to_scan(
    model: MorphableModel,
    scan: NDArray[np.float64],
    scan_triangles: NDArray[np.int64],
    landmarks: ScanLandmarks,
    options: ScanCodeOptions | None = None,
) -> tuple[FaceCode, Similarity]:
    """Identity, expression, and the similarity that takes the scan into the head frame.

    Args:
        scan: (w, 3) any frame, scan_triangles: (g, 3).

    Raises:
        BadInput: the landmarks make a head of an impossible size (the unit is wrong), or no surface lies around them.
    """
    options = options or ScanCodeOptions()
    mean = model.mean_mm.double().numpy()
    basis = torch.cat([model.identity_mm, model.expression_mm]).double().numpy()
    num_identity, num_expression = len(model.identity_mm), len(model.expression_mm)
    ids, triangles = face_surface(model)
    ids = ids[:: max(1, len(ids) // options.num_vertices)]
    prior = ExpressionPrior(
        model.expression_sigma.double().numpy(), *model.expression_range.double().numpy().T
    )
    precision = np.concatenate([np.ones(num_identity), 1 / (options.expression * prior.sigma) ** 2])
    head = start_from_landmarks(mean, landmarks)
    tree = TriangleTree(scan, scan_triangles)
    scan_normals = triangle_unit_normals(scan, scan_triangles)
    code = np.zeros(num_identity + num_expression)
    # One row per vertex and coordinate, once: (v, 3, k) is what the whole fit spends its time on.
    moves = np.ascontiguousarray(basis[:, ids].transpose(1, 2, 0))
    mark_moves = np.stack([landmarks.on_model(direction) for direction in basis], -1)
    for step in range(options.steps):
        vertices = mean + np.tensordot(code, basis, 1)
        rotation = head.rotation.numpy()
        normals = vertex_unit_normals(vertices, triangles)[ids]
        in_scan = head.inverse().apply(torch.from_numpy(vertices[ids])).numpy()
        found = tree.query(in_scan, normals @ rotation, options.max_angle_deg)
        hit = found.triangle_ids >= 0
        foot = head.apply(torch.from_numpy(np.where(hit[:, None], found.points, 0))).numpy()
        plane = scan_normals[found.triangle_ids] @ rotation.T
        gap = ((vertices[ids] - foot) * plane).sum(1)
        reach_mm = options.reach_mm * max(0.2, 1 - step / (0.6 * options.steps))
        apart = np.linalg.norm(vertices[ids] - foot, axis=1)
        believed = hit & (apart < reach_mm)
        if believed.sum() < 100:
            raise BadInput(
                "no surface of a face lies around the landmarks: are landmarks and scan in the same frame and unit?"
            )
        typical = 1.5 * np.median(np.abs(gap[believed])) + 0.1
        robust = np.where(believed, 1 / (1 + (gap / (2 * typical)) ** 2) ** 2, 0)
        weight = np.sqrt(robust / options.correlation) / max(options.noise_mm, 0.5 * typical)
        use = weight > 1e-4
        rows = _rows(plane[use], moves[use], foot[use]) * weight[use, None]
        right = gap[use] * weight[use]
        marks = head.apply(torch.from_numpy(landmarks.points)).numpy()
        mark_gap = landmarks.on_model(vertices) - marks
        # Landmarks matter to begin with; where the surface is known it knows better.
        trust = 1 / landmarks.sigma_mm * (1.0 if step < options.steps // 2 else 0.4)
        for axis in range(3):
            plane_axis = np.broadcast_to(np.eye(3)[axis], marks.shape)
            rows = np.concatenate([rows, _rows(plane_axis, mark_moves, marks) * trust[:, None]])
            right = np.concatenate([right, mark_gap[:, axis] * trust])
        normal = rows.T @ rows
        normal[np.arange(7), np.arange(7)] += 1e-9 * np.trace(normal) / len(normal)
        downhill = -rows.T @ right
        inside = np.arange(7, len(normal))
        normal[inside, inside] += precision
        downhill[7:] -= precision * code
        change = bounded_solve(normal, downhill, code[num_identity:], prior, 7 + num_identity)
        code = code + change[7:]
        code[num_identity:] = np.clip(code[num_identity:], prior.low, prior.high)
        head = _moved(head, change[:7])
    _check_scale(float(head.scale))
    face = replace(
        model.mean_code(),
        identity=torch.from_numpy(code[:num_identity]).to(model.mean_mm),
        expression=torch.from_numpy(code[num_identity:]).to(model.mean_mm),
    )
    return face, head


def start_from_landmarks(vertices: NDArray[np.float64], landmarks: ScanLandmarks) -> Similarity:
    """The similarity scan -> head that lays the landmarks on those of a head "v 3".

    Raises:
        BadInput: the size is impossible.
    """
    weight = torch.from_numpy(1 / landmarks.sigma_mm**2)
    found = umeyama(
        torch.from_numpy(landmarks.points), torch.from_numpy(landmarks.on_model(vertices)), weight
    )
    _check_scale(float(found.scale))
    return found


def face_surface(model: MorphableModel) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The vertices (n,) of the face chart that a scanner sees, without nostrils, and the triangles (f, 3) of the outer skin.

    Raises:
        BadInput: the model has no face chart.
    """
    if model.chart is None:
        raise BadInput(f"model {model.name} has no face chart: scans are registered with the bundled model")
    seen = torch.isfinite(model.chart.uv[:, 0])
    if "nostrils" in model.regions:
        seen = seen & ~model.regions["nostrils"]
    return np.flatnonzero(seen.numpy()), model.part_triangles(model.part_names[0]).numpy()


def triangle_unit_normals(vertices: NDArray[np.float64], triangles: NDArray[np.int64]) -> NDArray[np.float64]:
    """(f, 3) outward normals."""
    a, b, c = (vertices[triangles[:, i]] for i in range(3))
    normals = np.cross(b - a, c - a)
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-30)


def vertex_unit_normals(vertices: NDArray[np.float64], triangles: NDArray[np.int64]) -> NDArray[np.float64]:
    """(v, 3) outward normals, area-weighted means."""
    from ..geometry.mesh import vertex_normals

    return vertex_normals(torch.from_numpy(vertices), torch.from_numpy(triangles)).numpy()


def _rows(plane: np.ndarray, moves: np.ndarray, foot: np.ndarray) -> np.ndarray:
    """d gap / d (rotation, translation, log scale of the scan, code), (n, 7 + k), for gap = plane . (vertex - foot).

    The normal turns with the scan, but then the gap, which is across it, does not change to first order.
    """
    by_scan = np.concatenate([-np.cross(foot, plane), -plane, -(foot * plane).sum(1, keepdims=True)], 1)
    return np.concatenate([by_scan, np.einsum("nc,nck->nk", plane, moves)], 1)


def _moved(head: Similarity, change: np.ndarray) -> Similarity:
    turn = rotation_from_axis_angle(torch.from_numpy(change[:3]))
    grow = float(np.exp(np.clip(change[6], -0.2, 0.2)))
    return Similarity(
        head.scale * grow,
        turn @ head.rotation,
        grow * (turn @ head.translation) + torch.from_numpy(change[3:6]),
    )


def _scattered(points: np.ndarray, ids: np.ndarray, number: int) -> np.ndarray:
    spread = np.full((number, 3), np.nan)
    spread[ids] = points
    return spread


def _check_scale(scale: float) -> None:
    low, high = _PLAUSIBLE_SCALE
    if not low < scale < high:
        raise BadInput(
            f"the scan's face would be {1 / max(scale, 1e-9):.3g} times as large as a head in millimetres: state its unit (mm, cm or m)"
        )
