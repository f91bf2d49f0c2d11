"""The public function: a photo becomes textured, animatable heads."""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from .. import __version__
from ..detect import Detector, default_detector
from ..detect.protocol import DetectedFace
from ..errors import FaceNotFound
from ..io.images import ImageInfo, image_from_array, read_image
from ..model.catalog import load_model
from ..model.face import Geometry, TexturedFace
from ..model.result import FitReport, Reconstruction
from .coarse import CoarseOptions, fit_coarse
from .deformed import fit_deformed
from .detail import fit_detail
from .options import ReconstructOptions, chosen_device
from .plausible import DOUBTFUL
from .position_faces import find_by_position
from .texture import texture
from .views import SMALL_FACE_PX, guess_focal, make_view


def reconstruct(
    image: str | Path | Tensor | np.ndarray, *, detector: Detector | None = None, **options: Any
) -> Reconstruction:
    """The largest face of a photo.

    Args:
        image: a file, "3 h w" tensor or "h w 3" array (sRGB in [0, 1], or bytes).
        detector: another source of landmarks, e.g. :class:`vultus.detect.LandmarkFile`.
        options: see :class:`vultus.stages.options.ReconstructOptions`.

    Raises:
        FaceNotFound: nobody is in the picture. BadFile, BadInput, AssetMissing: as they say.
    """
    return reconstruct_all(image, detector=detector, **(options | {"faces": "largest"}))[0]


def reconstruct_all(
    image: str | Path | Tensor | np.ndarray, *, detector: Detector | None = None, **options: Any
) -> tuple[Reconstruction, ...]:
    """Every face of a photo, largest first; arguments and errors as :func:`reconstruct`."""
    chosen = ReconstructOptions(**options)
    chosen_device(chosen.device)
    start = time.perf_counter()
    pixels, info = read_image(image) if isinstance(image, (str, Path)) else _from_memory(image)
    read = time.perf_counter()
    faces = _faces(pixels, detector, chosen)[: chosen.max_faces]
    if not faces:
        raise FaceNotFound(
            f"{info.path or 'image'}: no face found; crop closer to the face, or try a larger or brighter photo"
        )
    shared = {"read": read - start, "detect": time.perf_counter() - read}
    return tuple(_one_face(pixels, info, face, chosen, shared) for face in faces)


def _faces(
    pixels: Tensor, detector: Detector | None, options: ReconstructOptions
) -> tuple[DetectedFace, ...]:
    """Faces with the points that the coarse stage starts from."""
    if options.init == "position":
        return find_by_position(pixels)
    found = (detector or default_detector()).detect(pixels)
    if found or detector or options.init == "landmarks":
        return found
    return find_by_position(pixels, DOUBTFUL)


def _one_face(
    pixels: Tensor,
    info: ImageInfo,
    detected: DetectedFace,
    options: ReconstructOptions,
    timings_s: dict[str, float],
) -> Reconstruction:
    model = load_model(options.model)
    timer = _Stopwatch()
    focal = guess_focal(info, detected, options)
    view = make_view(pixels, detected, focal)
    timings_s = timings_s | {"view": timer.lap()}
    view, face, report = fit_coarse(view, model, CoarseOptions(focal_log_sigma=focal.log_sigma))
    timings_s["coarse"] = timer.lap()
    if detected.box.size_px < SMALL_FACE_PX:
        report = replace(
            report,
            advice=(
                *report.advice,
                f"the face is only {detected.box.size_px:.0f} px wide: expect a rough likeness",
            ),
        )
    geometry: Geometry = face
    if options.level != "coarse" and model.chart is not None:
        geometry, moved = fit_deformed(view, model, face)
        report = joined(report, moved)
        timings_s["deformed"] = timer.lap()
        if options.level == "detail":
            geometry = fit_detail(view, model, geometry, size=options.displacement_size)
            timings_s["detail"] = timer.lap()
    result: Geometry | TexturedFace = geometry
    if options.texture_size:
        result = texture(view, model, geometry, size=options.texture_size)
        timings_s["texture"] = timer.lap()
    provenance = {
        "version": __version__,
        "model": options.model,
        "options": asdict(options),
        "focal_source": focal.source,
        "photo": str(info.path) if info.path else None,
    }
    return Reconstruction(model, view, result, report, timings_s, provenance)


def joined(first: FitReport, second: FitReport) -> FitReport:
    """One report of two stages: as doubtful as the worse, with the advice and the costs of both."""
    status = "ok" if first.status == second.status == "ok" else "doubtful"
    advice, cost = (*first.advice, *second.advice), {**first.cost, **second.cost}
    return FitReport(status, advice, cost, first.iterations + second.iterations)


def _from_memory(image: Tensor | np.ndarray) -> tuple[Tensor, ImageInfo]:
    pixels = image_from_array(image)
    size_px = (pixels.shape[2], pixels.shape[1])
    return pixels, ImageInfo(None, size_px, size_px, "RGB")


class _Stopwatch:
    """Seconds between laps."""

    def __init__(self) -> None:
        self._last = time.perf_counter()

    def lap(self) -> float:
        now = time.perf_counter()
        passed, self._last = now - self._last, now
        return passed
