"""``vultus reconstruct``: photos in, one folder per face out."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, redirect_stdout
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal, TextIO

import tyro
from tqdm import tqdm

from ..errors import BadInput
from ..stages.options import ReconstructOptions, chosen_device
from .batch import Task, make_tasks, process
from .outcome import PhotoOutcome, failure
from .photos import find_photos
from .workers import run_all

Format = Literal["obj", "glb", "ply", "dense", "overlay"]

DESCRIPTION = """Reconstruct every face of every photo, each photo on its own.

OUT/<photo>/ then holds reconstruction.json, face.obj, face.glb, dense.ply, maps,
textures and overlay.png (look at this one first). Further faces of a photo go to OUT/<photo>-2/
and so on. What is finished is skipped: after an interruption, the same command
goes on where it was. A status of `doubtful` says: there is a result, look at it.

Examples:
  vultus reconstruct anna.jpg -o out
  vultus reconstruct album/ party.png -o out --jobs 2
  vultus reconstruct anna.jpg -o out --faces largest --texture-size 2048
  vultus reconstruct anna.jpg -o out --focal-mm35 50
  vultus reconstruct anna.jpg -o out --level coarse
  vultus reconstruct album/ -o out --json > results.jsonl

Exit status: 0 all photos done or skipped, 2 otherwise (the others are done all the same)."""


@dataclass(frozen=True)
class Reconstruct:
    """Photos become textured, animatable heads."""

    photos: Annotated[
        tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="PHOTO...", help_behavior_hint="")
    ]
    """Photos, or folders of photos."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="OUT")]
    """Folder for the results; made if need be."""
    options: Annotated[ReconstructOptions, tyro.conf.arg(name="")] = field(default_factory=ReconstructOptions)
    formats: tuple[Format, ...] = ("obj", "glb", "dense", "overlay")
    """What to write beside reconstruction.json, the maps and the textures."""
    baked: bool = False
    """Colour the skin of face.glb and dense.ply as lit in the photo, instead of its own colour without that light."""
    jobs: int = 1
    """How many photos at a time, each in its own process with one thread."""
    overwrite: bool = False
    """Do finished photos again."""
    json: bool = False
    """One line of JSON per photo on standard output, and nothing else there."""
    debug: bool = False
    """Show where unexpected errors come from."""

    def run(self) -> int:
        """Do it; 0 when every photo is done or skipped, else 2."""
        if self.jobs < 1:
            raise BadInput(f"--jobs {self.jobs}: use at least one")
        if not self.photos:
            raise BadInput("no photos given: vultus reconstruct PHOTO... -o OUT")
        options = replace(self.options, device=str(chosen_device(self.options.device)))
        make_folder(self.out)
        photos, outcomes = find_photos(self.photos)
        tasks = make_tasks(photos, self.out, options, self.formats, self.overwrite, self.debug, self.baked)
        with progress(len(tasks)) as bar, standard_output() as output:
            for outcome in outcomes:
                self._show(outcome, output)
            try:
                with closing(run_all(tasks, process, _died, self.jobs)) as done:
                    for outcome in done:
                        outcomes.append(outcome)
                        bar.update()
                        self._show(outcome, output)
            finally:
                bar.close()
                if len(outcomes) > 1 or any(outcome.status == "failed" for outcome in outcomes):
                    print(summary(outcomes), file=sys.stderr)
        return 2 if any(outcome.status == "failed" for outcome in outcomes) else 0

    def _show(self, outcome: PhotoOutcome, output: TextIO) -> None:
        if self.json:
            print(json.dumps(outcome.as_json()), file=output, flush=True)
        elif outcome.status != "failed":  # failures are listed together at the end
            with tqdm.external_write_mode(file=output):
                print("\n".join(outcome.lines()), file=output, flush=True)


def summary(outcomes: list[PhotoOutcome]) -> str:
    """How many of what, then one line for every photo that failed."""
    num = Counter(outcome.status for outcome in outcomes)
    faces = [face for outcome in outcomes if outcome.status == "done" for face in outcome.faces]
    num_doubtful = sum(face.status != "ok" for face in faces)
    counted = f"{len(faces)} face{'s' * (len(faces) != 1)} from {num['done']} of {len(outcomes)} photos"
    rest = [
        f"{count} {what}"
        for count, what in (
            (num_doubtful, "doubtful"),
            (num["skipped"], "skipped"),
            (num["failed"], "failed"),
        )
        if count
    ]
    failed = [line for outcome in outcomes if outcome.status == "failed" for line in outcome.lines()]
    return "\n".join([", ".join([counted, *rest]), *failed])


def _died(task: Task, how: str) -> PhotoOutcome:
    return failure(task.photo, f"{how}; if memory ran out, use fewer --jobs or a smaller photo")


def make_folder(out: Path) -> None:
    """Make the folder of the results.

    Raises:
        BadInput: it cannot be made, or not written to.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise BadInput(f"{out}: this is a file; -o takes a folder") from None
    except OSError as error:
        raise BadInput(f"{out}: the folder cannot be made ({error.strerror}); choose another -o") from None
    if not os.access(out, os.W_OK | os.X_OK):
        raise BadInput(f"{out}: you may not write into this folder; choose another -o")


def progress(num_tasks: int) -> tqdm:
    """A bar on standard error where somebody watches and there is something to wait for."""
    hidden = None if num_tasks > 1 else True  # None: hidden unless a terminal
    return tqdm(total=num_tasks, unit="photo", file=sys.stderr, disable=hidden, dynamic_ncols=True)


@contextmanager
def standard_output() -> Iterator[TextIO]:
    """The real standard output for results, while whatever else prints goes to standard error."""
    output = sys.stdout
    with redirect_stdout(sys.stderr):
        yield output
