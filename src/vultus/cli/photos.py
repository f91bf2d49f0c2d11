"""Which photos were meant, and what the folder of each result is called."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from ..errors import BadFile
from ..io.images import IMAGE_SUFFIXES, list_images
from .outcome import PhotoOutcome, failure, one_line


def find_photos(given: Iterable[Path]) -> tuple[list[Path], list[PhotoOutcome]]:
    """Photos among files and folders, each once, in the order given (folders sorted), and what could not be looked at.

    Of a folder, the pictures directly in it, hidden ones left out; a file given by name is taken whatever it is called.
    """
    photos: dict[Path, Path] = {}
    problems: list[PhotoOutcome] = []
    for path in given:
        try:
            inside = _photos_inside(path) if path.is_dir() else [path]
        except (BadFile, OSError) as error:
            problems.append(failure(path, one_line(error)))
            continue
        if not inside:
            suffixes = " ".join(sorted(IMAGE_SUFFIXES))
            problems.append(failure(path, f"no photos directly in this folder (looked for {suffixes})"))
        for photo in inside:
            photos.setdefault(photo.resolve(), photo)
    return list(photos.values()), problems


def _photos_inside(folder: Path) -> list[Path]:
    return [photo for photo in list_images(folder) if not photo.name.startswith(".")]


def output_names(photos: Sequence[Path]) -> list[str]:
    """A folder name for every photo: its stem, or more of its path where stems would collide.

    The name depends on the set of photos, not on their order. ``anna.jpg`` and ``anna.png`` become ``anna_jpg`` and ``anna_png``, photos of
    the same name in two folders take the folders' names in front, and a photo called ``anna-2.jpg`` makes room for the second face
    of ``anna.jpg``. Case is ignored, as some file systems do.
    """
    levels = [0] * len(photos)
    while True:
        names = [_name(photo, level) for photo, level in zip(photos, levels)]
        clashes = _clashes([name.casefold() for name in names])
        if not clashes:
            return names
        for index in clashes:
            levels[index] += 1


def _clashes(names: list[str]) -> list[int]:
    """Indices of names that are not alone, or that another name's further faces would take."""
    present = Counter(names)

    def clashes(name: str) -> bool:
        numbered = re.fullmatch(r"(.+)-\d+", name)
        return present[name] > 1 or (numbered is not None and numbered[1] in present)

    return [index for index, name in enumerate(names) if clashes(name)]


def _name(photo: Path, level: int) -> str:
    """Names of a photo from short to unmistakable."""
    suffix = photo.suffix.replace(".", "_")
    if level == 0:
        return photo.stem
    whole = photo.resolve()
    parents = [part for part in whole.parts[:-1] if part != whole.anchor]
    num_parents = level // 2
    stem = "_".join([*parents[len(parents) - num_parents :], photo.stem]) if num_parents else photo.stem
    if num_parents > len(parents):
        return f"{stem}{suffix}_{hashlib.sha256(os.fsencode(whole)).hexdigest()[:12]}"
    return stem + suffix if level % 2 else stem


def face_directory(out: Path, name: str, number: int) -> Path:
    """Where face ``number`` (from 1) of a photo goes."""
    return out / (name if number == 1 else f"{name}-{number}")


def further_faces(out: Path, name: str, first: int, belongs: Callable[[Path], bool]) -> Iterable[Path]:
    """Existing folders of the faces ``first``, ``first + 1``, ... for as long as they belong to the photo."""
    number = first
    while belongs(face_directory(out, name, number)):
        yield face_directory(out, name, number)
        number += 1
