"""The cut through the neck: a smooth slanted loop instead of the steps of MakeHuman's quads, and motion without spikes there."""

from __future__ import annotations

import numpy as np
from deform import Coarsen, SmoothField
from scipy.spatial import cKDTree

from vultus.model.subdivide import Subdivision

ZONE_MM = 32.0  # how far up from the cut the neck gives way
WAVES = 4  # of the loop's outline, as a Fourier series over the angle


def cut_neck(mean: np.ndarray, skin: np.ndarray, rim: np.ndarray, mirror: np.ndarray) -> np.ndarray:
    """The mean head (v, 3) whose neck ends in a plane.

    Args:
        skin: (f, 3) triangles. rim: the left half of the cut (n,) from nape to throat. mirror: (v,).
    """
    loop = np.concatenate([rim, mirror[rim[1:-1]][::-1]])
    points = mean[loop]
    plane = np.stack([np.ones(len(loop)), points[:, 2]], 1)
    height = plane @ np.linalg.lstsq(plane, points[:, 1], rcond=None)[0]
    middle = points[:, [0, 2]].mean(0)
    x, z = (points[:, [0, 2]] - middle).T
    angle = np.arctan2(x, z)
    waves = np.stack([np.cos(k * angle) for k in range(WAVES + 1)], 1)  # symmetric: no sines
    radius = waves @ np.linalg.lstsq(waves, np.hypot(x, z), rcond=None)[0]
    goal = np.stack([middle[0] + radius * np.sin(angle), height, middle[1] + radius * np.cos(angle)], 1)
    field = SmoothField(mean, skin, _zone(mean, skin, loop) > 0)
    return mean + field(loop, goal - points, 100.0)


def smooth_motion(
    deltas: np.ndarray,
    mean: np.ndarray,
    skin: np.ndarray,
    rim: np.ndarray,
    mirror: np.ndarray,
    subdivision: Subdivision,
) -> np.ndarray:
    """Displacements (k, v_coarse, 3) that near the cut go on as they are above it."""
    zone = _zone(mean, skin, np.concatenate([rim, mirror[rim]]))
    used = np.unique(skin)
    fine = subdivision.matrix @ deltas.transpose(1, 0, 2).reshape(deltas.shape[1], -1)
    trust = np.where(zone[used] > 0, 3.0 * (1 - zone[used]) ** 4 + 1e-4, 100.0)
    near = np.zeros(len(mean), bool)
    near[used] = mean[used, 1] < mean[zone > 0, 1].max() + 10
    change = SmoothField(mean, skin, near)(used, fine[used], trust) - fine
    change[zone == 0] = 0
    coarse = Coarsen(subdivision)(change)
    return deltas + coarse.reshape(deltas.shape[1], len(deltas), 3).transpose(1, 0, 2)


def _zone(mean: np.ndarray, skin: np.ndarray, loop: np.ndarray) -> np.ndarray:
    """(v,) one at the cut, falling to zero ``ZONE_MM`` above it, zero off the skin."""
    used = np.zeros(len(mean), bool)
    used[skin] = True
    return np.where(used, 1 - cKDTree(mean[loop]).query(mean)[0] / ZONE_MM, 0).clip(0)
