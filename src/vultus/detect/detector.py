"""From a photo to its faces: boxes, upright crops, landmarks, and a second look at each."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from vultus.detect.crop import Window, crop, turn_back, window_around
from vultus.detect.mesh import (
    LEFT_EYE_OUTER,
    RIGHT_EYE_OUTER,
    AttentionMesh,
    FaceLandmarker,
    MeshModel,
    find_points,
)
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
class Search:
    """One way to look for boxes: the photo at which size, turned how, with how wide a border (in long sides)."""

    long_side_px: int
    num_quarter_turns: int = 0
    padding: float = 0.0


@dataclass(frozen=True)
class PhotoDetector:
    """YuNet boxes, then landmarks in three looks: each window follows the landmarks of the look before.

    The landmarks depend on the window: shifted windows move them by 3.4 % of the distance between the eyes after one look,
    1.0 % after two, 0.4 % after three (median over 30 portraits).

    When nobody is found, or nobody surely, the photo is searched again: turned by 180 and 90 degrees, smaller (a face that
    fills the frame) and larger (tiny faces).

    Attributes:
        boxes: finds upright faces.
        mesh: finds landmarks in a crop.
        long_side_px: a photo is first searched at half its size, kept within these bounds.
        min_score: how surely a face's landmarks must be one, in [0, 1].
        sure_score: where no face has this score, and ``sure_box`` for its box, the other searches are tried too.
        min_face_px: smaller boxes are passed over: patterns, and faces too small to be of use.
        max_faces: at most this many, the largest.
    """

    boxes: YuNet
    mesh: MeshModel
    long_side_px: tuple[int, int] = (480, 960)
    min_score: float = 0.3
    sure_score: float = 0.8
    sure_box: float = 0.9
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
        if not bool(torch.isfinite(image.sum())):
            raise BadInput("the image holds NaN or infinite values; replace them first")
        faces = self._search_until_sure(image)
        if any(
            face.landmarks.score >= self.sure_score for face in faces
        ):  # beside a sure face, a doubtful one is an ear
            faces = [face for face in faces if face.landmarks.score >= 0.6 * self.sure_score]
        return tuple(sorted(faces, key=lambda face: -face.box.area_px2)[: self.max_faces])

    def _search_until_sure(self, image: Tensor) -> list[DetectedFace]:
        found: list[DetectedFace] = []
        for stage in self._stages(image):
            results = []
            for search in stage:
                small = resized(image, search.long_side_px)
                results.append((small, self._find_boxes(small, search, max(image.shape[1:]))))
            # of the ways to turn a photo, the right one has the surest boxes
            results.sort(key=lambda result: -max((c.box.score for c in result[1]), default=0.0))
            for small, candidates in results:
                faces = [self._find_landmarks(image, small, candidate) for candidate in candidates]
                believed = [face for face in faces if face.landmarks.score >= self.min_score]
                found = _without_duplicates(found + believed)
                if any(f.landmarks.score >= self.sure_score and f.box.score >= self.sure_box for f in found):
                    return found
        return found

    def _stages(self, image: Tensor) -> Iterator[list[Search]]:
        """Sets of searches, in the order of their use."""
        actual = max(image.shape[1:])
        low, high = self.long_side_px
        first = min(max(actual // 2, low), high)
        yield [Search(first)]
        yield [Search(first, num_quarter_turns) for num_quarter_turns in (1, 2, 3)]
        yield [Search(low // 2, num_quarter_turns, padding=0.5) for num_quarter_turns in range(4)]
        yield [Search(long_side_px) for long_side_px in (2 * first, 4 * first) if long_side_px <= 2 * actual]

    def _find_boxes(self, image: Tensor, search: Search, actual_px: int) -> list[Candidate]:
        """Boxes in an image that is searched turned and with a border, in pixels of the image that is ``actual_px`` long."""
        num_quarter_turns, border_px = search.num_quarter_turns, round(search.padding * search.long_side_px)
        searched = F.pad(image[None], [border_px] * 4, value=0.5)[0].rot90(num_quarter_turns, (1, 2))
        candidates = []
        for row in self.boxes.detect(searched):
            corners = torch.stack([row[:2], row[:2] + row[2:4]])
            points = torch.cat([corners, row[4:14].reshape(5, 2)])
            points = turn_back(points, num_quarter_turns, searched.shape[2], searched.shape[1]) - border_px
            candidates.append(_candidate(points * (actual_px / max(image.shape[1:])), float(row[14])))
        return [candidate for candidate in candidates if candidate.box.size_px >= self.min_face_px]

    def _find_landmarks(self, image: Tensor, small: Tensor, candidate: Candidate) -> DetectedFace:
        """Coarse looks until the window stays (the small image will do for large faces), then the careful one."""
        size, scale = self.mesh.size_px, max(small.shape[1:]) / max(image.shape[1:])
        window = candidate.window
        for look in range(5):
            if window.side_px * scale >= size:
                seen = crop(small, window.scaled(scale), size)
            else:
                seen = crop(image, window, size)
            points = self.mesh.coarse(seen[None])[0]
            previous, window = window, _next_window(window.to_image(points[:, :2], size))
            if look >= 1 and _is_close(previous, window):
                break
        points, score = find_points(self.mesh, crop(image, window, size))
        landmarks = Landmarks(
            points_px=window.to_image(points[:, :2], size),
            depth_px=points[:, 2] * (window.side_px / size),
            score=score,
        )
        return DetectedFace(replace(candidate.box, roll_deg=math.degrees(window.roll_rad)), landmarks)


@lru_cache(maxsize=1)
def default_detector() -> Detector:
    """The detector that ships with vultus; its networks are read on the first call and kept."""
    return PhotoDetector(YuNet(), AttentionMesh())


def task_detector(path: str | Path) -> Detector:
    """The same with the landmark network of a user's ``face_landmarker.task`` (needs the ``tflite`` package).

    Raises:
        BadFile: no such bundle.
        AssetMissing: ``tflite`` is not installed.
        WeightsMismatch: a network that vultus cannot run.
    """
    return PhotoDetector(YuNet(), FaceLandmarker(Path(path)))


def _candidate(points_px: Tensor, score: float) -> Candidate:
    """Two corners of the box and YuNet's five points, in the image -> box and first window."""
    (left, top), (right, bottom) = points_px[:2].amin(0).tolist(), points_px[:2].amax(0).tolist()
    dx, dy = (points_px[3] - points_px[2]).tolist()
    roll_rad = math.atan2(dy, dx)
    side_px = _FIRST_WINDOW * max(right - left, bottom - top)
    window = Window(((left + right) / 2, (top + bottom) / 2), side_px, roll_rad)
    return Candidate(FaceBox(left, top, right, bottom, score, math.degrees(roll_rad)), window)


def _next_window(points_px: Tensor) -> Window:
    """MediaPipe's crop for the next look: 1.5 times the extent of the landmarks, the eye line level."""
    return window_around(points_px, points_px[RIGHT_EYE_OUTER], points_px[LEFT_EYE_OUTER], scale=1.5)


def _is_close(first: Window, second: Window) -> bool:
    """Whether two windows differ so little that another look would not find better landmarks."""
    moved = math.dist(first.centre_px, second.centre_px) / second.side_px
    grown = abs(math.log(first.side_px / second.side_px))
    turned = abs(math.remainder(first.roll_rad - second.roll_rad, 2 * math.pi))
    return moved < 0.06 and grown < 0.12 and turned < 0.12


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
