"""Are the people of two folders of fits different people? For those who train on one and test on the other.

    python scripts/people_apart.py FITS_TRAIN FITS_TEST [--drop]

Every face of the second folder is compared with all of the first by SFace (pip install 'vultus[evaluate]'). Files alone cannot tell: two photos of one person have two names.
With --drop the fits of the second folder that look like somebody of the first are moved to its folder `same-people`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from vultus.data.photo_fit import list_fits, read_fit
from vultus.detect.face_recogniser import five_points
from vultus.detect.protocol import Landmarks
from vultus.evaluate.recogniser import sface

SAME_PERSON = 0.5
"""The largest of hundreds of cosines to strangers reaches 0.44 (411 portraits against 101 studio photos), so OpenCV's 0.363, made for single pairs, would name a third of them."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("train", type=Path)
    parser.add_argument("test", type=Path)
    parser.add_argument("--drop", action="store_true")
    options = parser.parse_args()
    ours, theirs = (list_fits(folder) for folder in (options.train, options.test))
    cosine = embeddings(theirs) @ embeddings(ours).T
    nearest = cosine.max(1)
    print(f"{len(ours)} and {len(theirs)} faces; nearest of the first to each of the second: median cosine {np.median(nearest):.2f}, "
          f"95 % below {np.quantile(nearest, 0.95):.2f}; {(nearest > SAME_PERSON).sum()} above {SAME_PERSON}")  # fmt: skip
    for path, value in zip(theirs, nearest):
        if value > SAME_PERSON:
            print(f"  {path.stem}: {value:.2f}")
            if options.drop:
                aside = options.test / "same-people"
                aside.mkdir(exist_ok=True)
                path.rename(aside / path.name)


def embeddings(paths: tuple[Path, ...]) -> np.ndarray:
    """Unit vectors (n, 128)."""
    found = []
    for path in tqdm(paths, file=sys.stderr):
        sample = read_fit(path).sample
        image = torch.from_numpy(sample.image).permute(2, 0, 1).float() / 255
        marks = torch.from_numpy(np.asarray(sample.landmarks_px, np.float32)[:, :2])
        found.append(
            sface().embed(image, five_points(Landmarks(marks, torch.zeros(len(marks)), 1.0, "ibug68")))
        )
    return np.stack(found)


if __name__ == "__main__":
    main()
