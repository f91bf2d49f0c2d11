"""The two scan-based mean heads that the bundled mean is calibrated on: ICT-FaceKit (MIT) and MediaPipe's canonical mesh (Apache-2.0).

Only averages and covariances made with them end up in the asset; neither mesh is shipped.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ICT_SKIN = range(0, 11248)  # face, head and neck; what follows is sockets, gums, teeth
ICT_EYES = (range(21451, 23021), range(23021, 24591))


@dataclass(frozen=True)
class IctHeads:
    """ICT-FaceKit light in millimetres: neutral (v, 3), identity (100, v, 3) per sigma, triangles, iBUG-68 vertex ids."""

    neutral_mm: np.ndarray
    identity_mm: np.ndarray
    triangles: np.ndarray
    ibug68: np.ndarray

    @property
    def skin(self) -> np.ndarray:
        """Triangles of face, head and neck."""
        return self.triangles[(self.triangles < ICT_SKIN.stop).all(1)]

    @property
    def visible(self) -> np.ndarray:
        """Triangles of skin and eyeballs: what a picture of the head shows."""
        eyes = (self.triangles >= ICT_EYES[0].start) & (self.triangles < ICT_EYES[1].stop)
        return self.triangles[((self.triangles < ICT_SKIN.stop) | eyes).all(1)]


def read_ict(folder: Path) -> IctHeads:
    """Read the folder described in ../shared/data/README.md."""
    with np.load(folder / "ict_shape.npz") as data:
        neutral, identity = data["neutral"].astype(float) * 10, data["identity"].astype(np.float32) * 10
    polygons = _obj_polygons(folder / "generic_neutral_mesh.obj")
    landmarks = json.loads((folder / "vertex_indices.json").read_text())["idx_to_landmark_verts"]
    return IctHeads(neutral, identity, polygons, np.array(landmarks))


def read_canonical(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """MediaPipe's canonical face: (468, 3) millimetres and its triangles."""
    lines = (line.split() for line in path.read_text().splitlines())
    vertices = [[10 * float(value) for value in line[1:4]] for line in lines if line and line[0] == "v"]
    return np.array(vertices), _obj_polygons(path)


def _obj_polygons(path: Path) -> np.ndarray:
    triangles = []
    for line in path.read_text().splitlines():
        if line.startswith("f "):
            corner = [int(value.split("/")[0]) - 1 for value in line.split()[1:]]
            triangles += [[corner[0], corner[i], corner[i + 1]] for i in range(1, len(corner) - 1)]
    return np.array(triangles)
