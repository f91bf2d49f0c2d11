"""Samples from photos of people: each is fitted, judged, and kept as a crop with its head, or left out for a reason that is written down.

A folder of fits holds one file per kept photo (``fits/<photo>.npz``), one line per photo, kept or not (:data:`RECORDS`), and the recipe.
What has a line is not fitted again, so the same command goes on after an interruption and new photos may be added.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from ..errors import BadFile, BadInput, FaceNotFound
from ..io.files import atomic_file
from ..io.images import list_images
from ..model.morphable import MorphableModel
from .fast_skin import for_test
from .fitted_gates import Gates, Measures, measure, reasons
from .limits import check_limits
from .manifest import Manifest
from .photo_fit import SOURCE, TERMS, PhotoFit, crop_fit, list_fits, read_fit, write_fit
from .recipe import claim
from .sample import Sample

RECORDS = "photos.jsonl"


@dataclass(frozen=True)
class FitOptions:
    """Which photos are fitted, and which fits are kept.

    The defaults of the gates were chosen by looking at the fits of official portraits (docs/profiling.md).

    Raises:
        BadInput: a number out of range, or a folder without photos.
    """

    photos: Path
    """Folder of photos, one person each; of several, the largest face is taken."""
    size_px: int = 450
    """Longest side of a crop; smaller faces are not enlarged."""
    max_landmark_residual: float = 0.027
    """Median distance between landmarks and fit, in eye distances."""
    max_photometric_residual: float = 0.10
    """How far the fit's colours are from the photo's, relative to their brightness (median over the skin)."""
    min_coverage: float = 0.65
    """Share of the face's visible surface that shows skin: less is hair, glasses, masks, hands, or a bad fit."""
    min_face_px: float = 90.0
    """Height of the face in the photo."""
    max_yaw_deg: float = 35.0
    """How far the face may be turned; a photo from the side shows half of it only."""
    split: Literal["all", "train", "test"] = "all"
    """Which photos: all, or one side of the division that `vultus dataset drawn` makes by their names."""
    limit: int = 0
    """Stop after so many photos; 0: all."""

    def __post_init__(self) -> None:
        check_limits(self, {"size_px": (128, 2048), "max_landmark_residual": (0, 1), "max_photometric_residual": (0, 10), "min_coverage": (0, 1),
                  "min_face_px": (16, 10**5), "max_yaw_deg": (0, 90), "limit": (0, 10**7)})  # fmt: skip
        if self.split not in ("all", "train", "test"):
            raise BadInput(f"--split {self.split}: say all, train or test")
        if not photos_of(self):
            of = "" if self.split == "all" else f" for the {self.split} split"
            raise BadInput(f"--photos {self.photos}: no pictures{of} in it; give a folder with portraits")

    @property
    def gates(self) -> Gates:
        """The thresholds alone."""
        return Gates(self.max_landmark_residual, self.max_photometric_residual, self.min_coverage, self.min_face_px, self.max_yaw_deg)  # fmt: skip


def photos_of(options: FitOptions) -> tuple[Path, ...]:
    """The photos to go through, by name."""
    found = list_images(options.photos)
    if options.split != "all":
        found = tuple(path for path in found if for_test(path.name) == (options.split == "test"))
    return found[: options.limit or None]


def manifest_of(options: FitOptions, per_shard: int = 500) -> Manifest:
    """Of the samples of these fits; photos are told by their names, so that the folder may move."""
    chosen: dict[str, Any] = asdict(options)
    del chosen["photos"], chosen["limit"]
    return Manifest("vultus dataset fit", chosen, 0, {SOURCE: TERMS}, per_shard)


@dataclass(frozen=True)
class Record:
    """What became of one photo: its file, whether its fit was kept, why not ("" when kept), and what was measured (None: no face, no file)."""

    photo: str
    kept: bool
    reason: str
    measures: Measures | None


def fit_photos(model: MorphableModel, folder: str | Path, options: FitOptions) -> Iterator[Record]:
    """Fit what has no record yet, one photo at a time: yields the record of every photo, old ones first.

    Args:
        folder: for fits and records; made if need be.

    Raises:
        BadInput: the folder holds fits made with other options. BadFile: it cannot be written.
    """
    folder = Path(folder)
    chosen = {key: value for key, value in asdict(options).items() if key not in ("photos", "limit")}
    recipe = {
        "maker": "vultus dataset fit",
        "version": 1,
        "model": model.name,
        "photos": len(photos_of(options)),
        **chosen,
    }
    claim(folder, recipe, grows="photos", what="fits of photos")
    photos = photos_of(options)
    known = {record.photo: record for record in read_records(folder)}
    yield from (known[photo.name] for photo in photos if photo.name in known)
    for photo in photos:
        if photo.name not in known:
            record, fit = fit_photo(model, photo, options)
            if fit is not None:
                write_fit(folder, fit)
            with (folder / RECORDS).open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(record)) + "\n")
            yield record


def fit_photo(model: MorphableModel, photo: Path, options: FitOptions) -> tuple[Record, PhotoFit | None]:
    """One photo: its record, and its fit where it is kept. Files that cannot be read and photos without a face are dropped, not raised."""
    from ..stages.reconstruct import reconstruct  # here: the command line is up before the networks are

    try:
        found = reconstruct(photo, model=model.name, level="deformed", texture_size=0)
    except (FaceNotFound, BadFile) as error:
        what = "no face found" if isinstance(error, FaceNotFound) else "not a readable picture"
        return Record(photo.name, False, what, None), None
    measures = measure(found)
    why = reasons(measures, options.gates)
    if why:
        return Record(photo.name, False, "; ".join(why), measures), None
    return Record(photo.name, True, "", measures), crop_fit(found, key_of(photo), options.size_px)


class FittedPhotos:
    """The samples of a folder of fits by number, in the order of their names, for :func:`vultus.data.shards.write_shards`."""

    def __init__(self, folder: str | Path) -> None:
        """Raises BadInput when nothing is there."""
        self._paths = list_fits(folder)

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, number: int, /) -> Sample:
        return read_fit(self._paths[number]).sample


def read_records(folder: str | Path) -> tuple[Record, ...]:
    """The lines of :data:`RECORDS`; a last one that was cut short is taken out of the file, and its photo is fitted again."""
    path = Path(folder) / RECORDS
    if not path.is_file():
        return ()
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    try:
        if lines and not lines[-1].endswith("\n"):
            lines.pop()
            with atomic_file(path) as partial:
                partial.write_text("".join(lines), encoding="utf-8")
        return tuple(_record(json.loads(line)) for line in lines)
    except (ValueError, TypeError, KeyError) as error:
        raise BadFile(f"{path}: a line is no record of a photo ({error}); delete that line") from error


def key_of(photo: Path) -> str:
    """A photo's name without its suffix or anything that a shard could not hold, and four digits of its whole name, so that a.jpg and a.png stay apart."""
    plain = "".join(c if c.isalnum() or c in "-_" else "-" for c in photo.stem)
    return f"{plain}-{hashlib.sha256(photo.name.encode()).hexdigest()[:4]}"


def _record(line: dict[str, Any]) -> Record:
    measures = line["measures"]
    return Record(line["photo"], bool(line["kept"]), line["reason"], None if measures is None else Measures(**measures))  # fmt: skip
