"""What the coarse stage makes of drawn heads when it starts from landmarks, and when it starts from a position map (`--init`).

    python benchmarks/init_position.py DRAWN_TEST [--samples 60] [--json FILE]

By the true head's yaw: how many faces were found, the error of the head's rotation in degrees, NME of the projected chart vertices in per cent of their true box, and the shape's
error: the mean distance of the chart's vertices in millimetres after the similarity that fits best; the mean head beside it.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections import defaultdict
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

import vultus
from vultus.data.photo_fit import camera_of
from vultus.data.sample import Sample
from vultus.data.sample_maps import chart_lattice
from vultus.data.shards import read_samples
from vultus.errors import FaceNotFound
from vultus.evaluate.nme import BINS, box_size, yaw_bin
from vultus.geometry.rigid import axis_angle_from_rotation, pose_angles, umeyama
from vultus.model.deformation import face_vertices

WAYS = ("landmarks", "position")
_MEASURES = ("rotation, degrees", "NME, %", "shape, mm", "mean head, mm")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("set", type=Path)
    parser.add_argument("--samples", type=int, default=60)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    face_ids = chart_lattice(vultus.load_model("vultus"), 16).vertex_ids
    found: dict[tuple[str, str], list[tuple[float, ...]]] = defaultdict(list)
    asked: dict[str, int] = defaultdict(int)
    for sample in tqdm(
        islice(read_samples([options.set], seed=4, epoch=0), options.samples),
        total=options.samples,
        file=sys.stderr,
    ):
        true_yaw = float(pose_angles(torch.from_numpy(sample.T_camera_head)[:3, :3]).yaw_deg)
        asked[yaw_bin(true_yaw)] += 1
        for way in WAYS:
            if (errors := measure(sample, way, face_ids)) is not None:
                found[way, yaw_bin(true_yaw)].append(errors)
    report = {}
    print(f"{'':12}{'yaw':8}{'found':>10}" + "".join(f"{name:>20}" for name in _MEASURES) + "   (medians)")
    for name in BINS:
        for way in WAYS:
            values = np.array(found[way, name]).reshape(-1, len(_MEASURES))
            medians = np.median(values, 0) if len(values) else np.full(len(_MEASURES), np.nan)
            report[f"{way} {name}"] = {
                "found": len(values),
                "asked": asked[name],
                **dict(zip(_MEASURES, medians.tolist())),
            }
            print(
                f"{way:12}{name:8}{len(values):>5} of {asked[name]:<3}"
                + "".join(f"{value:20.2f}" for value in medians)
            )
    if options.json:
        options.json.write_text(json.dumps(report, indent=1))


def measure(sample: Sample, way: str, face_ids: torch.Tensor) -> tuple[float, ...] | None:
    """The errors of one reconstruction, as named in ``_MEASURES``; None: no face was found."""
    image = torch.from_numpy(np.array(sample.image)).permute(2, 0, 1).float() / 255
    try:
        result = vultus.reconstruct(image, init=way, level="coarse", texture_size=0, focal_px=sample.focal_px)
    except FaceNotFound:
        return None
    ours = face_vertices(result.model, result.geometry)[face_ids].double()
    true = torch.from_numpy(np.array(sample.vertices_mm))[face_ids].double()
    seen, truly = (
        camera.project(points.float())[:, :2].numpy()
        for camera, points in ((result.camera, ours), (camera_of(sample), true))
    )
    rotations = [camera.T_camera_head[:3, :3].double() for camera in (result.camera, camera_of(sample))]
    mean = result.model.mean_mm[face_ids].double()
    return (
        math.degrees(float(axis_angle_from_rotation(rotations[0].T @ rotations[1]).norm())),
        100 * float(np.linalg.norm(seen - truly, axis=1).mean()) / box_size(truly),
        _shape_mm(ours, true),
        _shape_mm(mean, true),
    )


def _shape_mm(ours: torch.Tensor, true: torch.Tensor) -> float:
    weight = torch.ones(len(ours), dtype=torch.float64)
    return float((umeyama(ours, true, weight).apply(ours) - true).norm(dim=1).mean())


if __name__ == "__main__":
    main()
