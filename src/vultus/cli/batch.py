"""One photo after the other: skip what is finished, reconstruct every face, save it, and let no photo stop the rest."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ..errors import BadFile, FaceNotFound, VultusError
from ..model.result import Reconstruction
from ..stages.options import ReconstructOptions
from .outcome import UNEXPECTED_REMEDY, FaceOutcome, PhotoOutcome, failure, one_line
from .photos import face_directory, further_faces, output_names

_SOURCE = "source_sha256"  # entry of the provenance: which bytes a result was made from


@dataclass(frozen=True)
class Task:
    """One photo and everything a process needs to know to deal with it.

    Attributes:
        photo: the file. out: the folder of all results. name: of this photo's folder in it.
        options: of the reconstruction. formats: what to write.
        overwrite: do it again even if it is finished. debug: show where unexpected errors come from.
    """

    photo: Path
    out: Path
    name: str
    options: ReconstructOptions
    formats: tuple[str, ...]
    overwrite: bool = False
    debug: bool = False


def make_tasks(
    photos: Sequence[Path],
    out: Path,
    options: ReconstructOptions,
    formats: tuple[str, ...],
    overwrite: bool = False,
    debug: bool = False,
) -> list[Task]:
    """Give every photo its own folder in ``out``."""
    names = output_names(photos)
    return [Task(photo, out, name, options, formats, overwrite, debug) for photo, name in zip(photos, names)]


def process(task: Task) -> PhotoOutcome:
    """Reconstruct and save every wanted face of one photo; whatever goes wrong becomes an outcome, never an exception.

    The first face is saved last: where it is finished, the whole photo is, and an interrupted one starts again.
    """
    start = time.perf_counter()
    try:
        return _process(task, start)
    except MemoryError:
        message = "not enough memory; use fewer --jobs, a smaller --texture-size or a smaller photo"
    except VultusError as error:
        message = one_line(error)
    except Exception as error:
        message = f"unexpected {type(error).__name__}: {one_line(error)}; {UNEXPECTED_REMEDY}"
        if task.debug:
            traceback.print_exc(file=sys.stderr)
    return failure(task.photo, message, time.perf_counter() - start)


def _process(task: Task, start: float) -> PhotoOutcome:
    from ..io.result import is_finished

    source = _sha256(task.photo)

    def is_ours(directory: Path) -> bool:
        return is_finished(directory) and provenance(directory).get(_SOURCE) == source

    first = face_directory(task.out, task.name, 1)
    if not task.overwrite and is_ours(first):
        return PhotoOutcome(
            str(task.photo), "skipped", (_saved_face(first),), seconds=time.perf_counter() - start
        )

    def check_free(directory: Path) -> None:
        if not task.overwrite and is_finished(directory) and not is_ours(directory):
            raise BadFile(
                f"{directory} already holds the result of another photo, or of this one before it was changed;"
                " choose another -o, or --overwrite to replace it"
            )

    check_free(first)  # before the work, not after
    faces = _reconstruct(task)
    directories = [face_directory(task.out, task.name, number + 1) for number in range(len(faces))]
    for directory in directories:
        check_free(directory)
    outcomes = [
        _save(face, directory, task, source) for face, directory in reversed(list(zip(faces, directories)))
    ]
    for stale in list(further_faces(task.out, task.name, len(faces) + 1, is_ours)):
        shutil.rmtree(stale)  # an earlier run found more faces in this very photo
    return PhotoOutcome(str(task.photo), "done", tuple(outcomes[::-1]), seconds=time.perf_counter() - start)


def _reconstruct(task: Task) -> tuple[Reconstruction, ...]:
    from ..stages.reconstruct import reconstruct_all

    faces = reconstruct_all(task.photo, **asdict(task.options))
    if not faces:
        raise FaceNotFound("no face found; crop closer to the face, or try a larger or brighter photo")
    return tuple(faces)


def _save(face: Reconstruction, directory: Path, task: Task, source: str) -> FaceOutcome:
    face = replace(face, provenance={**face.provenance, "source": str(task.photo), _SOURCE: source})
    face.save(directory, formats=task.formats)
    timings = {stage: round(seconds, 4) for stage, seconds in face.timings_s.items()}
    return FaceOutcome(str(directory), face.report.status, tuple(face.report.advice), timings)


def _saved_face(directory: Path) -> FaceOutcome:
    status = _saved(directory).get("status", "ok")
    return FaceOutcome(str(directory), status if isinstance(status, str) else status.get("status", "ok"))


def provenance(directory: Path) -> dict[str, object]:
    """Where a saved result says it comes from; empty when it says nothing."""
    found = _saved(directory).get("provenance")
    return found if isinstance(found, dict) else {}


def _saved(directory: Path) -> dict:
    try:
        saved = json.loads((directory / "reconstruction.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return saved if isinstance(saved, dict) else {}


def _sha256(photo: Path) -> str:
    """SHA-256 of a photo's bytes; of nothing where it cannot be read, so that reading it as a picture can say why."""
    try:
        return hashlib.sha256(photo.read_bytes()).hexdigest() if photo.is_file() else ""
    except OSError:
        return ""
