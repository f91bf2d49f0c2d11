"""What is saved, viewed and evaluated: one reconstructed face with where it came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from ..geometry.camera import Camera
from ..geometry.mesh import Mesh
from ..geometry.view import View
from .deformation import face_vertices
from .face import CoarseFace, Geometry, TexturedFace
from .morphable import MorphableModel


@dataclass(frozen=True)
class FitReport:
    """How a fit went.

    Attributes:
        status: ``ok`` or ``doubtful`` (a result exists, but look at it).
        advice: what to do about it; empty when all is well.
        cost: name of each term -> final value. iterations: how many steps were taken.
    """

    status: str
    advice: tuple[str, ...]
    cost: Mapping[str, float]
    iterations: int


@dataclass(frozen=True)
class Reconstruction:
    """One face of one person.

    Attributes:
        model: the morphable model its code belongs to.
        view: the photo and its camera, posed. face: the result, textured unless texture was switched off.
        report: convergence and advice. timings_s: seconds per stage.
        provenance: package version, model, configuration, source file.
    """

    model: MorphableModel
    view: View
    face: Geometry | TexturedFace
    report: FitReport
    timings_s: Mapping[str, float]
    provenance: Mapping[str, Any]

    @property
    def coarse(self) -> CoarseFace:
        """Code, pose and light."""
        return self.face.coarse

    @property
    def geometry(self) -> Geometry:
        """The face without images, at its level."""
        return self.face.geometry if isinstance(self.face, TexturedFace) else self.face

    @property
    def camera(self) -> Camera:
        """The posed camera of the photo."""
        return self.view.camera

    @cached_property
    def mesh(self) -> Mesh:
        """The head with the photo's expression at its level, head frame, millimetres."""
        return Mesh(face_vertices(self.model, self.geometry), self.model.topology)

    def save(self, directory: str | Path, **options: Any) -> Path:
        """Write ``reconstruction.json``, meshes, textures and the overlay; see :func:`vultus.io.result.save`."""
        from ..io.result import save

        return save(self, directory, **options)


@dataclass(frozen=True)
class FusedView:
    """What one photo added to a fused head.

    Attributes:
        name: of the photo. view: its cut-out around the face, posed.
        camera: of the whole photo, posed.
        face: the fused head with this photo's expression, pose and light.
        residual: median distance of landmarks, relative to the face's size.
        weight: share of the seen skin's texture that is this photo's.
    """

    name: str
    view: View
    camera: Camera
    face: Geometry
    residual: float
    weight: float


@dataclass(frozen=True)
class FusedReconstruction:
    """One head from several photos of one person.

    Attributes:
        head: the fused face with one expression and the pose and light of the reference photo.
        views: what each photo added. reference: index of the one that head is posed in.
        expression: whose the head's is: ``neutral``, or the name of a photo.
        left_out: name of a photo -> why it does not count.
        T_world_head: "4 4", similarity that takes the head to the world of known cameras, millimetres; None when they are unknown.
    """

    head: Reconstruction
    views: tuple[FusedView, ...]
    reference: int
    expression: str
    left_out: Mapping[str, str]
    T_world_head: Tensor | None = None

    @cached_property
    def mesh(self) -> Mesh:
        """The fused head, head frame, millimetres."""
        return self.head.mesh

    def save(self, directory: str | Path, **options: Any) -> Path:
        """Write the folder that a single photo gives, with what each view added; see :func:`vultus.io.fused.save_fused`."""
        from ..io.fused import save_fused

        return save_fused(self, directory, **options)
