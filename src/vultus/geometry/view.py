"""One photo, ready to be explained."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from .camera import Camera


@dataclass(frozen=True)
class View:
    """A photo with what detection knows about one face in it.

    Attributes:
        image: "3 h w" sRGB in [0, 1].
        camera: intrinsics; the pose inside is the identity until a stage has estimated it.
        landmarks_px: "l 2" image positions, pixel centres at +0.5.
        landmark_scheme: which :class:`~vultus.model.landmarks.LandmarkTable` they belong to.
        skin_mask: "h w" bool, where the photo shows facial skin.
        person: "h w" in [0, 1], how likely a pixel belongs to a person; None when nobody looked.
    """

    image: Tensor
    camera: Camera
    landmarks_px: Tensor
    landmark_scheme: str
    skin_mask: Tensor
    person: Tensor | None = None
