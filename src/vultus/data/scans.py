"""Folders of captured people, read one capture at a time: our own layout and FaceScape's (docs/scans.md).

Nothing is read before it is asked for, so a set of any size costs what one capture costs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import BadFile, BadInput
from ..geometry.camera import Camera
from ..geometry.mesh import Mesh
from ..geometry.units import MM_PER_UNIT
from ..io.cameras import KnownCamera, cameras_from, read_cameras
from ..io.images import IMAGE_SUFFIXES, read_image
from ..io.meshes import read_mesh
from .capture import CAMERAS, LANDMARKS, TRUTH

_MESHES = (".ply", ".obj", ".glb")


@dataclass(frozen=True)
class CapturePhoto:
    """One calibrated picture of a capture.

    Attributes:
        path: the file. camera: where it was taken from, in the capture's world (``T_camera_head`` of it means camera from world).
        light: what lit it, as the set calls it; empty when the set does not say.
        distortion: OpenCV's k1 k2 p1 p2 k3; None for none. The camera describes the picture once it is undistorted.
    """

    path: Path
    camera: Camera
    light: str = ""
    distortion: tuple[float, ...] | None = None

    def read(self) -> Tensor:
        """The picture "3 h w", sRGB in [0, 1]; check :attr:`distortion` before measuring in it.

        Raises:
            BadFile: it cannot be read, or is not as large as its camera says.
        """
        image, _ = read_image(self.path)
        if image.shape[:0:-1] != self.camera.size_px:
            width, height = self.camera.size_px
            raise BadFile(
                f"{self.path}: is {image.shape[2]} x {image.shape[1]} pixels, but its camera is for {width} x {height}: scale K with it"
            )
        return image


@dataclass(frozen=True)
class Capture:
    """One person making one face.

    Attributes:
        subject, expression: as the folders are called. folder: where it is.
        photos: calibrated pictures. mesh_path: the scan, if there is one; mm_per_unit: of it.
    """

    subject: str
    expression: str
    folder: Path
    photos: tuple[CapturePhoto, ...]
    mesh_path: Path | None
    mm_per_unit: float = 1.0
    read_landmarks: Callable[[], np.ndarray | None] = field(default=lambda: None, repr=False)

    def mesh(self) -> Mesh:
        """The scan in millimetres, world frame.

        Raises:
            BadFile: there is none, or it is damaged.
        """
        if self.mesh_path is None:
            raise BadFile(f"{self.folder}: has no scan (mesh.ply, .obj or .glb)")
        mesh = read_mesh(self.mesh_path)
        return Mesh(mesh.vertices * self.mm_per_unit, mesh.topology)

    def landmarks(self) -> np.ndarray | None:
        """68 or 7 points "n 3" on the scan in millimetres, world frame; None if the set has none."""
        return self.read_landmarks()

    def truth(self) -> Mapping[str, np.ndarray] | None:
        """What a generated capture was made of; None for real ones."""
        path = self.folder / TRUTH
        if not path.is_file():
            return None
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}


def open_captures(
    folder: str | Path, *, meshes: str | Path | None = None, unit: str = "mm"
) -> Iterator[Capture]:
    """The captures of a set, subject by subject.

    Args:
        folder: holds {subject}/{expression}/. With ``cameras.json`` in these it is our layout, with ``params.json`` FaceScape's.
        meshes: FaceScape keeps its meshes in a tree of their own, {subject}/{expression}.ply: its root.
        unit: of FaceScape's meshes and cameras, which state none.

    Raises:
        BadFile: no such folder, or nothing in it that looks like a capture; later, one that is damaged.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise BadFile(f"{folder}: no such folder; give the one that holds the subjects")
    if unit not in MM_PER_UNIT:
        raise BadInput(f"unit {unit}: say mm, cm or m")
    places = [
        place
        for subject in sorted(_folders(folder), key=_natural)
        for place in sorted(_folders(subject), key=_natural)
        if (place / CAMERAS).is_file() or (place / "params.json").is_file()
    ]
    if not places:
        raise BadFile(
            f"{folder}: holds no captures, that is {{subject}}/{{expression}}/ with cameras.json or params.json (docs/scans.md)"
        )
    return (
        _ours(place) if (place / CAMERAS).is_file() else _facescape(place, meshes, unit) for place in places
    )


def _ours(place: Path) -> Capture:
    known = read_cameras(place / CAMERAS)
    entries = _read_json(place / CAMERAS)["cameras"]
    photos = tuple(
        CapturePhoto(
            _image(place, name), _camera(camera, place / CAMERAS, name), str(entries[name].get("light", ""))
        )
        for name, camera in known.items()
    )
    mesh = next((place / f"mesh{suffix}" for suffix in _MESHES if (place / f"mesh{suffix}").is_file()), None)
    return Capture(
        place.parent.name,
        place.name,
        place,
        photos,
        mesh,
        read_landmarks=lambda: _landmarks(place / LANDMARKS),
    )


def _facescape(place: Path, meshes: str | Path | None, unit: str) -> Capture:
    """``params.json``: "{view}_K", "{view}_Rt" (world to camera), "{view}_distortion", "{view}_width", "{view}_height", "{view}_valid"."""
    path = place / "params.json"
    params = _read_json(path)
    views = sorted((key[:-2] for key in params if key.endswith("_K")), key=_natural)
    photos = []
    for view in views:
        image = next((place / f"{view}{suffix}" for suffix in sorted(IMAGE_SUFFIXES) if (place / f"{view}{suffix}").is_file()), None)  # fmt: skip
        if image is None or not params.get(f"{view}_valid", True):
            continue
        try:
            pose = np.asarray(params[f"{view}_Rt"], float).reshape(-1, 4)[:3]
            entry = {
                "K": np.asarray(params[f"{view}_K"], float)[:3, :3].tolist(),
                "R": pose[:, :3].tolist(),
                "t": pose[:, 3].tolist(),
                "size": [params[f"{view}_width"], params[f"{view}_height"]],
            }
        except (KeyError, ValueError, IndexError, TypeError) as error:
            raise BadFile(
                f"{path}: view {view} lacks K, Rt, width or height, or they are no matrices"
            ) from error
        try:
            known = cameras_from({"unit": unit, "cameras": {image.name: entry}})[image.name]
        except BadInput as error:
            raise BadInput(f"{path}: {error}") from error
        bent = tuple(float(k) for k in np.ravel(params.get(f"{view}_distortion", ())))
        photos.append(CapturePhoto(image, _camera(known, path, image.name), "", bent if any(bent) else None))
    beside = Path(meshes) if meshes else place.parent.parent
    where = (beside / place.parent.name / place.name, place / "mesh")
    mesh = next((Path(f"{stem}{suffix}") for stem in where for suffix in _MESHES if Path(f"{stem}{suffix}").is_file()), None)  # fmt: skip
    return Capture(
        place.parent.name, place.name, place, tuple(photos), mesh, MM_PER_UNIT[unit],
        lambda: _landmarks(place / LANDMARKS),
    )  # fmt: skip


def _camera(known: KnownCamera, path: Path, name: str) -> Camera:
    if known.size_px is None:
        raise BadFile(f'{path}: camera of {name} has no "size": [width, height]')
    return Camera(
        torch.tensor(known.focal_px).float(),
        torch.from_numpy(known.principal_px).float(),
        known.size_px,
        torch.from_numpy(known.T_camera_world).float(),
    )


def _image(place: Path, name: str) -> Path:
    path = place / "images" / Path(name).name
    if not path.is_file():
        raise BadFile(f"{path}: is named in {CAMERAS} but missing; get the capture again")
    return path


def _landmarks(path: Path) -> np.ndarray | None:
    if not path.is_file():
        return None
    document = _read_json(path)
    try:
        points = np.asarray(document["points"], float) * MM_PER_UNIT[document.get("unit", "mm")]
    except (KeyError, TypeError, ValueError) as error:
        raise BadFile(f'{path}: has no list of points under "points", or an unknown unit') from error
    if points.shape not in ((7, 3), (68, 3)) or not np.isfinite(points).all():
        raise BadFile(f"{path}: must hold 7 or 68 finite points (x, y, z), not {points.shape}")
    return points


def _read_json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadFile(f"{path}: cannot be read ({error}); get the capture again") from error
    if not isinstance(document, dict):
        raise BadFile(f"{path}: is no JSON object (docs/scans.md)")
    return document


def _folders(folder: Path) -> list[Path]:
    return [entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith(".")]


def _natural(name: Path | str) -> list[Any]:
    """2 before 10."""
    text = name.name if isinstance(name, Path) else name
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", text)]
