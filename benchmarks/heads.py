"""What is measured: methods that turn a picture into a head, and the mean head that every method must beat.

A method is a function ``(image, camera) -> (vertices, landmarks)``: "3 h w" sRGB and a camera with the identity for a pose (None: the focal
length is not told), to vertices "v 3" of the bundled model's topology in millimetres, of the *neutral* person, and the seven
landmarks of :data:`SEVEN` on them. A third value, triangles "f 3", says that the topology is another.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch

import vultus
from vultus.errors import VultusError
from vultus.evaluate import regions
from vultus.fit.scan_code import SEVEN
from vultus.geometry.camera import Camera
from vultus.model import bundled
from vultus.model.deformation import deformation_offsets
from vultus.model.face import DeformedFace, FaceCode
from vultus.model.morphable import MorphableModel


@dataclass(frozen=True)
class Head:
    """Neutral head: vertices "v 3" mm, triangles "f 3" that count as its surface, the seven landmarks "7 3"."""

    vertices: np.ndarray
    triangles: np.ndarray
    landmarks: np.ndarray


Method = Callable[[torch.Tensor, Camera | None], Head | None]
"""None: the method found no face."""


def load_method(name: str) -> Method:
    """``reconstruct`` (the whole stage), ``landmarks`` (the landmark fit alone), ``mean``, or ``module:function`` on the Python path."""
    if name in _METHODS:
        return _METHODS[name]
    module, _, function = name.partition(":")
    if not function:
        sys.exit(f"unknown method {name!r}: {', '.join(_METHODS)} or module:function")
    sys.path.insert(0, str(Path.cwd()))
    outside = getattr(importlib.import_module(module), function)

    def method(image: torch.Tensor, camera: Camera | None) -> Head | None:
        try:
            found = outside(image, camera)
        except VultusError as error:
            print(f"  {error}", file=sys.stderr)
            return None
        vertices, landmarks, *rest = (np.asarray(part, float) for part in found)
        return Head(vertices, rest[0].astype(int) if rest else skin_surface(), landmarks)

    return method


@lru_cache(maxsize=1)
def bundled_model() -> MorphableModel:
    return bundled.load()


def mean_head() -> Head:
    return head_of(bundled_model(), bundled_model().mean_code())


def head_of(model: MorphableModel, code: FaceCode) -> Head:
    """The person of a code with a neutral expression: what a scan of a neutral face is compared with."""
    vertices = model.vertices(replace(code, expression=torch.zeros_like(code.expression)))
    return Head(vertices.double().numpy(), skin_surface(), seven_points(model, vertices))


def seven_points(model: MorphableModel, vertices: torch.Tensor) -> np.ndarray:
    zero = torch.zeros(())
    points = model.landmarks["ibug68"].points(vertices, model.triangles, zero, zero)
    return points[list(SEVEN)].double().numpy()


def skin_surface(model: MorphableModel | None = None) -> np.ndarray:
    """See :func:`vultus.evaluate.regions.skin_surface`; of the bundled head when not given."""
    return regions.skin_surface(model or bundled_model())


def _mean(image: torch.Tensor, camera: Camera | None) -> Head | None:
    return mean_head()


def _landmarks(image: torch.Tensor, camera: Camera | None) -> Head | None:
    """Detection and the landmark fit alone; where the focal length is not told, the fit finds it."""
    from vultus.detect import default_detector
    from vultus.fit.landmark_basis import landmark_basis
    from vultus.fit.landmarks import ExpressionPrior, LandmarkOptions, fit_landmarks
    from vultus.io.images import ImageInfo
    from vultus.stages.options import ReconstructOptions
    from vultus.stages.views import guess_focal

    faces = default_detector().detect(image)
    if not faces:
        return None
    model = bundled_model()
    height, width = image.shape[1:]
    info = ImageInfo(None, (width, height), (width, height), "RGB")
    focal = guess_focal(
        info, faces[0], ReconstructOptions(focal_px=float(camera.focal_px) if camera else None)
    )
    prior = ExpressionPrior(
        model.expression_sigma.double().numpy(), *model.expression_range.double().numpy().T
    )
    fit = fit_landmarks(
        landmark_basis(model, "mediapipe478"),
        faces[0].landmarks.points_px.double().numpy(),
        np.array([width / 2, height / 2]),
        focal.focal_px,
        prior,
        LandmarkOptions(focal_log_sigma=focal.log_sigma),
    )
    identity = torch.from_numpy(fit.identity).float()
    return head_of(model, replace(model.mean_code(), identity=identity))


def _reconstruct(image: torch.Tensor, camera: Camera | None, level: str = "deformed") -> Head | None:
    """The deformed level: displacements of the detail level do not move vertices."""
    from vultus.stages.reconstruct import reconstruct

    try:
        found = reconstruct(
            image, level=level, texture_size=0, focal_px=float(camera.focal_px) if camera else None
        )
    except vultus.errors.FaceNotFound:
        return None
    head = head_of(found.model, found.coarse.code)
    if isinstance(found.geometry, DeformedFace):
        moved = deformation_offsets(found.model, found.geometry.deformation_mm)
        vertices = torch.from_numpy(head.vertices).float() + moved
        return Head(vertices.double().numpy(), head.triangles, seven_points(found.model, vertices))
    return head


_METHODS: dict[str, Method] = {
    "reconstruct": _reconstruct,
    "coarse": partial(_reconstruct, level="coarse"),
    "landmarks": _landmarks,
    "mean": _mean,
}
