"""Lips that touch in the mean head and for every identity: how far a mouth is open is what a jaw does, not what a face is."""

from __future__ import annotations

import numpy as np
from deform import Coarsen, SmoothField, reach
from warp import Warp, farthest_points

from vultus.model.subdivide import Subdivision

OVERLAP_MM = 0.15  # each lip passes the line of contact by this much: what touches exactly, shows slits when it is drawn
CLOSED_UNITS = (
    "jawForward", "jawLeft", "jawRight", "cheekPuff", "mouthPress", "mouthRoll", "mouthDimple", "mouthStretch", "mouthFrown",
    "mouthSmile", "mouthLeft", "mouthRight", "mouthPucker", "mouthShrugLower",
)  # what a closed mouth can do; MakeHuman's units part the lips a little  # fmt: skip
FAR_MM = 9.0  # corrections of identities fade out here
FLIP = np.array([-1.0, 1, 1])


def close_lips(mean: np.ndarray, lips: np.ndarray, mirror: np.ndarray, outside: np.ndarray) -> np.ndarray:
    """Bring upper and lower lip of a head (v, 3) together along their contact line; what is 8 mm away stays.

    Args:
        lips: left half of the contact loop from the middle of the upper to the middle of the lower lip.
        outside: (v,) bool, skin that can be seen: only that is moved.
    """
    left, across = _other_lip(mean, lips, mean)
    ids, target = _both_sides(
        left, np.concatenate([mean[left, :1], (mean[left] + across)[:, 1:] / 2], 1), mirror
    )
    far = np.flatnonzero(outside & (np.linalg.norm(mean[:, None] - mean[None, ids[::4]], axis=2).min(1) > 8))
    far = far[farthest_points(mean[far], 600)]
    field = Warp(np.concatenate([mean[ids], mean[far]]), np.concatenate([target, mean[far]]))
    return np.where(outside[:, None], field(mean), mean)


def press_lips(mean: np.ndarray, lips: np.ndarray, mirror: np.ndarray, skin: np.ndarray) -> np.ndarray:
    """The last tenths of a millimetre, along the contact line only; the inside of the lips comes along."""
    left, across = _other_lip(mean, lips, mean)
    shift = (across - mean[left]) / 2 * [0, 1, 1]
    corner = mean[lips, 0].argmax()
    shift[:, 1] += OVERLAP_MM * np.where(np.isin(left, lips[:corner]), -1, 1)
    ids, shift = _both_sides(left, shift, mirror)
    return mean + _field(mean, skin, mean[ids], 5.0)(ids, shift, 100.0)


def tie_lips(
    basis: np.ndarray,
    mean: np.ndarray,
    lips: np.ndarray,
    mirror: np.ndarray,
    skin: np.ndarray,
    subdivision: Subdivision,
    axes: tuple[float, float, float] = (1, 1, 1),
) -> np.ndarray:
    """Modes (k, v_coarse, 3) under which both lips move alike, along the axes with a one, where they touch."""
    fine = np.stack([subdivision.matrix @ mode for mode in basis], 1)  # (v, k, 3)
    flipped = fine[mirror] * FLIP
    left, across = _other_lip(mean, lips, fine)
    right, across_right = mirror[left], _other_lip(mean, lips, flipped)[1] * FLIP
    sideways = right != left
    ids = np.concatenate([left, right[sideways]])
    shift = np.concatenate([across, across_right[sideways]]) / 2 - fine[ids] / 2
    shift *= axes
    field = _field(mean, skin, mean[ids], FAR_MM)(ids, shift.reshape(len(ids), -1), 100.0)
    coarse = Coarsen(subdivision)(field)
    return basis + coarse.reshape(basis.shape[1], len(basis), 3).transpose(1, 0, 2)


def _other_lip(mean: np.ndarray, lips: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The left contact line's vertices (n,) without its corner, and what ``values`` (v, ...) are on the other lip beside each."""
    corner = mean[lips, 0].argmax()
    upper, lower = lips[:corner], lips[corner + 1 :][::-1]
    across = []
    for own, other in ((upper, lower), (lower, upper)):
        order = np.append(other, lips[corner])
        order = order[np.argsort(mean[order, 0])]
        place = np.interp(mean[own, 0], mean[order, 0], np.arange(len(order)))
        below = np.minimum(place.astype(int), len(order) - 2)
        share = (place - below).reshape(-1, *[1] * (values.ndim - 1))
        across.append((1 - share) * values[order[below]] + share * values[order[below + 1]])
    return np.concatenate([upper, lower]), np.concatenate(across)


def _both_sides(left: np.ndarray, values: np.ndarray, mirror: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    sideways = mirror[left] != left
    return np.concatenate([left, mirror[left[sideways]]]), np.concatenate([values, values[sideways] * FLIP])


def _field(mean: np.ndarray, skin: np.ndarray, contact: np.ndarray, far_mm: float) -> SmoothField:
    used = np.zeros(len(mean), bool)
    used[skin] = True
    return SmoothField(mean, skin, used & (reach(mean, contact, 1.0, far_mm) > 0))
