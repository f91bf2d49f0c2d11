"""Follow a face through a made film: frames per second, how calm it is, and what calm costs in lag.

    python benchmarks/stream_speed.py [--weights FILE] [--backend openvino] [--precision bf16] [--threads 1] [--seconds 10] [--untrained]

The film is the photo that ships with vultus, 640 x 480 at 25 frames per second, moved, zoomed and turned in the plane as by an unsteady hand; it and all
results live in a temporary folder. Speed is by the clock, from the file to lines of JSON and to the film with lines drawn over it; milliseconds of processor time (all
threads) are what a busy machine disturbs least. With --untrained the network runs, but the mean face in
its crop is what it is taken to have said: speed is all that can be told then. Jitter is measured on
the same photo at rest, with a sensor's noise (2 % of the range): the 68 points minus their mean over five frames, root mean square, in thousandths of the
face's size. Lag is how far the filtered points of the moving film are from the unfiltered ones, in the mean, in the same unit.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numba
import numpy as np
import torch
from PIL import Image

from vultus.cli.align_stream import StreamOptions, StreamOutcome, follow
from vultus.geometry.position_map import FaceCrop
from vultus.geometry.steady_map import Steadiness, face_frame
from vultus.io.video import Video, VideoWriter
from vultus.render.bake import bake
from vultus.stages.align import Aligner, load_aligner
from vultus.stages.alignment import Alignment
from vultus.stages.alignment_surface import face_surface
from vultus.stages.track import FaceTracker
from vultus.stages.tracked import Align, Detect, TrackOptions

SIZE, FPS, GOAL = (640, 480), 25.0, 15.0
PHOTO = Path(__file__).parents[1] / "src/vultus/assets/astronaut.jpg"
FACE_PX = (223.0, 130.0)  # where the face is in the photo
NOISE = 0.02
STILL_FRAMES = 75


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--weights", help="a network that `vultus train --export` wrote")
    asked.add_argument("--backend", default="torch")
    asked.add_argument("--precision", default="fp32")
    asked.add_argument("--threads", type=int, default=1)
    asked.add_argument("--seconds", type=float, default=10.0)
    asked.add_argument("--untrained", action="store_true")
    given = asked.parse_args()
    numba.set_num_threads(given.threads)  # before torch: its start would set torch's number too
    torch.set_num_threads(given.threads)
    aligner = load_aligner(given.weights, given.backend, given.precision)
    tracking = TrackOptions(crop_factor=aligner.crop_factor)
    look = aligner.look
    if given.untrained:
        look = mean_face_instead(aligner)
        tracking = TrackOptions(crop_factor=aligner.crop_factor, unconfirmed=10**6, max_faces=1)
    with tempfile.TemporaryDirectory() as folder:
        film = make_film(Path(folder) / "film.mp4", given.seconds)
        # Compiles what is compiled at its first use.
        follow_film(film, look, aligner.detect, tracking, Path(folder), StreamOptions(seconds=1))
        for name, options in (("lines", StreamOptions(no_overlay=True)), ("lines and film", StreamOptions())):
            before_s = time.process_time()
            outcome = follow_film(film, look, aligner.detect, tracking, Path(folder), options)
            used_ms = 1000 * (time.process_time() - before_s) / outcome.num_frames
            met = "met" if outcome.frames_per_second >= GOAL else "MISSED"
            print(
                f"{name:15} {outcome.frames_per_second:6.1f} frames/s (goal {GOAL:g} {met}), {used_ms:.1f} ms of processor time per frame, {outcome.num_faces} faces"
            )
    if given.untrained:
        return
    raw, calm = (still_points(aligner, steadiness) for steadiness in (None, Steadiness()))
    print(f"jitter, thousandths of the face: {jitter(raw):.2f} unfiltered, {jitter(calm):.2f} filtered")
    raw, calm = (moving_points(aligner, steadiness) for steadiness in (None, Steadiness()))
    lag = np.linalg.norm(raw - calm, axis=-1).mean() / face_size(raw)
    print(f"lag in motion, thousandths of the face: {1000 * lag:.2f}")


def camera_at(time_s: float) -> tuple[float, float, float, float]:
    """Of a moment of the film: where the face is in the frame (x, y), pixels of the frame per pixel of the photo, and clockwise degrees."""
    turn = 2 * math.pi * time_s
    x = 320 + 120 * math.sin(0.23 * turn) + 3 * math.sin(1.7 * turn)
    y = 230 + 50 * math.sin(0.31 * turn + 1) + 3 * math.sin(2.1 * turn)
    return x, y, 1.5 + 0.35 * math.sin(0.17 * turn), 18 * math.sin(0.29 * turn)


def frame_at(photo: Image.Image, time_s: float) -> np.ndarray:
    """The photo through that camera, (h, w, 3) uint8."""
    x, y, scale, turn_deg = camera_at(time_s)
    cos, sin = math.cos(math.radians(turn_deg)) / scale, math.sin(math.radians(turn_deg)) / scale
    place = (cos, sin, FACE_PX[0] - cos * x - sin * y, -sin, cos, FACE_PX[1] + sin * x - cos * y)
    return np.asarray(photo.transform(SIZE, Image.Transform.AFFINE, place, Image.Resampling.BICUBIC))


def make_film(path: Path, seconds: float) -> Path:
    photo = Image.open(PHOTO).convert("RGB")
    with VideoWriter(path, SIZE, FPS) as writer:
        for index in range(round(seconds * FPS)):
            writer.write(frame_at(photo, index / FPS), index / FPS)
    return path


def follow_film(
    film: Path, look: Align, detect: Detect, tracking: TrackOptions, out: Path, options: StreamOptions
) -> StreamOutcome:
    with Video(film) as video:
        return follow(video, FaceTracker(look, detect, tracking), out, options)


def mean_face_instead(aligner: Aligner) -> Align:
    """The network's time, and the mean head's map around the middle of the crop."""
    surface = face_surface(aligner.model)
    every = torch.arange(len(surface.triangles))

    def look(image: torch.Tensor, crops: Sequence[FaceCrop]) -> list[Alignment]:
        found = []
        for face in aligner.look(image, crops):
            mean = face_frame(bake(surface.mean_mm, surface.topology, every, face.position_px.shape[-1])[0])
            scale = face.crop.side_px / 1.6
            upright = mean * torch.tensor([scale, -scale, scale])[:, None, None]
            x, y = face.crop.centre_px
            found.append(
                replace(face, position_px=upright + torch.tensor([x, y, 0.0])[:, None, None], confidence=1.0)
            )
        return found

    return look


def points_of(aligner: Aligner, frames: list[np.ndarray], steadiness: Steadiness | None) -> np.ndarray:
    """The 68 points (t, 68, 2) of the first face; frames before it is found are left out."""
    options = TrackOptions(crop_factor=aligner.crop_factor, steadiness=steadiness)
    tracker, found = FaceTracker(aligner.look, aligner.detect, options), []
    for index, frame in enumerate(frames):
        image = torch.from_numpy(frame.copy()).permute(2, 0, 1).float() / 255
        faces = tracker(image, index / FPS)
        found += [faces[0].alignment.landmarks68_px[:, :2].numpy()] if faces else []
    return np.stack(found)


def still_points(aligner: Aligner, steadiness: Steadiness | None) -> np.ndarray:
    rng = np.random.default_rng(0)
    still = frame_at(Image.open(PHOTO).convert("RGB"), 0.0).astype(np.float32)
    noisy = [still + rng.normal(0, 255 * NOISE, still.shape) for _ in range(STILL_FRAMES)]
    frames = [image.round().clip(0, 255).astype(np.uint8) for image in noisy]
    return points_of(aligner, frames, steadiness)[15:]


def moving_points(aligner: Aligner, steadiness: Steadiness | None) -> np.ndarray:
    photo = Image.open(PHOTO).convert("RGB")
    frames = [frame_at(photo, index / FPS) for index in range(100)]
    return points_of(aligner, frames, steadiness)[15:]


def jitter(points: np.ndarray) -> float:
    """Root mean square of (t, 68, 2) minus the mean over five frames, in thousandths of the face's size."""
    mean = np.stack([points[index - 2 : index + 3].mean(0) for index in range(2, len(points) - 2)])
    apart = np.linalg.norm(points[2:-2] - mean, axis=-1)
    return 1000 * float(np.sqrt((apart**2).mean())) / face_size(points)


def face_size(points: np.ndarray) -> float:
    """Mean of width and height of the 68 points' box, in pixels."""
    return float(np.ptp(points, axis=1).mean())


if __name__ == "__main__":
    main()
