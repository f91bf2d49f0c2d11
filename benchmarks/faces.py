"""Reconstructions of many photos, one after the other, each remembered: what the benchmarks on photos share."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from vultus.errors import VultusError
from vultus.geometry.rigid import pose_angles
from vultus.model.result import Reconstruction
from vultus.stages.reconstruct import reconstruct

EYES_478 = ((33, 133), (362, 263))
"""Corners of the right and the left eye."""


@dataclass(frozen=True)
class Outcome:
    """One photo.

    Attributes:
        photo: its name. status: ok, doubtful, or the name of the error. message: advice or error.
        off_percent: median distance of detected and reprojected points in percent of the distance between the eyes (in space, projected
            at the face's depth, so that a turned head counts the same); None without a face.
        p95_percent: its 95th percentile over the points. yaw_deg, focal_px, seconds.
    """

    photo: str
    status: str
    message: str = ""
    off_percent: float | None = None
    p95_percent: float | None = None
    yaw_deg: float | None = None
    focal_px: float | None = None
    seconds: float = 0.0


def outcome(path: Path, name: str) -> Outcome:
    start = time.perf_counter()
    try:
        found = reconstruct(path, texture_size=0)
    except VultusError as error:
        return Outcome(name, type(error).__name__, str(error), seconds=time.perf_counter() - start)
    except Exception as error:  # a benchmark goes on, and says so
        return Outcome(name, "crashed", repr(error), seconds=time.perf_counter() - start)
    off = reprojection_percent(found)
    return Outcome(
        name,
        found.report.status,
        "; ".join(found.report.advice),
        float(np.median(off)),
        float(np.percentile(off, 95)),
        float(pose_angles(found.camera.T_camera_head[:3, :3]).yaw_deg),
        float(found.camera.focal_px),
        time.perf_counter() - start,
    )


def reprojection_percent(found: Reconstruction) -> np.ndarray:
    """Distance "l" between each detected landmark and the model's, in percent of the distance between the eyes in the picture."""
    camera, view = found.camera, found.view
    angles = pose_angles(camera.T_camera_head[:3, :3])
    table = found.model.landmarks["mediapipe478"]
    vertices = found.mesh.vertices
    points_mm = table.points(vertices, found.model.triangles, angles.yaw_deg, angles.pitch_deg)
    count = len(view.landmarks_px)
    distance_px = (camera.project(points_mm)[:count, :2] - view.landmarks_px).norm(dim=-1)
    right, left = (points_mm[list(corners)].mean(0) for corners in EYES_478)
    depth_mm = float(camera.to_camera(((left + right) / 2)[None])[0, 2])
    between_px = float((left - right).norm() * camera.focal_px) / depth_mm
    return (100 * distance_px / between_px).double().numpy()


def remembered(paths: Iterable[Path], root: Path, log: Path) -> Iterator[Outcome]:
    """The outcome of every photo; those already in the log (one JSON line each) are not computed again."""
    done = {}
    if log.is_file():
        for line in log.read_text().splitlines():
            if line.endswith("}"):  # a run that was stopped may have left half a line
                row = json.loads(line)
                done[row["photo"]] = Outcome(**row)
    paths = list(paths)
    for path in tqdm(paths, desc="photos", unit="photo"):
        name = path.relative_to(root).as_posix()
        if name not in done:
            done[name] = outcome(path, name)
            with log.open("a") as file:
                file.write(json.dumps(asdict(done[name])) + "\n")
        yield done[name]


def neutral_face(path: Path) -> tuple[np.ndarray, Reconstruction]:
    """The face region's vertices "v 3" of the neutral person in a photo."""
    found = reconstruct(path, texture_size=0)
    code, model = found.coarse.code, found.model
    from dataclasses import replace

    vertices = model.vertices(replace(code, expression=torch.zeros_like(code.expression)))
    return vertices[model.regions["face"]].double().numpy(), found
