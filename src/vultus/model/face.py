"""What the stages compute: each result wraps the one before it, so its type says what is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
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

    @property
    def coarse(self) -> CoarseFace:
        """Itself: every level answers this."""
        return self


@dataclass(frozen=True)
class DeformedFace:
    """A coarse face moved to where the photo shows it: what no morphable model knows about one person.

    Attributes:
        coarse: what the deformation is added to; its light and albedo explain the photo on the deformed shape.
        deformation_mm: "3 m m" offsets over the face chart, head frame (:mod:`vultus.model.deformation`).
    """

    coarse: CoarseFace
    deformation_mm: Tensor


@dataclass(frozen=True)
class DetailedFace:
    """A deformed face with wrinkles.

    Attributes:
        deformed: what the displacement is added to.
        displacement_mm: "h w" offsets over the face chart along the outward normal.
    """

    deformed: DeformedFace
    displacement_mm: Tensor

    @property
    def coarse(self) -> CoarseFace:
        """Code, pose and light."""
        return self.deformed.coarse


Geometry = CoarseFace | DeformedFace | DetailedFace
"""A face without images: the three levels."""


def neutral(face: Geometry) -> Geometry:
    """The same person at the same level with every expression weight at zero."""
    if isinstance(face, DetailedFace):
        deformed = neutral(face.deformed)
        assert isinstance(deformed, DeformedFace)
        return replace(face, deformed=deformed)
    if isinstance(face, DeformedFace):
        return replace(face, coarse=neutral(face.coarse))
    code = replace(face.code, expression=torch.zeros_like(face.code.expression))
    return replace(face, code=code)


@dataclass(frozen=True)
class TexturedFace:
    """A face of any level with images to wrap around it.

    Attributes:
        geometry: the shape.
        texture: part name -> "3 h w" sRGB image in that part's texture coordinates; "4 h w" with its opacity where one sees through it.
        observed: "h w" in [0, 1], how much of each skin texel comes from the photo rather than from completion.
        albedo: "3 h w" sRGB image of the skin without the photo's light; None if the photo was not delit.
    """

    geometry: Geometry
    texture: Mapping[str, Tensor]
    observed: Tensor
    albedo: Tensor | None = None

    @property
    def coarse(self) -> CoarseFace:
        """Code, pose and light."""
        return self.geometry.coarse
