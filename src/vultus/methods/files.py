"""Predictions of any other system, from files: meshes with landmarks, image points, or photos drawn again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..errors import BadFile
from ..evaluate.benchmark import FaceMesh, Item, Points, Prediction
from ..evaluate.face_file import MESH_SUFFIXES, read_face
from ..io.images import read_texture


@dataclass(frozen=True)
class Files:
    """A folder with, for each item, files of its key (``FOLDER/<key>.obj`` and so on), or one mesh for a benchmark of one item.

    Attributes:
        place: the folder, or the mesh. unit, mirrored, landmarks: see :func:`~vultus.evaluate.face_file.read_face`.
    """

    place: Path
    unit: str | None = None
    mirrored: bool = False
    landmarks: Path | None = None

    def __post_init__(self) -> None:
        if not self.place.exists():
            raise BadFile(
                f"{self.place}: no such file or folder; --files says where the predictions are, as <key>.obj, .ply or .glb"
            )

    def __call__(self, item: Item) -> Prediction:
        """What the files of an item hold: a mesh, points (.points.npy or .points.txt; or .npy, .txt without a mesh), a picture (.png with alpha).

        Raises:
            BadFile: nothing there, or not readable. BadInput: see :func:`~vultus.evaluate.face_file.read_face`.
        """
        if self.place.is_file():
            return Prediction(posed=self._face(self.place))
        stem = self.place / item.key
        mesh = _first(stem, MESH_SUFFIXES)
        points = _first(stem, (".points.npy", ".points.txt"))
        if points is None and mesh is None:
            points = _first(stem, (".npy", ".txt"))
        picture = _first(stem, (".png",))
        if mesh is None and points is None and picture is None:
            raise BadFile(
                f"{stem}: no prediction (looked for {' '.join(MESH_SUFFIXES)}, .npy, .txt and .png)"
            )
        found = Prediction(
            posed=None if mesh is None else self._face(mesh),
            points_px=None if points is None else read_image_points(points),
        )
        if picture is None:
            return found
        image = read_texture(picture)
        if len(image) == 3:
            raise BadFile(f"{picture}: has no alpha channel; it must say where the face was drawn")
        return replace(found, image=image[:3], drawn=image[3] > 0.5)

    def fingerprint(self, item: Item) -> str:
        """Changes when a file of the item changes, so that kept scores are not taken for those of new files."""
        if self.place.is_file():
            files = [self.place]
        else:
            stem = self.place / item.key
            files = sorted(stem.parent.glob(f"{stem.name}*")) if stem.parent.is_dir() else []
        return repr([(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files])

    def _face(self, path: Path) -> FaceMesh:
        return read_face(path, landmarks=self.landmarks, unit=self.unit, mirrored=self.mirrored)


def read_image_points(path: Path) -> Points:
    """Points (l, 2) or (l, 3) in image pixels; (2, l) and (3, l), as several systems write them, are turned.

    Raises:
        BadFile: not readable, another shape, or not finite.
    """
    try:
        points = np.load(path, allow_pickle=False) if path.suffix == ".npy" else np.loadtxt(path, ndmin=2)
    except (OSError, ValueError) as error:
        raise BadFile(f"{path}: no list of points can be read ({' '.join(str(error).split())})") from error
    points = np.asarray(points, np.float64)
    if points.ndim == 2 and points.shape[0] in (2, 3) and points.shape[1] > 3:
        points = points.T
    if points.ndim != 2 or points.shape[1] not in (2, 3) or not np.isfinite(points).all():
        raise BadFile(f"{path}: holds numbers of shape {points.shape}; give one point a line, x y or x y z")
    return points


def _first(stem: Path, suffixes: tuple[str, ...]) -> Path | None:
    for suffix in suffixes:
        path = stem.with_name(stem.name + suffix)
        if path.is_file():
            return path
    return None
