"""Errors between points that mean the same, beside distances to whatever is nearest.

A closest point forgives sliding: a nose that is too long lies on some skin anyway. M3DFB (arXiv 2505.18025) shows that such distances rank methods
wrongly; REALY (ECCV 2022) answers with a non-rigid registration. Here one template, the bundled mean face, is bent onto both the scan and the
prediction by the same optimal-step non-rigid ICP, held by the same landmarks, and its vertices are compared. The measure is symmetric and does
not depend on how either surface is triangulated; what the registration itself leaves uncertain is the
same on both sides. Sliding of smooth skin cannot be seen on any surface, so the number is a lower bound: on heads of one model, whose true distances
are known, it shows half to nearly all of them, where closest points show a third to two thirds (benchmarks/metrics.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from ..errors import BadInput
from ..geometry.closest import TriangleTree
from ..geometry.register import RegisterOptions, border_triangles, register
from ..geometry.rigid import umeyama
from ..model import bundled
from .benchmark import SEVEN, Points, seven_of
from .regions import lay_mean_face, mean_face, region_of_vertex
from .scan import FACE_RADIUS_MM, align_points, sample_surface

_STIFFNESS = (100.0, 30.0, 10.0, 3.0)
_LANDMARK_WEIGHT = 20.0
_ON_SURFACE_MM = 1.0
_SAMPLES = 6000
_CROP_MM = (
    110.0  # in the size of the mean head: beyond the face, so that its border is no border of the surface
)


@dataclass(frozen=True)
class Correspondence:
    """The template's vertices on one surface.

    Attributes:
        points: (t, 3) in the surface's own frame. believed: (t,) bool, where the template lies on it, not beyond its border.
    """

    points: Points
    believed: NDArray[np.bool_]


@dataclass(frozen=True)
class Template:
    """The part of the mean head that is compared.

    Attributes:
        vertices: (t, 3) mm. triangles: (f, 3). area_mm2: (t,) each vertex's share of the surface, zero outside of the face's regions.
        landmark_ids: (68,) the vertices next to iBUG's landmarks.
    """

    vertices: Points
    triangles: NDArray[np.int64]
    area_mm2: NDArray[np.float64]
    landmark_ids: NDArray[np.int64]


@lru_cache(maxsize=1)
def template() -> Template:
    """The mean face at the resolution of the model, without eyeballs and the insides of mouth and sockets, a ring beyond the regions."""
    model, mean = bundled.load(), mean_face()
    on_face = model.regions["face"].numpy() | (region_of_vertex() >= 0)
    triangles = mean.triangles[on_face[mean.triangles].any(1)]
    used, local = np.unique(triangles, return_inverse=True)
    vertices, local = mean.vertices[used], local.reshape(-1, 3)
    a, b, c = (vertices[local[:, i]] for i in range(3))
    third = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 6
    area = np.zeros(len(used))
    for i in range(3):
        np.add.at(area, local[:, i], third)
    area[region_of_vertex()[used] < 0] = 0
    assert mean.landmarks is not None
    nearest = [int(np.linalg.norm(vertices - point, axis=1).argmin()) for point in mean.landmarks]
    return Template(vertices, local, area, np.array(nearest))


def find_correspondence(vertices: Points, triangles: NDArray[np.int64], landmarks: Points) -> Correspondence:
    """Bend the template onto a surface (v, 3), (f, 3) with landmarks (7, 3) or (68, 3), of which the jaw's outline, no place on the skin, does not count.

    The surface is taken into the template's frame and size first, so that stiffness means the same for every surface, and the result does not
    depend on the surface's frame, size or unit.
    """
    shape, mean = template(), mean_face()
    assert mean.seven is not None
    size = align_points(mean.seven, seven_of(landmarks), with_scale=True).inverse()
    target, marks = size.apply(vertices), size.apply(landmarks)
    seven = seven_of(marks)
    triangles = triangles[(np.linalg.norm(target - seven[4], axis=1) < _CROP_MM)[triangles].any(1)]
    if not len(triangles):
        raise BadInput("no surface around the nose tip: do landmarks and mesh share frame and unit?")
    points, _ = sample_surface(target, triangles, _SAMPLES)
    points = points[np.linalg.norm(points - seven[4], axis=1) < FACE_RADIUS_MM]
    laid = lay_mean_face(points, seven)
    target, marks = laid.inverse().apply(target), laid.inverse().apply(marks)
    pinned = np.array(SEVEN) if len(marks) == 7 else np.arange(17, 68)
    bent = register(
        shape.vertices,
        shape.triangles,
        target,
        triangles,
        landmark_ids=shape.landmark_ids[pinned],
        landmark_points=marks if len(marks) == 7 else marks[pinned],
        landmark_weight=_LANDMARK_WEIGHT,
        options=RegisterOptions(stiffness=_STIFFNESS, steps=3, facing=True),
    )
    found = TriangleTree(target, triangles).query(bent)
    believed = (found.distances < _ON_SURFACE_MM) & ~border_triangles(triangles)[found.triangle_ids]
    return Correspondence(size.inverse().apply(laid.apply(bent)), believed)


def corresponded_distances(
    predicted: Correspondence, truth: Correspondence, *, with_scale: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Distances (t,) in mm of corresponding points after the least-squares alignment of all of them, and their weights (t,) in mm2.

    NaN and zero where either surface is not known.
    """
    weight = template().area_mm2 * (predicted.believed & truth.believed)
    if weight.sum() <= 0:
        return np.full(len(weight), np.nan), weight
    source, target = (torch.from_numpy(np.nan_to_num(c.points)) for c in (predicted, truth))
    found = umeyama(source, target, torch.from_numpy(weight), with_scale=with_scale)
    distance = (found.apply(source) - target).norm(dim=1).numpy()
    return np.where(weight > 0, distance, np.nan), weight


def weighted_median(values: NDArray[np.float64], weight: NDArray[np.float64]) -> float:
    """The value that half of the weight lies below; NaN without weight."""
    keep = (weight > 0) & np.isfinite(values)
    if not keep.any():
        return float("nan")
    order = np.argsort(values[keep])
    share = np.cumsum(weight[keep][order])
    return float(values[keep][order][np.searchsorted(share, share[-1] / 2)])
