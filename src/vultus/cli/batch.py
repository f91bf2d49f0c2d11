"""One photo after the other: skip what is finished, reconstruct every face, save it, and let no photo stop the rest."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ..errors import BadFile, FaceNotFound, VultusError
from ..io.result import MESH_FILES, is_finished
from ..model.result import Reconstruction
from ..stages.options import ReconstructOptions
from ..viewer.overlay import overlay
from .outcome import UNEXPECTED_REMEDY, FaceOutcome, PhotoOutcome, failure, one_line
from .photos import face_directory, further_faces, output_names

_SOURCE = "photo_sha256"  # entry of the provenance: which bytes a result was made from
_OVERLAY = "overlay"


@dataclass(frozen=True)
class Task:
    """One photo and everything a process needs to know to deal with it.

    Attributes:
        photo: the file. out: the folder of all results. name: of this photo's folder in it.
        options: of the reconstruction. formats: what to write.
        overwrite: do it again even if it is finished. debug: show where unexpected errors come from.
        baked: colour the skin of the meshes as lit in the photo.
    """

    photo: Path
    out: Path
    name: str
    options: ReconstructOptions
    formats: tuple[str, ...]
    overwrite: bool = False
    debug: bool = False
    baked: bool = False


def make_tasks(
    photos: Sequence[Path],
    out: Path,
    options: ReconstructOptions,
    formats: tuple[str, ...],
    overwrite: bool = False,
    debug: bool = False,
    baked: bool = False,
) -> list[Task]:
    """Give every photo its own folder in ``out``."""
    names = output_names(photos)
    return [
        Task(photo, out, name, options, formats, overwrite, debug, baked)
        for photo, name in zip(photos, names)
    ]


def process(task: Task) -> PhotoOutcome:
    """Reconstruct and save every wanted face of one photo; whatever goes wrong becomes an outcome, never an exception.

    The first face is saved last: where it is finished, the whole photo is, and an interrupted one starts again.
    """
    hint = "use fewer --jobs, a smaller --texture-size or a smaller photo"
    return attempt(task.photo, lambda start: _process(task, start), debug=task.debug, when_full=hint)


def attempt(photo: Path, work: Callable[[float], PhotoOutcome], *, debug: bool, when_full: str) -> PhotoOutcome:  # fmt: skip
    """What becomes of one photo: what ``work`` says, called with the time of the start, or why it failed; no exception comes out.

    Args:
        debug: show where unexpected errors come from. when_full: what to do where memory runs out.
    """
    start = time.perf_counter()
    try:
        return work(start)
    except MemoryError:
        message = f"not enough memory; {when_full}"
    except VultusError as error:
        message = one_line(error)
    except Exception as error:
        message = f"unexpected {type(error).__name__}: {one_line(error)}; {UNEXPECTED_REMEDY}"
        if debug:
            traceback.print_exc(file=sys.stderr)
    return failure(photo, message, time.perf_counter() - start)


def _process(task: Task, start: float) -> PhotoOutcome:
    source = digest_of(task.photo)
    first = face_directory(task.out, task.name, 1)
    if not task.overwrite and _is_done(first, task.formats, source):
        return PhotoOutcome(
            str(task.photo), "skipped", (_saved_face(first),), seconds=time.perf_counter() - start
        )
    _check_free(first, task, source)  # before the work, not after
    faces = _reconstruct(task)
    directories = [face_directory(task.out, task.name, number + 1) for number in range(len(faces))]
    for directory in directories:
        _check_free(directory, task, source)
    outcomes = [
        _save(face, directory, task, source) for face, directory in reversed(list(zip(faces, directories)))
    ]
    if task.options.faces == "all":  # an earlier run may have found more faces in this very photo
        for stale in further_faces(
            task.out, task.name, len(faces) + 1, lambda folder: _is_of(folder, source)
        ):
            shutil.rmtree(stale)
    return PhotoOutcome(str(task.photo), "done", tuple(outcomes[::-1]), seconds=time.perf_counter() - start)


def _is_of(directory: Path, source: str) -> bool:
    """Whether a folder holds a finished result of these very bytes."""
    return bool(source) and is_finished(directory) and provenance(directory).get(_SOURCE) == source


def _is_done(directory: Path, formats: tuple[str, ...], source: str) -> bool:
    """Whether a folder holds all that is asked for."""
    has_overlay = _OVERLAY not in formats or (directory / "overlay.png").exists()
    return has_overlay and is_finished(directory, _meshes(formats)) and _is_of(directory, source)


def _check_free(directory: Path, task: Task, source: str) -> None:
    """Raise BadFile rather than replace another photo's result unasked."""
    if not task.overwrite and is_finished(directory) and not _is_of(directory, source):
        raise BadFile(
            f"{directory} already holds the result of another photo, or of this one before it was changed;"
            " choose another -o, or --overwrite to replace it"
        )


def _meshes(formats: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in formats if name != _OVERLAY)


def _reconstruct(task: Task) -> tuple[Reconstruction, ...]:
    from ..stages.reconstruct import reconstruct_all

    faces = reconstruct_all(task.photo, **asdict(task.options))
    if not faces:
        raise FaceNotFound("no face found; crop closer to the face, or try a larger or brighter photo")
    return tuple(faces)


def _save(face: Reconstruction, directory: Path, task: Task, source: str) -> FaceOutcome:
    photo = {"photo": str(task.photo.resolve()), _SOURCE: source}
    face = replace(face, provenance={**face.provenance, **photo})
    formats = set(_meshes(task.formats))
    if _is_of(directory, source):  # asking for one more format later does not take away the others
        formats |= {name for name, file in MESH_FILES.items() if (directory / file).exists()}
    picture = overlay(face) if _OVERLAY in task.formats else None
    face.save(directory, formats=formats, overlay=picture, baked=task.baked)
    timings = {stage: round(seconds, 4) for stage, seconds in face.timings_s.items()}
    return FaceOutcome(str(directory), face.report.status, tuple(face.report.advice), timings)


def _saved_face(directory: Path) -> FaceOutcome:
    return FaceOutcome(str(directory), str(_saved(directory).get("status", "ok")))


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


def digest_of(photo: Path) -> str:
    """SHA-256 of a photo's bytes; of nothing where it cannot be read, so that reading it as a picture can say why."""
    try:
        return hashlib.sha256(photo.read_bytes()).hexdigest() if photo.is_file() else ""
    except OSError:
        return ""
