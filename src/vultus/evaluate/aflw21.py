"""AFLW's 21 landmarks, the visible ones, on 21,080 cropped photos (Koestinger et al. 2011; the crops and truth are 3DDFA's).

Protocol: github.com/cleardusk/3DDFA, benchmark_aflw.py. Points that an annotator could not see are -1 and do not count.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import BadFile, BadInput
from .aflw2000 import read_array
from .benchmark import Curve, Item, ItemScore, Points, Prediction, Row
from .layout import Layout
from .nme import (
    all_row,
    bin_curves,
    bin_rows,
    box_size,
    extent,
    image_points,
    missing_note,
    percent_errors,
    scored_row,
    yaw_bin,
)

IMAGES = 21080

AFLW21_OF_68: tuple[tuple[int, ...], ...] = (
    (17,), (19,), (21,),  # the subject's right brow: outer end, centre, inner end
    (22,), (24,), (26,),  # the left brow: inner end, centre, outer end
    (36,), (36, 37, 38, 39, 40, 41), (39,),  # the right eye: outer corner, centre, inner corner
    (42,), (42, 43, 44, 45, 46, 47), (45,),  # the left eye
    (2,), (31,), (30,), (35,), (14,),  # right ear lobe, nose: right side, tip, left side, left ear lobe
    (48,), (60, 61, 62, 63, 64, 65, 66, 67), (54,),  # mouth: right corner, centre, left corner
    (8,),  # chin
)  # fmt: skip
"""iBUG numbers (from 0) whose mean stands for each of AFLW's points; the model's table ``aflw21`` has the same order."""

LAYOUT = Layout(
    name="AFLW (21 points)",
    source=(
        "https://github.com/cleardusk/3DDFA: test.data.zip as its readme links it, and its folder test.configs;"
        " the photos are AFLW's (TU Graz, research only)"
    ),
    expected=(
        "AFLW_GT_crop/*.jpg, 21080 crops",
        "AFLW_GT_crop.list, their names line by line",
        "AFLW_GT_crop_yaws.npy, AFLW_GT_crop_roi_box.npy, AFLW_GT_pts68.npy and AFLW_GT_pts21.npy, a row per line",
        "all at any depth, so that a clone of 3DDFA with test.data.zip unpacked in it will do",
    ),
)


@dataclass(frozen=True)
class Aflw21:
    """The data set, opened.

    Attributes:
        items: one per crop, in the order of the list; ``group`` is the yaw's bin, ``box_px`` the extent of the 68 fitted points in the crop.
        row_of: key -> row of the arrays.
        points: (n, 21, 2) true landmarks in the frame of the uncropped photo. visible: (n, 21) bool.
        size: (n,) what errors are divided by: sqrt(width * height) of the 68 fitted points.
        roi: (n, 4) left, top, right, bottom of the crop in that frame. crop_px: (width, height) of the crops.
        name: of the benchmark.
    """

    items: tuple[Item, ...]
    row_of: Mapping[str, int]
    points: NDArray[np.float64]
    visible: NDArray[np.bool_]
    size: NDArray[np.float64]
    roi: NDArray[np.float64]
    crop_px: tuple[int, int]
    name: str = "aflw21"

    def score(self, item: Item, prediction: Prediction) -> ItemScore:
        """``nme`` of the visible points in per cent; 68 predicted points are turned into 21 (:data:`AFLW21_OF_68`), 21 taken as they are.

        Raises:
            BadInput: the prediction does not place 68 or 21 landmarks in the crop, or none of the true ones is visible.
        """
        row = self.row_of[item.key]
        points = image_points(prediction, (68, 21))[:, :2]
        if len(points) == 68:
            points = np.stack([points[list(some)].mean(0) for some in AFLW21_OF_68])
        visible = self.visible[row]
        if not visible.any():
            raise BadInput("no visible landmark in the truth: nothing to measure")
        placed = from_crop(points, self.roi[row], self.crop_px)
        errors = percent_errors(placed[visible], self.points[row, visible], self.size[row])
        percent = np.full(len(visible), np.nan)
        percent[visible] = errors
        return ItemScore.of(item, {"nme": float(errors.mean())}, {"percent": percent})

    def summarise(
        self, scores: Sequence[ItemScore]
    ) -> tuple[tuple[Row, ...], tuple[Curve, ...], tuple[str, ...]]:
        """Bins, their mean (the quoted number) and the mean over all; curves of each."""
        bins = {item.key: item.group for item in self.items}
        rows = (
            *bin_rows("NME", scores, "nme", bins),
            all_row("NME", scores, "nme", bins),
            scored_row(scores, len(self.items)),
        )
        notes = ["visible points alone, over the extent of 3DDFA's 68 fitted points"]
        if len(self.items) != IMAGES:
            notes.append(f"{len(self.items)} images in this folder, the full set has {IMAGES}")
        return rows, bin_curves("NME", scores, "nme", bins), (*notes, *missing_note(scores, len(self.items)))


def from_crop(points: Points, roi: NDArray[np.float64], crop_px: tuple[int, int]) -> Points:
    """Crop pixels (n, 2) to the frame of the truth: ``left + x / width * (right - left)``, as benchmark_aflw.py has it.

    Args:
        points: in our pixels, whose corner of the crop is (0, 0); an exact account of Matlab's inclusive boxes would be
            at most half a pixel of the uncropped photo away, and the same in the middle of the crop.
        roi: (4,) left, top, right, bottom.
    """
    return roi[:2] + points * (roi[2:] - roi[:2]) / np.array(crop_px, np.float64)


def to_crop(points: Points, roi: NDArray[np.float64], crop_px: tuple[int, int]) -> Points:
    """The inverse of :func:`from_crop`."""
    return (points - roi[:2]) * np.array(crop_px, np.float64) / (roi[2:] - roi[:2])


def open_aflw21(folder: str | Path) -> Aflw21:
    """Check and read 3DDFA's release of AFLW.

    Raises:
        BadFile: something is missing or does not hold what it should.
    """
    folder = Path(folder)
    endings = ("crop.list", "crop_yaws.npy", "crop_roi_box.npy", "pts68.npy", "pts21.npy")
    names = [f"AFLW_GT_{ending}" for ending in endings]
    LAYOUT.check(folder, [*(f"**/{name}" for name in names), "**/AFLW_GT_crop"])
    paths = [min(folder.glob(f"**/{name}")) for name in names]
    crops = min(folder.glob("**/AFLW_GT_crop"))
    keys = [line.strip() for line in paths[0].read_text(encoding="utf-8").splitlines() if line.strip()]
    stems = [key.rsplit(".", 1)[0] for key in keys]
    if not stems or len(set(stems)) != len(stems):
        raise BadFile(f"{paths[0]}: expected one photo's name per line, each once; copy it again")
    number = len(keys)
    yaws, roi = read_array(paths[1], (number,)), read_array(paths[2], (number, 4))
    fitted = read_array(paths[3], (number, (2, 3), 68)).transpose(0, 2, 1)[..., :2]
    points = read_array(paths[4], (number, 2, 21)).transpose(0, 2, 1)
    if not (roi[:, 2:] > roi[:, :2]).all():
        raise BadFile(
            f"{paths[2]}: a box has no extent, expected left, top, right, bottom per row; copy it again"
        )
    missing = [key for key in keys if not (crops / key).is_file()]
    if missing:
        raise LAYOUT.incomplete(
            folder, f"{len(missing)} of {number} crops not there, e.g. {crops / missing[0]}"
        )
    crop_px = _size_px(crops / keys[0])
    items = tuple(
        Item(stem, stem, yaw_bin(yaw), crops / key, box_px=extent(to_crop(face, box, crop_px)))
        for stem, key, yaw, face, box in zip(stems, keys, yaws, fitted, roi, strict=True)
    )
    return Aflw21(
        items=items,
        row_of={stem: row for row, stem in enumerate(stems)},
        points=points,
        visible=(points != -1).all(-1),
        size=np.array([box_size(face) for face in fitted]),
        roi=roi,
        crop_px=crop_px,
    )


def _size_px(path: Path) -> tuple[int, int]:
    """Width and height; all crops are of one size (120 x 120), so one file's header tells."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as file:
            return file.size
    except (OSError, UnidentifiedImageError) as error:
        raise BadFile(f"{path}: not a readable photo; copy it again") from error
