"""Two heads seen from their axis: the cylinder map in which the FaceScape benchmark compares them.

Zhu et al., "FaceScape: 3D Facial Dataset and Benchmark for Single-View 3D Face Reconstruction", TPAMI 2023, section 6; the map's size, its rays and
what becomes of it are those of the public evaluator (github.com/zhuhao-nju/facescape, benchmark/code: ``map_cyl``, ``cylinder2mesh``,
``compute_mne_full``). Rays are not cast: every triangle is cut by the planes of the map's rows, and each cut, a segment, meets the columns' rays.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import BadInput
from ..geometry.closest import TriangleTree
from .benchmark import Points

SIZE = 256
HALF_HEIGHT_MM = 150.0
JUMP_MM = 15.0
"""Neighbours of the map that differ by so much are not joined."""
_ROW_MM = 2 * HALF_HEIGHT_MM / (SIZE - 1)
_COLUMN_RAD = 2 * np.pi / (SIZE - 1)  # the last column looks where the first does


@dataclass(frozen=True)
class CylinderMap:
    """What each ray from the head's axis (y) hits last; row 0 is at y = +150 mm, column j looks along -(sin, cos) of 2 pi j / 255 in (x, z).

    Attributes:
        radius_mm: (256, 256), 0 where nothing. triangle_ids: (256, 256), -1 where nothing.
    """

    radius_mm: NDArray[np.float64]
    triangle_ids: NDArray[np.int64]


@dataclass(frozen=True)
class CylinderErrors:
    """What the benchmark measures of one head.

    Attributes:
        distances_mm: (n,) of both surfaces' vertices to the other surface; their mean is the Chamfer distance.
        normal_rad: the published mean normal error, an angle between normals after one was added to each of their coordinates.
        true_angle_deg: the mean angle between the normals themselves. completeness: share of the true face that is predicted.
    """

    distances_mm: NDArray[np.float64]
    normal_rad: float
    true_angle_deg: float
    completeness: float


def compare_on_cylinder(
    truth: Points, truth_triangles: NDArray[np.int64], predicted: Points, triangles: NDArray[np.int64]
) -> CylinderErrors:
    """Compare two surfaces (v, 3), (f, 3) in mm, in the head's frame: axis y, face towards +z.

    Raises:
        BadInput: one of them is not on the map, or no piece of surface is on both.
    """
    true_map, map_ = cylinder_map(truth, truth_triangles), cylinder_map(predicted, triangles)
    seen, both = true_map.triangle_ids >= 0, (true_map.triangle_ids >= 0) & (map_.triangle_ids >= 0)
    surfaces = [_surface(np.where(both, one.radius_mm, 0)) for one in (true_map, map_)]
    if not all(len(triangles) for _, triangles in surfaces):
        raise BadInput(
            "the prediction and the scan share no surface around the head: check its frame and unit"
        )
    (a, a_triangles), (b, b_triangles) = surfaces
    distances = [
        TriangleTree(b, b_triangles).query(a).distances,
        TriangleTree(a, a_triangles).query(b).distances,
    ]
    first = face_normals(truth, truth_triangles)[true_map.triangle_ids[both]]
    second = face_normals(predicted, triangles)[map_.triangle_ids[both]]
    return CylinderErrors(
        np.concatenate(distances),
        float(_angle(first + 1, second + 1).mean()),
        float(np.rad2deg(_angle(first, second).mean())),
        float(both.sum() / seen.sum()),
    )


def cylinder_map(vertices: Points, triangles: NDArray[np.int64]) -> CylinderMap:
    """Draw a surface (v, 3), (f, 3) in mm in the head's frame; of several surfaces on a ray the outermost stays, as in the evaluator."""
    ids, rows, start, end = _cuts(vertices, triangles)
    along = end - start
    first = np.arctan2(-start[:, 0], -start[:, 1])
    span = np.arctan2(-end[:, 0], -end[:, 1]) - first
    span -= 2 * np.pi * np.round(span / (2 * np.pi))
    low = np.where(span < 0, first + span, first)
    begin = np.ceil(low / _COLUMN_RAD - 1e-9).astype(np.int64)
    count = np.floor((low + np.abs(span)) / _COLUMN_RAD + 1e-9).astype(np.int64) - begin + 1
    cut, step = _spread(np.maximum(count, 0))
    columns = (begin[cut] + step) % (SIZE - 1)
    ray = -np.stack([np.sin(columns * _COLUMN_RAD), np.cos(columns * _COLUMN_RAD)], 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        radius = _cross(start[cut], along[cut]) / _cross(ray, along[cut])
    good = np.isfinite(radius) & (radius > 0)
    order = np.flatnonzero(good)[np.argsort(radius[good], kind="stable")]
    place = rows[cut[order]] * SIZE + columns[order]
    radii, owner = np.zeros(SIZE * SIZE), np.full(SIZE * SIZE, -1, np.int64)
    # Where a place comes twice, the last one, which is the outermost, stays.
    radii[place], owner[place] = radius[order], ids[cut[order]]
    radii, owner = radii.reshape(SIZE, SIZE), owner.reshape(SIZE, SIZE)
    radii[:, -1], owner[:, -1] = radii[:, 0], owner[:, 0]
    return CylinderMap(radii, owner)


def face_normals(vertices: Points, triangles: NDArray[np.int64]) -> Points:
    """Unit normals (f, 3) of triangles that run counter-clockwise seen from outside; zero without area."""
    a, b, c = (vertices[triangles[:, i]] for i in range(3))
    normals = np.cross(b - a, c - a)
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-30)


def _cuts(
    vertices: Points, triangles: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Triangles cut by the planes of the rows: triangle (n,), row (n,), and both ends (n, 2) of the segments in (x, z)."""
    corners = vertices[triangles]
    usable = np.isfinite(corners).all((1, 2)) & (np.ptp(corners[:, :, 1], axis=1) > 0)
    ids = np.flatnonzero(usable)
    corners = np.take_along_axis(corners[ids], corners[ids, :, 1].argsort(1)[:, :, None], 1)
    low, middle, high = corners[:, 0], corners[:, 1], corners[:, 2]
    first = np.clip(np.ceil((HALF_HEIGHT_MM - high[:, 1]) / _ROW_MM - 1e-9), 0, SIZE)
    last = np.clip(np.floor((HALF_HEIGHT_MM - low[:, 1]) / _ROW_MM + 1e-9), -1, SIZE - 1)
    cut, step = _spread(np.maximum(last - first + 1, 0).astype(np.int64))
    rows = first[cut].astype(np.int64) + step
    y = np.clip(HALF_HEIGHT_MM - rows * _ROW_MM, low[cut, 1], high[cut, 1]).astype(np.float64)
    lower = (y < middle[cut, 1])[:, None]
    start = _at_height(y, np.where(lower, low[cut], middle[cut]), np.where(lower, middle[cut], high[cut]))
    return ids[cut], rows, start, _at_height(y, low[cut], high[cut])


def _at_height(y: NDArray[np.float64], low: Points, high: Points) -> NDArray[np.float64]:
    """(n, 2) x and z where edges from ``low`` to ``high`` pass a height; the lower end of level edges."""
    rise = high[:, 1] - low[:, 1]
    share = np.where(rise > 0, (y - low[:, 1]) / np.where(rise > 0, rise, 1), 0)[:, None]
    return low[:, [0, 2]] + share * (high - low)[:, [0, 2]]


def _spread(counts: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For counts 2, 0, 3: which (0, 0, 2, 2, 2) and how far (0, 1, 0, 1, 2)."""
    owner = np.repeat(np.arange(len(counts)), counts)
    return owner, np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)


def _surface(radius_mm: NDArray[np.float64]) -> tuple[Points, NDArray[np.int64]]:
    """A map's surface: (n, 3), (f, 3); a cell is left out where its first corner is empty or differs too much from the others."""
    here, below = radius_mm[:-1, :-1], radius_mm[1:, :-1]
    right, across = radius_mm[:-1, 1:], radius_mm[1:, 1:]
    joined = (here != 0) & (np.abs(here - np.stack([below, right, across])).max(0) < JUMP_MM)
    corner = np.arange(SIZE * SIZE).reshape(SIZE, SIZE)
    a, b, c, d = (
        part[joined] for part in (corner[:-1, :-1], corner[:-1, 1:], corner[1:, :-1], corner[1:, 1:])
    )
    triangles = np.concatenate([np.stack([a, b, c], 1), np.stack([d, c, b], 1)])
    used, triangles = np.unique(triangles, return_inverse=True)
    row, angle = used // SIZE, used % SIZE * _COLUMN_RAD
    radius = radius_mm.ravel()[used]
    vertices = np.stack([-radius * np.sin(angle), HALF_HEIGHT_MM - row * _ROW_MM, -radius * np.cos(angle)], 1)
    return vertices.astype(np.float64), triangles.reshape(-1, 3).astype(np.int64)


def _angle(first: Points, second: Points) -> NDArray[np.float64]:
    """Angles between rows, in radians, exact for small ones too."""
    return np.arctan2(np.linalg.norm(np.cross(first, second), axis=1), (first * second).sum(1))


def _cross(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    return first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]
