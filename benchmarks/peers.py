"""Methods side by side on the same items: our levels and switches, the mean head, MediaPipe's mesh, eos. Writes docs/benchmarks.md.

    python benchmarks/peers.py [--heads N] [--people N] [--photos N] [--jobs N] [--eos FOLDER] [--only NAME ...] [--shared DIR] [--save]

Synthetic heads (made once, kept under $XDG_CACHE_HOME/vultus-benchmarks), photos of studio/, and its people neutral and smiling. Resumes: what
is finished is kept as `vultus evaluate` keeps it. --save writes benchmarks/results/peers.json, the page and its pictures; --time adds the seconds, in a run of its
own because one process must be alone for them; --page only writes the page anew from that file.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from peers_page import write_page
from report import RESULTS, _rounded
from scenes import cache_folder

import vultus
from vultus.cli.scoring import score_all
from vultus.data.synthetic_heads import SyntheticOptions, make_heads
from vultus.errors import VultusError
from vultus.evaluate.benchmark import Benchmark, Evaluation
from vultus.evaluate.consistency import open_consistency
from vultus.evaluate.photo import open_photo
from vultus.evaluate.synthetic import open_synthetic
from vultus.methods.choose import choose_method
from vultus.model.catalog import load_model
from vultus.viewer.evaluation_figure import write_figure

SHARED = Path(__file__).parents[2] / "shared" / "data"
METHODS = ("mean", "landmarks", "mediapipe", "eos", "vultus-coarse", "vultus")
SWITCHES = (
    "mean",
    "vultus",
    "vultus-detail",
    "vultus:no deformation",
    "vultus:contour none",
    "vultus:smoothness tv",
)
TIMED = 12  # heads per method, for the seconds
SWITCH_SHARE = 4  # switches, and methods that are told the focal length, see every fourth head


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--heads", type=int, default=200)
    parser.add_argument("--people", type=int, default=40)
    parser.add_argument("--photos", type=int, default=60)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--eos", type=Path, help="folder of the Surrey model; without it eos is left out")
    parser.add_argument(
        "--only",
        nargs="+",
        default=[],
        metavar="NAME",
        help="of synthetic, switches, focal, photo, consistency",
    )
    parser.add_argument("--shared", type=Path, default=SHARED)
    parser.add_argument(
        "--time", action="store_true", help="only measure the seconds anew: alone, on a quiet machine"
    )
    parser.add_argument("--save", action="store_true")
    parser.add_argument("--page", action="store_true", help="only write the page from the saved file")
    options = parser.parse_args()
    path = RESULTS / "peers.json"
    if options.page:
        write_page(json.loads(path.read_text()))
        return
    if options.time:
        found = json.loads(path.read_text())
        found["seconds"] = {
            method: _seconds(method, options)
            for method in (*METHODS, "vultus-detail")
            if method != "eos" or options.eos
        }
        path.write_text(json.dumps(_rounded(found), indent=1) + "\n")
        write_page(found)
        return
    found: dict[str, Any] = json.loads(path.read_text()) if options.only and path.is_file() else {}
    found |= {
        "version": vultus.__version__,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "jobs": options.jobs,
    }
    benchmarks: dict[str, Any] = found.setdefault("benchmarks", {})
    for name, benchmark, data, methods in _benchmarks(options):
        results = [_run(name, benchmark, data, method, options) for method in methods]
        benchmarks[name] = {r.method: _numbers(r) for r in results if r.rows}
        shown = [
            r for r in results if r.method in METHODS and any("head_vertex" in s.samples for s in r.scores)
        ]
        if options.save and shown:
            write_figure(Path(__file__).parents[1] / "docs" / "images" / f"benchmark_{name}.png", shown)
        for result in results:
            print(
                name,
                result.method,
                *(f"{r.what} {r.value:.3f} {r.unit};" for r in result.rows[:8]),
                flush=True,
            )
    if options.save:
        path.write_text(json.dumps(_rounded(found), indent=1) + "\n")
        write_page(found)


def _benchmarks(options: argparse.Namespace) -> Iterator[tuple[str, Benchmark, Path, tuple[str, ...]]]:
    """Name, benchmark, its data and the methods that it is for."""
    peers = tuple(name for name in METHODS if name != "eos" or options.eos)
    wanted = lambda name: not options.only or name in options.only  # noqa: E731
    if any(wanted(name) for name in ("synthetic", "switches", "focal")):
        heads = _heads(options)
        if wanted("synthetic"):
            yield "synthetic", open_synthetic(heads), heads, peers
        if wanted("switches"):
            yield "switches", open_synthetic(heads), heads, SWITCHES
        if wanted("focal"):
            yield (
                "focal",
                open_synthetic(heads, focal="known"),
                heads,
                ("landmarks", "vultus-coarse", "vultus"),
            )
    photos = options.shared / "photos" / "studio"
    if photos.is_dir() and wanted("photo"):
        yield "photo", open_photo(photos / "neutral_front"), photos, ("vultus-coarse", "vultus")
    if photos.is_dir() and wanted("consistency"):
        people = _people(photos, options.people)
        yield "consistency", open_consistency(people), people, peers


def _run(name: str, benchmark: Benchmark, data: Path, method: str, options: argparse.Namespace) -> Evaluation:
    limit = None
    if name in ("switches", "focal"):
        limit = max(1, options.heads // SWITCH_SHARE)
    if name == "photo":
        limit = options.photos
    colour = "texture" if name == "photo" else None
    chosen = choose_method(method, eos=options.eos, colour=colour)
    return score_all(benchmark, chosen, method, data, jobs=options.jobs, limit=limit)


def _seconds(method: str, options: argparse.Namespace) -> float:
    """Median seconds of one process, over a few heads after a first one that compiles and loads."""
    chosen, items = choose_method(method, eos=options.eos), open_synthetic(_heads(options)).items[: TIMED + 1]
    found = []
    for item in items:
        try:
            found.append(chosen(item).seconds)
        except VultusError:
            continue
    seconds = float(np.median(found[1:]))
    print(method, f"{seconds:.3f} s", flush=True)
    return seconds


def _heads(options: argparse.Namespace) -> Path:
    """The generated set; made, or added to, where heads are missing."""
    ict, photos = options.shared / "ict", options.shared / "photos" / "studio" / "neutral_front"
    made = SyntheticOptions(
        heads=options.heads, ict=ict if ict.is_dir() else None, photos=photos if photos.is_dir() else None
    )
    folder = (
        cache_folder("synthetic") / f"{options.heads}{'-ict' * ict.is_dir()}{'-photos' * photos.is_dir()}"
    )
    for _ in make_heads(load_model("vultus"), folder, made):
        pass
    return folder


def _people(studio: Path, count: int) -> Path:
    """A folder for each person with both of their pictures, as links."""
    folder = cache_folder(f"studio-people-{count}")
    neutral = sorted((studio / "neutral_front").glob("*.jpg"))
    for photo in [neutral[i] for i in np.linspace(0, len(neutral) - 1, count).astype(int)]:
        person = photo.name.split("_")[0]
        for other in [photo, *(studio / "smiling_front").glob(f"{person}_*.jpg")]:
            link = folder / person / f"{other.parent.name}.jpg"
            link.parent.mkdir(exist_ok=True)
            if not link.is_symlink():
                link.symlink_to(other.resolve())
    return folder


def _numbers(result: Evaluation) -> dict[str, Any]:
    return {
        "rows": {
            r.what: {"value": r.value, "unit": r.unit, "low": r.low, "high": r.high, "count": r.count, "better": r.better}
            for r in result.rows
        },
        "items": len(result.scores),
        "failed": sum(bool(s.problem) for s in result.scores),
        "notes": list(result.notes),
    }  # fmt: skip


if __name__ == "__main__":
    main()
