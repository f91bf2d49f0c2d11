"""What drawing and reading training samples costs: CPU seconds per sample of one thread, and bytes.

    python benchmarks/dataset_speed.py [--samples N] [--photos FOLDER] [--ict FOLDER] [--out FOLDER]

CPU time, not wall time: a busy machine shows what it will do when it is quiet (a little more, for caches are shared). Two processes on two cores draw
2000 / (ms per sample) samples a second. Skins and carried heads are made first and not counted: a quarter of a second per made skin, three seconds per photo.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("NUMBA_NUM_THREADS", "1")

import numpy as np
import torch

from vultus.data.drawn_samples import DrawnOptions, DrawnSet, make_source, manifest_of, missing_sources
from vultus.data.packed_sample import pack, unpack
from vultus.data.sample import Sample
from vultus.data.shards import read_samples, write_shards
from vultus.model import bundled
from vultus.render.raster import rasterize


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--samples", type=int, default=96)
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--ict", type=Path)
    parser.add_argument("--out", type=Path, help="keep the set here; a temporary folder by default")
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.out or Path(temporary) / "set"
        options = DrawnOptions(samples=given.samples, skins=8, photos=given.photos, ict=given.ict, per_shard=given.samples)  # fmt: skip
        for task in missing_sources(folder, options):
            make_source(task)
        drawn = DrawnSet(folder, options)
        for i in (0, 8):
            unpack(pack(drawn[i]))
        samples: list[Sample] = []
        draw_ms = _cpu_ms(lambda: samples.extend(drawn[i] for i in range(given.samples))) / given.samples
        print(f"draw        {draw_ms:6.1f} ms")
        total = draw_ms
        for name in sorted({sample.source for sample in samples}):
            chosen = [sample for sample in samples if sample.source == name]
            files: list[dict[str, bytes]] = []
            pack_ms = _cpu_ms(lambda c=chosen, f=files: f.extend(map(pack, c))) / len(chosen)
            unpack_ms = _cpu_ms(lambda f=files: [unpack(file) for file in f]) / len(chosen)
            size = np.mean([sum(map(len, file.values())) for file in files]) / 1000
            total += pack_ms * len(chosen) / len(samples)
            print(f"{name:20} pack {pack_ms:5.1f} ms   unpack {unpack_ms:5.1f} ms   {size:5.1f} kB")
        print(f"draw + pack {total:6.1f} ms, {2000 / total:.0f} samples a second in two processes")
        place = Path(temporary) / "shards"
        write_ms = _cpu_ms(lambda: list(write_shards(samples, place, manifest_of(options))))
        read_ms = _cpu_ms(lambda: list(read_samples(place)))
        print(f"write shards {write_ms / given.samples:5.1f} ms   read {read_ms / given.samples:5.1f} ms")
        print(f"for scale: the mean head at 384 px is rasterised in {_raster_ms():.1f} ms")


def _cpu_ms(work: Callable[[], object]) -> float:
    begun = time.process_time()
    work()
    return 1000 * (time.process_time() - begun)


def _raster_ms() -> float:
    model = bundled.load()
    corners = (model.mean_mm * torch.tensor([1.0, -1.0, 0.0]) + torch.tensor([192.0, 192.0, 800.0]))[None]
    rasterize(corners, model.triangles, (384, 384))
    return _cpu_ms(lambda: [rasterize(corners, model.triangles, (384, 384)) for _ in range(10)]) / 10


if __name__ == "__main__":
    main()
