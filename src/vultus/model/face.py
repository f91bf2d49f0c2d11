"""What the stages compute: each result wraps the one before it, so its type says what is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class FaceCode:
    """Coefficients of a morphable model.

    Attributes:
        identity: "... k" in sigma. expression: "... e" weights (ARKit: [0, 1]). albedo: "... a" in sigma.
    """

    identity: Tensor
    expression: Tensor
    albedo: Tensor


@dataclass(frozen=True)
class CoarseFace:
    """The morphable model's explanation of one view.

    Attributes:
        code: shape, expression and albedo.
        T_camera_head: "4 4", pose, millimetres.
        light: "3 9" spherical-harmonics light in the camera frame (:mod:`vultus.geometry.light`).
    """

    code: FaceCode
    T_camera_head: Tensor
    light: Tensor


@dataclass(frozen=True)
class TexturedFace:
    """A coarse face with images to wrap around it.

    Attributes:
        coarse: the geometry.
        texture: part name -> "3 h w" sRGB image in that part's texture coordinates.
        observed: "h w" in [0, 1], how much of each skin texel comes from the photo rather than from completion.
    """

    coarse: CoarseFace
    texture: Mapping[str, Tensor]
    observed: Tensor
