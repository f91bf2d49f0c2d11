"""MICC Florence 2D/3D faces: 53 people with scans and videos; two protocols that share them.

- Mean distance over the distance of the outer eye corners, in per cent: Jackson et al., "Large pose 3D face reconstruction from a single
  image", ICCV 2017, and Feng et al. (PRNet), ECCV 2018.
- Root mean square distance within 95 mm of the tip of the nose, in mm: Tran et al., CVPR 2017; Deng et al. (Deep3D), CVPRW 2019 (Y. Deng in
  microsoft/Deep3DFaceReconstruction#23).

No evaluation code of either is public; what had to be decided here is in docs/evaluate/florence.md.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import BadFile, BadInput
from ..io.picked_points import read_picked_points
from .benchmark import SEVEN, Curve, FaceMesh, Item, ItemScore, Points, Prediction, Row
from .layout import Layout
from .scan import FACE_RADIUS_MM, align_points, face_area
from .scan_protocol import (
    DISTANCES,
    ScanFiles,
    align_least_squares,
    cropped,
    groups_of,
    named,
    named_points,
    of_group,
    pooled_curves,
    root_mean_square,
    scan_points,
    surface_distances,
)
from .summary import row

SCANS = ("frontal1", "frontal2")
_IMAGES = (".jpg", ".jpeg", ".png", ".bmp")

LAYOUT = Layout(
    name="MICC Florence",
    source="https://www.micc.unifi.it/resources/datasets/florence-3d-faces (scans, on request) and "
    "https://github.com/barisgecer/GANFit (MICC_landmarks: 68 points on each)",
    expected=(
        "subject_NN/Model/frontal1/obj/SCAN.obj (and frontal2): scans in millimetres",
        "MICC_landmarks/subject_NN/Model/frontal1/obj/SCAN.ljson, or SCAN.ljson or SCAN.pp (seven points) beside the scan",
        "photos/subject_NN/GROUP/PHOTO.jpg: renderings of the scans or stills of the videos, made by you; without them one prediction per person",
    ),
)


@dataclass(frozen=True)
class Florence:
    """The benchmark on one copy of its data.

    Attributes:
        items: photos, or people where there are no photos. scans: subject -> scan.
        left_out: people without a scan or points on it.
    """

    items: tuple[Item, ...]
    scans: Mapping[str, ScanFiles]
    left_out: tuple[str, ...] = ()
    name: str = "florence"

    def score(self, item: Item, prediction: Prediction) -> ItemScore:
        """Both protocols on the vertices of the scan within 95 mm of the tip of the nose.

        The first takes the face as it is in the photo, the second the neutral one; the alignment has a scale in both.

        Raises:
            BadInput: no mesh or no landmarks, or nothing to measure. BadFile: the scan or its points cannot be read.
        """
        files = self.scans[item.person]
        on_scan, scan = read_landmarks(files.landmarks), scan_points(files.mesh)
        points = cropped(scan, face_area(scan, on_scan[4]), item.key)
        person, posed = prediction.person, prediction.posed or prediction.person
        distances, scale = self._distances(item, person, on_scan, points)
        as_posed = distances if posed is person else self._distances(item, posed, on_scan, points)[0]
        outer_eyes_mm = float(np.linalg.norm(on_scan[0] - on_scan[3]))
        values = {
            "rmse_mm": root_mean_square(distances),
            "mean_mm": float(np.mean(distances)),
            "nme_percent": 100 * float(np.mean(as_posed)) / outer_eyes_mm,
            "scale": scale,
        }
        return ItemScore.of(item, values, {DISTANCES: distances.astype(np.float32)}, prediction.seconds)

    def _distances(self, item: Item, face: FaceMesh | None, on_scan: Points, points: Points):
        picked = named_points(face, SEVEN, self.name, item.key)
        assert face is not None
        start = align_points(picked, on_scan, with_scale=True)
        found = align_least_squares(face, points, start, with_scale=True)
        return surface_distances(face, found, points), found.scale

    def summarise(
        self, scores: Sequence[ItemScore]
    ) -> tuple[tuple[Row, ...], tuple[Curve, ...], tuple[str, ...]]:
        """Means over photos, of everything and of every group; the deviation that Deep3D quotes beside its mean."""
        within = f"within {FACE_RADIUS_MM:.0f} mm"
        rows = tuple(
            row(named(what, group), unit, of_group(scores, group), value, statistic=statistic)
            for what, unit, value, statistic in (
                ("NME", "%", "nme_percent", _mean),
                (f"RMSE {within}", "mm", "rmse_mm", _mean),
                (f"RMSE {within}, standard deviation", "mm", "rmse_mm", _deviation),
                (f"mean distance {within}", "mm", "mean_mm", _mean),
            )
            for group in groups_of(scores)
        )
        notes = [
            "Florence: NME of the face as posed, RMSE of the neutral face; similarity alignment, forehead kept"
        ]
        if self.left_out:
            notes.append(
                f"{len(self.left_out)} people left out, without a scan or points on it: {', '.join(self.left_out[:5])}"
            )
        return rows, pooled_curves(scores), tuple(notes)


def open_florence(folder: Path, *, scan: str = "frontal1") -> Florence:
    """Check a copy of the data and list its photos (or its people, where there are no photos).

    Args:
        folder: the copy (:data:`LAYOUT`).
        scan: ``frontal1`` or ``frontal2``, the two frontal scans of everybody; where a person lacks it, the other one is taken.

    Raises:
        BadInput: no such scan. BadFile: something is missing: it says what.
    """
    if scan not in SCANS:
        raise BadInput(f"scan {scan!r}: choose one of {', '.join(SCANS)}")
    LAYOUT.check(folder, ["subject_*"])
    subjects = sorted(path.name for path in folder.glob("subject_*") if path.is_dir())
    order = sorted(SCANS, key=lambda name: name != scan)
    found = {subject: _scan_of(folder, subject, order) for subject in subjects}
    scans = {subject: files for subject, files in found.items() if files is not None}
    if not scans:
        raise LAYOUT.incomplete(
            folder, f"none of {len(subjects)} people has both a scan and the points on it"
        )
    left_out = tuple(subject for subject in subjects if subject not in scans)
    if not (folder / "photos").is_dir():
        return Florence(tuple(Item(subject, subject) for subject in scans), scans, left_out)
    items = tuple(
        Item(f"{subject}/{path.parent.name}/{path.stem}", subject, path.parent.name, path)
        for subject in scans
        for path in sorted((folder / "photos" / subject).glob("*/*"))
        if path.suffix.lower() in _IMAGES
    )
    if not items:
        raise LAYOUT.incomplete(folder, "photos/subject_NN/GROUP/PHOTO.jpg: not a single one there")
    return Florence(items, scans, left_out)


def read_landmarks(path: Path) -> Points:
    """The seven landmarks "7 3" of a scan (eye corners, tip of the nose, mouth corners), from 68 in an .ljson or seven in a .pp.

    Raises:
        BadFile: not readable, or these seven are not all there.
    """
    points = read_picked_points(path) if path.suffix == ".pp" else _read_ljson(path)
    if len(points) == 68:
        points = points[list(SEVEN)]
    if points.shape != (7, 3) or not np.isfinite(points).all():
        raise BadFile(f"{path}: must hold 7 or 68 finite points, got {points.shape}; get it again")
    return points


def _read_ljson(path: Path) -> Points:
    """Menpo's landmark file: the points of its first group, NaN where one was not marked."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        group = next(iter(content["groups"].values())) if "groups" in content else content
        return np.array(
            [[np.nan if value is None else float(value) for value in p] for p in group["landmarks"]["points"]]
        )
    except OSError as error:
        raise BadFile(
            f"{path}: cannot be read ({error.strerror}); check the path and its permissions"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError, StopIteration) as error:
        raise BadFile(f"{path}: is not a landmark file ({error!r}); get it again") from error


def _mean(values: NDArray[np.float64]) -> float:
    return float(np.mean(values))


def _deviation(values: NDArray[np.float64]) -> float:
    return float(np.std(values))


def _scan_of(folder: Path, subject: str, order: Sequence[str]) -> ScanFiles | None:
    for name in order:
        for mesh in sorted((folder / subject / "Model" / name / "obj").glob("*.obj")):
            marked = folder / "MICC_landmarks" / mesh.relative_to(folder).with_suffix(".ljson")
            for path in (marked, mesh.with_suffix(".ljson"), mesh.with_suffix(".pp")):
                if path.is_file():
                    return ScanFiles(mesh, path)
    return None
