"""MediaPipe's own face mesh as a peer: 468 of its 478 points, in millimetres by its own "face geometry" module.

The networks are the vendored ones, which give what the package mediapipe 0.10.14 gives; the package itself is not needed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

import numpy as np
import torch
from numpy.typing import NDArray

from ..detect.protocol import Detector
from ..errors import BadInput
from ..evaluate.benchmark import FaceMesh, Item, Points, Prediction
from ..geometry.camera import Camera
from ..geometry.rigid import FRONTAL, rigid_transform, umeyama
from .detected import IBUG68_FROM_478, see_face

OWN_FOV_DEG = 63.0
"""Vertical angle of view of the camera that MediaPipe assumes (ConfigureFaceGeometryEnvGeneratorCalculator of its face landmarker task)."""
_PARALLEL_FOV_DEG = 0.2


@dataclass(frozen=True)
class CanonicalFace:
    """MediaPipe's canonical face, in our units.

    Attributes:
        vertices: (468, 3) mm; x to the subject's left, y up, z out of the face.
        skin: (f, 3) int64 triangles without those that close the eyes and the mouth. weights: (468,) of the points that give the scale.
    """

    vertices: Points
    skin: NDArray[np.int64]
    weights: NDArray[np.float64]


@lru_cache(maxsize=1)
def canonical_face() -> CanonicalFace:
    """Read it from the package's data."""
    path = resources.files("vultus") / "methods" / "assets" / "mediapipe_topology.npz"
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        triangles = archive["triangles"].astype(np.int64)[archive["is_skin"]]
        return CanonicalFace(
            10.0 * archive["vertices_cm"].astype(float), triangles, archive["scale_weights"].astype(float)
        )


@dataclass(frozen=True)
class MediaPipeMesh:
    """Item -> the mesh that MediaPipe shows, its 68 points, and a camera. It has no neutral face.

    By default x, y and z are all taken at one scale (weak perspective), and the camera is a stand-in some 100 m away. That is kinder to MediaPipe than the
    63 degrees it assumes, and than the true focal length: on drawn heads 1.4 to 1.5 mm, against 1.8 to 2.4 and 1.4 to 1.6 (docs/evaluate/peers.md).

    Attributes:
        vertical_fov_deg: of the photo, for a mesh with perspective undone; :data:`OWN_FOV_DEG` is what MediaPipe's own "facial transformation
            matrix" rests on. None: weak perspective.
        detector: of 478 points; the vendored one when not given.
    """

    vertical_fov_deg: float | None = None
    detector: Detector | None = None

    def __post_init__(self) -> None:
        if self.vertical_fov_deg is not None and not 0 < self.vertical_fov_deg < 180:
            raise BadInput(f"vertical_fov_deg must lie between 0 and 180, got {self.vertical_fov_deg}")

    def __call__(self, item: Item) -> Prediction:
        """Predict one item.

        Raises:
            BadInput: the item has no photo. BadFile: it cannot be read. FaceNotFound: nobody is in it.
        """
        seen = see_face(item, self.detector)
        half_rad = math.radians(self.vertical_fov_deg or _PARALLEL_FOV_DEG) / 2
        vertices, camera = metric_face(
            seen.points[:468], seen.size_px[1] / 2 / math.tan(half_rad), seen.size_px
        )
        posed = FaceMesh(vertices, canonical_face().skin, vertices[IBUG68_FROM_478])
        return Prediction(posed=posed, camera=camera, points_px=seen.ibug68, seconds=seen.seconds)


def metric_face(points: Points, focal_px: float, size_px: tuple[int, int]) -> tuple[Points, Camera]:
    """From points on the screen to a face in millimetres, and the camera that sees it where the points are.

    MediaPipe's ScreenToMetricSpaceConverter (modules/face_geometry/libs/geometry_pipeline.cc): a point is as far as the focal length, in pixels, plus
    its z; its ray gives x and y. The size follows from the canonical face's, onto which the result is turned and moved (weighted Procrustes). MediaPipe
    estimates the size in two steps before that; the unprojected face is proportional to it, so one is enough and the result is the same.

    Args:
        points: (468, 3) x, y, and z away from the camera, all in pixels.

    Returns:
        (468, 3) mm in the canonical face's frame, and the camera; its pose is what MediaPipe calls the facial transformation matrix.
    """
    centre = np.array(size_px, float) / 2
    # From the optical axis: x right, y up, z towards the camera, as the canonical face has them.
    plane = np.concatenate([points[:, :2] - centre, points[:, 2:] - points[:, 2:].mean()], 1) * [1, -1, -1]
    away = focal_px - plane[:, 2:]
    unprojected = np.concatenate([plane[:, :2] * away / focal_px, -away], 1)
    canonical = canonical_face()
    found = umeyama(*(torch.from_numpy(a) for a in (canonical.vertices, unprojected, canonical.weights)))
    # A camera is rigid, so the scale goes into the mesh; seen from the pinhole, larger and farther look the same.
    vertices = found.inverse().apply(torch.from_numpy(unprojected)).numpy()
    pose = rigid_transform(
        FRONTAL.double() @ found.rotation, FRONTAL.double() @ (found.translation / found.scale)
    )
    camera = Camera(torch.tensor(focal_px, dtype=torch.float64), torch.from_numpy(centre), size_px, pose)
    return vertices, camera
