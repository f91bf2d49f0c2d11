"""A copy of the FaceScape benchmark on the disk: its folder, its photos, and how its files are read."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import BadInput
from ..io.obj import read_obj
from .benchmark import Item, Points
from .layout import Layout

SETS = ("wild", "lab")
WILD_BINS = ("0-5 deg", "5-30 deg", "30-60 deg", "60-90 deg")
LAB_FOCALS = ("f 1200", "f 600", "f 300")
LAB_ANGLES = ("0 deg", "30 deg", "60 deg")
_IMAGES = (".png", ".jpg", ".jpeg", ".bmp")
LAYOUT = Layout(
    "the FaceScape benchmark",
    "github.com/zhuhao-nju/facescape, folder benchmark/, whose data/download_data.sh fetches the rest (207 MB, under FaceScape's licence agreement)",
    (
        "data/wild_gt_mesh/000.obj to 399.obj",
        "data/lab_gt_mesh/00.obj to 19.obj",
        "data/lab_cam/SUBJECT_FOCAL_VIEW.json",
        "code/predef/wild_rotations.npy, wild_head_centers.npy, wild_pupil_scales.npy, lab_rotations.npy, lab_head_centers.npy",
        "photos of the meshes' and cameras' names in other folders data/wild*/ and data/lab*/ (not needed for meshes from files)",
    ),
)
_NEEDED = {
    "wild": (
        "data/wild_gt_mesh/*.obj",
        *(f"code/predef/wild_{what}.npy" for what in ("rotations", "head_centers", "pupil_scales")),
    ),
    "lab": (
        "data/lab_gt_mesh/*.obj",
        "data/lab_cam/*.json",
        "code/predef/lab_rotations.npy",
        "code/predef/lab_head_centers.npy",
    ),
}


def list_items(folder: Path, sets: Sequence[str]) -> tuple[tuple[Item, ...], dict[str, NDArray[np.float64]]]:
    """The photos of the sets asked for, or of all that are there, and the arrays of ``code/predef`` by name.

    Raises:
        BadInput: another set.
        BadFile: something is missing or damaged.
    """
    if set(sets) - set(SETS):
        raise BadInput(f"sets are {' and '.join(SETS)}, got {', '.join(sets)}")
    there = [one for one in SETS if (folder / "data" / f"{one}_gt_mesh").is_dir()]
    chosen = [one for one in SETS if one in (sets or there or SETS)]
    LAYOUT.check(folder, [pattern for one in chosen for pattern in _NEEDED[one]])
    predefined = {path.stem: _load(path) for path in sorted((folder / "code" / "predef").glob("*.npy"))}
    items: list[Item] = []
    if "wild" in chosen:
        items += _wild_items(folder, predefined)
    if "lab" in chosen:
        items += _lab_items(folder, predefined)
    return tuple(items), predefined


def _wild_items(folder: Path, predefined: dict[str, NDArray[np.float64]]) -> list[Item]:
    photos = _photos(folder, "wild")
    stems = sorted(p.stem for p in (folder / "data" / "wild_gt_mesh").glob("*.obj") if p.stem.isdigit())
    for what, shape in (("rotations", (3, 3)), ("head_centers", (3,)), ("pupil_scales", ())):
        _check_shape(folder, predefined, f"wild_{what}", int(stems[-1]) + 1 if stems else 1, shape)
    return [
        Item(f"wild/{stem}", f"wild {stem}", f"wild, {WILD_BINS[min(int(stem) // 100, 3)]}", photos.get(stem))
        for stem in stems
    ]


def _lab_items(folder: Path, predefined: dict[str, NDArray[np.float64]]) -> list[Item]:
    photos, items = _photos(folder, "lab"), []
    _check_shape(folder, predefined, "lab_rotations", 11, (3, 3))
    _check_shape(folder, predefined, "lab_head_centers", 3, (3,))
    for path in sorted((folder / "data" / "lab_cam").glob("*.json")):
        if not re.fullmatch(r"\d+_[0-2]_(0\d|10)", path.stem):
            raise LAYOUT.incomplete(path, "is not called SUBJECT_FOCAL_VIEW, such as 00_0_00")
        subject, focal, view = path.stem.split("_")
        if not (folder / "data" / "lab_gt_mesh" / f"{subject}.obj").is_file():
            raise LAYOUT.incomplete(
                folder, f"data/lab_gt_mesh/{subject}.obj not there, but the camera {path.name} is"
            )
        intrinsics, _ = read_camera(path)
        group = f"lab, {LAB_FOCALS[int(focal)]}, {LAB_ANGLES[angle_of_view(int(view))]}"
        items.append(
            Item(f"lab/{path.stem}", f"lab {subject}", group, photos.get(path.stem), float(intrinsics[0, 0]))
        )
    return items


def _photos(folder: Path, one: str) -> dict[str, Path]:
    """Photos of a set by name: in which folder the archive has them is not written anywhere that we could read, so all are looked at."""
    places = [
        p
        for p in sorted((folder / "data").glob(f"{one}*"))
        if p.is_dir() and p.name not in (f"{one}_gt_mesh", "lab_cam")
    ]
    return {p.stem: p for place in places for p in sorted(place.rglob("*")) if p.suffix.lower() in _IMAGES}


def _check_shape(
    folder: Path, arrays: dict[str, NDArray[np.float64]], name: str, count: int, shape: tuple[int, ...]
) -> None:
    found = arrays[name].shape
    if len(found) != 1 + len(shape) or found[0] < count or found[1:] != shape:
        raise LAYOUT.incomplete(
            folder, f"code/predef/{name}.npy has shape {found}, expected {(count, *shape)}"
        )


def _load(path: Path) -> NDArray[np.float64]:
    try:
        return np.load(path).astype(np.float64)
    except (OSError, ValueError, TypeError) as error:
        raise LAYOUT.incomplete(path, f"cannot be read ({error})") from error


def read_surface(path: Path) -> tuple[Points, NDArray[np.int64]]:
    """Vertices (v, 3) and triangles (f, 3)."""
    mesh = read_obj(path)
    return mesh.vertices.numpy().astype(np.float64), mesh.topology.triangles.numpy()


def read_camera(path: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Intrinsics (3, 3) in pixels and pose (3, 4), world (in pupils' distances) to OpenCV's camera."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return np.array(values[0], float).reshape(3, 3), np.array(values[1], float)[:3].reshape(3, 4)
    except (OSError, ValueError, TypeError, IndexError, KeyError) as error:
        raise LAYOUT.incomplete(path, f"is not a camera [K, Rt] ({error})") from error


def angle_of_view(view: int) -> int:
    """Index of the published angle: view 0 is frontal, 1 to 8 are at 30 degrees, 9 and 10 at 60."""
    return 0 if view == 0 else 1 if view <= 8 else 2
