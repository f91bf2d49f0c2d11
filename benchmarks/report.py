"""What a benchmark says: rows with the trivial baseline and the goal beside each number, as a table and as JSON."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import vultus

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Row:
    """One number, smaller is better unless the goal says ">=".

    Attributes:
        what: stable name, by which the committed result is found. value. unit.
        trivial: what one gets for nothing (the mean head, ...). goal: e.g. "<= 0.9".
    """

    what: str
    value: float
    unit: str
    trivial: float | None = None
    goal: str = ""

    @property
    def met(self) -> bool | None:
        if not self.goal:
            return None
        sign, limit = self.goal.split()[:2]
        return self.value <= float(limit) if sign == "<=" else self.value >= float(limit)


@dataclass(frozen=True)
class Report:
    """All rows of one benchmark, notes for the reader, and details (per item) for whoever digs."""

    name: str
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    details: dict[str, Any] = field(default_factory=dict)
    load: float = field(default_factory=lambda: round(os.getloadavg()[0], 2))


def committed(name: str) -> dict[str, float]:
    """The numbers of the last kept result of a benchmark, by row."""
    path = RESULTS / f"{name}.json"
    if not path.is_file():
        return {}
    return {row["what"]: row["value"] for row in json.loads(path.read_text()).get("rows", [])}


def write(report: Report) -> Path:
    path = RESULTS / f"{report.name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"version": vultus.__version__, "threads": os.environ.get("OMP_NUM_THREADS")} | asdict(report)
    path.write_text(json.dumps(_rounded(content), indent=1) + "\n")
    return path


def table(report: Report) -> str:
    """The rows, aligned, with what the committed result says."""
    before = committed(report.name)
    cells = [("", "value", "trivial", "goal", "", "committed")]
    for row in report.rows:
        cells.append(
            (
                row.what,
                f"{row.value:.4g} {row.unit}",
                "" if row.trivial is None else f"{row.trivial:.4g}",
                row.goal,
                {True: "met", False: "MISSED", None: ""}[row.met],
                f"{before[row.what]:.4g}" if row.what in before else "",
            )
        )
    widths = [max(len(line[i]) for line in cells) for i in range(6)]
    lines = [f"{report.name}  (load {report.load})"]
    lines += ["  " + "  ".join(cell.ljust(width) for cell, width in zip(line, widths)) for line in cells]
    lines += [f"  {note}" for note in report.notes]
    return "\n".join(line.rstrip() for line in lines)


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, (list, tuple)) else value
