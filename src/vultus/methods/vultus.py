"""Our own methods: every level of the reconstruction, the landmark fit alone, and the mean head that all must beat."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ..detect import Detector, default_detector
from ..detect.protocol import DetectedFace
from ..errors import BadInput
from ..evaluate.benchmark import FaceMesh, Item, Prediction
from ..evaluate.regions import face_mesh
from ..evaluate.rerender import Colour, rerender
from ..evaluate.scan_levels import level_surface
from ..fit.landmark_basis import landmark_basis
from ..fit.landmarks import ExpressionPrior, LandmarkFit, LandmarkOptions, fit_landmarks
from ..geometry.camera import Camera
from ..geometry.rigid import rigid_transform
from ..io.images import ImageInfo, read_image
from ..model.catalog import load_model
from ..model.deformation import face_vertices
from ..model.face import CoarseFace, DetailedFace, FaceCode, Geometry, neutral
from ..model.morphable import MorphableModel
from ..stages.ablate import chosen_ablations, run_ablations
from ..stages.coarse import CoarseOptions, fit_coarse
from ..stages.options import ReconstructOptions
from ..stages.reconstruct import reconstruct
from ..stages.views import guess_focal, make_view
from .detected import chosen_face

Level = Literal["coarse", "deformed", "detail"]


@dataclass(frozen=True)
class Vultus:
    """The whole reconstruction, as ``vultus reconstruct`` makes it.

    Attributes:
        level: how far to go. At ``detail`` the surface with its wrinkles is measured, not the mesh below it.
        model: face model, as ``vultus models`` lists it.
        colour: also draw the photo again, with this colour (:func:`~vultus.evaluate.rerender.rerender`); None: no texture is made.
    """

    level: Level = "deformed"
    model: str = "vultus"
    colour: Colour | None = None

    def __call__(self, item: Item) -> Prediction:
        """Reconstruct the item's photo.

        Raises:
            BadInput: it has none. FaceNotFound, BadFile: as :func:`vultus.reconstruct`.
        """
        found = reconstruct(
            _photo(item), detector=_OneFace(item), model=self.model, level=self.level, focal_px=item.focal_px,
            texture_size=0 if self.colour is None else 1024,
        )  # fmt: skip
        drawn = (None, None) if self.colour is None else rerender(found.view, found.model, found.face, self.colour)  # fmt: skip
        return Prediction(
            posed=surface_of(found.model, found.geometry),
            neutral=surface_of(found.model, neutral(found.geometry)),
            camera=found.camera,
            image=drawn[0],
            drawn=drawn[1],
            seconds=sum(found.timings_s.values()) - found.timings_s["read"],
        )


@dataclass(frozen=True)
class Switched:
    """The reconstruction with one part of the method switched off or exchanged, as ``vultus ablate`` names them.

    Attributes:
        switch: a key of :data:`~vultus.stages.ablate.ABLATIONS`. model: face model.
    """

    switch: str
    model: str = "vultus"

    def __post_init__(self) -> None:
        chosen_ablations([self.switch])

    def __call__(self, item: Item) -> Prediction:
        """Reconstruct the item's photo. Raises as :class:`Vultus`."""
        image, info = read_image(_photo(item))
        start = time.perf_counter()
        model, face = load_model(self.model), _OneFace(item).detect(image)[0]
        focal = guess_focal(info, face, ReconstructOptions(focal_px=item.focal_px))
        view, coarse, _ = fit_coarse(
            make_view(image, face, focal), model, CoarseOptions(focal_log_sigma=focal.log_sigma)
        )
        # Wrinkles move no vertex, and the texture no shape: neither is made.
        ablation = replace(chosen_ablations([self.switch])[self.switch], displacement=False, delight=False)
        chosen = {self.switch: ablation}
        geometry = next(
            face.geometry for _, face in run_ablations(view, model, coarse, chosen, texture_size=64)
        )
        seconds = time.perf_counter() - start
        return Prediction(
            posed=surface_of(model, geometry), neutral=surface_of(model, neutral(geometry)), camera=view.camera, seconds=seconds
        )  # fmt: skip


@dataclass(frozen=True)
class LandmarkFitOnly:
    """Detection and the Gauss-Newton fit to its landmarks: a tenth of a second, no look at the photo's colours."""

    model: str = "vultus"

    def __call__(self, item: Item) -> Prediction:
        """Fit the item's photo. Raises as :class:`Vultus`."""
        return _fitted(item, load_model(self.model), moved=True)


@dataclass(frozen=True)
class MeanHead:
    """The mean head, whatever the photo; only its pose is fitted. What every method must beat."""

    model: str = "vultus"

    def __call__(self, item: Item) -> Prediction:
        """Pose the mean head before the item's photo, if it has one. Raises as :class:`Vultus`."""
        model = load_model(self.model)
        if item.photo is not None:
            return _fitted(item, model, moved=False)
        pose = rigid_transform(torch.eye(3), torch.zeros(3))
        mean = surface_of(model, CoarseFace(model.mean_code(), pose, torch.zeros(3, 9)))
        return Prediction(posed=mean, neutral=mean, seconds=0.0)


def surface_of(model: MorphableModel, face: Geometry) -> FaceMesh:
    """What of a face is measured, head frame: its outer skin with 68 landmarks."""
    mesh = face_mesh(model, face_vertices(model, face))
    if isinstance(face, DetailedFace):
        surface = level_surface(model, face)
        return replace(mesh, vertices=surface.vertices, triangles=surface.triangles)
    return mesh


@dataclass(frozen=True)
class _OneFace:
    """The detector, of whose faces only the item's counts."""

    item: Item

    def detect(self, image: Tensor) -> tuple[DetectedFace, ...]:
        """That face; FaceNotFound, naming the photo, where it is not there."""
        return (chosen_face(self.item, default_detector().detect(image)),)


def _fitted(item: Item, model: MorphableModel, *, moved: bool) -> Prediction:
    """A head at the landmark fit's pose: the fitted one, or the mean head where only the pose may move."""
    image, info = read_image(_photo(item))
    start = time.perf_counter()
    detector: Detector = _OneFace(item)
    face = detector.detect(image)[0]
    basis = landmark_basis(model, face.landmarks.kind)
    prior = ExpressionPrior(
        model.expression_sigma.double().numpy(), *model.expression_range.double().numpy().T
    )
    if not moved:
        basis = replace(
            basis, identity_mm=basis.identity_mm[:, :0], expression_mm=basis.expression_mm[:, :0], response_mm=None
        )  # fmt: skip
        prior = ExpressionPrior(np.zeros(0), np.zeros(0), np.zeros(0))
    focal = guess_focal(info, face, ReconstructOptions(focal_px=item.focal_px))
    centre = np.array([info.size_px[0] / 2, info.size_px[1] / 2])
    points = face.landmarks.points_px.double().numpy()
    fit = fit_landmarks(
        basis, points, centre, focal.focal_px, prior, LandmarkOptions(focal_log_sigma=focal.log_sigma)
    )
    code = _code(model, fit) if moved else model.mean_code()
    camera = _camera(fit, info)
    coarse = CoarseFace(code, camera.T_camera_head, torch.zeros(3, 9))
    seconds = time.perf_counter() - start
    return Prediction(
        posed=surface_of(model, coarse), neutral=surface_of(model, neutral(coarse)), camera=camera, seconds=seconds
    )  # fmt: skip


def _code(model: MorphableModel, fit: LandmarkFit) -> FaceCode:
    identity, expression = (torch.from_numpy(np.asarray(c)).float() for c in (fit.identity, fit.expression))
    return replace(model.mean_code(), identity=identity, expression=expression)


def _camera(fit: LandmarkFit, info: ImageInfo) -> Camera:
    pose = rigid_transform(torch.from_numpy(fit.rotation).float(), torch.from_numpy(fit.translation).float())
    principal = torch.tensor([info.size_px[0] / 2, info.size_px[1] / 2])
    return Camera(torch.tensor(float(fit.focal_px)), principal, info.size_px, pose)


def _photo(item: Item):
    if item.photo is None:
        raise BadInput(
            f"{item.key}: has no photo, and this method needs one; give --photo, or --method files"
        )
    return item.photo
