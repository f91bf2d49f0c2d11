"""The public function for several photos: one person, one head.

photos --look--> views --coarse, jointly--> one identity --deformed, jointly--> one map --detail, each--> merged --texture, each--> merged
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import __version__
from ..detect import Detector, default_detector
from ..errors import BadInput
from ..geometry.rigid import pose_angles
from ..io.cameras import KnownCamera, cameras_from, read_cameras
from ..model.catalog import load_model
from ..model.face import CoarseFace, DeformedFace, DetailedFace, Geometry, TexturedFace
from ..model.morphable import MorphableModel
from ..model.result import FitReport, FusedReconstruction, FusedView, Reconstruction
from .fuse_options import FEWEST, MOST, FuseOptions
from .fused_coarse import FittedView, fit_coarse_jointly, tell_strangers
from .fused_deformed import fit_deformed_jointly
from .fused_skin import fuse_displacement, fuse_texture
from .fused_views import PersonView, Photo, look_at_photos, photo_names, whole_view
from .options import chosen_device
from .reconstruct import joined

Cameras = str | Path | Mapping[str, Any]
_CLOSED_EYES = 0.5  # weight of a blink


def fuse(
    photos: Sequence[Photo],
    *,
    cameras: Cameras | None = None,
    detector: Detector | None = None,
    progress: Callable[[str], None] | None = None,
    **options: Any,
) -> FusedReconstruction:
    """One head from 2 to 20 photos of one person.

    Args:
        photos: files, "3 h w" tensors or "h w 3" arrays; the largest face of each counts.
        cameras: a ``cameras.json``, or its content, where the cameras stood while the person did not move (docs/fuse.md).
        detector: another source of landmarks.
        progress: is told what is being done.
        options: see :class:`vultus.stages.fuse_options.FuseOptions`.

    Raises:
        BadInput: too few or too many photos, fewer than two of one person, or cameras that do not belong to the photos.
    """
    chosen = FuseOptions(**options)
    chosen_device(chosen.device)
    report_to = progress or (lambda _: None)
    start = time.perf_counter()
    timings_s: dict[str, float] = {}

    def lap(stage: str) -> None:
        timings_s[stage] = time.perf_counter() - start - sum(timings_s.values())

    if not FEWEST <= len(photos) <= MOST:
        hint = "for one photo there is reconstruct" if len(photos) < FEWEST else "choose the sharpest ones"
        raise BadInput(f"{len(photos)} photos: fuse takes {FEWEST} to {MOST}; {hint}")
    names = photo_names(photos)
    wanted = chosen.index_of_expression(names)
    known = _cameras_of(names, cameras)
    model = load_model(chosen.model)
    persons, left_out = look_at_photos(
        photos, names, known, detector or default_detector(), chosen.of_each, report_to
    )
    lap("look")
    _enough(persons, left_out)
    if not chosen.keep_all:
        strangers = tell_strangers(persons, model)
        left_out |= strangers
        persons = [person for person in persons if person.name not in strangers]
        _enough(persons, left_out)
    if wanted is not None and names[wanted] in left_out:
        raise BadInput(f"--expression {names[wanted]}: this photo is left out: {left_out[names[wanted]]}")
    report_to("shape")
    fitted, joint = fit_coarse_jointly(persons, model)
    lap("coarse")
    deformation_mm, displacement_mm = None, None
    report = _report(fitted)
    if chosen.level != "coarse" and model.chart is not None:
        fitted, deformation_mm, moved = fit_deformed_jointly(fitted, model)
        report = joined(report, moved)
        lap("deformed")
    reference = _reference(fitted, model)
    target = _target(fitted, reference, None if wanted is None else names[wanted])
    if chosen.level == "detail" and deformation_mm is not None:
        report_to("wrinkles")
        deformed = DeformedFace(target, deformation_mm)
        displacement_mm = fuse_displacement(fitted, model, deformed, chosen.displacement_size)
        lap("detail")
    face = _of_level(target, deformation_mm, displacement_mm)
    shares = [1 / len(fitted)] * len(fitted)
    textured: Geometry | TexturedFace = face
    if chosen.texture_size:
        report_to("texture")
        textured, shares = fuse_texture(fitted, model, face, reference, chosen.texture_size)
        lap("texture")
    view = whole_view(fitted[reference].person, fitted[reference].view.camera)
    head = Reconstruction(
        model, view, textured, report, timings_s, _provenance(chosen, photos, names, persons, reference)
    )
    views = tuple(
        FusedView(
            one.person.name, one.view, one.person.whole(one.view.camera),
            _of_level(one.coarse, deformation_mm, displacement_mm), one.report.cost["reprojection"], share,
        )
        for one, share in zip(fitted, shares)
    )  # fmt: skip
    in_world = None if known is None else _in_world(fitted[0], joint.scale)
    expression = "neutral" if wanted is None else names[wanted]
    return FusedReconstruction(head, views, reference, expression, left_out, in_world)


def _cameras_of(names: list[str], cameras: Cameras | None) -> dict[str, KnownCamera] | None:
    if cameras is None:
        return None
    where = str(cameras) if isinstance(cameras, (str, Path)) else "cameras"
    known = read_cameras(cameras) if isinstance(cameras, (str, Path)) else cameras_from(cameras)
    missing = [name for name in names if name not in known]
    if missing:
        raise BadInput(
            f"{where}: has {len(known)} cameras, none of them for {', '.join(missing)};"
            " name each by its photo's file name, or leave these photos out"
        )
    return {name: known[name] for name in names}


def _enough(persons: Sequence[PersonView], left_out: Mapping[str, str]) -> None:
    if len(persons) < FEWEST:
        reasons = "; ".join(f"{name}: {why}" for name, why in left_out.items())
        rest = f"only {persons[0].name} is left" if persons else "no photo is left"
        raise BadInput(f"{rest} of {len(persons) + len(left_out)}, and fuse needs {FEWEST} ({reasons})")


def _reference(fitted: Sequence[FittedView], model: MorphableModel) -> int:
    """The sharpest most frontal photo with open eyes."""
    blinks = [i for i, name in enumerate(model.expression_names) if name.startswith("eyeBlink")]

    def merit(one: FittedView) -> float:
        angles = pose_angles(one.coarse.T_camera_head[:3, :3])
        frontal = torch.cos(torch.deg2rad(angles.yaw_deg)) * torch.cos(torch.deg2rad(angles.pitch_deg))
        blink = float(one.coarse.code.expression[blinks].amax()) if blinks else 0.0
        return one.person.sharpness * max(float(frontal), 0.0) ** 3 * (0.1 if blink > _CLOSED_EYES else 1.0)

    return max(range(len(fitted)), key=lambda i: merit(fitted[i]))


def _target(fitted: Sequence[FittedView], reference: int, wanted: str | None) -> CoarseFace:
    """The reference's pose, light and skin with the wanted expression."""
    coarse = fitted[reference].coarse
    expression = torch.zeros_like(coarse.code.expression)
    if wanted is not None:
        expression = next(one.coarse.code.expression for one in fitted if one.person.name == wanted)
    return replace(coarse, code=replace(coarse.code, expression=expression))


def _of_level(coarse: CoarseFace, deformation_mm: Tensor | None, displacement_mm: Tensor | None) -> Geometry:
    if deformation_mm is None:
        return coarse
    deformed = DeformedFace(coarse, deformation_mm)
    return deformed if displacement_mm is None else DetailedFace(deformed, displacement_mm)


def _in_world(one: FittedView, scale: float) -> Tensor:
    """Head -> world of known cameras, both in millimetres, from any view."""
    assert one.person.T_camera_world is not None
    in_world = torch.from_numpy(one.person.T_camera_world).clone()
    in_world[:3, 3] *= scale
    found = torch.linalg.inv(in_world) @ one.coarse.T_camera_head.double()
    found[:3] /= scale
    return found.float()


def _report(fitted: Sequence[FittedView]) -> FitReport:
    """Of the landmarks of all photos."""
    advice = tuple(f"{one.person.name}: {line}" for one in fitted for line in one.report.advice)
    cost = {
        name: float(np.median([one.report.cost[name] for one in fitted])) for name in fitted[0].report.cost
    }
    return FitReport("doubtful" if advice else "ok", advice, cost, 0)


def _provenance(
    options: FuseOptions, photos: Sequence[Photo], names: list[str], persons: list[PersonView], reference: int
) -> dict[str, Any]:
    files = {name: str(p) for name, p in zip(names, photos) if isinstance(p, (str, Path))}
    provenance = {
        "version": __version__,
        "model": options.model,
        "options": asdict(options),
        "focal_source": persons[reference].focal.source,
        "photos": files,
    }
    name = persons[reference].name
    return provenance | ({"photo": files[name]} if name in files else {})
