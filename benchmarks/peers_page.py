"""docs/benchmarks.md from benchmarks/results/peers.json: tables with intervals, and accuracy against time in one picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

DOCS = Path(__file__).parents[1] / "docs"
HEADER = """# Benchmarks

Methods on the same items in one run. This page is written by `python benchmarks/peers.py --save` from
[benchmarks/results/peers.json](../benchmarks/results/peers.json); do not edit it by hand. In brackets: 95 % intervals, bootstrap over people. What each
benchmark measures: [evaluate.md](evaluate.md); what the peers are and what cannot be compared: [evaluate/peers.md](evaluate/peers.md).

{machine}
"""
SYNTHETIC = {
    "ict: similarity median": "shape, ICT heads (mm)",
    "bundled: similarity median": "shape, bent bundled heads (mm)",
    "similarity Chamfer": "Chamfer (mm)",
    "similarity normals": "normals (deg)",
    "landmarks, NME": "68 landmarks (% NME)",
    "pose, head frames aligned": "pose (deg)",
    "focal length": "focal length (%)",
}


def write_page(found: dict[str, Any]) -> None:
    """Write the page and its picture."""
    machine = f"Version {found['version']} on {found['machine']}. Seconds: median per photo of one process alone, {found.get('threads', 2)} threads, detection included."
    parts = [HEADER.format(machine=machine)]
    benchmarks, seconds = found["benchmarks"], found.get("seconds", {})
    if "synthetic" in benchmarks:
        parts.append(_synthetic(benchmarks, seconds))
        _accuracy_against_time(benchmarks["synthetic"], seconds, DOCS / "images" / "accuracy_time.png")
    for name, title, say in (
        ("photo", "Photos drawn again", "Frontal portraits (Face Research Lab London Set, CC-BY 4.0), drawn with the extracted texture; `vultus evaluate photo`."),
        ("consistency", "One person, several photos", "Neutral and smiling portraits of the same people: the neutral head must not change with the smile. A method that always returns the mean\nhead is perfectly consistent and tells nobody apart: read the AUC beside it. `vultus evaluate consistency`."),
    ):  # fmt: skip
        if name in benchmarks:
            whats = list(dict.fromkeys(w for m in benchmarks[name].values() for w in m["rows"]))
            parts.append(f"## {title}\n\n{say}\n\n{_table(benchmarks[name], {w: w for w in whats}, {})}\n")
    parts.append(Path(__file__).with_name("published.md").read_text())
    (DOCS / "benchmarks.md").write_text("\n".join(parts))


def _synthetic(benchmarks: dict[str, Any], seconds: dict[str, float]) -> str:
    methods = benchmarks["synthetic"]
    text = [
        "## Synthetic heads", "",
        "`vultus dataset synthetic` draws them: half are ICT-FaceKit's, whose shapes no method here was made from, half the bundled model's own, bent by what",
        "its codes do not explain. Skins from photos, random light, pose to 60 degrees of yaw, lenses of 20 to 135 mm, a quarter of them partly hidden.",
        "Shape: the neutral person, aligned with scale, median distance of the scan's points. `vultus evaluate synthetic`.", "",
        _table(methods, SYNTHETIC, seconds), "",
        "![accuracy against time](images/accuracy_time.png)", "",
        "![where the errors are](images/benchmark_synthetic.png)", "",
    ]  # fmt: skip
    for name, say in (
        ("switches", "Levels and switches, on every fourth of these heads (compare within this table only):"),
        ("focal", "With the focal length told, on the same fourth:"),
    ):
        if name in benchmarks:
            text += [say, "", _table(benchmarks[name], SYNTHETIC, seconds if name == "switches" else {}), ""]
    return "\n".join(text)


def _table(methods: dict[str, Any], columns: dict[str, str], seconds: dict[str, float]) -> str:
    shown = {w: title for w, title in columns.items() if any(w in m["rows"] for m in methods.values())}
    lines = [["method", *shown.values(), *(["s per photo"] if seconds else []), "items"]]
    for name, method in methods.items():
        cells = [_cell(method["rows"].get(what)) for what in shown]
        took = [f"{seconds[name]:.2g}" if name in seconds else ""] if seconds else []
        failed = f" ({method['failed']} failed)" if method["failed"] else ""
        lines.append([f"`{name}`", *cells, *took, f"{method['items']}{failed}"])
    rows = ["| " + " | ".join(line) + " |" for line in lines]
    return "\n".join([rows[0], "|---" * len(lines[0]) + "|", *rows[1:]])


def _cell(row: dict[str, Any] | None) -> str:
    if row is None or row["value"] is None:
        return ""
    if row["low"] is None:
        return f"{row['value']:.3g}"
    return f"{row['value']:.3g} [{row['low']:.3g}, {row['high']:.3g}]"


def _accuracy_against_time(methods: dict[str, Any], seconds: dict[str, float], path: Path) -> None:
    figure = Figure(figsize=(9, 4), layout="constrained")
    axes: Sequence[Any] = figure.subplots(1, 2)
    for axis, what, title in zip(axes, ("ict: similarity median", "bundled: similarity median"), ("ICT heads", "bent bundled heads"), strict=True):  # fmt: skip
        for name, method in methods.items():
            row = method["rows"].get(what)
            if row is None or name not in seconds:
                continue
            spread = [[row["value"] - row["low"]], [row["high"] - row["value"]]]
            axis.errorbar(seconds[name], row["value"], yerr=spread, fmt="o", capsize=3)
            axis.annotate(f" {name}", (seconds[name], row["value"]), fontsize=8, va="bottom")
        axis.set(xscale="log", title=title, xlabel="seconds per photo", ylabel="shape error (mm)")
        axis.grid(alpha=0.3)
    figure.savefig(path, dpi=130)
