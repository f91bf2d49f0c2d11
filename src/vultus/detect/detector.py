"""From a photo to its faces: boxes, upright crops, landmarks, and a second look at each."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from vultus.detect.crop import Window, crop, window_around
from vultus.detect.mesh import LEFT_EYE_OUTER, RIGHT_EYE_OUTER, AttentionMesh
from vultus.detect.protocol import DetectedFace, Detector, FaceBox, Landmarks
from vultus.detect.yunet import YuNet, resized
from vultus.errors import BadInput

# The first window, in box sizes: where the mesh network is sure, over 60 old portraits, from 1.0 to 1.7; not at 2.0.
_FIRST_WINDOW = 1.5


@dataclass(frozen=True)
class Candidate:
    """A box in the image and the window in which to look for landmarks."""

    box: FaceBox
    window: Window


@dataclass(frozen=True)
class PhotoDetector:
    """YuNet boxes, then the attention mesh, twice: the second crop follows the first landmarks.

    A face is believed when the mesh network says that there is one. When nobody is found, or nobody surely, the photo
    is searched again: turned by 180 and 90 degrees, smaller (a face that fills the frame) and larger (tiny faces).

    Attributes:
        boxes: finds upright faces.
        mesh: finds landmarks in a crop.
        long_side_px: the size at which a photo is searched first.
        min_presence: what the mesh network must say, in [0, 1].
        sure_presence: below this, and below ``sure_box`` for every box, the other searches are tried too.
        min_face_px: smaller boxes are passed over: patterns, and faces too small to be of use.
        max_faces: at most this many, the largest.
    """

    boxes: YuNet
    mesh: AttentionMesh
    long_side_px: int = 640
    min_presence: float = 0.5
    sure_presence: float = 0.9
    sure_box: float = 0.7
    min_face_px: float = 20.0
    max_faces: int = 64

    def detect(self, image: Tensor) -> tuple[DetectedFace, ...]:
        """Faces in an image "3 h w", RGB in [0, 1], largest first; empty when there is none.

        Raises:
            BadInput: not an image of that shape, or not finite.
        """
        if image.ndim != 3 or image.shape[0] != 3 or min(image.shape[1:]) < 1:
            raise BadInput(f"an image must be shaped (3, height, width), not {tuple(image.shape)}")
        image = image.detach().to(torch.float32)
        found: list[DetectedFace] = []
        for long_side_px, num_quarter_turns, padding in self._searches(image):
            candidates = self._find_boxes(image, long_side_px, num_quarter_turns, padding)
            found = _without_duplicates(found + self._find_landmarks(image, candidates))
            if any(f.landmarks.score >= self.sure_presence and f.box.score >= self.sure_box for f in found):
                break
        found.sort(key=lambda face: -face.box.area_px2)
        return tuple(found[: self.max_faces])

    def _searches(self, image: Tensor) -> list[tuple[int, int, float]]:
        """(long side in pixels, quarter turns, padding as a fraction of the long side), in the order of their use."""
        first, actual = self.long_side_px, max(image.shape[1:])
        searches = [(first, turns, 0.0) for turns in (0, 2, 1, 3)]
        searches += [(first // 2, turns, 0.5) for turns in (0, 2, 1, 3)]
        searches += [(size, 0, 0.0) for size in (2 * first, 4 * first) if size <= 2 * actual]
        return searches

    def _find_boxes(
        self, image: Tensor, long_side_px: int, num_quarter_turns: int, padding: float
    ) -> list[Candidate]:
        small = resized(image, long_side_px)
        border = round(padding * long_side_px)
        searched = torch.rot90(F.pad(small[None], [border] * 4, value=0.5)[0], num_quarter_turns, (1, 2))
        candidates = []
        for row in self.boxes.detect(searched):
            corners = torch.stack([row[:2], row[:2] + row[2:4]])
            points = torch.cat([corners, row[4:14].reshape(5, 2)])
            points = _turn_back(points, num_quarter_turns, searched.shape[2], searched.shape[1]) - border
            points = points * (points.new_tensor(image.shape[:0:-1]) / points.new_tensor(small.shape[:0:-1]))
            candidates.append(_candidate(points, float(row[14])))
        return [candidate for candidate in candidates if candidate.box.size_px >= self.min_face_px]

    def _find_landmarks(self, image: Tensor, candidates: list[Candidate]) -> list[DetectedFace]:
        faces = []
        size = self.mesh.size_px
        for candidate in candidates:
            points = self.mesh.coarse(crop(image, candidate.window, size)[None])
            window = _window_of(candidate.window.to_image(points[0, :, :2], size))
            points, presence = self.mesh(crop(image, window, size)[None])
            if float(presence[0]) < self.min_presence:
                continue
            landmarks = Landmarks(
                points_px=window.to_image(points[0, :, :2], size),
                depth_px=points[0, :, 2] * (window.side_px / size),
                score=float(presence[0]),
            )
            faces.append(DetectedFace(candidate.box, landmarks))
        return faces


@lru_cache(maxsize=1)
def default_detector() -> Detector:
    """The detector that ships with vultus; its networks are read on the first call and kept."""
    return PhotoDetector(YuNet(), AttentionMesh())


def _turn_back(points: Tensor, num_quarter_turns: int, width_px: int, height_px: int) -> Tensor:
    """Points "n 2" in an image made by ``torch.rot90`` (width and height of the result) -> points before it."""
    x, y = points[:, 0], points[:, 1]
    turned = {
        0: (x, y),
        1: (height_px - y, x),
        2: (width_px - x, height_px - y),
        3: (y, width_px - x),
    }[num_quarter_turns % 4]
    return torch.stack(turned, -1)


def _candidate(points_px: Tensor, score: float) -> Candidate:
    """Two corners of the box and YuNet's five points, in the image -> box and first window."""
    (left, top), (right, bottom) = points_px[:2].amin(0).tolist(), points_px[:2].amax(0).tolist()
    dx, dy = (points_px[3] - points_px[2]).tolist()
    roll_rad = math.atan2(dy, dx)
    side_px = _FIRST_WINDOW * max(right - left, bottom - top)
    window = Window(((left + right) / 2, (top + bottom) / 2), side_px, roll_rad)
    return Candidate(FaceBox(left, top, right, bottom, score, math.degrees(roll_rad)), window)


def _window_of(points_px: Tensor) -> Window:
    """MediaPipe's crop for the next look: 1.5 times the extent of the landmarks, the eye line level."""
    return window_around(points_px, points_px[RIGHT_EYE_OUTER], points_px[LEFT_EYE_OUTER], scale=1.5)


def _without_duplicates(faces: list[DetectedFace]) -> list[DetectedFace]:
    """The surest of every group of faces whose landmarks cover the same place."""
    kept: list[DetectedFace] = []
    for face in sorted(faces, key=lambda f: -(f.landmarks.score * f.box.score)):
        if all(_overlap(face, other) < 0.4 for other in kept):
            kept.append(face)
    return kept


def _overlap(first: DetectedFace, second: DetectedFace) -> float:
    """Intersection over the smaller of two faces' landmark extents."""
    a, b = first.landmarks.points_px, second.landmarks.points_px
    low, high = torch.maximum(a.amin(0), b.amin(0)), torch.minimum(a.amax(0), b.amax(0))
    common = float((high - low).clamp_min(0).prod())
    area = min(float((p.amax(0) - p.amin(0)).prod()) for p in (a, b))
    return common / max(area, 1e-6)
