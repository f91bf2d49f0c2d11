"""Time the rasteriser and its gradient: numba beside the torch backend, on a mesh as large as the Basel model's.

    python benchmarks/render.py [--threads 2] [--repeats 15] [--save]

Prints medians in ms and the ratio torch / numba; absolute numbers mean something on a quiet machine only, so the load is recorded.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from report import Report, Row, table, write

from vultus.render.interpolate import interpolate
from vultus.render.raster import rasterize

BASELINE_MS = {
    "forward": {256: 1.5, 512: 2.8, 1024: 5.0},
    "forward and backward": {256: 5.1, 512: 7.1, 1024: 23.9},
}
"""What a prototype of the same algorithm took on the same kind of machine (2 cores of a server CPU)."""


def face_mask(side: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A height field like a face mask: 35,344 vertices and 69,938 triangles, 42 % of the image, in perspective."""
    u = torch.linspace(-1, 1, 188)
    y, x = torch.meshgrid(u, u, indexing="ij")
    height = (
        60 * (1 - 0.7 * (x**2 + y**2))
        + 25 * torch.exp(-((x / 0.15) ** 2 + (y / 0.35) ** 2))
        + 2 * torch.sin(20 * x) * torch.cos(17 * y)
    )
    z = 600 - height
    scale = 0.345 * side * 560 / z
    vertices_px = torch.stack([side / 2 + x * scale, side / 2 + y * scale, z], -1).reshape(1, -1, 3)
    i = torch.arange(188 * 188).reshape(188, 188)
    a, b, c, d = (part.reshape(-1) for part in (i[:-1, :-1], i[:-1, 1:], i[1:, :-1], i[1:, 1:]))
    return vertices_px, torch.cat([torch.stack([a, c, b], 1), torch.stack([b, c, d], 1)])


def median_and_least_ms(work: Callable[[], object], repeats: int) -> tuple[float, float]:
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times), min(times)


def measure(threads: int | None = None, repeats: int = 15) -> Report:
    """Medians, and the least time, which other programs disturb least; the torch backend is the trivial baseline."""
    if threads:
        import numba

        torch.set_num_threads(threads)
        numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
    rows: list[Row] = []
    for side in (256, 512, 1024):
        vertices_px, triangles = face_mask(side)
        attributes = torch.rand(1, vertices_px.shape[1], 6, generator=torch.Generator().manual_seed(0))
        upstream = torch.rand(1, 6, side, side, generator=torch.Generator().manual_seed(1))

        def forward(backend: str) -> object:
            return rasterize(vertices_px, triangles, (side, side), backend=backend)  # noqa: B023

        def forward_backward(backend: str) -> None:
            vertices = vertices_px.clone().requires_grad_()  # noqa: B023
            values = attributes.clone().requires_grad_()  # noqa: B023
            fragments = rasterize(vertices, triangles, (side, side), backend=backend)  # noqa: B023
            interpolate(fragments, vertices, triangles, values, backend=backend).backward(upstream)  # noqa: B023

        for task, work in (("forward", forward), ("forward and backward", forward_backward)):
            fast, least = median_and_least_ms(lambda: work("numba"), repeats)  # noqa: B023
            readable, _ = median_and_least_ms(lambda: work("torch"), max(3, repeats // 3))  # noqa: B023
            goal = f"<= {1.3 * BASELINE_MS[task][side]:.3g}"
            rows.append(Row(f"{task}, {side} px", fast, "ms", readable, goal))
            rows.append(Row(f"{task}, {side} px, least", least, "ms", None, goal))
    notes = (
        "69,938 triangles, 6 attributes; goal: 1.3 x a prototype on two quiet cores; trivial: the readable torch backend",
    )
    return Report("render", tuple(rows), notes)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/")
    options = parser.parse_args()
    report = measure(options.threads, options.repeats)
    print(table(report))
    if options.save:
        write(report)


if __name__ == "__main__":
    main()
