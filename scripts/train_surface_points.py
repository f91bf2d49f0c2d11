"""An experiment: teach a network where fixed points of the head's surface are, on photos worn by random heads.

    python scripts/train_surface_points.py SHARED WORK [--pictures 10500] [--steps 3500] [--threads 2]

SHARED is ../shared/data; its portraits/ and legislators/ are used, never its studio/, whose people are for tests. WORK holds what is made on the
way: skins (photos on the fitted head), drawn pictures, the checkpoint. Each step is skipped if its result is there, and training goes on where
it stopped. A third of the way the labels are freed of the errors of the fits that the skins come from. Prints the errors by yaw, and how much of
a person's shape the network shows beside MediaPipe's points. Nothing of it ships: docs/experiments.md says what came out.
"""

from __future__ import annotations

import argparse
import os
import pickle
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent / name) for name in ("surface_points", "calibration")]
os.environ.setdefault("OMP_NUM_THREADS", "1")
import numpy as np
import torch
from draw import drawn_shard, wardrobe
from ict_heads import answers
from measure import observed_errors, report
from relabel import relabel, skin_offsets
from skins import read_skins, save_skins
from tqdm import tqdm
from train import TrainOptions, train

from vultus.detect import default_detector
from vultus.io.images import list_images
from vultus.model.bundled import load

SHARD, MEASURED_ON, ICT_HEADS, RELABEL_AFTER = 250, 400, 40, 0.3


def main() -> None:
    options = _arguments()
    torch.set_num_threads(options.threads)
    options.work.mkdir(parents=True, exist_ok=True)
    model = load()
    skins_file, shards, checkpoint = (
        options.work / name for name in ("skins.pkl", "shards", "checkpoint.pt")
    )
    if not skins_file.is_file():
        photos = options.shared / "photos"
        paths = [path for name in ("portraits", "legislators") for path in list_images(photos / name)]
        print(save_skins(read_skins(paths, model, default_detector()), skins_file), "skins")
    given = wardrobe(model, pickle.loads(skins_file.read_bytes()))
    shards.mkdir(exist_ok=True)
    for first in tqdm(range(0, options.pictures, SHARD), desc="pictures", unit="shard"):
        path = shards / f"{first:07d}.npz"
        if not path.is_file():
            partial = path.with_suffix(".part.npz")
            np.savez(partial, **drawn_shard(given, range(first, first + SHARD)))
            partial.replace(path)
    knobs = TrainOptions(steps=options.steps)
    relabelled = options.work / "relabelled"
    if not relabelled.is_file():
        first_network = train(shards, checkpoint, knobs, until=int(RELABEL_AFTER * options.steps))
        paths = sorted(shards.glob("???????.npz"))
        offsets = skin_offsets(paths, len(given.skins), first_network)
        for path in paths:
            relabel(path, offsets)
        relabelled.touch()
    network = train(shards, checkpoint, knobs)
    print(report(*observed_errors(given, network, MEASURED_ON)))
    print(answers(options.shared, model, network, ICT_HEADS))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("shared", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--pictures", type=int, default=10500)
    parser.add_argument("--steps", type=int, default=TrainOptions().steps)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    main()
