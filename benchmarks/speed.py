"""Time and memory of one photo, warm: detection, landmark fit, the face model alone, with all details, all files, ten photos beside one.

    python benchmarks/speed.py [--photo PHOTO] [--repeats N] [--threads 2] [--only detect landmarks ...] [--save]

Every part runs in a fresh process, warmed up once before it is timed; medians, with the least beside them, since another
program on the machine only ever adds. The load before is printed: above one per core the numbers say little.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from report import Report, Row, table, write

PHOTO = Path(__file__).parents[1] / "src" / "vultus" / "assets" / "astronaut.jpg"
LONG_SIDE_PX = 1024
TASKS = ("detect", "landmarks", "shape", "coarse_files", "detail_shape", "detail_files", "ten")
SECONDS = (
    ("shape", "reconstruction without texture, level coarse", "<= 1.5"),
    ("coarse_files", "everything, all files, level coarse", "<= 4"),
    ("detail_shape", "reconstruction without texture, level detail", ""),
    ("detail_files", "everything, all files, level detail", "<= 10"),
)


def median_and_least_s(work: Callable[[], object], repeats: int) -> dict[str, float]:
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return {"median": statistics.median(times), "least": min(times)}


def run_task(task: str, photo: Path, repeats: int) -> dict[str, float]:
    """In the process that is measured."""
    import torch

    import vultus  # noqa: F401
    from vultus.io.images import read_image

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    image = read_image(photo)[0]
    scale = LONG_SIDE_PX / max(image.shape[1:])
    size = [round(side * scale) for side in image.shape[1:]]
    image = torch.nn.functional.interpolate(image[None], size, mode="bilinear", antialias=True)[0].clamp(0, 1)
    with tempfile.TemporaryDirectory() as folder:
        numbers = median_and_least_s(_work(task, image, Path(folder)), repeats)
    return numbers | {"peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def _work(task: str, image, folder: Path) -> Callable[[], object]:
    from vultus.detect import default_detector

    if task == "detect":
        return lambda: default_detector().detect(image)
    if task == "landmarks":
        return _landmark_fit(image)
    from vultus.stages.reconstruct import reconstruct
    from vultus.viewer.overlay import overlay

    level = "coarse" if task in ("shape", "coarse_files") else "detail"
    if task.endswith("shape"):
        return lambda: reconstruct(image, texture_size=0, level=level)
    number = 10 if task == "ten" else 1

    def save() -> None:
        for i in range(number):
            found = reconstruct(image, level=level)
            found.save(folder / str(i), overlay=overlay(found))

    return save


def _landmark_fit(image) -> Callable[[], object]:
    import numpy as np
    from heads import bundled_model

    from vultus.detect import default_detector
    from vultus.fit.landmark_basis import landmark_basis
    from vultus.fit.landmarks import ExpressionPrior, fit_landmarks

    model = bundled_model()
    basis = landmark_basis(model, "mediapipe478")
    prior = ExpressionPrior(
        model.expression_sigma.double().numpy(), *model.expression_range.double().numpy().T
    )
    points = default_detector().detect(image)[0].landmarks.points_px.double().numpy()
    centre = np.array([image.shape[2], image.shape[1]]) / 2
    return lambda: fit_landmarks(basis, points, centre, 1.2 * LONG_SIDE_PX, prior)


def measure(
    photo: Path = PHOTO, *, repeats: int = 7, threads: int = 2, tasks: tuple[str, ...] = TASKS
) -> Report:
    found: dict[str, dict[str, float]] = {}
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "NUMBA_NUM_THREADS": str(threads)}
    for task in tasks:
        count = {"detect": 3 * repeats, "landmarks": 3 * repeats, "ten": 1}.get(task, repeats)
        command = [sys.executable, __file__, "--task", task, "--photo", str(photo), "--repeats", str(count)]
        result = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
        found[task] = json.loads(result.stdout.splitlines()[-1])
    rows = (*_times(found), *_memory(found))
    notes = (
        f"{threads} threads on {os.cpu_count()} cores, {repeats} repeats after one warm-up, no import counted",
    )
    return Report("speed", rows, notes, found)


def _times(found: dict[str, dict[str, float]]) -> Iterator[Row]:
    for task, what, factor, unit, goal in (
        ("detect", "detection and landmarks, 1,024 px", 1000, "ms", "<= 60"),
        ("landmarks", "landmark fit", 1000, "ms", "<= 30"),
        *((task, what, 1, "s", goal) for task, what, goal in SECONDS),
    ):
        if task in found:
            yield Row(what, factor * found[task]["median"], unit, None, goal)
            yield Row(f"{what} (least)", factor * found[task]["least"], unit)
    if "ten" in found and "detail_files" in found:
        times = found["ten"]["median"] / found["detail_files"]["median"]
        yield Row("ten photos over one", times, "x", 10.0, "<= 10")


def _memory(found: dict[str, dict[str, float]]) -> Iterator[Row]:
    for task, what, goal in (
        ("coarse_files", "peak memory, level coarse", "<= 1.5"),
        ("detail_files", "peak memory, level detail", "<= 2.5"),
        ("ten", "peak memory after twenty photos, level detail", "<= 2.5"),
    ):
        if task in found:
            yield Row(what, found[task]["peak_mb"] / 1024, "GB", None, goal)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photo", type=Path, default=PHOTO)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", nargs="+", choices=TASKS, default=TASKS)
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/")
    parser.add_argument("--task", choices=TASKS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.task:
        print(json.dumps(run_task(options.task, options.photo, options.repeats)))
        return
    report = measure(
        options.photo, repeats=options.repeats, threads=options.threads, tasks=tuple(options.only)
    )
    print(table(report))
    if options.save:
        write(report)


if __name__ == "__main__":
    main()
