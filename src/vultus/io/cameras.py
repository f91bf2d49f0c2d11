"""``cameras.json``: where the cameras of several photos stood, as structure from motion or a calibrated rig gives it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import BadFile, BadInput

MM_PER_UNIT = {"mm": 1.0, "cm": 10.0, "m": 1000.0}
_ROTATION_TOLERANCE = 1e-3
_SQUARE_TOLERANCE = 0.02  # of the two focal lengths; lenses with other pixels are not modelled
_REMEDY = "see docs/fuse.md for the format"


@dataclass(frozen=True)
class KnownCamera:
    """A calibrated camera without distortion, OpenCV frame.

    Attributes:
        focal_px. principal_px: (2,), pixel centres at +0.5. size_px: of the picture they belong to, None: of the photo itself.
        T_camera_world: (4, 4), world -> camera, millimetres.
    """

    focal_px: float
    principal_px: np.ndarray
    size_px: tuple[int, int] | None
    T_camera_world: np.ndarray


def read_cameras(path: str | Path) -> dict[str, KnownCamera]:
    """Read cameras by photo name.

    Raises:
        BadFile: no such file, no JSON. BadInput: as :func:`cameras_from`; the message names the file.
    """
    path = Path(path)
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadFile(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except ValueError as error:
        raise BadFile(f"{path}: is not JSON ({error}); {_REMEDY}") from error
    try:
        return cameras_from(document)
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from error


def cameras_from(document: Mapping[str, Any]) -> dict[str, KnownCamera]:
    """Check and convert ``{"unit": "mm|cm|m", "cameras": {"photo.jpg": {"K": 3x3, "R": 3x3, "t": 3, "size": [w, h]}}}``.

    Raises:
        BadInput: something is missing, not finite, or not what its name says.
    """
    if not isinstance(document, Mapping) or not isinstance(document.get("cameras"), Mapping):
        raise BadInput(f'has no "cameras"; {_REMEDY}')
    unit = document.get("unit")
    if unit not in MM_PER_UNIT:
        raise BadInput(
            f'"unit" is {unit!r}; say in which unit "t" is: {", ".join(MM_PER_UNIT)} (any, if you do not know)'
        )
    return {
        str(name): _camera(str(name), entry, MM_PER_UNIT[unit]) for name, entry in document["cameras"].items()
    }


def _camera(name: str, entry: Any, mm_per_unit: float) -> KnownCamera:
    if not isinstance(entry, Mapping):
        raise BadInput(f"camera of {name}: is no object with K, R and t; {_REMEDY}")
    K, R, t = (
        _matrix(name, entry, "K", (3, 3)),
        _matrix(name, entry, "R", (3, 3)),
        _matrix(name, entry, "t", (3,)),
    )
    if min(K[0, 0], K[1, 1]) <= 0 or np.abs([K[1, 0], *(K[2] - [0, 0, 1])]).max() > 1e-6:
        raise BadInput(
            f"camera of {name}: K is not [[f, 0, cx], [0, f, cy], [0, 0, 1]] with f > 0; is it transposed or scaled?"
        )
    if abs(K[0, 0] / K[1, 1] - 1) > _SQUARE_TOLERANCE or abs(K[0, 1]) > _SQUARE_TOLERANCE * K[0, 0]:
        raise BadInput(
            f"camera of {name}: K has pixels that are not square; resample the photo (undistort it) to square pixels"
        )
    if np.abs(R @ R.T - np.eye(3)).max() > _ROTATION_TOLERANCE or np.linalg.det(R) < 0:
        raise BadInput(
            f"camera of {name}: R is no rotation (R R^T = 1, determinant 1); give the world-to-camera rotation of OpenCV"
        )
    size = entry.get("size")
    if size is not None:
        sides = _matrix(name, entry, "size", (2,))
        if (sides < 1).any():
            raise BadInput(f"camera of {name}: size {size} is no [width, height] in pixels")
        size = (int(sides[0]), int(sides[1]))
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = R, t * mm_per_unit
    return KnownCamera(float(np.sqrt(K[0, 0] * K[1, 1])), K[:2, 2].copy(), size, pose)


def _matrix(name: str, entry: Mapping[str, Any], key: str, shape: tuple[int, ...]) -> np.ndarray:
    if key not in entry:
        raise BadInput(f"camera of {name}: has no {key}; {_REMEDY}")
    try:
        values = np.array(entry[key], float)
    except (TypeError, ValueError):
        values = np.empty(0)
    if key == "t":
        values = values.ravel()
    if values.shape != shape:
        raise BadInput(f"camera of {name}: {key} must be {' x '.join(map(str, shape))} numbers; {_REMEDY}")
    if not np.isfinite(values).all():
        raise BadInput(
            f"camera of {name}: {key} has values that are not finite; this photo was not placed: leave it out"
        )
    return values
