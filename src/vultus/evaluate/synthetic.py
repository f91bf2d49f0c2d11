"""``synthetic``: generated heads whose shape, pose, focal length and landmarks are known; anybody can make them, nothing needs a licence.

A protocol of vultus on the folder that ``vultus dataset synthetic`` writes (docs/evaluate/synthetic.md). Shape is that of the *neutral* person;
everything else is measured in the photo. Heads of the bundled model are bent by a random map that no code of it explains, yet a method
that uses this model has an advantage on them: the two groups are always reported apart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import BadInput
from ..io.meshes import read_mesh
from .benchmark import Curve, Item, ItemScore, Points, Prediction, Row
from .layout import Layout
from .nme import box_size, image_points, percent_errors
from .regions import REGIONS
from .scan_score import COMPLETE_MM, score_against_scan
from .scan_truth import truth_of_scan
from .summary import curve, row
from .synthetic_head import SyntheticHead, camera_errors, picture_errors, read_head, seen_by

LAYOUT = Layout(
    "a set of synthetic heads",
    "`vultus dataset synthetic -o FOLDER` (docs/evaluate/synthetic.md)",
    ("FOLDER/dataset.json", "FOLDER/NNN/photo.png, camera.json, landmarks.json, neutral.ply, mask.png, truth.npz, one folder per head"),
)  # fmt: skip
YAW_BINS = (("0-15", 0.0, 15.0), ("15-30", 15.0, 30.0), ("30-60", 30.0, float("inf")))
"""Of the absolute yaw in degrees; an upper end belongs to its bin. The last one has none: a set may be made with more than 60."""
_NEEDED = ("photo.png", "camera.json", "landmarks.json", "neutral.ply", "mask.png", "truth.npz")
_SHOWN: tuple[tuple[str, str, str, str], ...] = (
    ("similarity_median_mm", "similarity median", "mm", "lower"), ("similarity_mean_mm", "similarity mean", "mm", "lower"),
    ("rigid_median_mm", "rigid median", "mm", "lower"), ("rigid_mean_mm", "rigid mean", "mm", "lower"),
    ("similarity_chamfer_mm", "similarity Chamfer", "mm", "lower"), ("rigid_chamfer_mm", "rigid Chamfer", "mm", "lower"),
    ("similarity_corresponded_median_mm", "similarity corresponded, median", "mm", "lower"),
    ("similarity_corresponded_mean_mm", "similarity corresponded, mean", "mm", "lower"),
    ("similarity_completeness_percent", f"similarity within {COMPLETE_MM:.0f} mm", "%", "higher"),
    ("similarity_normal_deg", "similarity normals", "deg", "lower"),
    *((f"similarity_{name}_mm", f"similarity, {name}", "mm", "lower") for name in REGIONS),
    ("nme_percent", "landmarks, NME", "%", "lower"), ("pose_deg", "pose", "deg", "lower"),
    ("pose_aligned_deg", "pose, head frames aligned", "deg", "lower"), ("focal_percent", "focal length", "%", "lower"),
    ("depth_percent", "distance", "%", "lower"), ("l1", "drawn again, L1", "", "lower"), ("psnr_db", "drawn again, PSNR", "dB", "higher"),
    ("ssim", "drawn again, SSIM", "", "higher"), ("coverage_percent", "drawn again, share of the skin", "%", "higher"),
)  # fmt: skip
_IN_PARTS = ("similarity_median_mm", "rigid_median_mm", "nme_percent", "pose_aligned_deg", "focal_percent", "psnr_db")  # fmt: skip


@dataclass(frozen=True)
class SyntheticBenchmark:
    """The benchmark; make it with :func:`open_synthetic`."""

    items: tuple[Item, ...]
    heads: Mapping[str, SyntheticHead]
    focal: Literal["known", "unknown"]
    corresponded: bool = False
    name: str = "synthetic"

    def score(self, item: Item, prediction: Prediction) -> ItemScore:
        """Measure whatever of shape, landmarks, pose, focal length and picture the prediction has.

        Raises:
            BadInput: it has none of them, or something that cannot be measured.
        """
        head = self.heads[item.key]
        values: dict[str, float] = {}
        samples: dict[str, NDArray[Any]] = {}
        person = prediction.person
        if person is not None and person.landmarks is not None:
            mesh = read_mesh(head.folder / "neutral.ply")
            truth = truth_of_scan(
                mesh.vertices.double().numpy(), mesh.topology.triangles.numpy(), head.neutral
            )
            found, distances = score_against_scan(person, truth, corresponded=self.corresponded)
            values |= found
            samples |= distances
        in_photo = prediction.points_px is not None or (
            prediction.camera is not None and prediction.posed is not None and _has_68(prediction.posed.landmarks)
        )  # fmt: skip
        if in_photo:
            true_px = seen_by(head.camera, head.posed)
            errors = percent_errors(image_points(prediction), true_px, box_size(true_px))
            values["nme_percent"] = float(errors.mean())
            samples["landmark_percent"] = errors.astype(np.float32)
        if prediction.camera is not None:
            values |= camera_errors(prediction, head)
        if prediction.image is not None and prediction.drawn is not None:
            values |= picture_errors(prediction.image, prediction.drawn, head.folder)
        if not values:
            raise BadInput(
                "nothing to measure: give a mesh with landmarks, 68 points in the photo, a camera or a picture"
            )
        return ItemScore.of(item, values, samples, prediction.seconds)

    def summarise(
        self, scores: Sequence[ItemScore]
    ) -> tuple[tuple[Row, ...], tuple[Curve, ...], tuple[str, ...]]:
        """Means over heads: all numbers of all heads, the main ones per group, bin of yaw, and with or without something before the face."""
        have = {value for score in scores for value in score.values}
        shown = [entry for entry in _SHOWN if entry[0] in have]
        rows = [row(what, unit, scores, value, better=better) for value, what, unit, better in shown]
        for part, belongs in self._parts().items():
            some = [score for score in scores if belongs(score)]
            if some and len(some) < len(scores):
                rows += [
                    row(f"{part}: {what}", unit, some, value, better=better)
                    for value, what, unit, better in shown
                    if value in _IN_PARTS
                ]
        curves = []
        for group in ("ict", "bundled"):
            errors = [s.samples["distance_mm"] for s in scores if s.group == group and "distance_mm" in s.samples]  # fmt: skip
            if errors:
                curves.append(curve(group, np.concatenate(errors), "mm"))
        notes = [
            f"{len(scores)} heads, focal length {'told' if self.focal == 'known' else 'not told'}; means over heads; shape is of the neutral person"
        ]
        if any(score.group == "bundled" for score in scores):
            notes.append(
                "bundled heads are the bundled model's own, bent: methods that use it have an advantage there, quote the ict group where there is one"
            )
        return tuple(rows), tuple(curves), tuple(notes)

    def _parts(self) -> dict[str, Callable[[ItemScore], bool]]:
        parts: dict[str, Callable[[ItemScore], bool]] = {
            group: lambda score, group=group: score.group == group for group in ("ict", "bundled")
        }
        for name, low, high in YAW_BINS:
            parts[f"yaw {name}"] = lambda score, low=low, high=high: (
                (low < abs(self.heads[score.key].yaw_deg) <= high)
                or (low == 0 and self.heads[score.key].yaw_deg == 0)
            )
        parts["not occluded"] = lambda score: not self.heads[score.key].occluded
        parts["occluded"] = lambda score: self.heads[score.key].occluded
        return parts


def _has_68(landmarks: Points | None) -> bool:
    return landmarks is not None and len(landmarks) == 68


def open_synthetic(
    folder: str | Path, *, focal: Literal["known", "unknown"] = "unknown", corresponded: bool = False
) -> SyntheticBenchmark:
    """Open a set of generated heads.

    Args:
        focal: whether the methods are told the focal length.
        corresponded: also compare points that mean the same (:mod:`.corresponded`), which takes seconds per head.

    Raises:
        BadFile: no such folder, or a file is missing or damaged. BadInput: another ``focal``.
    """
    folder = Path(folder)
    if focal not in ("known", "unknown"):
        raise BadInput(f"focal {focal}: say known or unknown")
    LAYOUT.check(folder, ("dataset.json", "*/camera.json"))
    items, heads = [], {}
    # Folders whose name starts with a dot are what an interrupted run has left.
    for place in sorted(path.parent for path in folder.glob("[!.]*/camera.json")):
        missing = [name for name in _NEEDED if not (place / name).is_file()]
        if missing:
            raise LAYOUT.incomplete(place, f"{', '.join(missing)} not there")
        head, group = read_head(place)
        heads[place.name] = head
        told = float(head.camera.focal_px) if focal == "known" else None
        items.append(Item(place.name, place.name, group, place / "photo.png", told))
    if not items:
        raise LAYOUT.incomplete(folder, "no finished head in it")
    return SyntheticBenchmark(tuple(items), heads, focal, corresponded)
