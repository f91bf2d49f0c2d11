"""How long `vultus.align` takes for a photo, and where the time goes.

    python benchmarks/align_speed.py [--photos FOLDER] [--weights FILE] [--backend torch|onnx|openvino] [--precision fp32|bf16] [--threads 2]

Medians over the photos (the bundled one without a folder), each the fastest of a few runs: other work on the machine makes runs slower, never faster.
Wall-clock and processor milliseconds; the latter is what to compare on a machine that is busy.
"""

from __future__ import annotations

import argparse
import importlib.resources
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from vultus.errors import VultusError
from vultus.io.images import list_images, read_image
from vultus.stages.align import Aligner, load_aligner, seen_through

RUNS = 5


def fastest(work: Callable[[], object]) -> tuple[float, float]:
    """Wall-clock and processor milliseconds, the least of a few runs."""
    work()
    wall, processor = [], []
    for _ in range(RUNS):
        start = time.perf_counter(), time.process_time()
        work()
        wall.append(time.perf_counter() - start[0])
        processor.append(time.process_time() - start[1])
    return 1e3 * min(wall), 1e3 * min(processor)


def steps(path: Path, aligner: Aligner) -> dict[str, tuple[float, float]]:
    """Name of a step -> its milliseconds."""
    image, _ = read_image(path)
    crops = aligner.detect(image)[:1]
    seen = torch.stack([seen_through(image, crop) for crop in crops])
    (face,) = aligner.look(image, crops)

    def read_out() -> object:
        fresh = replace(face)
        return fresh.landmarks68_px, fresh.pose

    return {
        "read the file": fastest(lambda: read_image(path)),
        "detect": fastest(lambda: aligner.detect(image)),
        "crop": fastest(lambda: seen_through(image, crops[0])),
        "network": fastest(lambda: aligner.run(seen)),
        "crop, network, map, confidence": fastest(lambda: aligner.look(image, crops)),
        "68 points and pose": fastest(read_out),
        "68 visible": fastest(lambda: replace(face).landmarks68_visible),
        "478 points": fastest(lambda: replace(face).points478_px),
        "depth map": fastest(lambda: replace(face).depth_map()),
        "texture of 512": fastest(lambda: replace(face).texture(512)),
        "align, one look": fastest(lambda: aligner.look(image, aligner.detect(image)[:1])),
        "align, two looks at most": fastest(lambda: aligner.look(image, aligner.detect(image)[:1], looks=2)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--backend", default="torch")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--most", type=int, default=20, help="photos at most")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    aligner = load_aligner(chosen.weights, chosen.backend, chosen.precision)
    sample = Path(str(importlib.resources.files("vultus") / "assets" / "astronaut.jpg"))
    photos = list_images(chosen.photos)[: chosen.most] if chosen.photos else [sample]
    found: list[dict[str, tuple[float, float]]] = []
    for photo in photos:
        try:
            found.append(steps(photo, aligner))
        except (VultusError, ValueError) as error:  # nobody in it
            print(f"{photo}: left out ({error})")
    print(f"{len(found)} photos, {chosen.threads} threads, {chosen.backend}, {chosen.precision}")
    print(f"{'median ms':34}{'wall':>8}{'processor':>11}")
    for name in found[0] if found else ():
        wall, processor = (statistics.median(one[name][kind] for one in found) for kind in (0, 1))
        print(f"{name:34}{wall:8.1f}{processor:11.1f}")


if __name__ == "__main__":
    main()
