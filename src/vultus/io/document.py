"""``reconstruction.json``: what it says (docs/output.md, reconstruction.schema.json), and reading it again."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import __version__
from ..errors import BadInput, WeightsMismatch
from ..geometry.camera import Camera
from ..geometry.rigid import pose_angles
from ..model.face import CoarseFace, DeformedFace, DetailedFace, FaceCode, Geometry, TexturedFace
from ..model.morphable import MorphableModel
from ..model.result import FitReport, Reconstruction

SCHEMA_VERSION = 1
SCHEMA_PATH = Path(__file__).with_name("reconstruction.schema.json")
"""The JSON Schema that every ``reconstruction.json`` of this version follows."""
_DETECTED = "mediapipe478"


def document_from(result: Reconstruction, files: Mapping[str, Any]) -> dict[str, Any]:
    """Everything about a result but its images and meshes, as plain JSON values.

    Args:
        result: the result.
        files: its last entries, what is in which file: ``files``, ``textures``, ``observed``, ``albedo``, ``normal``, ``deformation``,
            ``displacement``.
    """
    coarse, camera, report = result.coarse, result.camera, result.report
    angles = pose_angles(camera.T_camera_head[:3, :3])
    landmarks_head_mm = model_landmarks(result, "ibug68")
    landmarks_px = None if landmarks_head_mm is None else camera.project(landmarks_head_mm)[:, :2]
    is_usual = result.view.landmark_scheme == _DETECTED
    detected = plain_numbers(result.view.landmarks_px)
    return {
        "schema_version": SCHEMA_VERSION,
        "level": level_of(result.geometry),
        "provenance": {"version": __version__, "model": result.model.name, **result.provenance},
        "status": report.status,
        "advice": list(report.advice),
        "fit": {
            "iterations": report.iterations,
            "cost": {name: float(cost) for name, cost in report.cost.items()},
        },
        "timings_s": {stage: round(float(seconds), 6) for stage, seconds in result.timings_s.items()},
        "camera": {
            "focal_px": plain_numbers(camera.focal_px),
            "principal_px": plain_numbers(camera.principal_px),
            "size_px": list(camera.size_px),
            "T_camera_head": plain_numbers(camera.T_camera_head),
        },
        "pose_deg": {
            "yaw": plain_numbers(angles.yaw_deg),
            "pitch": plain_numbers(angles.pitch_deg),
            "roll": plain_numbers(angles.roll_deg),
        },
        "landmarks_68_px": None if landmarks_px is None else plain_numbers(landmarks_px),
        "landmarks_68_head_mm": None if landmarks_head_mm is None else plain_numbers(landmarks_head_mm),
        "landmarks_478_px": detected if is_usual else None,
        "landmarks_other": None
        if is_usual
        else {"scheme": result.view.landmark_scheme, "points_px": detected},
        "code": {
            "identity": plain_numbers(coarse.code.identity),
            "expression": dict(zip(result.model.expression_names, plain_numbers(coarse.code.expression))),
            "albedo": plain_numbers(coarse.code.albedo),
        },
        "light": plain_numbers(coarse.light),
        **files,
    }


def level_of(geometry: Geometry) -> str:
    """The name of a face's level, as ``--level`` takes it."""
    levels = {CoarseFace: "coarse", DeformedFace: "deformed", DetailedFace: "detail"}
    return levels[type(geometry)]


def model_landmarks(result: Reconstruction, scheme: str) -> Tensor | None:
    """A scheme's landmarks "l 3" on the reconstructed head at its pose, head frame; None if the model has no such table."""
    table = result.model.landmarks.get(scheme)
    if table is None:
        return None
    angles = pose_angles(result.camera.T_camera_head[:3, :3])
    return table.points(result.mesh.vertices, result.model.triangles, angles.yaw_deg, angles.pitch_deg)


def camera_from(document: Mapping[str, Any]) -> Camera:
    """The posed camera of a document."""
    camera = document["camera"]
    width, height = (int(side) for side in camera["size_px"])
    pose = _tensor(camera["T_camera_head"], (4, 4))
    return Camera(
        _tensor(camera["focal_px"], ()), _tensor(camera["principal_px"], (2,)), (width, height), pose
    )


def face_from(
    document: Mapping[str, Any],
    model: MorphableModel,
    images: Mapping[str, Tensor],
    deformation_mm: Tensor | None = None,
    displacement_mm: Tensor | None = None,
) -> Geometry | TexturedFace:
    """The face of a document.

    Args:
        document: the parsed ``reconstruction.json``.
        model: the face model that its code belongs to.
        images: every image file that it names under ``textures``, ``observed`` and ``albedo``, "3 h w".
        deformation_mm: "3 m m", None for the coarse level. displacement_mm: "h w", None for the two below.

    Raises:
        WeightsMismatch: the code does not fit the model.
    """
    code, camera = document["code"], document["camera"]
    if set(code["expression"]) != set(model.expression_names):
        odd = sorted(set(code["expression"]) ^ set(model.expression_names))
        raise WeightsMismatch(
            _mismatch(model, f"expressions differ: {', '.join(odd[:4])}{', ...' if len(odd) > 4 else ''}")
        )
    for name, count in (("identity", len(model.identity_mm)), ("albedo", len(model.albedo))):
        if len(code[name]) != count:
            raise WeightsMismatch(
                _mismatch(model, f"{len(code[name])} {name} coefficients instead of {count}")
            )
    expression = [code["expression"][name] for name in model.expression_names]
    face_code = FaceCode(
        *(_tensor(values, (-1,)) for values in (code["identity"], expression, code["albedo"]))
    )
    coarse = CoarseFace(
        face_code, _tensor(camera["T_camera_head"], (4, 4)), _tensor(document["light"], (3, 9))
    )
    face: Geometry = coarse
    if deformation_mm is not None:
        face = DeformedFace(coarse, deformation_mm)
        if displacement_mm is not None:
            face = DetailedFace(face, displacement_mm)
    if document["textures"] is None:
        return face
    texture = {part: images[file] for part, file in document["textures"].items()}
    albedo = images[document["albedo"]] if document.get("albedo") else None
    return TexturedFace(face, texture, images[document["observed"]][0], albedo)


def landmarks_from(document: Mapping[str, Any]) -> tuple[str, Tensor]:
    """The scheme and positions "l 2" that the detector found."""
    if document["landmarks_478_px"] is not None:
        return _DETECTED, _tensor(document["landmarks_478_px"], (-1, 2))
    other = document["landmarks_other"]
    return str(other["scheme"]), _tensor(other["points_px"], (-1, 2))


def report_from(document: Mapping[str, Any]) -> FitReport:
    """How the fit went."""
    fit = document["fit"]
    return FitReport(document["status"], tuple(document["advice"]), dict(fit["cost"]), int(fit["iterations"]))


def dumps(document: Mapping[str, Any]) -> str:
    """JSON that people can read too: one line per list of numbers.

    Raises:
        BadInput: a value is not finite, or not something that JSON has.
    """
    return _dumps(document, "") + "\n"


def _dumps(value: Any, indent: str) -> str:
    inner = indent + "  "
    if isinstance(value, Mapping) and value:
        rows = [f"{inner}{json.dumps(str(key))}: {_dumps(entry, inner)}" for key, entry in value.items()]
        return "{\n" + ",\n".join(rows) + f"\n{indent}}}"
    if isinstance(value, list | tuple) and any(isinstance(entry, list | tuple | Mapping) for entry in value):
        return "[\n" + ",\n".join(f"{inner}{_dumps(entry, inner)}" for entry in value) + f"\n{indent}]"
    try:
        return json.dumps(
            str(value) if isinstance(value, Path) else value, allow_nan=False, ensure_ascii=False
        )
    except (TypeError, ValueError) as error:
        raise BadInput(f"the result cannot be saved: {str(value)[:80]} ({error})") from error


def plain_numbers(values: Tensor) -> Any:
    """Nested lists of the shortest decimals that give the same float32 again."""
    array = values.detach().cpu().numpy().astype(np.float32)
    if not np.isfinite(array).all():
        raise BadInput("the result holds NaN or infinite values, so nothing was saved; the fit has failed")
    shortest = np.array([float(str(x)) for x in array.ravel()]).reshape(array.shape)
    return shortest.tolist()


def _tensor(values: Any, shape: tuple[int, ...]) -> Tensor:
    tensor = torch.tensor(values, dtype=torch.float32)
    if not all(math.isfinite(x) for x in tensor.flatten().tolist()):
        raise ValueError("a number is not finite")
    if tensor.ndim != len(shape) or any(want not in (-1, have) for want, have in zip(shape, tensor.shape)):
        raise ValueError(f"an array of shape {tuple(tensor.shape)} where {shape} is expected")
    return tensor


def _mismatch(model: MorphableModel, what: str) -> str:
    return f"the result belongs to another version of the face model {model.name} ({what}); reconstruct the photo again"
