"""The FaceScape benchmark: faces from single photos, posed and with their expressions, in the wild and in the lab.

Zhu et al., "FaceScape: 3D Facial Dataset and Benchmark for Single-View 3D Face Reconstruction", TPAMI 2023 (arXiv 2111.01082), section 6; data and
evaluator: github.com/zhuhao-nju/facescape, benchmark/. Pose counts: a prediction is shifted in depth and nothing else. What is
measured lies in :mod:`.facescape_depth` and :mod:`.facescape_cylinder`; here are the folder, the items and the table.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import BadInput
from .benchmark import Curve, Item, ItemScore, Points, Prediction, Row
from .facescape_cylinder import compare_on_cylinder
from .facescape_data import (
    LAB_ANGLES,
    LAB_FOCALS,
    SETS,
    WILD_BINS,
    angle_of_view,
    list_items,
    read_camera,
    read_surface,
)
from .facescape_depth import (
    PUPILS_MM,
    depth_shift,
    orthographic_depth,
    perspective_depth,
    to_metric_camera,
    to_orthographic,
)
from .summary import curve, row


@dataclass(frozen=True)
class HeadFrame:
    """Where a head is in the camera's frame: ``p_camera = rotation @ p_head + centre``, its axis y up and its face towards +z."""

    rotation: NDArray[np.float64]
    centre: NDArray[np.float64]

    def to_head(self, points: Points) -> Points:
        """(n, 3) from the camera's frame."""
        return (points - self.centre) @ self.rotation


@dataclass(frozen=True)
class Facescape:
    """The benchmark on one copy of its data (:func:`open_facescape`).

    Attributes:
        folder: the data. items: every photo, "wild/000", "lab/00_0_00" (subject, focal length, view).
        predefined: arrays of ``code/predef`` by name: "wild_rotations" (400, 3, 3), "wild_head_centers" (400, 3), "wild_pupil_scales" (400,),
            "lab_rotations" (11, 3, 3) by view, "lab_head_centers" (3, 3) by focal length.
    """

    folder: Path
    items: tuple[Item, ...]
    predefined: dict[str, NDArray[np.float64]]
    name: str = "facescape"

    def score(self, item: Item, prediction: Prediction) -> ItemScore:
        """Chamfer distance ("chamfer_mm"), mean normal error ("normal_rad"), true angle ("angle_deg") and "completeness".

        A prediction with a camera is taken from the head's frame into the set's; one without is there already: see docs/evaluate/facescape.md.

        Raises:
            BadInput: no posed mesh, or one that does not meet the face.
            BadFile: a file of the data is damaged.
        """
        if prediction.posed is None:
            raise BadInput(
                f"{item.key}: the FaceScape benchmark measures the face as in the photo (posed) and this prediction has none"
            )
        measure = self._wild if item.key.startswith("wild/") else self._lab
        truth, triangles, predicted, head = measure(item, prediction)
        found = compare_on_cylinder(
            head.to_head(truth), triangles, head.to_head(predicted), prediction.posed.triangles
        )
        values = {
            "chamfer_mm": float(found.distances_mm.mean()), "normal_rad": found.normal_rad,
            "angle_deg": found.true_angle_deg, "completeness": found.completeness,
        }  # fmt: skip
        return ItemScore.of(item, values, {"distance_mm": found.distances_mm})

    def summarise(
        self, scores: Sequence[ItemScore]
    ) -> tuple[tuple[Row, ...], tuple[Curve, ...], tuple[str, ...]]:
        """The published tables: per set, and per angle and (lab) focal length; means over the photos that were solved."""
        rows, curves = [], []
        for name, chosen in _SUBSETS:
            some = [s for s in scores if chosen(s.key)]
            if not some:
                continue
            rows += [
                row(f"Chamfer, {name}", "mm", some, "chamfer_mm"),
                row(f"normal error, {name}", "rad", some, "normal_rad"),
                row(f"completeness, {name}", "", some, "completeness", better="higher"),
            ]
            if name in SETS:
                rows.append(row(f"true normal angle, {name}", "deg", some, "angle_deg"))
                curves.append(
                    curve(f"Chamfer, {name}", np.array([s.values["chamfer_mm"] for s in some]), "mm")
                )
        notes = (
            "normal error: as published, of normals with one added to each coordinate; the true angle stands beside it",
        )
        return tuple(rows), tuple(curves), notes

    def _wild(
        self, item: Item, prediction: Prediction
    ) -> tuple[Points, NDArray[np.int64], Points, HeadFrame]:
        """Truth (v, 3), (f, 3) and prediction in mm in the orthographic frame, aligned in depth, and the head there."""
        stem = item.key.split("/")[1]
        truth, triangles = read_surface(self.folder / "data" / "wild_gt_mesh" / f"{stem}.obj")
        face = prediction.posed
        assert face is not None
        predicted = face.vertices if prediction.camera is None else to_orthographic(face, prediction.camera)
        gap = depth_shift(orthographic_depth(truth, triangles), orthographic_depth(predicted, face.triangles))
        number = int(stem)
        unit_mm = float(self.predefined["wild_pupil_scales"][number])
        head = HeadFrame(
            self.predefined["wild_rotations"][number], unit_mm * self.predefined["wild_head_centers"][number]
        )
        return unit_mm * truth, triangles, unit_mm * (predicted - (0, 0, gap)), head

    def _lab(self, item: Item, prediction: Prediction) -> tuple[Points, NDArray[np.int64], Points, HeadFrame]:
        """Truth (v, 3), (f, 3) and prediction in mm in the camera's frame, aligned in depth, and the head there."""
        subject, focal, view = item.key.split("/")[1].split("_")
        truth, triangles = read_surface(self.folder / "data" / "lab_gt_mesh" / f"{subject}.obj")
        intrinsics, pose = read_camera(self.folder / "data" / "lab_cam" / f"{subject}_{focal}_{view}.json")
        truth = PUPILS_MM * (truth @ pose[:, :3].T + pose[:, 3])
        face = prediction.posed
        assert face is not None
        predicted = (
            face.vertices
            if prediction.camera is None
            else to_metric_camera(face, prediction.camera, intrinsics)
        )
        true_depth = perspective_depth(truth, triangles, intrinsics)
        depth = perspective_depth(predicted, face.triangles, intrinsics)
        gap = depth_shift(true_depth, depth)
        # In perspective a shift in depth that keeps the outline is a scaling about the camera.
        mean = float(true_depth[np.isfinite(true_depth) & np.isfinite(depth)].mean())
        head = HeadFrame(
            self.predefined["lab_rotations"][int(view)], self.predefined["lab_head_centers"][int(focal)]
        )
        return truth, triangles, predicted * (mean / (mean - gap)), head


def open_facescape(folder: Path, *, sets: Sequence[str] = ()) -> Facescape:
    """Check a copy of the benchmark and list its photos.

    Args:
        folder: ``benchmark/`` of the repository, its data unpacked. sets: "wild", "lab" or both; all that are there when not given.

    Raises:
        BadInput: another set.
        BadFile: something is missing or damaged; the message says what is expected where, and who gives it.
    """
    items, predefined = list_items(folder, sets)
    return Facescape(folder, items, predefined)


def _wild_bin(index: int) -> Callable[[str], bool]:
    return lambda key: key.startswith("wild/") and min(int(key[5:]) // 100, 3) == index


def _lab_angle(index: int) -> Callable[[str], bool]:
    """As published, of the longest focal length alone."""
    return lambda key: (
        key.startswith("lab/") and angle_of_view(int(key.split("_")[2])) == index and key.split("_")[1] == "0"
    )


def _lab_focal(index: int) -> Callable[[str], bool]:
    return lambda key: key.startswith("lab/") and int(key.split("_")[1]) == index


_SUBSETS: tuple[tuple[str, Callable[[str], bool]], ...] = (
    ("wild", lambda key: key.startswith("wild/")),
    *((f"wild, {name}", _wild_bin(i)) for i, name in enumerate(WILD_BINS)),
    ("lab", lambda key: key.startswith("lab/")),
    *((f"lab, {name}", _lab_angle(i)) for i, name in enumerate(LAB_ANGLES)),
    *((f"lab, {name}", _lab_focal(i)) for i, name in enumerate(LAB_FOCALS)),
)
