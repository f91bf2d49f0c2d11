"""Calibrate where MediaPipe's 478 points (and iBUG-68, AFLW-21) really lie on the bundled head.

    python scripts/calibrate_landmarks.py CANONICAL_OBJ [--heads 3000] [--textures FOLDER] [--observations FILE]

Random heads are drawn, the detector is run on them, and each point is put where it falls on average over people, expressions
and lights, per pose bin; its spread is kept as its standard deviation. Prints the error before (nearest point of MediaPipe's
canonical mesh) and after, on heads that the table was not made from. Writes src/vultus/model/assets/landmarks.npz.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent / "calibration"), str(Path(__file__).parent / "bundled_head")]
import numpy as np
import torch
from random_heads import SIZE_PX, random_heads
from scans import read_canonical
from schemes import AFLW21_FROM_478, IBUG68_FROM_478, LIDS_AND_LIPS
from scipy.spatial import cKDTree
from store import write_deterministic

from vultus.detect.crop import Window
from vultus.detect.detector import Candidate, PhotoDetector
from vultus.detect.mesh import AttentionMesh
from vultus.detect.protocol import DetectedFace, FaceBox
from vultus.detect.yunet import YuNet
from vultus.fit.landmark_basis import gather
from vultus.fit.landmarks import pose_angles_deg
from vultus.geometry.closest import TriangleTree
from vultus.model.bundled import LANDMARKS, load
from vultus.model.landmarks import LandmarkTable
from vultus.render.raster import rasterize

YAW_DEG = np.array([-75.0, -55, -38, -20, 0, 20, 38, 55, 75])
PITCH_DEG = np.array([-22.0, 0, 22])
TRAIN_SHARE = 0.85
NUM_MODES = 40
WRONG_FACE_MM = 9.0  # median error of a picture beyond which the detector saw something else


def observe(model, number: int, seed: int, textures, backgrounds) -> dict[str, np.ndarray]:
    """Run the detector on random heads.

    Returns:
        hits (n, 478, 3): where each point fell, carried to the mean head; offset_mm (n, 478, 2) unused by now; and for the statistics
        points_px, poses, cameras, codes.
    """
    detector = PhotoDetector(YuNet(), AttentionMesh())
    skin_and_eyes = torch.cat([model.part_triangles(p) for p in ("skin", "eye_left", "eye_right")])
    mean = model.mean_mm.numpy().astype(float)
    rows: dict[str, list] = {
        key: []
        for key in (
            "hits",
            "points_px",
            "angles",
            "rotation",
            "translation",
            "focal_px",
            "identity",
            "expression",
            "depth",
        )
    }
    start = time.time()
    for index, head in enumerate(
        random_heads(model, number, seed, textures=textures, backgrounds=backgrounds)
    ):
        projected = head.camera.project(head.vertices)
        face = find_face(detector, head.image, projected[model.regions["face"], :2])
        points = face.landmarks.points_px.numpy()
        fragments = rasterize(projected[None], skin_and_eyes, head.camera.size_px)
        hits = cast(points, fragments, projected.numpy(), skin_and_eyes.numpy(), mean, head.camera)
        rows["hits"].append(hits)
        rows["points_px"].append(points)
        rows["depth"].append(face.landmarks.depth_px.numpy())
        rows["angles"].append([head.yaw_deg, head.pitch_deg])
        rows["rotation"].append(head.camera.T_camera_head[:3, :3].numpy())
        rows["translation"].append(head.camera.T_camera_head[:3, 3].numpy())
        rows["focal_px"].append(float(head.camera.focal_px))
        rows["identity"].append(head.code.identity.numpy())
        rows["expression"].append(head.code.expression.numpy())
        if index % 100 == 99:
            print(
                f"{time.time() - start:6.0f} s  {index + 1} heads, {len(rows['hits'])} detected", flush=True
            )
    return {key: np.array(value) for key, value in rows.items()}


def find_face(detector: PhotoDetector, image: torch.Tensor, face_px: torch.Tensor) -> DetectedFace:
    """The landmarks of the head that was drawn: its place is known, so the search for boxes (of a bald head) is left out."""
    (left, top), (right, bottom) = face_px.amin(0).tolist(), face_px.amax(0).tolist()
    window = Window(((left + right) / 2, (top + bottom) / 2), 1.5 * max(right - left, bottom - top), 0.0)
    return detector._find_landmarks(
        image, image, Candidate(FaceBox(left, top, right, bottom, 1.0, 0.0), window)
    )


def cast(points, fragments, projected, triangles, mean, camera) -> np.ndarray:
    """Each point's place on the surface, carried to the mean head (478, 3); beside the head, the nearest visible vertex."""
    width, height = camera.size_px
    ids = fragments.triangle_ids[0].numpy()
    x, y = np.clip(points[:, 0].astype(int), 0, width - 1), np.clip(points[:, 1].astype(int), 0, height - 1)
    seen = ids[y, x]
    weight = fragments.barycentric[0].numpy()[:, y, x].T
    hits = (mean[triangles[seen]] * weight[:, :, None]).sum(1)
    visible = np.unique(triangles[np.unique(ids[ids >= 0])])
    missed = np.flatnonzero(seen < 0)
    if len(missed):
        distance, nearest = cKDTree(projected[visible, :2]).query(points[missed])
        hits[missed] = mean[visible[nearest]]
        far = distance * projected[visible[nearest], 2] / float(camera.focal_px) > 12
        hits[missed[far]] = np.nan
    return hits


def make_table(model, hits, angles) -> tuple[np.ndarray, np.ndarray]:
    """Mean place per bin, on the surface: triangle ids (y, p, l) and barycentric (y, p, l, 3)."""
    weight = hat(angles[:, 0], YAW_DEG)[:, :, None] * hat(angles[:, 1], PITCH_DEG)[:, None, :]
    good = np.isfinite(hits[:, :, 0])
    total = np.einsum("nyp,nl,nld->ypld", weight, good.astype(float), np.nan_to_num(hits))
    count = np.einsum("nyp,nl->ypl", weight, good.astype(float))
    # A bin with few looks leans on the all-pose mean.
    overall = total.sum((0, 1)) / np.maximum(count.sum((0, 1)), 1e-9)[:, None]
    place = (total + 2.0 * overall) / (count + 2.0)[..., None]
    return on_surface(model, place)


def on_surface(model, place: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Nearest point of the mean head's skin to (..., l, 3) places; irises go to the eyeballs, lids must not (they would not blink).

    Returns:
        triangle ids (..., l) of the whole model and barycentric weights (..., l, 3).
    """
    mean = model.mean_mm.numpy().astype(float)
    hidden = (model.regions["inner_mouth"] | model.regions["eye_sockets"])[model.triangles].any(1)
    ids = np.empty(place.shape[:-1], np.int64)
    barycentric = np.empty(place.shape)
    for part, rows in (((0,), slice(0, 468)), ((1, 2), slice(468, 478))):
        chosen = torch.isin(model.part_of_triangle, torch.tensor(part)) & ~hidden
        own = chosen.nonzero().squeeze(-1).numpy()
        found = TriangleTree(mean, model.triangles[chosen].numpy()).query(place[..., rows, :].reshape(-1, 3))
        shape = place[..., rows, :].shape
        ids[..., rows] = own[found.triangle_ids].reshape(shape[:-1])
        barycentric[..., rows, :] = found.barycentric.reshape(shape)
    return ids, barycentric


def residuals_mm(model, data, triangle_ids, barycentric) -> np.ndarray:
    """Detection minus the table's projection (n, l, 2): millimetres at the head's distance, x right, y down, head upright."""
    table = LandmarkTable("calibration", *(torch.from_numpy(x) for x in (YAW_DEG, PITCH_DEG, triangle_ids, barycentric.astype(np.float32),
                          np.zeros(triangle_ids.shape, np.float32))))  # fmt: skip
    basis = gather(model, table)
    out = np.empty((*data["points_px"].shape[:2], 2))
    for n, rotation in enumerate(data["rotation"]):
        yaw, pitch, roll = pose_angles_deg(rotation)
        mean, identity, expression, _ = basis.at(yaw, pitch)
        place = (
            mean
            + np.tensordot(data["identity"][n], identity, 1)
            + np.tensordot(data["expression"][n], expression, 1)
        )
        camera = place @ rotation.T + data["translation"][n]
        pixel = data["focal_px"][n] * camera[:, :2] / camera[:, 2:] + SIZE_PX / 2
        gap = (data["points_px"][n] - pixel) * camera[:, 2].mean() / data["focal_px"][n]
        cosine, sine = np.cos(np.radians(roll)), np.sin(np.radians(roll))
        out[n] = gap @ np.array([[cosine, sine], [-sine, cosine]])
    return out


def mirrored(data, mirror_478) -> dict[str, np.ndarray]:
    """Every look seen in a mirror as well: both sides of the table come out alike."""
    flipped = dict(data)
    flipped["hits"] = data["hits"][:, mirror_478] * [-1, 1, 1]
    flipped["angles"] = data["angles"] * [-1, 1]
    return {key: np.concatenate([data[key], flipped[key]]) for key in ("hits", "angles")}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("canonical", type=Path)
    parser.add_argument("--heads", type=int, default=3000)
    parser.add_argument("--textures", type=Path, help="folder of skin.png textures to draw the heads with")
    parser.add_argument("--backgrounds", type=Path, help="folder of photos to put behind")
    parser.add_argument(
        "--observations", type=Path, help="keep the raw observations here, or take them from here"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2, help="one is faster on a busy machine")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model = load()
    textures = None
    if options.textures:
        from vultus.io.images import read_image
        from vultus.render.shade import linear_from_srgb

        textures = [
            linear_from_srgb(read_image(path)[0]) for path in sorted(options.textures.glob("**/*.png"))
        ]
    backgrounds = sorted(options.backgrounds.glob("*.jpg"))[:200] if options.backgrounds else None
    if options.observations and options.observations.exists():
        data = dict(np.load(options.observations))
    else:
        data = observe(model, options.heads, options.seed, textures, backgrounds)
        if options.observations:
            np.savez(options.observations, **data)
    canonical, _ = read_canonical(options.canonical)
    mirror_478 = landmark_mirror(canonical)
    train = np.arange(len(data["hits"])) < TRAIN_SHARE * len(data["hits"])
    part = lambda mask: {key: value[mask] for key, value in data.items()}  # noqa: E731
    good = train
    for _ in range(
        3
    ):  # pictures in which the detector saw something else would pull the means: find them, leave them out
        both = mirrored(part(good), mirror_478)
        triangle_ids, barycentric = make_table(model, both["hits"], both["angles"])
        error = np.median(
            np.linalg.norm(residuals_mm(model, data, triangle_ids, barycentric), axis=-1), axis=1
        )
        good = train & (error < WRONG_FACE_MM)
    held_out = part(~train & (error < WRONG_FACE_MM))
    print(f"{good.sum()} of {train.sum()} pictures used; in the others the detector saw something else")

    nearest = nearest_table(model, canonical, data)
    everywhere = lambda x: np.broadcast_to(x, (len(YAW_DEG), len(PITCH_DEG), *x.shape)).copy()  # noqa: E731
    before = residuals_mm(model, held_out, everywhere(nearest[0]), everywhere(nearest[1]))
    after = residuals_mm(model, held_out, triangle_ids, barycentric)
    frontal = np.abs(held_out["angles"][:, 0]) < 30
    for name, gap in (("nearest-point table", before), ("calibrated table", after)):
        length = np.linalg.norm(gap, axis=-1)
        print(
            f"{name}: median {np.median(length):.2f} mm, 90th percentile {np.percentile(length, 90):.2f} mm;"
            f" |yaw| < 30: median {np.median(length[frontal]):.2f} mm"
        )
    modes, spread = error_statistics(model, part(train), triangle_ids, barycentric, mirror_478)
    save(triangle_ids, barycentric, spread, modes)
    print("saved", LANDMARKS, LANDMARKS.stat().st_size / 1e3, "kB")


def landmark_mirror(canonical: np.ndarray) -> np.ndarray:
    """The point on the other side of each of the 478."""
    other = cKDTree(canonical).query(canonical * [-1, 1, 1])[1]
    irises = {468: 473, 469: 476, 470: 475 + 0, 471: 474, 472: 477}
    irises[470] = 475
    mirror = np.concatenate([other, np.zeros(10, int)])
    for a, b in irises.items():
        mirror[a], mirror[b] = b, a
    return mirror


def nearest_table(model, canonical, data) -> tuple[np.ndarray, np.ndarray]:
    """The table people use without calibration: MediaPipe's canonical mesh laid on the mean head, nearest points."""
    from vultus.evaluate.scan import align_points

    frontal = np.abs(data["angles"]).max(1) < 12
    places = np.nanmedian(data["hits"][frontal], 0)
    eyes_and_mouth = np.array([33, 133, 362, 263, 1, 61, 291])
    laid = align_points(canonical[eyes_and_mouth], places[eyes_and_mouth], with_scale=True).apply(canonical)
    laid = np.concatenate([laid, places[468:]])
    return on_surface(model, laid)


def error_statistics(model, data, triangle_ids, barycentric, mirror_478) -> tuple[np.ndarray, np.ndarray]:
    """How the detector errs: modes (y, m, l, 2) that many points share, and what is left, per axis (y, p, l)."""
    gap = residuals_mm(model, data, triangle_ids, barycentric)
    sane = np.median(np.linalg.norm(gap, axis=-1), axis=1) < WRONG_FACE_MM
    gap = gap[sane]
    gap = np.concatenate([gap, gap[:, mirror_478] * [-1, 1]])
    angles = np.concatenate([data["angles"][sane], data["angles"][sane] * [-1, 1]])
    modes = np.empty((len(YAW_DEG), NUM_MODES, *gap.shape[1:]))
    spread = np.empty(triangle_ids.shape)
    for y, weight in enumerate(hat(angles[:, 0], YAW_DEG).T):
        near = weight > 0.02
        share = weight[near] / weight[near].sum()
        flat = gap[near].reshape(near.sum(), -1)
        _, s, vt = np.linalg.svd(np.sqrt(share)[:, None] * flat, full_matrices=False)
        modes[y] = (s[:NUM_MODES, None] * vt[:NUM_MODES]).reshape(NUM_MODES, *gap.shape[1:])
        left = ((flat - flat @ vt[:NUM_MODES].T @ vt[:NUM_MODES]) ** 2).reshape(gap[near].shape).mean(-1)
        spread[y] = np.sqrt(share @ left)
        explained = 1 - (share @ left).mean() / (share @ (flat**2).reshape(gap[near].shape).mean(-1)).mean()
        print(
            f"yaw {YAW_DEG[y]:4.0f}: error {np.sqrt((share[:, None] * flat**2).sum(0).mean()):.2f} mm per axis, modes explain {explained:.0%}"
        )
    # Drawn bald heads confuse the detector more than photos do: on 7 portraits (studio, astronaut) halved modes reproject best. Lids
    # and lips are edges that it follows closely; their error belongs to the expressions drawn here, not to the detector.
    modes[:] *= 0.5
    modes[:, :, LIDS_AND_LIPS] *= 0.1
    spread[:, :, np.setdiff1d(np.arange(478), LIDS_AND_LIPS)] += 0.3
    return modes, spread


def hat(value: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Piecewise linear weights (n, bins)."""
    return np.stack([np.interp(value, centres, unit) for unit in np.eye(len(centres))], 1)


def save(triangle_ids, barycentric, spread, modes) -> None:
    """All three schemes; iBUG-68 and AFLW-21 are subsets of the 478."""
    fields = {}
    for name, rows in (
        ("mediapipe478", np.arange(478)),
        ("ibug68", IBUG68_FROM_478),
        ("aflw21", AFLW21_FROM_478),
    ):
        fields |= {
            f"{name}/yaw_deg": YAW_DEG.astype(np.float32),
            f"{name}/pitch_deg": PITCH_DEG.astype(np.float32),
            f"{name}/triangle_ids": triangle_ids[:, :, rows].astype(np.int32),
            f"{name}/barycentric": barycentric[:, :, rows].astype(np.float16),
            f"{name}/spread_mm": spread[:, :, rows].astype(np.float16),
            f"{name}/error_modes_mm": modes[:, :, rows].astype(np.float16),
        }
    write_deterministic(LANDMARKS, fields)


if __name__ == "__main__":
    main()
