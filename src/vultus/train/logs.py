"""What a run writes down: tables that survive interruptions, and curves for TensorBoard where it is installed."""

from __future__ import annotations

import contextlib
import csv
import errno
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import BadFile
from ..io.files import atomic_file

METRICS, VALIDATION, TENSORBOARD = "metrics.csv", "validation.csv", "tensorboard"


class Table:
    """A CSV file whose first column is the step; rows are appended, columns are those of the first row."""

    def __init__(self, path: Path, resumed_at: int) -> None:
        """Open the table, and cut what a run that goes on at step ``resumed_at`` will write again.

        Raises:
            BadFile: the file is there and cannot be read or written.
        """
        self.path, self.columns = path, list[str]()
        with _explained(path):
            if not path.is_file():
                return
            with path.open(encoding="utf-8", newline="") as file:
                rows = list(csv.reader(file))
            kept = [row for row in rows[1:] if len(row) == len(rows[0]) and _step(row) <= resumed_at]
            if not kept:
                path.unlink()
                return
            self.columns = rows[0]
        with atomic_file(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([self.columns, *kept])

    def append(self, step: int, values: Mapping[str, float]) -> None:
        """Add a row; values that the table has no column for are left out, missing ones are empty.

        Raises:
            BadFile: the file cannot be written.
        """
        row = {"step": step, **{name: f"{value:.9g}" for name, value in values.items()}}
        with _explained(self.path), self.path.open("a", encoding="utf-8", newline="") as file:
            if not self.columns:
                self.columns = list(row)
                csv.writer(file).writerow(self.columns)
            csv.writer(file).writerow([row.get(name, "") for name in self.columns])


class Logs:
    """The tables of a run and, if asked for, its curves.

    Attributes:
        note: why there are no curves though asked for; empty otherwise.
    """

    def __init__(self, out: Path, resumed_at: int, tensorboard: bool) -> None:
        self.metrics = Table(out / METRICS, resumed_at)
        self.validation = Table(out / VALIDATION, resumed_at)
        self._writer: Any = None
        self.note = ""
        if tensorboard:
            try:
                from torch.utils.tensorboard import SummaryWriter  # pyright: ignore[reportPrivateImportUsage]
            except ImportError:
                self.note = "no curves for TensorBoard: it is not installed (pip install tensorboard); metrics.csv holds the same"
                return
            self._writer = SummaryWriter(str(out / TENSORBOARD), purge_step=resumed_at + 1)

    def add(self, table: Table, step: int, values: Mapping[str, float]) -> None:
        """A row of one of the tables, and the points of its curves."""
        table.append(step, values)
        if self._writer is not None:
            for name, value in values.items():
                self._writer.add_scalar(f"{table.path.stem}/{name}", value, step)

    def close(self) -> None:
        """Write what is still held back."""
        if self._writer is not None:
            self._writer.close()


def _step(row: list[str]) -> float:
    try:
        return int(row[0])
    except (ValueError, IndexError):
        return float("inf")  # a line that was cut by a crash


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        remedy = (
            "free some space; the same command goes on from the last checkpoint"
            if full
            else "check the folder"
        )
        raise BadFile(f"{path}: cannot be written ({error.strerror or error}); {remedy}") from error
