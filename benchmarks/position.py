"""How well position maps say where a face is: held-out samples, by yaw, beside MediaPipe's points and the mean map.

    python benchmarks/position.py DRAWN_TEST PROFILE_TEST --train DRAWN_TRAIN [--weights FILE ...] [--samples 600] [--json FILE]

Sets are folders that `vultus dataset` made, of other people than the weights were trained on. For every set a table: NME in per cent (mean distance of
the 68 points in x and y over the root of the area of the true ones' box), by the true head's yaw, with 95 % intervals over people; `dense` is the same over the chart's
vertices. "crop" sees the crop that the truth gives, as in training; "align" the whole picture, and has to find the face (`vultus.align`). MediaPipe's 68 points are
those of the usual table, which do not stick to the skin: part of its error is a question of definition, so "mediapipe, calibrated" takes the mean offset of
each point, learnt from the frontal half of --train, off again. A face that is not found has no error; the column says how many were.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

import vultus
from vultus.data.sample import Sample
from vultus.data.sample_maps import chart_lattice, points_in_crop
from vultus.data.shards import read_samples
from vultus.detect import default_detector
from vultus.errors import FaceNotFound
from vultus.evaluate.benchmark import ItemScore
from vultus.evaluate.nme import BINS, box_size, yaw_bin
from vultus.evaluate.summary import row
from vultus.geometry.position_map import FaceCrop, crop_around, sample_map
from vultus.geometry.rigid import pose_angles
from vultus.methods.detected import IBUG68_FROM_478
from vultus.nets.position_readout import face_chart, landmarks_uv
from vultus.stages.align import load_aligner

MEAN = "mean map, crop"
_CALIBRATION, _MEAN = 400, 512
Found = tuple[np.ndarray, np.ndarray | None] | None
"""The 68 points "68 2" in pixels of the picture, and the chart's vertices where a method has them; None: no face."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sets", nargs="+", type=Path)
    parser.add_argument(
        "--train",
        nargs="+",
        type=Path,
        required=True,
        help="what the mean map and MediaPipe's offsets come from",
    )
    parser.add_argument(
        "--weights", nargs="*", default=[None], help="exported networks; the shipped one when not given"
    )
    parser.add_argument("--samples", type=int, default=600)
    parser.add_argument("--only", nargs="*", help="names of methods")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    truth = _Truth()
    methods = _methods(options, truth)
    report = {}
    for folder in options.sets:
        scores: dict[str, list[ItemScore]] = defaultdict(list)
        count = 0
        samples = islice(read_samples([folder], seed=1, epoch=0), options.samples)
        for sample in tqdm(samples, total=options.samples, desc=folder.name, file=sys.stderr):
            count += 1
            for name, method in methods.items():
                if (found := method(sample)) is not None:
                    scores[name].append(truth.score(sample, *found))
        report[folder.name] = {name: table(some, count) for name, some in scores.items()}
        print(
            f"\n{folder.name}: {count} pictures, {len({s.person for some in scores.values() for s in some})} people"
        )
        _show(report[folder.name])
    if options.json:
        options.json.write_text(json.dumps(report, indent=1))


class _Truth:
    """What a sample says about where its points are."""

    def __init__(self) -> None:
        self.model = vultus.load_model("vultus")
        self.lattice = chart_lattice(self.model, 64)
        self.uv = face_chart(self.model).uv[self.lattice.vertex_ids]
        self.marks_uv = landmarks_uv(self.model)

    def crop(self, sample: Sample, size_px: int) -> FaceCrop:
        return crop_around(
            torch.from_numpy(np.asarray(sample.landmarks_px, np.float32))[:, :2], size_px=size_px
        )

    def vertices(self, sample: Sample) -> np.ndarray:
        crop = self.crop(sample, 256)
        points, _ = points_in_crop(sample, crop, self.lattice)
        return crop.to_photo(points)[:, :2].numpy()

    def score(self, sample: Sample, marks: np.ndarray, vertices: np.ndarray | None) -> ItemScore:
        true = np.asarray(sample.landmarks_px, float)[:, :2]
        values = {"nme": 100 * np.linalg.norm(marks - true, axis=1).mean() / box_size(true)}
        if vertices is not None:
            all_true = self.vertices(sample)
            values["dense"] = 100 * np.linalg.norm(vertices - all_true, axis=1).mean() / box_size(all_true)
        turn = pose_angles(torch.from_numpy(sample.T_camera_head)[:3, :3]).yaw_deg
        return ItemScore(sample.key, sample.person, yaw_bin(float(turn)), values)

    def read_out(self, position_px: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        return sample_map(position_px, self.marks_uv)[:, :2].numpy(), sample_map(position_px, self.uv)[
            :, :2
        ].numpy()


def _methods(options: argparse.Namespace, truth: _Truth) -> dict[str, Callable[[Sample], Found]]:
    """What is compared, by name; what takes time to learn is made only when it is asked for."""
    makers: dict[str, Callable[[], Callable[[Sample], Found]]] = {
        MEAN: lambda: _mean_map(options.train, truth),
        "mediapipe": lambda: lambda sample: _mediapipe(sample, None),
        "mediapipe, calibrated": lambda: partial(_mediapipe, offsets=_offsets(options.train)),
    }
    for path in options.weights:
        name = "ours" if path is None else Path(path).stem
        makers[f"{name}, crop"] = partial(_at_crop, path, truth)
        makers[f"{name}, align"] = partial(_aligned, path, truth)
    return {name: make() for name, make in makers.items() if not options.only or name in options.only}


def _mean_map(train: list[Path], truth: _Truth) -> Callable[[Sample], Found]:
    """The mean of true maps in their crops: who never looks at the picture, but is told where the face is."""
    total, count = torch.zeros(len(truth.uv) + 68, 2), 0
    for sample in islice(read_samples(train, seed=2, epoch=0), _MEAN):
        crop = truth.crop(sample, 256)
        points, marks = points_in_crop(sample, crop, truth.lattice)
        total, count = total + torch.cat([points, marks])[:, :2], count + 1
    mean = total / count

    def find(sample: Sample) -> Found:
        flat = torch.cat([mean, torch.zeros(len(mean), 1)], 1)
        points = truth.crop(sample, 256).to_photo(flat)[:, :2].numpy()
        return points[-68:], points[:-68]

    return find


def _at_crop(path: str | None, truth: _Truth) -> Callable[[Sample], Found]:
    aligner = load_aligner(path)

    def find(sample: Sample) -> Found:
        found = aligner.look(_image(sample), [truth.crop(sample, aligner.crop_px)])[0]
        return truth.read_out(found.position_px)

    return find


def _aligned(path: str | None, truth: _Truth) -> Callable[[Sample], Found]:
    def find(sample: Sample) -> Found:
        try:
            found = vultus.align(_image(sample), weights=path)
        except FaceNotFound:
            return None
        return truth.read_out(found.position_px)

    return find


def _mediapipe(sample: Sample, offsets: np.ndarray | None) -> Found:
    faces = default_detector().detect(_image(sample))
    if not faces:
        return None
    marks = faces[0].landmarks.points_px.double().numpy()[IBUG68_FROM_478]
    if offsets is not None:
        marks = marks - offsets * box_size(marks)
    return marks, None


def _offsets(train: list[Path]) -> np.ndarray:
    """Where MediaPipe's points lie beside ours on faces that look ahead, in sizes of the box: (68, 2)."""
    found = []
    for sample in islice(read_samples(train, seed=3, epoch=0), _CALIBRATION):
        yaw = float(pose_angles(torch.from_numpy(sample.T_camera_head)[:3, :3]).yaw_deg)
        seen = _mediapipe(sample, None) if abs(yaw) < 20 else None
        if seen is not None:
            true = np.asarray(sample.landmarks_px, float)[:, :2]
            difference = (seen[0] - true) / box_size(true)
            if np.linalg.norm(difference, axis=1).mean() < 0.1:
                found.append(difference)
    return np.mean(found, 0)


def _image(sample: Sample) -> torch.Tensor:
    return torch.from_numpy(np.array(sample.image)).permute(2, 0, 1).float() / 255


def table(scores: list[ItemScore], count: int) -> dict[str, Any]:
    """Means with intervals, by bin and over all; the mean of the bins; how many were found."""
    groups = {name: [s for s in scores if s.group == name] for name in BINS} | {"all": scores}
    rows = {name: row("", "%", some, "nme") for name, some in groups.items()}
    means = [rows[name].value for name in BINS]
    return {
        **{name: [r.value, r.low, r.high] for name, r in rows.items()},
        "mean of bins": float(np.mean(means)),
        "dense": row("", "%", scores, "dense").value,
        "found": len(scores) / count,
    }


def _show(tables: dict[str, dict[str, Any]]) -> None:
    print(
        f"{'NME %':28}"
        + "".join(f"{name:>22}" for name in (*BINS, "all"))
        + f"{'bins':>7}{'dense':>7}{'found':>7}"
    )
    for name, found in tables.items():
        cells = "".join(
            f"{v:8.2f} [{low:5.2f}, {high:5.2f}]" for v, low, high in (found[b] for b in (*BINS, "all"))
        )
        print(f"{name:28}{cells}{found['mean of bins']:7.2f}{found['dense']:7.2f}{found['found']:7.0%}")


if __name__ == "__main__":
    main()
