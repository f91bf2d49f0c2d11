"""From observations on drawn heads to a landmark table: places on the surface per pose, and the detector's error there."""

from __future__ import annotations

import numpy as np
import torch
from scipy.spatial import cKDTree

from vultus.fit.landmark_basis import gather, pose_angles_deg
from vultus.geometry.closest import TriangleTree
from vultus.model.landmarks import LandmarkTable

from random_heads import SIZE_PX

YAW_DEG = np.array([-75.0, -55, -38, -20, 0, 20, 38, 55, 75])
PITCH_DEG = np.array([-22.0, 0, 22])
NUM_MODES = 40
WRONG_FACE_MM = 9.0  # median error of a picture beyond which the detector saw something else


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


def error_statistics(gap, angles, mirror_478) -> tuple[np.ndarray, np.ndarray]:
    """How the detector errs: modes (y, m, l, 2) that many points share, and what is left, per axis (y, 1, l).

    Args:
        gap: (n, l, 2) as :func:`residuals_mm` gives, at yaw and pitch ``angles`` (n, 2).
    """
    gap = np.concatenate([gap, gap[:, mirror_478] * [-1, 1]])
    angles = np.concatenate([angles, angles * [-1, 1]])
    modes = np.empty((len(YAW_DEG), NUM_MODES, *gap.shape[1:]))
    spread = np.empty((len(YAW_DEG), 1, gap.shape[1]))
    for y, weight in enumerate(hat(angles[:, 0], YAW_DEG).T):
        near = weight > 0.02
        share = weight[near] / weight[near].sum()
        flat = gap[near].reshape(near.sum(), -1)
        _, s, vt = np.linalg.svd(np.sqrt(share)[:, None] * flat, full_matrices=False)
        modes[y] = (s[:NUM_MODES, None] * vt[:NUM_MODES]).reshape(NUM_MODES, *gap.shape[1:])
        left = ((flat - flat @ vt[:NUM_MODES].T @ vt[:NUM_MODES]) ** 2).reshape(gap[near].shape).mean(-1)
        spread[y, 0] = np.sqrt(share @ left)
        explained = 1 - (share @ left).mean() / (share @ (flat**2).reshape(gap[near].shape).mean(-1)).mean()
        print(
            f"yaw {YAW_DEG[y]:4.0f}: error {np.sqrt((share[:, None] * flat**2).sum(0).mean()):.2f} mm per axis, modes explain {explained:.0%}"
        )
    return modes, spread


def hat(value: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Piecewise linear weights (n, bins)."""
    return np.stack([np.interp(value, centres, unit) for unit in np.eye(len(centres))], 1)
