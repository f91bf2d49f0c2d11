"""eos as a peer: the Surrey face model fitted to landmarks by the library of its makers (PyPI eos-py, Apache-2.0).

Huber et al., "A Multiresolution 3D Morphable Face Model and Fitting Framework", VISAPP 2016; https://github.com/patrikhuber/eos. The library is run
as its python/demo.py does. The landmarks are those of our detector: eos brings none, so what is compared is the model and its fitting.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..detect.protocol import Detector
from ..errors import AssetMissing, BadFile, BadInput
from ..evaluate.benchmark import SEVEN, FaceMesh, Item, Points, Prediction
from ..evaluate.layout import Layout
from ..geometry.camera import Camera
from ..geometry.rigid import FRONTAL, rigid_transform
from .detected import see_face

SHAPE, BLENDSHAPES = "sfm_shape_3448.bin", "expression_blendshapes_3448.bin"
MAPPING, CONTOURS, EDGES = "ibug_to_sfm.txt", "sfm_model_contours.json", "sfm_3448_edge_topology.json"

LAYOUT = Layout(
    "the Surrey face model",
    "the folder share/ of https://github.com/patrikhuber/eos at tag v1.5.0 (the model for non-commercial use only, see its README; "
    "other uses and resolutions: http://www.cvssp.org/facemodel)",
    (
        f"{SHAPE}, the shape model",
        f"{BLENDSHAPES}, its six expressions",
        f"{MAPPING}, iBUG's points on it (TOML, as since eos 1.0)",
        f"{CONTOURS}, its jaw",
        f"{EDGES}, its edges",
    ),
)

_FAR_MM = 1e5
_LIP_CORNERS = {60: 48, 64: 54}
"""iBUG numbers (from 0) of the inner corners of the mouth, which the mapping lacks, and the outer ones that stand in."""


@dataclass(frozen=True)
class EosFit:
    """Item -> the Surrey model fitted to the 68 points that the detector finds in the photo.

    The mesh keeps the model's own frame and unit, which are the head frame's axes and millimetres.

    Attributes:
        folder: with the files of :data:`LAYOUT`, which are not part of vultus.
        num_iterations: of pose, shape, expression and contour in turn; eos's own default.
        detector: of MediaPipe's 478 points; the vendored one when not given.

    Raises:
        AssetMissing: eos-py is not installed. BadFile: the folder lacks files.
    """

    folder: Path
    num_iterations: int = 5
    detector: Detector | None = None

    def __post_init__(self) -> None:
        if self.num_iterations < 1:
            raise BadInput(f"num_iterations must be 1 or more, got {self.num_iterations}")
        _library()
        LAYOUT.check(self.folder, (SHAPE, BLENDSHAPES, MAPPING, CONTOURS, EDGES))

    def __call__(self, item: Item) -> Prediction:
        """Predict one item.

        Raises:
            BadInput: the item has no photo, or eos finds nothing finite. FaceNotFound: nobody is in it.
            BadFile: the photo, or a file of the model, cannot be read.
        """
        model = _load(self.folder)
        seen = see_face(item, self.detector)
        fit = _fit(model, seen.ibug68[:, :2], seen.size_px, self.num_iterations)
        if not np.isfinite(fit.posed).all():
            raise BadInput(f"{item.photo}: eos's fit is not finite; the landmarks may be of no face")
        return Prediction(
            posed=model.mesh(fit.posed),
            neutral=model.mesh(fit.neutral),
            camera=_camera(fit, seen.size_px),
            points_px=_points_px(model, fit, seen.ibug68[:, :2]),
            seconds=seen.seconds,
        )


@dataclass(frozen=True)
class _SurreyModel:
    """eos's own objects, and what we need of them as arrays.

    Attributes:
        places: (68,) vertex of each iBUG point, -1 where the mapping has none. jaw: right and left contour, vertices.
    """

    model: Any
    mapper: Any
    edges: Any
    contour_landmarks: Any
    model_contour: Any
    triangles: NDArray[np.int64]
    places: NDArray[np.int64]
    jaw: tuple[NDArray[np.int64], NDArray[np.int64]]

    def mesh(self, vertices: Points) -> FaceMesh:
        """With the seven landmarks, if all of them are mapped (in eos's own file they are)."""
        seven = self.places[list(SEVEN)]
        return FaceMesh(vertices, self.triangles, vertices[seven] if (seven >= 0).all() else None)


@dataclass(frozen=True)
class _Fit:
    """Vertices (v, 3) with and without expression; ``pixels = affine @ (x y z 1)``: rows x right, y down, z towards the camera, all in pixels."""

    posed: Points
    neutral: Points
    affine: NDArray[np.float64]

    def project(self, vertices: Points) -> Points:
        """(n, 3) model frame -> (n, 3) pixels."""
        return vertices @ self.affine[:, :3].T + self.affine[:, 3]


def _library() -> Any:
    try:
        return import_module("eos")
    except ImportError as error:
        raise AssetMissing(
            f"the method eos needs the package eos-py ({error}): pip install eos-py"
        ) from error


@lru_cache(maxsize=1)
def _load(folder: Path) -> _SurreyModel:
    eos = _library()
    path = lambda name: str(folder / name)  # noqa: E731
    try:
        shape = eos.morphablemodel.load_model(path(SHAPE))
        model = eos.morphablemodel.MorphableModel(
            shape.get_shape_model(),
            eos.morphablemodel.load_blendshapes(path(BLENDSHAPES)),
            color_model=eos.morphablemodel.PcaModel(),
            vertex_definitions=None,
            texture_coordinates=shape.get_texture_coordinates(),
        )
        mapper = eos.core.LandmarkMapper(path(MAPPING))
        contours = json.loads((folder / CONTOURS).read_text(encoding="utf-8"))["model_contour"]
        loaded = _SurreyModel(
            model,
            mapper,
            eos.morphablemodel.load_edge_topology(path(EDGES)),
            eos.fitting.ContourLandmarks.load(path(MAPPING)),
            eos.fitting.ModelContour.load(path(CONTOURS)),
            np.array(shape.get_shape_model().get_triangle_list(), np.int64),
            _places(mapper.get_mappings()),
            (np.array(contours["right_contour"], int), np.array(contours["left_contour"], int)),
        )
        # eos does not check its indices: one beyond the model would end the process.
        highest = max(int(part.max()) for part in (loaded.places, *loaded.jaw))
        number = shape.get_shape_model().get_data_dimension() // 3
    except Exception as error:  # what a C++ library says of a damaged file is of any kind
        raise BadFile(
            f"{folder}: eos cannot read it ({' '.join(str(error).split())}); {LAYOUT.advice()}"
        ) from error
    if highest >= number:
        raise BadFile(
            f"{folder}: {MAPPING} or {CONTOURS} names vertex {highest}, but {SHAPE} has {number}; take all files from one release"
        )
    return loaded


def _places(mappings: dict[str, str]) -> NDArray[np.int64]:
    """eos numbers iBUG's points from 1."""
    return np.array([int(mappings.get(str(i + 1), -1)) for i in range(68)], np.int64)


def _fit(model: _SurreyModel, ibug68_px: Points, size_px: tuple[int, int], num_iterations: int) -> _Fit:
    eos = _library()
    landmarks = [eos.core.Landmark(str(i + 1), point.astype(np.float32)) for i, point in enumerate(ibug68_px)]
    mesh, pose, shape, _ = eos.fitting.fit_shape_and_pose(
        model.model, landmarks, model.mapper, *size_px, model.edges, model.contour_landmarks, model.model_contour,
        num_iterations,
    )  # fmt: skip
    neutral = np.array(model.model.get_shape_model().draw_sample(shape), float).reshape(-1, 3)
    affine = np.array(eos.fitting.get_3x4_affine_camera_matrix(pose, *size_px), float)
    affine[2, :3] = np.linalg.norm(affine[0, :3]) * np.array(pose.get_modelview(), float)[2, :3]
    affine[2, 3] = 0
    return _Fit(np.array(mesh.vertices, float), neutral, affine)


def _camera(fit: _Fit, size_px: tuple[int, int]) -> Camera:
    """A pinhole 100 m away that stands in for eos's scaled orthographic camera: a tenth of a percent off over a head."""
    scale = float(np.linalg.norm(fit.affine[0, :3]))
    centre = torch.tensor(size_px, dtype=torch.float64) / 2
    upright = torch.from_numpy(fit.affine[:, :3] / scale * [[1], [-1], [1]])
    aside = (torch.from_numpy(fit.affine[:2, 3]) - centre) / scale
    pose = rigid_transform(FRONTAL.double() @ upright, torch.cat([aside, aside.new_tensor([_FAR_MM])]))
    return Camera(torch.tensor(scale * _FAR_MM, dtype=torch.float64), centre, size_px, pose)


def _points_px(model: _SurreyModel, fit: _Fit, ibug68_px: Points) -> Points | None:
    """iBUG's 68 on the fitted face, (68, 3); None where the mapping lacks more than the jaw and the inner corners of the mouth.

    A jaw point is what eos takes it for: the vertex of the model's contour on that side that is seen nearest to the detected point. It thus says how
    far the contour is off, not how far along it.
    """
    projected = fit.project(fit.posed)
    places = model.places.copy()
    for inner, outer in _LIP_CORNERS.items():
        places[inner] = places[outer] if places[inner] < 0 else places[inner]
    for numbers, contour in zip((range(8), range(9, 17)), model.jaw, strict=True):
        for i in numbers:
            away = np.linalg.norm(projected[contour, :2] - ibug68_px[i], axis=1)
            places[i] = contour[away.argmin()] if places[i] < 0 else places[i]
    return projected[places] if (places >= 0).all() else None
