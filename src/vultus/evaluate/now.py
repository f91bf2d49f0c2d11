"""NoW ("not quite in the wild"): the neutral face of a person from one photo, against the person's scan.

Sanyal et al., "Learning to regress 3D face shape and expression from an image without 3D supervision", CVPR 2019; metrical variant: Zielonka et
al., "Towards metrical reconstruction of human faces", ECCV 2022. Protocol after the repository soubhiksanyal/now_evaluation
(compute_error.py, scan2mesh_computations.py and its metrical twin, cumulative_errors.py); what differs is in docs/evaluate/now.md.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from ..errors import BadFile, BadInput
from ..io.picked_points import read_picked_points
from .benchmark import Curve, Item, ItemScore, Points, Prediction, Row
from .layout import Layout
from .scan import align_points
from .scan_protocol import (
    DISTANCES,
    NOSE_BASE_SEVEN,
    ScanFiles,
    align_least_squares,
    measured_points,
    named_points,
    pooled_curves,
    pooled_rows,
    root_mean_square,
    surface_distances,
)

CHALLENGES = ("multiview_neutral", "multiview_expressions", "multiview_occlusions", "selfie")
CROP_FACTOR = 1.4
"""Of the crop's radius (:func:`.scan_protocol.inner_face`); the FG 2018 challenge, from which the crop comes, has 1.2."""

_HARMLESS = ("_reconstruct", "ndarray", "dtype", "scalar")
_LISTS = {"val": "imagepathsvalidation.txt", "test": "imagepathstest.txt"}

LAYOUT = Layout(
    name="the NoW data set",
    source="https://now.is.tue.mpg.de after registration (research only); the scans of the test set are not given out",
    expected=(
        "imagepathsvalidation.txt (or imagepathstest.txt): lines SUBJECT/CHALLENGE/IMAGE.jpg",
        "scans/SUBJECT/*.obj: the scan in millimetres",
        "scans_lmks_onlypp/SUBJECT/*.pp: seven points picked on it",
        "iphone_pictures/SUBJECT/CHALLENGE/IMAGE.jpg: the photos (also under final_release_version/)",
        "detected_face/SUBJECT/CHALLENGE/IMAGE.npy: face boxes, if there are any (same place)",
    ),
)


@dataclass(frozen=True)
class Now:
    """The benchmark on one copy of its data.

    Attributes:
        items: photos, grouped by challenge. scans: subject -> its scan.
        metrical: meshes are taken as millimetres and only moved; else their scale is free.
    """

    items: tuple[Item, ...]
    scans: Mapping[str, ScanFiles]
    metrical: bool
    name: str = "now"

    def score(self, item: Item, prediction: Prediction) -> ItemScore:
        """Distances in mm from every vertex of the cropped scan to the person's neutral face, aligned to it.

        Raises:
            BadInput: no mesh or no landmarks, or nothing to measure. BadFile: the scan or its points cannot be read.
        """
        face = prediction.person
        picked = named_points(face, NOSE_BASE_SEVEN, self.name, item.key)
        assert face is not None
        files = self.scans[item.person]
        on_scan = seven_picked(files.landmarks)
        points = measured_points(files.mesh, on_scan, CROP_FACTOR, item.key)
        start = align_points(picked, on_scan, with_scale=not self.metrical)
        found = align_least_squares(face, points, start, with_scale=not self.metrical)
        distances = surface_distances(face, found, points)
        values = {
            "median_mm": float(np.median(distances)),
            "mean_mm": float(np.mean(distances)),
            "rmse_mm": root_mean_square(distances),
            "scale": found.scale,
        }
        # Millions of distances per run: a float32 of some millimetres is still good to a nanometre.
        return ItemScore.of(item, values, {DISTANCES: distances.astype(np.float32)}, prediction.seconds)

    def summarise(
        self, scores: Sequence[ItemScore]
    ) -> tuple[tuple[Row, ...], tuple[Curve, ...], tuple[str, ...]]:
        """Median, mean and standard deviation over the points of all photos together, as the board has them; the same per challenge."""
        kind = (
            "metrical: only moved, in millimetres" if self.metrical else "non-metrical: the scale is aligned"
        )
        return pooled_rows(scores), pooled_curves(scores), (f"NoW, {kind}",)


def open_now(folder: Path, *, image_set: str = "val", challenge: str = "", metrical: bool = False) -> Now:
    """Check a copy of the data and list its photos.

    Args:
        folder: the copy (:data:`LAYOUT`).
        image_set: ``val``, ``test``, or ``all`` for both lists.
        challenge: one of :data:`CHALLENGES`; empty for all.
        metrical: the metrical variant.

    Raises:
        BadInput: no such image set or challenge. BadFile: something is missing: it says what.
    """
    if image_set not in (*_LISTS, "all"):
        raise BadInput(f"image set {image_set!r}: choose one of {', '.join((*_LISTS, 'all'))}")
    if challenge and challenge not in CHALLENGES:
        raise BadInput(f"challenge {challenge!r}: choose one of {', '.join(CHALLENGES)}, or none for all")
    lists = list(_LISTS.values()) if image_set == "all" else [_LISTS[image_set]]
    LAYOUT.check(folder, [*lists, "scans", "scans_lmks_onlypp"])
    photos = [photo for name in lists for photo in _listed(folder / name)]
    photos = [p for p in photos if not challenge or p[1] == challenge]
    if not photos:
        raise LAYOUT.incomplete(folder, f"no photo of {challenge or 'any challenge'} in {', '.join(lists)}")
    scans = {subject: _scan_of(folder, subject) for subject in sorted({p[0] for p in photos})}
    pictures, boxes = (_subfolder(folder, name) for name in ("iphone_pictures", "detected_face"))
    items = tuple(
        Item(
            key=f"{subject}/{kind}/{PurePosixPath(image).stem}",
            person=subject,
            group=kind,
            photo=pictures / subject / kind / image if pictures else None,
            box_px=_box(boxes / subject / kind / f"{PurePosixPath(image).stem}.npy") if boxes else None,
        )
        for subject, kind, image in photos
    )
    return Now(items, scans, metrical)


def seven_picked(path: Path) -> Points:
    """The seven landmarks "7 3" of a scan: as in the original, the first seven points of its file.

    Raises:
        BadFile: not readable, or fewer than seven.
    """
    points = read_picked_points(path)
    if len(points) < 7:
        raise BadFile(f"{path}: holds {len(points)} of 7 points; get the file again")
    return points[:7]


def _listed(path: Path) -> list[tuple[str, str, str]]:
    """(subject, challenge, image) per line; whatever stands before these three parts is somebody's own disk."""
    photos = []
    for line in path.read_text(encoding="utf-8").splitlines():
        parts = PurePosixPath(line.strip()).parts
        if not parts:
            continue
        if len(parts) < 3:
            raise BadFile(f"{path}: line {line!r} is not SUBJECT/CHALLENGE/IMAGE; get the list again")
        photos.append((parts[-3], parts[-2], parts[-1]))
    return photos


def _scan_of(folder: Path, subject: str) -> ScanFiles:
    wanted = (f"scans/{subject}/*.obj", f"scans_lmks_onlypp/{subject}/*.pp")
    found = [sorted(folder.glob(pattern)) for pattern in wanted]
    missing = [pattern for pattern, paths in zip(wanted, found, strict=True) if not paths]
    if missing:
        raise LAYOUT.incomplete(folder, f"{', '.join(missing)} not there")
    return ScanFiles(found[0][0], found[1][0])


def _subfolder(folder: Path, name: str) -> Path | None:
    places = (
        folder / name,
        folder / "final_release_version" / name,
        folder / "NoW_Dataset" / "final_release_version" / name,
    )
    return next((place for place in places if place.is_dir()), None)


def _box(path: Path) -> tuple[float, float, float, float] | None:
    """The face box of a photo: left, top, right, bottom in pixels; None where there is none.

    The files are dictionaries that Python 2 pickled into an .npy. A pickle can run code, so only those names are let through that such a file
    needs.
    """
    if not path.is_file():
        return None
    try:
        with path.open("rb") as file:
            if np.lib.format.read_magic(file) == (1, 0):
                np.lib.format.read_array_header_1_0(file)
            else:
                np.lib.format.read_array_header_2_0(file)
            box = _BoxUnpickler(file, encoding="latin1").load().item()
        left, top, right, bottom = (float(box[side]) for side in ("left", "top", "right", "bottom"))
    except (ValueError, KeyError, TypeError, AttributeError, EOFError, pickle.UnpicklingError) as error:
        raise BadFile(
            f"{path}: is not a face box as NoW ships them ({error}); delete it or get it again"
        ) from error
    return left, top, right, bottom


class _BoxUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str):
        module = module.replace("numpy.core", "numpy._core")  # where numpy has it since 1.26
        if module in ("numpy", "numpy._core.multiarray") and name in _HARMLESS:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it names {module}.{name}")
