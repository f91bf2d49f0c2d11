"""Calibrate where MediaPipe's 478 points (and iBUG-68, AFLW-21) really lie on the bundled head, and how they err.

    python scripts/calibrate_landmarks.py CANONICAL_OBJ PHOTOS [--heads 1000] [--textures FOLDER] [--keep FOLDER]

1. *Drawn heads*: random heads are drawn, the detector is run on them, and each point is put where it falls on average over people,
   expressions and lights, per pose bin. Prints the error before (nearest point of MediaPipe's canonical mesh) and after, on heads that
   the table was not made from.
2. *Photos* (PHOTOS is ../shared/data/photos): the detector's answer to identity, its bias on neutral people and its noise; see calibration/photos.py.
   A third of the neutral people (every third number) is left out, for tests.

Writes src/vultus/model/assets/landmarks.npz. ``--keep`` holds the slow observations, so that the rest can be repeated in seconds.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import vultus  # noqa: F401  torch before numba

sys.path[:0] = [str(Path(__file__).parent / "calibration"), str(Path(__file__).parent / "bundled_head")]
import numpy as np
import photos
import torch
from drawn import observe
from scans import read_canonical
from schemes import AFLW21_FROM_478, LIDS_AND_LIPS
from store import write_deterministic
from tables import (
    PITCH_DEG,
    WRONG_FACE_MM,
    YAW_DEG,
    error_statistics,
    landmark_mirror,
    make_table,
    mirrored,
    nearest_table,
    residuals_mm,
)

from vultus.methods.detected import IBUG68_FROM_478
from vultus.detect import default_detector
from vultus.fit.landmark_basis import gather
from vultus.io.images import read_image
from vultus.model.bundled import LANDMARKS, load
from vultus.model.landmarks import LandmarkTable
from vultus.render.shade import linear_from_srgb

TRAIN_SHARE = 0.85
NUM_WARPED_PHOTOS, WARPS = 240, 5
NUM_MODES = 60
SMOOTH_NOISE_MM, SMOOTH_LENGTH_MM = 0.6, 15.0
LEAST_SPREAD_MM = 0.3
SIDE_NOISE = 1.5  # from 38 degrees on nothing is known from photos: what drawn heads show, enlarged
# Lids and lips are edges that the detector follows closely: what differs there is expression, also among neutral people.
EDGES_NOISE = 0.2
DEPTH_RESPONSE = (
    0.5  # warped photos show no answer to depth: taken as large as the answer to the rest is on average
)
# How much of the frontal bias holds at 0, 20, 38, 55, 75 degrees. Sideways it belongs to the frontal outline; up and down (a chin
# that is found too low) it stays, as yawed portraits show up to 30 degrees.
OFFSET_X, OFFSET_Y = np.array([1, 0.3, 0, 0, 0]), np.array([1, 1, 1, 0.7, 0.5])


def main() -> None:
    options = _arguments()
    torch.set_num_threads(options.threads)
    model = load()
    canonical, _ = read_canonical(options.canonical)
    mirror_478 = landmark_mirror(canonical)
    data = _kept(options.keep, "drawn", lambda: _observe(model, options))
    triangle_ids, barycentric, good = _places(model, data, canonical, mirror_478)
    gap = residuals_mm(model, data, triangle_ids, barycentric)[good]
    modes, spread = error_statistics(gap, data["angles"][good], mirror_478)
    spread = np.repeat(spread, len(PITCH_DEG), 1)
    modes[:, :, LIDS_AND_LIPS] *= EDGES_NOISE
    table = _table(triangle_ids, barycentric, spread, modes)
    table = _with_photos(model, table, mirror_478, options)
    save(table)
    print("saved", LANDMARKS, LANDMARKS.stat().st_size / 1e3, "kB")


def _observe(model, options) -> dict[str, np.ndarray]:
    textures = None
    if options.textures:
        files = sorted(options.textures.glob("**/*.png"))
        textures = [linear_from_srgb(read_image(path)[0]) for path in files]
    backgrounds = sorted((options.photos / "portraits").glob("*.jpg"))[:200]
    return observe(model, options.heads, options.seed, textures, backgrounds)


def _places(model, data, canonical, mirror_478) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Surface places per bin: triangle ids (y, p, l), barycentric (y, p, l, 3), and which pictures (n,) they were made from."""
    train = np.arange(len(data["hits"])) < TRAIN_SHARE * len(data["hits"])
    part = lambda mask: {key: value[mask] for key, value in data.items()}  # noqa: E731
    good = train
    # Pictures in which the detector saw something else would pull the means: find them, leave them out.
    for _ in range(3):
        both = mirrored(part(good), mirror_478)
        triangle_ids, barycentric = make_table(model, both["hits"], both["angles"])
        gap = residuals_mm(model, data, triangle_ids, barycentric)
        sane = np.median(np.linalg.norm(gap, axis=-1), axis=1) < WRONG_FACE_MM
        good = train & sane
    held_out = part(~train & sane)
    print(f"{good.sum()} of {train.sum()} pictures used; in the others the detector saw something else")
    nearest = nearest_table(model, canonical, data)
    everywhere = lambda x: np.broadcast_to(x, (len(YAW_DEG), len(PITCH_DEG), *x.shape)).copy()  # noqa: E731
    frontal = np.abs(held_out["angles"][:, 0]) < 30
    for name, (ids, weight) in (
        ("nearest-point table", (everywhere(nearest[0]), everywhere(nearest[1]))),
        ("calibrated table", (triangle_ids, barycentric)),
    ):
        length = np.linalg.norm(residuals_mm(model, held_out, ids, weight), axis=-1)
        print(
            f"{name}: median {np.median(length):.2f} mm, 90th percentile {np.percentile(length, 90):.2f} mm;"
            f" |yaw| < 30: median {np.median(length[frontal]):.2f} mm"
        )
    return triangle_ids, barycentric, good


def _with_photos(model, table: dict[str, np.ndarray], mirror_478, options) -> dict[str, np.ndarray]:
    """Add what photos tell: offset_mm, response_mm, and the noise of the bins they cover."""
    basis = gather(model, _as_table(table))
    detector = default_detector()
    rng = np.random.default_rng(options.seed)
    portraits = sorted(
        p for name in ("portraits", "legislators") for p in (options.photos / name).glob("*.jpg")
    )
    chosen = [portraits[i] for i in rng.permutation(len(portraits))[:NUM_WARPED_PHOTOS]]
    neutral = sorted((options.photos / "studio" / "neutral_front").glob("*.jpg"))
    neutral = [path for i, path in enumerate(neutral) if i % 3 != 2]

    def warp() -> dict[str, np.ndarray]:
        found = photos.measure_response(chosen, model, basis, detector, WARPS, options.seed)
        return dict(zip(("differences", "moved"), found))

    def people() -> dict[str, np.ndarray]:
        return {"residual": photos.measure_population(neutral, model, basis, detector)}

    warped = _kept(options.keep, "warped", warp)
    residual = _kept(options.keep, "people", people)["residual"]
    residual = np.concatenate([residual, residual[:, mirror_478] * [-1, 1]])
    differences, moved = warped["differences"], warped["moved"]
    response = photos.regress_response(differences, moved, mirror_478, photos.mirrored_identity(model))
    middle = len(YAW_DEG) // 2
    mean, surface = basis.at(0, 0)[:2]
    left = moved - np.tensordot(differences, response, 1)
    follow = moved - np.tensordot(differences, surface[..., :2] * [1, -1], 1)
    rms = lambda x: np.sqrt((x**2).mean())  # noqa: E731
    print(
        f"{len(moved)} warped photos: detections move {rms(moved):.2f} mm; unexplained when they follow the surface {rms(follow):.2f},"
        f" when they answer as measured {rms(left):.2f}"
    )
    bias = residual.mean(0)
    print(
        f"{len(residual) // 2} neutral people: bias {rms(bias):.2f} mm per axis, spread {rms(residual - bias):.2f}"
    )
    covariance = photos.noise_covariance(residual, mean, response, left, SMOOTH_NOISE_MM, SMOOTH_LENGTH_MM)
    front_modes, front_spread = photos.principal_modes(covariance, NUM_MODES)
    front_modes[:, LIDS_AND_LIPS] *= EDGES_NOISE
    smooth = photos.smooth_noise(mean, SMOOTH_NOISE_MM, SMOOTH_LENGTH_MM)
    modes = np.empty((len(YAW_DEG), *front_modes.shape))
    spread, offset = table["spread_mm"].copy(), np.zeros(table["barycentric"].shape)
    for y in range(len(YAW_DEG)):
        turned = abs(y - middle)
        offset[y, ..., 0] = OFFSET_X[turned] * bias[:, 0]
        offset[y, ..., 1] = -OFFSET_Y[turned] * bias[:, 1]
        if turned <= 1:
            modes[y], spread[y] = front_modes, front_spread
        else:
            drawn = SIDE_NOISE * table["error_modes_mm"][y].reshape(len(table["error_modes_mm"][y]), -1)
            modes[y] = photos.principal_modes(drawn.T @ drawn + smooth, NUM_MODES)[0]
    answer = np.concatenate([response * [1, -1], DEPTH_RESPONSE * surface[..., 2:]], -1)
    added = {"error_modes_mm": modes, "offset_mm": offset, "response_mm": answer}
    return table | added | {"spread_mm": np.maximum(spread, LEAST_SPREAD_MM)}


def _table(triangle_ids, barycentric, spread, modes) -> dict[str, np.ndarray]:
    return {
        "yaw_deg": YAW_DEG,
        "pitch_deg": PITCH_DEG,
        "triangle_ids": triangle_ids,
        "barycentric": barycentric,
        "spread_mm": spread,
        "error_modes_mm": modes,
    }


def _as_table(fields: dict[str, np.ndarray]) -> LandmarkTable:
    tensors = {
        key: torch.from_numpy(value if value.dtype == np.int64 else value.astype(np.float32))
        for key, value in fields.items()
    }
    return LandmarkTable("mediapipe478", **tensors)


def _kept(folder: Path | None, name: str, make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Observations from a former run, or made now."""
    path = folder / f"{name}.npz" if folder else None
    if path and path.is_file():
        return dict(np.load(path))
    data = make()
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, **data)  # type: ignore[arg-type]
    return data


def save(table: dict[str, np.ndarray]) -> None:
    """All three schemes. iBUG-68 and AFLW-21 are subsets of the 478; people click them, so they have no network's bias."""
    fields = {}
    for name, rows in (
        ("mediapipe478", np.arange(478)),
        ("ibug68", IBUG68_FROM_478),
        ("aflw21", AFLW21_FROM_478),
    ):
        fields |= {
            f"{name}/yaw_deg": YAW_DEG.astype(np.float32),
            f"{name}/pitch_deg": PITCH_DEG.astype(np.float32),
            f"{name}/triangle_ids": table["triangle_ids"][:, :, rows].astype(np.int32),
            f"{name}/barycentric": table["barycentric"][:, :, rows].astype(np.float16),
            f"{name}/spread_mm": table["spread_mm"][:, :, rows].astype(np.float16),
            f"{name}/edges": np.isin(rows, LIDS_AND_LIPS),
            f"{name}/error_modes_mm": table["error_modes_mm"][:, :, rows].astype(np.float16),
        }
    fields["mediapipe478/offset_mm"] = table["offset_mm"].astype(np.float16)
    fields["mediapipe478/response_mm"] = table["response_mm"].astype(np.float16)
    write_deterministic(LANDMARKS, fields)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("canonical", type=Path)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--heads", type=int, default=1000)
    parser.add_argument("--textures", type=Path, help="folder of skin.png textures to draw the heads with")
    parser.add_argument("--keep", type=Path, help="folder for the observations, to be used again")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1, help="one is faster on a busy machine")
    return parser.parse_args()


if __name__ == "__main__":
    main()
