"""What the landmark methods start from: the face of an item's photo, as the vendored MediaPipe networks see it."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from ..detect import default_detector
from ..detect.protocol import DetectedFace, Detector
from ..errors import BadInput, FaceNotFound
from ..evaluate.benchmark import Item, Points
from ..io.images import read_image

# iBUG's 68 among MediaPipe's points: the correspondence in common use, checked on renderings; jaw 0-16, brows 17-26, nose 27-35, eyes 36-47,
# lips 48-67. The bundled model's landmark table is made of it.
IBUG68_FROM_478 = np.array([
    127, 234, 93, 132, 58, 136, 150, 176, 152, 400, 379, 365, 288, 361, 323, 454, 356,
    70, 63, 105, 66, 107, 336, 296, 334, 293, 300,
    168, 197, 5, 4, 75, 97, 2, 326, 305,
    33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,
    61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181,
    78, 82, 13, 312, 308, 317, 14, 87,
])  # fmt: skip


@dataclass(frozen=True)
class SeenFace:
    """One face of a photo.

    Attributes:
        points: (478, 3), or 468 without the irises: x and y in pixels (centres at +0.5), and z in pixels away from the camera, zero somewhere in
            the head.
        size_px: (width, height) of the photo. started: when the photo had been read, in the clock of :func:`time.perf_counter`.
    """

    points: Points
    size_px: tuple[int, int]
    started: float

    @property
    def seconds(self) -> float:
        """Since the photo had been read."""
        return time.perf_counter() - self.started

    @property
    def ibug68(self) -> Points:
        """(68, 3): x and y in pixels, and z **towards** the camera, as :class:`~vultus.evaluate.benchmark.Prediction` has it."""
        return self.points[IBUG68_FROM_478] * [1, 1, -1]


def see_face(item: Item, detector: Detector | None = None) -> SeenFace:
    """The item's face: the one that overlaps its box most, where it has a box, else the largest.

    Args:
        detector: of MediaPipe's 478 points; the vendored one when not given.

    Raises:
        BadInput: the item has no photo, or the detector is one of other points. BadFile: the photo cannot be read.
        FaceNotFound: nobody is in it, or in the box.
    """
    if item.photo is None:
        raise BadInput(f"{item.key}: has no photo, and this method needs one")
    image, _ = read_image(item.photo)
    started = time.perf_counter()
    marks = chosen_face(item, (detector or default_detector()).detect(image)).landmarks
    if marks.kind == "ibug68":
        raise BadInput(
            f"{item.photo}: this method needs MediaPipe's 468 points, the detector gives iBUG's 68"
        )
    points = np.concatenate([marks.points_px.double().numpy(), marks.depth_px.double().numpy()[:, None]], 1)
    return SeenFace(points, (image.shape[2], image.shape[1]), started)


def chosen_face(item: Item, faces: tuple[DetectedFace, ...]) -> DetectedFace:
    """The face that overlaps the item's box most, where it has a box, else the largest.

    Raises:
        FaceNotFound: there is none.
    """
    if not faces:
        raise FaceNotFound(
            f"{item.photo}: no face found; crop closer to the face, or try a larger or brighter photo"
        )
    if item.box_px is None:
        return faces[0]
    box = item.box_px
    overlaps = [_overlap(face, box) for face in faces]
    best = int(np.argmax(overlaps))
    if overlaps[best] <= 0:
        raise FaceNotFound(
            f"{item.photo}: {len(faces)} face(s) found, but none in the box {tuple(round(side) for side in box)} px; check it"
        )
    return faces[best]


def _overlap(face: DetectedFace, box: tuple[float, float, float, float]) -> float:
    """Intersection over union of a box and the extent of the landmarks."""
    points = face.landmarks.points_px.double().numpy()
    low, high = points.min(0), points.max(0)
    common = np.minimum(high, box[2:]) - np.maximum(low, box[:2])
    if (common <= 0).any():
        return 0.0
    shared = float(common.prod())
    return shared / (float((high - low).prod()) + (box[2] - box[0]) * (box[3] - box[1]) - shared)
