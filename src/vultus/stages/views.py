"""A photo becomes views: one per face, with a camera guess, landmarks and a skin mask."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..detect import person_probability, skin_mask
from ..detect.protocol import DetectedFace
from ..errors import BadInput
from ..geometry.camera import Camera, focal_px_from_mm35
from ..geometry.view import View
from ..io.images import ImageInfo
from .options import ReconstructOptions

TYPICAL_FOCAL_OF_LONG_SIDE = 1.2  # a photo that nobody cropped
TYPICAL_DISTANCE_MM = (
    900.0  # a face that fills the picture was cropped or taken from here, rarely from closer
)
INTEROCULAR_MM = 63.9
EYES = {"ibug68": (36, 39, 42, 45)} | dict.fromkeys(
    ("mediapipe478", "mediapipe468", "surface468"), (33, 133, 362, 263)
)
UNSURE_LOG_SIGMA, EXIF_LOG_SIGMA = 0.25, 0.04
SMALL_FACE_PX = 64


@dataclass(frozen=True)
class FocalGuess:
    """Focal length in pixels, how sure (standard deviation of its logarithm, 0 = exact), and where it comes from."""

    focal_px: float
    log_sigma: float
    source: str


def make_view(image: Tensor, face: DetectedFace, focal: FocalGuess) -> View:
    """One face of a photo "3 h w" as a :class:`View`; its camera has the identity for a pose."""
    height, width = image.shape[1:]
    camera = Camera(
        torch.tensor(focal.focal_px), torch.tensor([width / 2, height / 2]), (width, height), torch.eye(4)
    )
    landmarks = face.landmarks
    person = person_probability(image, landmarks)
    skin = skin_mask(image, landmarks, person)
    return View(image, camera, landmarks.points_px, landmarks.kind, skin, person)


def guess_focal(info: ImageInfo, face: DetectedFace, options: ReconstructOptions) -> FocalGuess:
    """The focal length: told, from EXIF, or typical.

    Raises:
        BadInput: EXIF is insisted on and says nothing.
    """
    if options.focal_px is not None:
        return FocalGuess(options.focal_px, 0.0, "given")
    if options.focal_mm35 is not None:
        return FocalGuess(focal_px_from_mm35(options.focal_mm35, info.size_px), 0.0, "given")
    if options.focal != "default" and info.focal_mm35 and not _was_cropped(info):
        return FocalGuess(focal_px_from_mm35(info.focal_mm35, info.size_px), EXIF_LOG_SIGMA, "exif")
    if options.focal == "exif":
        raise BadInput(
            "the photo has no usable focal length in its EXIF data; give --focal-px, --focal-mm35 or --focal auto"
        )
    typical = max(
        TYPICAL_FOCAL_OF_LONG_SIDE * max(info.size_px),
        TYPICAL_DISTANCE_MM * eye_distance_px(face) / INTEROCULAR_MM,
    )
    return FocalGuess(typical, UNSURE_LOG_SIGMA, "typical")


def eye_distance_px(face: DetectedFace) -> float:
    """Distance between the eyes' centres in pixels, at least one; foreshortened when the head is turned."""
    outer_right, inner_right, inner_left, outer_left = face.landmarks.points_px[
        list(EYES[face.landmarks.kind])
    ]
    return max(float(((outer_right + inner_right) - (outer_left + inner_left)).norm() / 2), 1.0)


def _was_cropped(info: ImageInfo) -> bool:
    """Whether the file has another shape than the camera wrote, so that its focal length no longer tells the field of view."""
    if info.exif_size_px is None:
        return False
    taken, stored = (sorted(size) for size in (info.exif_size_px, info.file_size_px))
    return abs(taken[0] * stored[1] - taken[1] * stored[0]) > 0.02 * taken[1] * stored[1]
