"""Curves of training runs as a picture: loss, NME by yaw, and what they cost in time.

    python benchmarks/training_curves.py RUN [RUN ...] -o docs/images/training.png [--core-hours 1.2]

Runs are folders of `vultus train`; several are drawn one after the other, as where the next began with the weights of the one before.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

_YAW = {"0-30": "#2b7bba", "30-60": "#e08214", "60-90": "#b2182b"}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    options = parser.parse_args()
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.4), constrained_layout=True)
    before_k = 0.0
    for run in options.runs:
        batch = _batch(run)
        steps, loss = _column(run / "metrics.csv", "loss")
        left.plot([before_k + s * batch / 1000 for s in steps], loss, color="#2b7bba", lw=1.2)
        if (run / "validation.csv").is_file():
            _nme(right, run, before_k, batch)
        before_k += steps[-1] * batch / 1000
        for axis in (left, right):
            axis.axvline(before_k, color="#cccccc", lw=0.8, zorder=0)
    left.set(
        xlabel="thousand samples seen", ylabel="loss (sides of 1.5 crops)", yscale="log", title="training"
    )
    right.set(
        xlabel="thousand samples seen", ylabel="NME of 68 points, %", title="people who were not trained on"
    )
    handles = dict(zip(*reversed(right.get_legend_handles_labels())))
    right.legend(handles.values(), handles.keys(), fontsize=8, frameon=False)
    for axis in (left, right):
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.25)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.out, dpi=110)
    print(options.out)


def _nme(axis: plt.Axes, run: Path, before_k: float, batch: int) -> None:
    for name, colour in _YAW.items():
        steps, values = _column(run / "validation.csv", f"nme68_yaw_{name}")
        axis.plot(
            [before_k + s * batch / 1000 for s in steps],
            values,
            color=colour,
            marker=".",
            ms=4,
            lw=1.2,
            label=f"yaw {name}",
        )
    axis.set_ylim(bottom=0)


def _column(path: Path, name: str) -> tuple[list[int], list[float]]:
    with path.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row.get(name)]
    return [int(row["step"]) for row in rows], [float(row[name]) for row in rows]


def _batch(run: Path) -> int:

    return int(json.loads((run / "config.json").read_text(encoding="utf-8"))["batch"])


if __name__ == "__main__":
    main()
