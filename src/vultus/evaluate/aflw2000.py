"""AFLW2000-3D: 68 landmarks with depth on 2000 photos of any yaw (Zhu et al., "Face alignment across large poses", CVPR 2016).

Protocol: github.com/cleardusk/3DDFA, benchmark_aflw2000.py; docs/evaluate/aflw2000.md says what is known of the 3D variants.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import BadFile, BadInput
from .benchmark import Curve, Item, ItemScore, Points, Prediction, Row
from .layout import Layout
from .nme import (
    Depth,
    all_row,
    balanced_subset,
    bin_curves,
    bin_rows,
    box_size,
    extent,
    image_points,
    missing_note,
    percent_errors,
    scored_row,
    subset_row,
    yaw_bin,
)

Annotations = Literal["original", "reannotated"]

FROM_MATLAB_PX = -0.5
"""Matlab's first pixel has its centre at 1, ours at 0.5. The release's own demo plots pt3d_68 over imshow, so they are Matlab's pixels."""

IMAGES = 2000
PER_BIN = 232
"""The papers' balanced subset has 696 images: three times the smallest bin of the split by AFLW's label."""

REANNOTATED = "AFLW2000-3D-Reannotated.pts68.npy"
FITTED_YAW = "AFLW2000-3D.pose.npy"
LABEL_YAW = "AFLW2000-3D-new.pose.npy"

LAYOUT = Layout(
    name="AFLW2000-3D",
    source=(
        "http://www.cbsr.ia.ac.cn/users/xiangyuzhu/projects/3DDFA/main.htm (research only; the photos are AFLW's), the .npy files from"
        " https://github.com/cleardusk/3DDFA, folder test.configs"
    ),
    expected=(
        "image*.jpg, 2000 photos",
        "image*.mat beside them with pt3d_68 (3 x 68) and Pose_Para (1 x 7)",
        f"for the re-annotated truth {REANNOTATED}",
        f"if you have them, the yaws {FITTED_YAW} and {LABEL_YAW}",
    ),
)

DEPTHS: tuple[Depth, ...] = ("raw", "mean", "min")
_MEANING = {"raw": "z as is", "mean": "mean z = 0", "min": "min z = 0"}


@dataclass(frozen=True)
class Aflw2000:
    """The data set, opened.

    Attributes:
        items: one per photo, in the order of their names; ``group`` is the yaw's bin by fitted pose, ``box_px`` the extent of pt3d_68.
        truth: key -> (68, 2 or 3) landmarks in our pixels, z towards the camera.
        label_bins: key -> bin by AFLW's label; empty where that file is not there.
        annotations: which truth it is.
        name: of the benchmark.
    """

    items: tuple[Item, ...]
    truth: Mapping[str, Points]
    label_bins: Mapping[str, str]
    annotations: Annotations = "original"
    name: str = "aflw2000"

    def score(self, item: Item, prediction: Prediction) -> ItemScore:
        """NME in per cent: ``nme_2d``, and with depth ``nme_3d_raw``, ``nme_3d_mean``, ``nme_3d_min``.

        Raises:
            BadInput: the prediction does not place 68 landmarks in the photo.
        """
        points, truth = image_points(prediction), self.truth[item.key]
        size = box_size(truth)
        samples = {"percent_2d": percent_errors(points, truth, size)}
        if points.shape[1] == truth.shape[1] == 3:
            samples |= {f"percent_3d_{depth}": percent_errors(points, truth, size, depth) for depth in DEPTHS}
        values = {name.replace("percent", "nme"): float(errors.mean()) for name, errors in samples.items()}
        return ItemScore.of(item, values, samples)

    def summarise(
        self, scores: Sequence[ItemScore]
    ) -> tuple[tuple[Row, ...], tuple[Curve, ...], tuple[str, ...]]:
        """Bins, their mean, the balanced subset and the mean over all, of every variant; curves of 2D and of the mean-z variant."""
        fitted = {item.key: item.group for item in self.items}
        label = self.label_bins
        subset = balanced_subset(label or fitted, PER_BIN)
        variants = {"NME 2D": "nme_2d"} | {
            f"NME 3D ({_MEANING[depth]})": f"nme_3d_{depth}" for depth in DEPTHS
        }
        rows: list[Row] = []
        for name, value in variants.items():
            if not any(value in score.values for score in scores):
                continue
            rows += bin_rows(name, scores, value, fitted)
            if label and value == "nme_2d":
                rows += bin_rows(name, scores, value, label, of="label yaw")
            if subset:
                rows.append(subset_row(name, scores, value, label or fitted, subset))
            rows.append(all_row(name, scores, value, fitted))
        rows.append(scored_row(scores, len(self.items)))
        curves = bin_curves("NME 2D", scores, "nme_2d", fitted)
        curves += bin_curves(f"NME 3D ({_MEANING['mean']})", scores, "nme_3d_mean", fitted)[:1]
        return tuple(rows), curves, self._notes(scores, subset)

    def _notes(self, scores: Sequence[ItemScore], subset: frozenset[str]) -> tuple[str, ...]:
        notes = [f"{self.annotations} landmarks; bins by fitted yaw unless a row says label yaw"]
        if subset:
            inside, by = (
                sum(score.key in subset for score in scores),
                "label" if self.label_bins else "fitted",
            )
            notes.append(
                f"balanced subset by {by} yaw: {len(subset)} images (seed 0), {inside} of them scored"
            )
        if len(self.items) != IMAGES:
            notes.append(f"{len(self.items)} images in this folder, the full set has {IMAGES}")
        if not any("nme_3d_raw" in score.values for score in scores):
            notes.append("no 3D rows: prediction or truth has no z")
        return (*notes, *missing_note(scores, len(self.items)))


def open_aflw2000(folder: str | Path, annotations: Annotations = "original") -> Aflw2000:
    """Check and read a copy of AFLW2000-3D.

    Args:
        folder: as the release unpacks. annotations: ``original`` (pt3d_68 of the .mat files) or ``reannotated`` (the corrected
            ones that 3DDFA gives as a file); their numbers must never be mixed.

    Raises:
        BadFile: something is missing or does not hold what it should. BadInput: no such annotations.
    """
    if annotations not in ("original", "reannotated"):
        raise BadInput(f"annotations {annotations!r}: choose original or reannotated")
    folder = Path(folder)
    LAYOUT.check(folder, ["image*.jpg", *([REANNOTATED] if annotations == "reannotated" else [])])
    photos = sorted(folder.glob("image*.jpg"))
    keys = [photo.stem for photo in photos]
    read = [_read_mat(folder, photo.with_suffix(".mat")) for photo in photos]
    original = [points for points, _ in read]
    fitted = _yaws(folder / FITTED_YAW, len(keys))
    if fitted is None:
        fitted = np.array([yaw for _, yaw in read])
    label = _yaws(folder / LABEL_YAW, len(keys))
    truth = original if annotations == "original" else _reannotated(folder / REANNOTATED, original)
    items = tuple(
        Item(key, key, yaw_bin(yaw), photo, box_px=extent(points))
        for key, yaw, photo, points in zip(keys, fitted, photos, original, strict=True)
    )
    bins = {} if label is None else {key: yaw_bin(yaw) for key, yaw in zip(keys, label, strict=True)}
    return Aflw2000(items, dict(zip(keys, truth, strict=True)), bins, annotations)


def _read_mat(folder: Path, path: Path) -> tuple[Points, float]:
    """Landmarks (68, 3) in our pixels and the fitted yaw in degrees."""
    from scipy.io import loadmat

    if not path.is_file():
        raise LAYOUT.incomplete(folder, f"{path.name} not there")
    try:
        fields = loadmat(path, variable_names=["pt3d_68", "Pose_Para"])
    except Exception as error:  # scipy raises a dozen types on broken files
        raise BadFile(f"{path}: not a readable .mat file ({error}); copy it again") from error
    if "pt3d_68" not in fields:
        raise BadFile(f"{path}: has no pt3d_68; {LAYOUT.advice()}")
    points = np.asarray(fields["pt3d_68"], np.float64)
    pose = np.asarray(fields.get("Pose_Para", ()), np.float64).ravel()
    if points.shape != (3, 68) or not np.isfinite(points).all():
        raise BadFile(
            f"{path}: pt3d_68 has shape {points.shape} or is not finite, expected 3 x 68; copy it again"
        )
    if len(pose) < 3:
        raise BadFile(
            f"{path}: Pose_Para has {len(pose)} numbers, expected pitch, yaw, roll and four more; {LAYOUT.advice()}"
        )
    return _our_pixels(points.T), float(np.degrees(pose[1]))


def _our_pixels(points: Points) -> Points:
    shifted = points.copy()
    shifted[:, :2] += FROM_MATLAB_PX
    return shifted


def _yaws(path: Path, number: int) -> NDArray[np.float64] | None:
    return read_array(path, (number,)) if path.is_file() else None


def _reannotated(path: Path, original: Sequence[Points]) -> list[Points]:
    """(68, 2 or 3) per image; a z that is not there, or zero throughout, is left out.

    Raises:
        BadFile: wrong shape, or rows that do not follow the names of the photos.
    """
    rows = read_array(path, (len(original), (2, 3), 68))
    depth = 3 if rows.shape[1] == 3 and rows[:, 2].any() else 2
    points = [_our_pixels(row.T[:, :depth]) for row in rows]
    away = [percent_errors(new, old, box_size(old)).mean() for new, old in zip(points, original, strict=True)]
    if np.median(away) > 20:
        raise BadFile(
            f"{path}: half of its faces are {np.median(away):.0f} % or more of their size from pt3d_68: its rows must follow"
            " the names of the photos, all of them"
        )
    return points


def read_array(path: Path, shape: Sequence[int | tuple[int, ...]]) -> NDArray[np.float64]:
    """An .npy file as float64.

    Args:
        shape: what it must have; several numbers where each of them will do.

    Raises:
        BadFile: unreadable, of another shape, or not finite.
    """
    try:
        array = np.asarray(np.load(path, allow_pickle=False), np.float64)
    except (OSError, ValueError) as error:
        raise BadFile(f"{path}: not a readable .npy file of numbers ({error}); copy it again") from error
    fits = array.ndim == len(shape) and all(
        size in (wanted if isinstance(wanted, tuple) else (wanted,))
        for size, wanted in zip(array.shape, shape, strict=True)
    )
    if not fits or not np.isfinite(array).all():
        expected = " x ".join(" or ".join(map(str, w)) if isinstance(w, tuple) else str(w) for w in shape)
        raise BadFile(
            f"{path}: has shape {array.shape} or numbers that are not finite, expected {expected}, one row per photo"
        )
    return array
