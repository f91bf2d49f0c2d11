"""Faces found by the position network instead of a landmark detector: for heads turned so far that half of the landmarks are guesses (docs/align.md)."""

from __future__ import annotations

from torch import Tensor

from ..detect.protocol import DetectedFace, FaceBox, Landmarks
from ..errors import FaceNotFound
from ..model.landmarks import SURFACE_SCHEME
from .align import align_all
from .alignment import Alignment

_POINTS = 468  # without the irises: a map shows no gaze


def find_by_position(image: Tensor, least_confidence: float = 0.0) -> tuple[DetectedFace, ...]:
    """Faces of a photo "3 h w", largest first, with MediaPipe's points as points of the skin, the hidden ones too; empty when there is none.

    Args:
        least_confidence: of an alignment that counts as a face.

    Raises:
        AssetMissing: the network's weights.
    """
    try:
        found = align_all(image)
    except FaceNotFound:
        return ()
    return tuple(as_detected(face) for face in found if face.confidence >= least_confidence)


def as_detected(alignment: Alignment) -> DetectedFace:
    """An alignment as what a detector says: its points 468 of the scheme ``surface468``, z turned into a depth."""
    points = alignment.points478_px[:_POINTS]
    (left, top), (right, bottom) = points[:, :2].amin(0).tolist(), points[:, :2].amax(0).tolist()
    box = FaceBox(left, top, right, bottom, alignment.confidence, float(alignment.pose.angles.roll_deg))
    return DetectedFace(
        box, Landmarks(points[:, :2].float(), -points[:, 2].float(), alignment.confidence, SURFACE_SCHEME)
    )
