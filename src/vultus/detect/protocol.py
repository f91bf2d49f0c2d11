"""What a detector gives: where each face is, and its landmarks; and the one method any detector has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from torch import Tensor

LandmarkKind = Literal["mediapipe478", "mediapipe468", "ibug68", "surface468"]


@dataclass(frozen=True)
class FaceBox:
    """An upright rectangle around a face, in image pixels.

    Attributes:
        left_px: and top_px, right_px, bottom_px, pixel centres at +0.5; may lie outside the image.
        score: the detector's confidence in [0, 1].
        roll_deg: by how much the head is turned in the image plane, clockwise as seen, in (-180, 180]; 180 is upside down.
    """

    left_px: float
    top_px: float
    right_px: float
    bottom_px: float
    score: float
    roll_deg: float

    @property
    def size_px(self) -> float:
        """The longer side."""
        return max(self.right_px - self.left_px, self.bottom_px - self.top_px)

    @property
    def area_px2(self) -> float:
        """Width times height, what faces are sorted by."""
        return (self.right_px - self.left_px) * (self.bottom_px - self.top_px)


@dataclass(frozen=True)
class Landmarks:
    """Named points of one face, seen in an image.

    Attributes:
        points_px: "l 2" float32 (x, y), pixel centres at +0.5.
        depth_px: "l" float32, relative depth in pixels, smaller is nearer to the camera; zero where the source has none.
        score: how surely there is a face here, in [0, 1].
        kind: which points these are, and in which order.
    """

    points_px: Tensor
    depth_px: Tensor
    score: float
    kind: LandmarkKind = "mediapipe478"


@dataclass(frozen=True)
class DetectedFace:
    """One face of an image."""

    box: FaceBox
    landmarks: Landmarks


class Detector(Protocol):
    """Finds the faces of an image."""

    def detect(self, image: Tensor) -> tuple[DetectedFace, ...]:
        """Faces in an image "3 h w", RGB in [0, 1], largest first; empty when there is none."""
        ...
