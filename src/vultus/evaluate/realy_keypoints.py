"""REALY's 85 key points on a prediction: from a table of its topology, from a file, or carried over to a face with 68 landmarks."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import RBFInterpolator

from ..errors import BadFile, BadInput
from ..geometry.closest import TriangleTree
from ..io.obj import read_obj
from .benchmark import FaceMesh, Points

NUM_KEYPOINTS = 85
SEVEN_KEYPOINTS = (36, 39, 42, 45, 33, 48, 54)
"""What the global alignment uses: eye corners, the point below the nose, mouth corners."""
_EYES = (36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47)
_MOUTH = (48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 64)
_NOSE = (27, 28, 29, 30, 31, 32, 33, 34, 35)
RIGID_KEYPOINTS = {
    "nose": (*_NOSE, 70, 71),
    "mouth": _MOUTH,
    "forehead": (*_EYES, *range(17, 27)),
    "cheek": (*_MOUTH, 76, 77, 36, 41, 40, 39, 42, 47, 46, 45, 7, 8, 9),
}
"""Which key points help each region's rigid alignment."""
BENT_KEYPOINTS = {"nose": _NOSE, "mouth": _MOUTH, "forehead": RIGID_KEYPOINTS["forehead"], "cheek": ()}
"""Which steer its non-rigid registration."""
_BEYOND_LANDMARKS = (70, 71, 76, 77)
"""Key points in use that are none of iBUG's 68."""


@dataclass(frozen=True)
class KeypointTable:
    """Where the key points lie on a topology.

    Attributes:
        name: of the topology. num_vertices: of its meshes. vertex_ids: (85, 3). weights: (85, 3), rows sum to one.
    """

    name: str
    num_vertices: int
    vertex_ids: NDArray[np.int64]
    weights: Points

    def on(self, vertices: Points) -> Points:
        """The key points (85, 3) of a mesh (v, 3) of this topology."""
        return (vertices[self.vertex_ids] * self.weights[:, :, None]).sum(1)


def read_table(path: Path) -> KeypointTable:
    """Read ``NAME.txt``, a JSON list of 85 [triangle, a, b] that weigh the corners of a triangle of ``NAME.obj`` with a, b and 1 - a - b.

    Raises:
        BadFile: no such table, or no template beside it.
    """
    template = path.with_suffix(".obj")
    if not template.is_file():
        raise BadFile(
            f"{path}: needs the template mesh {template.name} beside it, whose triangles the table counts"
        )
    mesh = read_obj(template)
    try:
        rows = np.array(json.loads(path.read_text(encoding="utf-8")), float)
    except (OSError, ValueError) as error:
        raise BadFile(
            f"{path}: is no table of key points ({error}); take it from github.com/czh-98/REALY, data/"
        ) from error
    if rows.shape != (NUM_KEYPOINTS, 3) or not (
        rows[:, 0].min() >= 0 and rows[:, 0].max() < len(mesh.topology.triangles)
    ):
        raise BadFile(
            f"{path}: must be {NUM_KEYPOINTS} rows [triangle of {template.name}, weight, weight], got shape {rows.shape}"
        )
    corners = mesh.topology.triangles.numpy()[rows[:, 0].astype(np.int64)]
    weights = np.concatenate([rows[:, 1:], 1 - rows[:, 1:].sum(1, keepdims=True)], 1)
    return KeypointTable(path.stem, len(mesh.vertices), corners, weights)


def read_keypoints(folder: Path, key: str) -> Points | None:
    """The key points (85, 3) of one prediction, in its own frame, from ``folder/KEY.keypoints.npy`` or ``.txt``; None: no such file.

    Raises:
        BadFile: the file is something else.
    """
    for ending, read in ((".npy", np.load), (".txt", np.loadtxt)):
        path = folder / f"{key}.keypoints{ending}"
        if not path.is_file():
            continue
        try:
            points = np.asarray(read(path), float)
        except (OSError, ValueError) as error:
            raise BadFile(f"{path}: cannot be read as numbers ({error}); write 85 rows x y z") from error
        if points.shape != (NUM_KEYPOINTS, 3) or not np.isfinite(points).all():
            raise BadFile(f"{path}: must hold finite numbers (85, 3), got {points.shape}")
        return points
    return None


def carry_over(mesh: FaceMesh, template_keypoints: Points) -> Points:
    """Key points (85, 3) of a face with 68 landmarks: these, and the rest of the template's bent over and laid on its surface.

    Only four of the seventeen further points are ever used. They follow the landmarks by the interpolating spline of
    least bending in space (biharmonic, Duchon 1977) and end at the nearest point of the surface.

    Args:
        template_keypoints: (85, 3) of HIFI3D's template.

    Raises:
        BadInput: the face has no 68 landmarks.
    """
    marks = mesh.landmarks
    if marks is None or len(marks) != 68:
        had = "no landmarks" if marks is None else f"{len(marks)} landmarks"
        raise BadInput(
            f"REALY needs 85 key points and this mesh of {len(mesh.vertices)} vertices has {had}, no table for its topology and no file: "
            "pass keypoints, a folder of KEY.keypoints.txt or a table NAME.txt with NAME.obj beside it"
        )
    try:
        spline = RBFInterpolator(template_keypoints[:68], marks, kernel="linear", degree=1)
    except np.linalg.LinAlgError as error:
        raise BadInput(
            "the landmarks of HIFI3D lie in one plane: take HIFI3D.obj from github.com/czh-98/REALY again"
        ) from error
    rest = TriangleTree(mesh.vertices, mesh.triangles).query(spline(template_keypoints[68:])).points
    return np.concatenate([marks, rest])
