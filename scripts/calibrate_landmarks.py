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
from random_heads import random_heads
from scans import read_canonical
from scipy.spatial import cKDTree
from schemes import AFLW21_FROM_478, IBUG68_FROM_478

from vultus.detect.detector import default_detector
from vultus.geometry.closest import TriangleTree
from vultus.geometry.mesh import vertex_normals
from vultus.model.bundled import LANDMARKS, load
from vultus.render.raster import rasterize

YAW_DEG = np.array([-75.0, -55, -38, -20, 0, 20, 38, 55, 75])
PITCH_DEG = np.array([-22.0, 0, 22])
TRAIN_SHARE = 0.8


def observe(model, number: int, seed: int, textures, backgrounds) -> dict[str, np.ndarray]:
    """Run the detector on random heads.

    Returns:
        hits (n, 478, 3): where each point fell, carried to the mean head; offset_mm (n, 478, 2) unused by now; and for the statistics
        points_px, poses, cameras, codes.
    """
    detector = default_detector()
    skin_and_eyes = torch.cat([model.part_triangles(p) for p in ("skin", "eye_left", "eye_right")])
    mean = model.mean_mm.numpy().astype(float)
    rows: dict[str, list] = {key: [] for key in ("hits", "points_px", "angles", "rotation", "translation", "focal_px", "identity", "expression", "depth")}
    start = time.time()
    for index, head in enumerate(random_heads(model, number, seed, textures=textures, backgrounds=backgrounds)):
        faces = detector.detect(head.image)
        if not faces:
            continue
        points = faces[0].landmarks.points_px.numpy()
        projected = head.camera.project(head.vertices)
        fragments = rasterize(projected[None], skin_and_eyes, head.camera.size_px)
        hits = cast(points, fragments, projected.numpy(), skin_and_eyes.numpy(), mean, head.camera)
        if np.linalg.norm(points.mean(0) - projected.numpy()[model.regions["face"].numpy(), :2].mean(0)) > 60:
            continue  # another face: in the background
        rows["hits"].append(hits)
        rows["points_px"].append(points)
        rows["depth"].append(faces[0].landmarks.depth_px.numpy())
        rows["angles"].append([head.yaw_deg, head.pitch_deg])
        rows["rotation"].append(head.camera.T_camera_head[:3, :3].numpy())
        rows["translation"].append(head.camera.T_camera_head[:3, 3].numpy())
        rows["focal_px"].append(float(head.camera.focal_px))
        rows["identity"].append(head.code.identity.numpy())
        rows["expression"].append(head.code.expression.numpy())
        if index % 250 == 249:
            print(f"{time.time() - start:6.0f} s  {index + 1} heads, {len(rows['hits'])} detected", flush=True)
    return {key: np.array(value) for key, value in rows.items()}


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


def make_table(hits, angles, tree, start) -> tuple[np.ndarray, np.ndarray]:
    """Mean place per bin, on the surface: triangle ids (y, p, l) and barycentric (y, p, l, 3)."""
    hat = lambda value, centres: np.stack([np.interp(value, centres, unit) for unit in np.eye(len(centres))], 1)  # noqa: E731
    weight = hat(angles[:, 0], YAW_DEG)[:, :, None] * hat(angles[:, 1], PITCH_DEG)[:, None, :]
    good = np.isfinite(hits[:, :, 0])
    total = np.einsum("nyp,nl,nld->ypld", weight, good.astype(float), np.nan_to_num(hits))
    count = np.einsum("nyp,nl->ypl", weight, good.astype(float))
    # A bin with few looks leans on the all-pose mean.
    overall = total.sum((0, 1)) / np.maximum(count.sum((0, 1)), 1e-9)[:, None]
    place = (total + 2.0 * overall) / (count + 2.0)[..., None]
    found = tree.query(place.reshape(-1, 3))
    shape = place.shape[:3]
    return found.triangle_ids.reshape(shape), found.barycentric.reshape(*shape, 3)


def reprojection_mm(model, data, triangle_ids, barycentric) -> np.ndarray:
    """Distance (n, l) between the table's projection and the detection, in millimetres at the head's distance; 2-vectors (n, l, 2) too."""
    triangles = model.triangles.numpy()
    hat = lambda value, centres: np.stack([np.interp(value, centres, unit) for unit in np.eye(len(centres))], 1)  # noqa: E731
    weight = hat(data["angles"][:, 0], YAW_DEG)[:, :, None] * hat(data["angles"][:, 1], PITCH_DEG)[:, None, :]
    out = np.empty((*data["points_px"].shape[:2], 2))
    flat_ids, flat_bary = triangle_ids.reshape(-1, triangle_ids.shape[-1]), barycentric.reshape(-1, triangle_ids.shape[-1], 3)
    for n in range(len(out)):
        code = model.mean_code().__class__(
            torch.from_numpy(data["identity"][n]), torch.from_numpy(data["expression"][n]), model.mean_code().albedo
        )
        vertices = model.vertices(code).numpy()
        w = weight[n].ravel()
        place = sum(w[b] * (vertices[triangles[flat_ids[b]]] * flat_bary[b][:, :, None]).sum(1) for b in np.flatnonzero(w))
        camera = place @ data["rotation"][n].T + data["translation"][n]
        pixel = data["focal_px"][n] * camera[:, :2] / camera[:, 2:] + 210.0
        out[n] = (pixel - data["points_px"][n]) * camera[:, 2:].mean() / data["focal_px"][n]
    return out


def mirrored(model, data, mirror_478) -> dict[str, np.ndarray]:
    """Every look seen in a mirror as well: both sides of the table come out alike."""
    flipped = dict(data)
    flipped["hits"] = data["hits"][:, mirror_478] * [-1, 1, 1]
    flipped["angles"] = data["angles"] * [-1, 1]
    return {key: np.concatenate([data[key], flipped[key]]) for key in ("hits", "angles")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("canonical", type=Path)
    parser.add_argument("--heads", type=int, default=3000)
    parser.add_argument("--textures", type=Path, help="folder of skin.png textures to draw the heads with")
    parser.add_argument("--backgrounds", type=Path, help="folder of photos to put behind")
    parser.add_argument("--observations", type=Path, help="keep the raw observations here")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(2)
    model = load()
    textures = None
    if options.textures:
        from vultus.io.images import read_image
        from vultus.render.shade import linear_from_srgb

        textures = [linear_from_srgb(read_image(path)[0]) for path in sorted(options.textures.glob("**/*.png"))]
    backgrounds = sorted(options.backgrounds.glob("*.jpg"))[:200] if options.backgrounds else None
    data = observe(model, options.heads, options.seed, textures, backgrounds)
    if options.observations:
        np.savez(options.observations, **data)
    canonical, _ = read_canonical(options.canonical)
    mirror_478 = landmark_mirror(canonical)
    train = np.arange(len(data["hits"])) < TRAIN_SHARE * len(data["hits"])
    part = lambda mask: {key: value[mask] for key, value in data.items()}  # noqa: E731
    surface = torch.cat([model.part_triangles(p) for p in ("skin", "eye_left", "eye_right")])
    ids = torch.cat([torch.nonzero(model.part_of_triangle == i).squeeze(-1) for i in range(3)]).numpy()
    outer = ~(model.regions["inner_mouth"] | model.regions["eye_sockets"])[surface].any(1).numpy()
    mean = model.mean_mm.numpy().astype(float)
    tree = TriangleTree(mean, surface.numpy()[outer])
    both = mirrored(model, part(train), mirror_478)
    triangle_ids, barycentric = make_table(both["hits"], both["angles"], tree, None)
    triangle_ids = ids[outer][triangle_ids]
    held_out = part(~train)

    nearest = nearest_table(model, canonical, tree, data)
    before = reprojection_mm(model, held_out, ids[outer][nearest[0]][None, None].repeat(9, 0).repeat(3, 1), nearest[1][None, None].repeat(9, 0).repeat(3, 1))
    after = reprojection_mm(model, held_out, triangle_ids, barycentric)
    length = lambda gap: np.linalg.norm(gap, axis=-1)  # noqa: E731
    for name, gap in (("nearest-point table", before), ("calibrated table", after)):
        frontal = np.abs(held_out["angles"][:, 0]) < 30
        print(
            f"{name}: median {np.median(length(gap)):.2f} mm, 90th percentile {np.percentile(length(gap), 90):.2f} mm;"
            f" |yaw| < 30: median {np.median(length(gap)[frontal]):.2f} mm"
        )
    spread = bin_spread(model, part(train), triangle_ids, barycentric, mirror_478)
    save(triangle_ids, barycentric, spread)
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


def nearest_table(model, canonical, tree, data) -> tuple[np.ndarray, np.ndarray]:
    """The table people use without calibration: MediaPipe's canonical mesh laid on the mean head, nearest points."""
    from vultus.evaluate.scan import align_points

    frontal = np.abs(data["angles"]).max(1) < 12
    places = np.nanmedian(data["hits"][frontal], 0)
    eyes_and_mouth = np.array([33, 133, 362, 263, 1, 61, 291])
    laid = align_points(canonical[eyes_and_mouth], places[eyes_and_mouth], with_scale=True).apply(canonical)
    laid = np.concatenate([laid, places[468:]])
    found = tree.query(laid)
    return found.triangle_ids, found.barycentric


def bin_spread(model, data, triangle_ids, barycentric, mirror_478) -> np.ndarray:
    """Root mean square residual (y, p, l), outliers trimmed, shrunk to the point's mean where a bin has few looks."""
    gap = np.linalg.norm(reprojection_mm(model, data, triangle_ids, barycentric), axis=-1) ** 2 / 2  # per axis
    gap = np.minimum(gap, np.percentile(gap, 97, axis=0))
    gap = np.concatenate([gap, gap[:, mirror_478]])
    angles = np.concatenate([data["angles"], data["angles"] * [-1, 1]])
    hat = lambda value, centres: np.stack([np.interp(value, centres, unit) for unit in np.eye(len(centres))], 1)  # noqa: E731
    weight = hat(angles[:, 0], YAW_DEG)[:, :, None] * hat(angles[:, 1], PITCH_DEG)[:, None, :]
    total, count = np.einsum("nyp,nl->ypl", weight, gap), weight.sum(0)[..., None]
    return np.sqrt((total + 5 * gap.mean(0)) / (count + 5))


def save(triangle_ids, barycentric, spread) -> None:
    """All three schemes; iBUG-68 and AFLW-21 are subsets of the 478, the 68 jaw points blended between neighbours."""
    fields = {}
    for name, rows in (("mediapipe478", np.arange(478)), ("ibug68", IBUG68_FROM_478), ("aflw21", AFLW21_FROM_478)):
        fields |= {
            f"{name}/yaw_deg": YAW_DEG.astype(np.float32),
            f"{name}/pitch_deg": PITCH_DEG.astype(np.float32),
            f"{name}/triangle_ids": triangle_ids[:, :, rows].astype(np.int32),
            f"{name}/barycentric": barycentric[:, :, rows].astype(np.float16),
            f"{name}/spread_mm": spread[:, :, rows].astype(np.float16),
        }
    import store

    store.write_deterministic(LANDMARKS, fields)


if __name__ == "__main__":
    main()
