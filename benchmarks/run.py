"""All benchmarks, one command: tables on the terminal, JSON in benchmarks/results/, the committed result beside each number.

    python benchmarks/run.py [--quick] [--only NAME ...] [--shared DIR] [--method METHOD]

--quick takes a few items of each (minutes) and writes nothing, because its numbers do not compare. Benchmarks that need the development data
are skipped, and named, when DIR is absent. Exit status 1 if a goal was missed.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

# One thread: on a machine that others use, OpenMP's waiting threads made a photo twenty times slower. speed.py asks for two itself.
for variable in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
import consistency
import detail
import fuse
import levels
import metrics
import outline
import photos
import render
import rerender
import self_consistency
import shape_ict
import shape_james
import speed
import torch
from report import Report, table, write

SHARED = Path(__file__).parents[2] / "shared" / "data"


def benchmarks(shared: Path, method: str, quick: bool) -> dict[str, tuple[bool, Callable[[], Report]]]:
    """Name -> whether it needs the development data, and how to measure."""
    few = lambda number: number if quick else None  # noqa: E731
    focal = "unknown" if quick else "both"
    return {
        "speed": (
            False,
            lambda: speed.measure(
                repeats=3 if quick else 7, tasks=speed.TASKS[:-1] if quick else speed.TASKS
            ),
        ),
        "metrics": (False, lambda: metrics.measure(few(50) or metrics.STARTS)),
        "self_consistency": (False, lambda: self_consistency.measure(few(10))),
        "shape_james_mean": (True, lambda: shape_james.mean_report(shared)),
        "shape_james": (True, lambda: shape_james.measure(shared, method=method, focal=focal, limit=few(3))),
        "shape_ict": (True, lambda: shape_ict.measure(shared, method=method, focal=focal, limit=few(10))),
        "consistency": (True, lambda: consistency.measure(shared, limit=few(4))),
        "photos": (True, lambda: photos.measure(shared, limit=few(20))),
        "render": (False, lambda: render.measure()),
        "detail": (False, lambda: detail.measure(few(4))),
        "levels": (True, lambda: levels.measure(shared, limit=few(4))),
        "outline": (True, lambda: outline.measure(shared, limit=few(4))),
        "rerender": (True, lambda: rerender.measure(shared, limit=few(8))),
        "fuse": (True, lambda: fuse.measure_shape(shared, few(1) or 6, not quick)),
        "fuse_strangers": (True, lambda: fuse.measure_strangers(shared)),
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME")
    parser.add_argument("--shared", type=Path, default=SHARED)
    parser.add_argument("--method", default="reconstruct", help="for the two shape benchmarks, see heads.py")
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    known = benchmarks(options.shared, options.method, options.quick)
    unknown = set(options.only) - set(known)
    if unknown:
        parser.error(f"no benchmark {', '.join(sorted(unknown))}: there are {', '.join(known)}")
    missed = 0
    for name in options.only or known:
        needs_shared, measure = known[name]
        if needs_shared and not options.shared.is_dir():
            print(f"{name}: skipped, no development data at {options.shared} (--shared DIR)\n")
            continue
        report = measure()
        print(table(report), "\n", flush=True)
        missed += sum(row.met is False for row in report.rows)
        if not options.quick and options.method == "reconstruct":
            write(report)
    print(f"{missed} goals missed" if missed else "all goals met")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
