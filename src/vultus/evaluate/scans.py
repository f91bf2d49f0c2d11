"""``vultus evaluate scan``: predicted meshes against scans of the same people, one or a folder of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ..errors import BadFile, BadInput
from ..io.images import IMAGE_SUFFIXES
from .benchmark import Curve, FaceMesh, Item, ItemScore, Points, Prediction, Row
from .face_file import MESH_SUFFIXES, read_face
from .layout import Layout
from .regions import REGIONS
from .scan_score import COMPLETE_MM, KINDS, score_against_scan
from .scan_truth import ScanTruth, truth_of_scan
from .summary import curve, pooled_row, row

LAYOUT = Layout(
    "a set of scans",
    "you: any scanner, or `vultus dataset capture`",
    (
        "DATA/NAME.obj, .ply or .glb: a scan each",
        "DATA/NAME.json, .npy, .txt, .pp (or NAME_landmarks.*): its 7 or 68 landmarks; searched for where there are none",
        "DATA/photos/NAME.jpg, .png ...: a photo of the person, for methods that take one",
    ),
)
SEVEN_OF_478 = (33, 133, 362, 263, 4, 61, 291)
"""Eye corners, nose tip and mouth corners among the face detector's points."""
FindPoints = Callable[[Points, np.ndarray], Points]
"""Vertices (v, 3) mm and triangles (f, 3) -> the detector's points (478, 3) on them."""


@dataclass(frozen=True)
class ScanCase:
    """One scan.

    Attributes:
        item: its key, person and photo. scan: the file. landmarks: of it, None: beside it, or searched for.
        unit: of its coordinates, None for mm.
    """

    item: Item
    scan: Path
    landmarks: Path | None = None
    unit: str | None = None


@dataclass(frozen=True)
class ScanBenchmark:
    """Scans to be met.

    Attributes:
        cases: the scans. find_points: looks for landmarks where there are none; None: then that is an error.
        corresponded: also compare points that mean the same (:mod:`.corresponded`). num_points: so many points of each scan.
        posed: measure the face as in the photo instead of the neutral person: for scans that make the photo's face.
        kinds: alignments; with scale only, for meshes in units of nobody's.
    """

    cases: tuple[ScanCase, ...]
    find_points: FindPoints | None = None
    corresponded: bool = True
    num_points: int = 20_000
    posed: bool = False
    kinds: tuple[str, ...] = KINDS
    name: str = field(default="scan", init=False)

    @property
    def items(self) -> Sequence[Item]:
        """One per scan."""
        return tuple(case.item for case in self.cases)

    def score(self, item: Item, prediction: Prediction) -> ItemScore:
        """See :func:`~.scan_score.score_against_scan`.

        Raises:
            BadInput: no mesh or no landmarks, or one of them does not belong to this scan. BadFile: the scan cannot be read.
        """
        mesh = prediction.posed if self.posed else prediction.person
        if mesh is None:
            raise BadInput(f"{item.key}: the prediction has no mesh, and a scan is compared with one")
        if mesh.landmarks is None:
            mesh = self._with_landmarks(mesh, "the predicted mesh")
        truth = self.truth(item)
        values, samples = score_against_scan(mesh, truth, corresponded=self.corresponded, kinds=self.kinds)
        return ItemScore.of(item, values, samples)

    def truth(self, item: Item) -> ScanTruth:
        """What of the item's scan counts."""
        case = next(case for case in self.cases if case.item.key == item.key)
        scan = read_face(case.scan, landmarks=case.landmarks, unit=case.unit)
        if scan.landmarks is None:
            scan = self._with_landmarks(scan, str(case.scan))
        assert scan.landmarks is not None
        eyes = (scan.landmarks[36:42], scan.landmarks[42:48]) if len(scan.landmarks) == 68 else ()
        try:
            return truth_of_scan(
                scan.vertices, scan.triangles, scan.landmarks, num_points=self.num_points, eye_outlines=eyes
            )
        except BadInput as error:
            raise BadInput(f"{case.scan}: {error}") from error

    def summarise(
        self, scores: Sequence[ItemScore]
    ) -> tuple[tuple[Row, ...], tuple[Curve, ...], tuple[str, ...]]:
        """Means over the scans of each scan's numbers; the pooled distances as a curve."""
        pooled = np.concatenate([score.samples["distance_mm"] for score in scores])
        return scan_rows(scores, self.kinds), (curve("scan to mesh", pooled, "mm"),), ()

    def _with_landmarks(self, mesh: FaceMesh, name: str) -> FaceMesh:
        if self.find_points is None:
            raise BadInput(f"{name} has no landmarks: give 7 or 68 in a file beside it, or with --landmarks")
        seven = self.find_points(mesh.vertices, mesh.triangles)[list(SEVEN_OF_478)]
        if not np.isfinite(seven).all():
            raise BadInput(f"{name}: not all of its landmarks were found: give them in a file")
        return replace(mesh, landmarks=seven)


def scan_rows(scores: Sequence[ItemScore], kinds: tuple[str, ...] = KINDS) -> tuple[Row, ...]:
    """The table of what :func:`~.scan_score.score_against_scan` measures, means over items; the first kind in full, of others the distances."""
    names = {"similarity": "with scale", "rigid": "rigid"}
    rows: list[Row] = []
    for i, kind in enumerate(kinds):
        label = names[kind]
        wanted = [("median", "median_mm", "mm"), ("mean", "mean_mm", "mm"), ("standard deviation", "std_mm", "mm"),
                  ("Chamfer", "chamfer_mm", "mm"), ("corresponded, median", "corresponded_median_mm", "mm"),
                  ("corresponded, mean", "corresponded_mean_mm", "mm")]  # fmt: skip
        rows += [row(f"{label}: {what}", unit, scores, f"{kind}_{key}") for what, key, unit in wanted]
        if i:
            continue
        rows.append(
            row(
                f"{label}: within {COMPLETE_MM:.0f} mm",
                "%",
                scores,
                f"{kind}_completeness_percent",
                better="higher",
            )
        )
        rows.append(row(f"{label}: normals", "deg", scores, f"{kind}_normal_deg"))
        rows += [row(f"{label}: {region}, median", "mm", scores, f"{kind}_{region}_mm") for region in REGIONS]
        rows.append(
            pooled_row(
                f"{label}: median of all points together",
                "mm",
                scores,
                "distance_mm",
                lambda d: float(np.median(d)),
            )
        )
    return tuple(r for r in rows if r.count)  # fmt: skip


def open_scan(
    data: Path,
    *,
    landmarks: Path | None = None,
    photo: Path | None = None,
    unit: str | None = None,
    find_points: FindPoints | None = None,
    posed: bool = False,
    corresponded: bool = True,
    kinds: tuple[str, ...] = KINDS,
) -> ScanBenchmark:
    """A scan, or a folder of scans.

    Args:
        data: mesh file or folder, see :data:`LAYOUT`. landmarks, photo: of the one scan. unit: of all.

    Raises:
        BadFile: not there, or no scan in it. BadInput: landmarks or photo given for a folder.
    """
    if data.is_dir():
        if landmarks is not None or photo is not None:
            raise BadInput("--landmarks and --photo belong to one scan; in a folder they lie beside each")
        LAYOUT.check(data, ())
        scans = sorted(p for p in data.iterdir() if p.suffix.lower() in MESH_SUFFIXES)
        if not scans:
            raise LAYOUT.incomplete(data, f"no mesh ({', '.join(MESH_SUFFIXES)})")
        cases = [ScanCase(Item(p.stem, p.stem, photo=_photo_of(p)), p, unit=unit) for p in scans]
    elif data.is_file():
        cases = [ScanCase(Item(data.stem, data.stem, photo=photo), data, landmarks, unit)]
    else:
        raise BadFile(f"{data}: no such file or folder; {LAYOUT.advice()}")
    return ScanBenchmark(tuple(cases), find_points, corresponded, posed=posed, kinds=kinds)


def _photo_of(scan: Path) -> Path | None:
    found = [p for p in (scan.parent / "photos").glob(f"{scan.stem}.*") if p.suffix.lower() in IMAGE_SUFFIXES]
    return found[0] if found else None
