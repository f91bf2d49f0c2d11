"""Which part of a face a point of a scan belongs to: asked of the bundled mean head laid over it, hence the same for every method."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..geometry.closest import TriangleTree
from ..model import bundled
from ..model.morphable import MorphableModel
from .benchmark import FaceMesh, Points
from .scan import Alignment, align_points, align_to_scan

REGIONS = ("nose", "mouth", "forehead", "cheeks", "eyes", "chin")
_FARTHEST_MM = 15.0
_ALIGNMENT_POINTS = 5000


@lru_cache(maxsize=1)
def mean_face() -> FaceMesh:
    """The bundled mean head's outer skin with its 68 landmarks: the baseline that every method must beat."""
    model = bundled.load()
    return face_mesh(model, model.mean_mm)


def face_mesh(model: MorphableModel, vertices: Tensor) -> FaceMesh:
    """What of a head "v 3" of a model is measured: its outer skin with 68 landmarks."""
    zero = torch.zeros(())
    marks = model.landmarks["ibug68"].points(vertices, model.triangles, zero, zero)
    return FaceMesh(vertices.double().numpy(), skin_surface(model), marks.double().numpy())


def skin_surface(model: MorphableModel) -> NDArray[np.int64]:
    """Triangles (f, 3) that count: the outer skin, without its folds into mouth and eye sockets, and without eyeballs."""
    skin = model.part_triangles("skin")
    for hidden in ("inner_mouth", "eye_sockets"):
        if hidden in model.regions:
            skin = skin[~model.regions[hidden][skin].any(1)]
    return skin.numpy()


def lay_mean_face(points: Points, landmarks: Points) -> Alignment:
    """Lay the mean head on the points (n, 3) of a scan, with scale, from seven landmarks (7, 3) on.

    Twice: the first alignment is pulled by hair and ears, the second sees only what the first calls the face.
    """
    mean = mean_face()
    assert mean.seven is not None
    alignment = align_points(mean.seven, landmarks, with_scale=True)
    for _ in range(2):
        face = points[region_of(points, alignment) >= 0]
        if len(face) < 50:  # nothing of a face near the landmarks: they alone say where it should be
            break
        some = face[:: max(1, len(face) // _ALIGNMENT_POINTS)]
        alignment = align_to_scan(mean.vertices, mean.triangles, some, alignment, with_scale=True)
    return alignment


def region_of(points: Points, laid: Alignment) -> NDArray[np.int64]:
    """Index into :data:`REGIONS` of points (n, 3), given the mean head laid on the scan; -1 where the nearest skin is of no region of the face,
    or far: ears, neck, hair, clothes."""
    return nearest_on_mean(points, laid)[0]


def nearest_on_mean(points: Points, laid: Alignment) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Region (n,) as :func:`region_of` says, and the mean head's nearest vertex (n,), by which errors of many scans are drawn on one head."""
    mean = mean_face()
    found = TriangleTree(laid.apply(mean.vertices), mean.triangles).query(points)
    nearest = mean.triangles[found.triangle_ids, found.barycentric.argmax(1)]
    label = region_of_vertex()[nearest]
    label[found.distances > _FARTHEST_MM] = -1
    return label, nearest


@lru_cache(maxsize=1)
def region_of_vertex() -> NDArray[np.int64]:
    """Index into :data:`REGIONS` of each vertex of the bundled head (v,); -1: none."""
    model = bundled.load()
    label = np.full(len(model.mean_mm), -1)
    for i, name in enumerate(REGIONS):
        label[model.regions[name].numpy()] = i
    return label
