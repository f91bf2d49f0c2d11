"""A run over photos, as `vultus reconstruct` and `vultus align` make them: what is shown on the way, what is said at the end, and the exit status."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, redirect_stdout
from pathlib import Path
from typing import Protocol, TextIO, TypeVar

from tqdm import tqdm

from ..errors import BadInput
from .outcome import PhotoOutcome, failure
from .workers import run_all


class PhotoTask(Protocol):
    """What is to be done with one photo."""

    @property
    def photo(self) -> Path:
        """The file."""
        ...


TaskT = TypeVar("TaskT", bound=PhotoTask)


def run_photos(
    tasks: Sequence[TaskT],
    outcomes: Sequence[PhotoOutcome],
    work: Callable[[TaskT], PhotoOutcome],
    *,
    jobs: int,
    as_json: bool,
) -> int:
    """Do all tasks and tell of each as it ends; a failed one stops nobody.

    Args:
        outcomes: what is known before anything is done, e.g. of files that are no photos. jobs: processes.
        as_json: a line of JSON per photo on standard output, and nothing else there.

    Returns:
        the exit status: 0 when every photo is done or skipped, else 2.
    """
    told: list[PhotoOutcome] = []
    with _progress(len(tasks)) as bar, standard_output() as output:
        try:
            for outcome in outcomes:
                told.append(outcome)
                _show(outcome, output, as_json)
            with closing(run_all(tasks, work, _died, jobs)) as done:
                for outcome in done:
                    told.append(outcome)
                    bar.update()
                    _show(outcome, output, as_json)
        finally:
            bar.close()
            if len(told) > 1 or any(outcome.status == "failed" for outcome in told):
                print(_summary(told), file=sys.stderr)
    return 2 if any(outcome.status == "failed" for outcome in told) else 0


def _show(outcome: PhotoOutcome, output: TextIO, as_json: bool) -> None:
    if as_json:
        print(json.dumps(outcome.as_json()), file=output, flush=True)
    elif outcome.status != "failed":  # failures are listed together at the end
        with tqdm.external_write_mode(file=output):
            print("\n".join(outcome.lines()), file=output, flush=True)


def _died(task: PhotoTask, how: str) -> PhotoOutcome:
    return failure(task.photo, f"{how}; if memory ran out, use fewer --jobs or a smaller photo")


def _summary(outcomes: list[PhotoOutcome]) -> str:
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


def _progress(num_tasks: int) -> tqdm:
    """A bar on standard error where somebody watches and there is something to wait for."""
    hidden = None if num_tasks > 1 else True  # None: hidden unless a terminal
    return tqdm(total=num_tasks, unit="photo", file=sys.stderr, disable=hidden, dynamic_ncols=True)


@contextmanager
def standard_output() -> Iterator[TextIO]:
    """The real standard output for results, while whatever else prints goes to standard error."""
    output = sys.stdout
    with redirect_stdout(sys.stderr):
        yield output
