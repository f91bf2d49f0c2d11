"""REALY: faces from photos against 100 scans, region by region.

Chai et al., "REALY: Rethinking the Evaluation of 3D Face Reconstruction", ECCV 2022; data and evaluator: github.com/czh-98/REALY. What is measured
lies in :mod:`.realy_regions` and :mod:`.realy_bend`; here are the folder, the items and the table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import BadFile, BadInput
from ..io.obj import read_obj
from .benchmark import Curve, FaceMesh, Item, ItemScore, Points, Prediction, Row
from .layout import Layout
from .realy_keypoints import NUM_KEYPOINTS, KeypointTable, carry_over, read_keypoints, read_table
from .realy_regions import REGIONS, ScanRegion, region_errors
from .summary import curve, row

GROUPS = ("frontal", "side")
LAYOUT = Layout(
    "REALY",
    "the Headspace data set of the University of York (www-users.york.ac.uk/~np7/research/Headspace): an agreement signed by university staff that "
    "names REALY; metrical_scale.txt and the templates come from github.com/czh-98/REALY, data/",
    (
        "REALY_HIFI3D_keypoints/ID.obj, 85 vertices each",
        "REALY_scan_region/ID/nose.obj, mouth.obj, forehead.obj, cheek.obj",
        "metrical_scale.txt, one number a scan",
        "REALY_image/crop_image_frontal_512x512/ID.jpg and further crop_image_* folders of side views (not needed for meshes from files)",
        "templates NAME.obj with NAME.txt, the key points of their topologies (HIFI3D, BFM09, FLAME, ...)",
    ),
)


@dataclass(frozen=True)
class Realy:
    """The benchmark on one copy of its data (:func:`open_realy`).

    Attributes:
        folder: the data. items: every photo. scale_mm: (s,) millimetres per unit of each scan, from ID 1.
        tables: the topologies whose key points are known. keypoints: folder of key points per prediction, or None.
    """

    folder: Path
    items: tuple[Item, ...]
    scale_mm: NDArray[np.float64]
    tables: tuple[KeypointTable, ...]
    keypoints: Path | None = None
    name: str = "realy"

    def score(self, item: Item, prediction: Prediction) -> ItemScore:
        """Mean distance in mm of nose, mouth, forehead, cheek, and their mean.

        Raises:
            BadInput: no mesh, or no key points on it.
            BadFile: a file of the scan is damaged.
        """
        mesh = prediction.posed or prediction.neutral
        if mesh is None:
            raise BadInput(f"{item.key}: REALY measures a mesh and this prediction has none")
        keypoints, carried = self._keypoints_of(item, mesh)
        scan = {
            name: _read_region(self.folder / "REALY_scan_region" / item.person / f"{name}.obj")
            for name in REGIONS
        }
        truth = _read_points(self.folder / "REALY_HIFI3D_keypoints" / f"{item.person}.obj")
        if len(truth) != NUM_KEYPOINTS:
            raise BadFile(
                f"{self.folder}/REALY_HIFI3D_keypoints/{item.person}.obj: {NUM_KEYPOINTS} vertices expected, found {len(truth)}"
            )
        found = region_errors(mesh.vertices, mesh.triangles, keypoints, scan, truth)
        samples = {region: errors * self.scale_mm[int(item.person) - 1] for region, errors in found.items()}
        values = {region: float(errors.mean()) for region, errors in samples.items()}
        values["all"] = float(np.mean([values[region] for region in REGIONS]))
        values["carried_keypoints"] = float(carried)
        return ItemScore.of(item, values, samples)

    def summarise(
        self, scores: Sequence[ItemScore]
    ) -> tuple[tuple[Row, ...], tuple[Curve, ...], tuple[str, ...]]:
        """The board's numbers: mean and standard deviation over photos per region, and the mean of the four; frontal and side apart."""
        rows, curves = [], []
        for group in GROUPS:
            some = [s for s in scores if s.group == group]
            if not some:
                continue
            rows += [row(f"{region}, {group}", "mm", some, region) for region in (*REGIONS, "all")]
            rows += [
                row(f"{region}, {group}, deviation", "mm", some, region, statistic=_deviation, better="")
                for region in REGIONS
            ]
            curves += [
                curve(f"{region}, {group}", np.array([s.values[region] for s in some]), "mm")
                for region in (*REGIONS, "all")
            ]
        notes = []
        carried = sum(s.values["carried_keypoints"] > 0 for s in scores)
        if carried:
            notes.append(
                f"{carried} of {len(scores)} without a table of their topology: 68 landmarks as key points, the others carried over from HIFI3D; "
                "not the board's key points"
            )
        return tuple(rows), tuple(curves), tuple(notes)

    def _keypoints_of(self, item: Item, mesh: FaceMesh) -> tuple[Points, bool]:
        """A prediction's key points (85, 3), and whether they are landmarks with the rest carried over."""
        if self.keypoints is not None:
            given = read_keypoints(self.keypoints, item.key)
            if given is not None:
                return given, False
        fitting = [table for table in self.tables if table.num_vertices == len(mesh.vertices)]
        if len(fitting) > 1:
            names = ", ".join(table.name for table in fitting)
            raise BadInput(
                f"{item.key}: {names} all have {len(mesh.vertices)} vertices: pass keypoints NAME.txt to choose"
            )
        if fitting:
            return fitting[0].on(mesh.vertices), False
        hifi = next((table for table in self.tables if table.name == "HIFI3D"), None)
        if hifi is None:
            raise BadInput(
                f"{item.key}: no table of key points for a mesh of {len(mesh.vertices)} vertices, and no HIFI3D.obj and HIFI3D.txt in "
                f"{self.folder} to carry them over from: take both from github.com/czh-98/REALY, or pass keypoints"
            )
        template = _read_points(self.folder / "HIFI3D.obj")
        return carry_over(mesh, hifi.on(template)), True


def open_realy(folder: Path, *, keypoints: Path | None = None) -> Realy:
    """Check a copy of REALY and list its photos: "frontal/1", "side/1_2" and so on.

    Without images the frontal items alone are listed, one per scan.

    Args:
        folder: REALY's data, or a checkout of its repository whose ``data/`` holds them.
        keypoints: for topologies without a table in the folder: ``NAME.txt`` with ``NAME.obj`` beside it, which is then asked
            instead of the folder's, or a folder with the 85 points of every prediction as ``KEY.keypoints.npy`` or ``.txt``.

    Raises:
        BadFile: something is missing or damaged; the message says what is expected where, and who gives it.
    """
    root = folder / "data" if (folder / "data" / "REALY_scan_region").is_dir() else folder
    LAYOUT.check(root, ("REALY_HIFI3D_keypoints/*.obj", "REALY_scan_region/*/nose.obj", "metrical_scale.txt"))
    people = sorted(
        (p.stem for p in (root / "REALY_HIFI3D_keypoints").glob("*.obj") if p.stem.isdigit()), key=int
    )
    missing = [
        f"REALY_scan_region/{person}/{region}.obj"
        for person in people
        for region in REGIONS
        if not (root / "REALY_scan_region" / person / f"{region}.obj").is_file()
    ]
    if missing:
        raise LAYOUT.incomplete(root, f"{', '.join(missing[:4])}{' and more' * (len(missing) > 4)} not there")
    try:
        scale_mm = np.loadtxt(root / "metrical_scale.txt", ndmin=1)
    except ValueError as error:
        raise LAYOUT.incomplete(root, f"metrical_scale.txt is damaged ({error})") from error
    if not people or len(scale_mm) < int(people[-1]):
        raise LAYOUT.incomplete(
            root,
            f"metrical_scale.txt has {len(scale_mm)} numbers for scans up to {people[-1] if people else 'none'}",
        )
    if keypoints is not None and keypoints.is_file():
        hifi = root / "HIFI3D.txt"
        paths = [keypoints, *([hifi] if hifi.is_file() and keypoints.stem != "HIFI3D" else [])]
        tables = _without_twins([read_table(path) for path in paths])
        return Realy(root, _items(root, people), scale_mm, tables)
    if keypoints is not None and not keypoints.is_dir():
        raise BadFile(f"{keypoints}: no such folder or table of key points")
    tables = tuple(
        read_table(path) for path in sorted(root.glob("*.txt")) if path.with_suffix(".obj").is_file()
    )
    return Realy(root, _items(root, people), scale_mm, tables, keypoints)


def _without_twins(tables: Sequence[KeypointTable]) -> tuple[KeypointTable, ...]:
    """The first table of every number of vertices: the user's own is asked before HIFI3D's."""
    first = {table.num_vertices: table for table in reversed(tables)}
    return tuple(table for table in tables if first[table.num_vertices] is table)


def _items(root: Path, people: Sequence[str]) -> tuple[Item, ...]:
    """Photos are called ``ID`` or ``ID_VIEW``; those with depth maps beside them are the same photos uncropped, and left out."""
    items = []
    for folder in sorted(
        p for p in root.glob("REALY_image/crop_image*") if p.is_dir() and "depth" not in p.name
    ):
        group = "frontal" if "frontal" in folder.name else "side"
        photos = [p for p in folder.iterdir() if p.suffix.lower() in (".jpg", ".jpeg", ".png")]
        photos = [p for p in photos if p.stem.replace("_", "").isdigit() and p.stem.split("_")[0] in people]
        for photo in sorted(photos, key=lambda p: [int(part) for part in p.stem.split("_")]):
            items.append(Item(f"{group}/{photo.stem}", photo.stem.split("_")[0], group, photo))
    return tuple(items) or tuple(Item(f"frontal/{person}", person, "frontal") for person in people)


def _read_region(path: Path) -> ScanRegion:
    mesh = read_obj(path)
    return ScanRegion(mesh.vertices.numpy().astype(np.float64), mesh.topology.triangles.numpy())


def _read_points(path: Path) -> Points:
    """The vertices of an OBJ, which may have no triangles."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        return np.array([line.split()[1:4] for line in lines if line.startswith("v ")], float).reshape(-1, 3)
    except (OSError, ValueError) as error:
        raise BadFile(f"{path}: cannot be read as an OBJ of points ({error}); unpack it again") from error


def _deviation(values: NDArray[np.float64]) -> float:
    """The unbiased standard deviation, as the board quotes it."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")
