"""The Stirling/ESRC challenge: the neutral face of a person from one photo (high or low quality), against the person's scan.

Feng et al., "Evaluation of dense 3D reconstruction from 2D face images in the wild", FG 2018. Protocol after the repository
patrikhuber/fg2018-competition (compute_vertices_to_mesh_distances.py; issues 2, 4 and 9 for which files belong together); what differs is in
docs/evaluate/esrc.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import BadFile, BadInput
from .benchmark import Curve, Item, ItemScore, Points, Prediction, Row
from .layout import Layout
from .scan import align_points
from .scan_protocol import (
    DISTANCES,
    NOSE_BASE_SEVEN,
    ScanFiles,
    align_least_squares,
    groups_of,
    measured_points,
    named,
    named_points,
    of_group,
    pooled_curves,
    pooled_rows,
    root_mean_square,
    surface_distances,
)
from .summary import row

QUALITIES = ("HQ", "LQ")
CROP_FACTOR = 1.2
"""Of the crop's radius (:func:`.scan_protocol.inner_face`)."""

PHOTOS = "Subset_2D_FG2018"
_PHOTO_FOLDERS = (PHOTOS, f"Real_images__{PHOTOS}")
_IMAGES = (".jpg", ".jpeg", ".png")

LAYOUT = Layout(
    name="the Stirling/ESRC data",
    source="http://pics.stir.ac.uk/ESRC (photos and scans, on request) and https://github.com/patrikhuber/fg2018-competition (annotations)",
    expected=(
        f"{PHOTOS}/HQ/SUBJECT_NUMBER.jpg and {PHOTOS}/LQ/...: the photos",
        "F_3D_N/SUBJECT_N.obj and M_3D_N/...: neutral scans in millimetres",
        "annotations/F_3D_N/SUBJECT_N.lnd and annotations/M_3D_N/...: seven points on each",
    ),
)


@dataclass(frozen=True)
class Esrc:
    """The benchmark on one copy of its data.

    Attributes:
        items: photos, high quality first; or one per person. scans: person -> scan.
        left_out: photos of people without a scan or points on it.
    """

    items: tuple[Item, ...]
    scans: Mapping[str, ScanFiles]
    left_out: tuple[str, ...] = ()
    name: str = "esrc"

    def score(self, item: Item, prediction: Prediction) -> ItemScore:
        """Distances in mm from every vertex of the cropped scan to the person's neutral face, aligned by seven landmarks alone.

        Raises:
            BadInput: no mesh or no landmarks, or nothing to measure. BadFile: the scan or its points cannot be read.
        """
        face = prediction.person
        picked = named_points(face, NOSE_BASE_SEVEN, self.name, item.key)
        assert face is not None
        files = self.scans[item.person]
        on_scan = read_lnd(files.landmarks)
        points = measured_points(files.mesh, on_scan, CROP_FACTOR, item.key)
        start = align_points(picked, on_scan, with_scale=True)
        distances = surface_distances(face, start, points)
        refined = surface_distances(face, align_least_squares(face, points, start, with_scale=True), points)
        values = {
            "rmse_mm": root_mean_square(distances),
            "mean_mm": float(np.mean(distances)),
            "median_mm": float(np.median(distances)),
            "refined_rmse_mm": root_mean_square(refined),
            "scale": start.scale,
        }
        return ItemScore.of(item, values, {DISTANCES: distances.astype(np.float32)}, prediction.seconds)

    def summarise(
        self, scores: Sequence[ItemScore]
    ) -> tuple[tuple[Row, ...], tuple[Curve, ...], tuple[str, ...]]:
        """The challenge's 3D-RMSE, the pooled numbers that later papers quote, and the RMSE once the surfaces themselves are aligned."""
        groups = groups_of(scores)
        means = tuple(
            row(named(what, group), "mm", of_group(scores, group), value)
            for what, value in (
                ("3D-RMSE", "rmse_mm"),
                ("3D-RMSE, surfaces aligned", "refined_rmse_mm"),
            )
            for group in groups
        )
        notes = [
            "ESRC: aligned by seven landmarks with scale, as the challenge does; 'surfaces aligned' is ours"
        ]
        if self.left_out:
            notes.append(
                f"{len(self.left_out)} photos left out, their people have no scan or no points on it: {', '.join(self.left_out[:5])}"
            )
        return (*means, *pooled_rows(scores)), pooled_curves(scores), tuple(notes)


def open_esrc(folder: Path, *, quality: str = "", per_person: bool = False) -> Esrc:
    """Check a copy of the data and list its photos.

    Args:
        folder: the copy (:data:`LAYOUT`).
        quality: ``HQ`` or ``LQ``; empty for both.
        per_person: one item per person with photos instead of one per photo: for faces made from several photos. Their keys are the people's
            names, and they have no photo.

    Raises:
        BadInput: no such quality. BadFile: something is missing: it says what.
    """
    if quality and quality not in QUALITIES:
        raise BadInput(f"quality {quality!r}: choose HQ or LQ, or none for both")
    chosen = (quality,) if quality else QUALITIES
    LAYOUT.check(folder, ["annotations", "[FM]_3D_N"])
    pictures = next((folder / name for name in _PHOTO_FOLDERS if (folder / name).is_dir()), None)
    if pictures is None:
        raise LAYOUT.incomplete(folder, f"{PHOTOS} not there")
    LAYOUT.check(pictures, chosen)
    scans = _scans(folder)
    photos = [
        (kind, path)
        for kind in chosen
        for path in sorted((pictures / kind).iterdir())
        if path.suffix.lower() in _IMAGES
    ]
    known = [(kind, path) for kind, path in photos if _person(path) in scans]
    if not known:
        raise LAYOUT.incomplete(
            folder, f"none of the {len(photos)} photos shows a person with a scan and points on it"
        )
    if per_person:
        items = tuple(Item(key=person, person=person) for person in sorted({_person(p) for _, p in known}))
    else:
        items = tuple(Item(f"{kind}/{p.stem}", _person(p), kind, p) for kind, p in known)
    left_out = tuple(f"{kind}/{p.name}" for kind, p in photos if _person(p) not in scans)
    return Esrc(items, scans, left_out)


def read_lnd(path: Path) -> Points:
    """The seven landmarks "7 3" of a scan: lines of a number from 1 to 7 and x, y, z in millimetres.

    Eye corners from the subject's right to its left, base of the nose, right and left mouth corner.

    Raises:
        BadFile: not readable, or not these seven.
    """
    try:
        rows = [[float(word) for word in line.split()] for line in path.read_text("utf-8").splitlines()]
    except OSError as error:
        raise BadFile(
            f"{path}: cannot be read ({error.strerror}); check the path and its permissions"
        ) from error
    except ValueError as error:
        raise BadFile(f"{path}: is not a file of landmarks ({error}); get it again") from error
    rows = [row for row in rows if row]
    if [row[0] for row in rows] != list(range(1, 8)) or any(len(row) != 4 for row in rows):
        raise BadFile(f"{path}: must hold seven lines 'NUMBER X Y Z' from 1 to 7; get it again")
    points = np.array(rows)[:, 1:]
    if not np.isfinite(points).all():
        raise BadFile(f"{path}: a landmark is not finite; get it again")
    return points


def _scans(folder: Path) -> dict[str, ScanFiles]:
    """Person -> neutral scan and points; names in the copies differ in case (F1001_N.obj, f1001_N.lnd)."""
    scans = {}
    for part in ("F_3D_N", "M_3D_N"):
        points = {path.stem.upper(): path for path in sorted((folder / "annotations" / part).glob("*.lnd"))}
        for mesh in sorted((folder / part).glob("*.obj")):
            stem = mesh.stem.upper()
            if stem.endswith("_N") and stem in points:
                scans[stem.removesuffix("_N")] = ScanFiles(mesh, points[stem])
    return scans


def _person(photo: Path) -> str:
    return photo.stem.split("_")[0].upper()
