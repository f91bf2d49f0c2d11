"""Teeth and tongue where an adult has them: incisors 2 mm below the upper lip's edge, the tongue low behind the lower teeth.

MakeHuman's sit high and far back, so that open smiles showed the floor of the mouth.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from makehuman import RawHead
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

# Millimetres from where the lips touch in the middle: the upper incisors' edge shows at rest with the lips parted (Vig and
# Brundo, "The kinetics of anterior tooth display", 1978), the lower incisors stand 2 mm behind and reach 2 mm over it.
UPPER_EDGE_MM = np.array([-2.3, -7.5])  # y, z
OVERBITE_MM, OVERJET_MM = 2.0, 2.3
ARCH_WIDTH = 0.9  # of MakeHuman's dental arches, whose canines are 39 mm apart instead of 35
TONGUE_MM = np.array([0.0, -6.0, -5.0])  # from MakeHuman's place
TONGUE_WIDTH = 0.95


@dataclass(frozen=True)
class Mouth:
    """Coarse vertices of the teeth and of the tongue."""

    upper: np.ndarray
    lower: np.ndarray
    tongue: np.ndarray


def find_mouth(head: RawHead) -> Mouth:
    """The two rows of teeth are the two connected pieces of their part."""
    quads = head.quads[head.part_of_quad == head.part_names.index("teeth")]
    ends = quads.ravel(), np.roll(quads, 1, axis=1).ravel()
    size = len(head.base_mm)
    _, label = connected_components(coo_matrix((np.ones(quads.size), ends), (size, size)), directed=False)
    ids = np.unique(quads)
    rows = [ids[label[ids] == k] for k in np.unique(label[ids])]
    lower, upper = sorted(rows, key=lambda row: head.base_mm[row, 1].mean())
    tongue = np.unique(head.quads[head.part_of_quad == head.part_names.index("tongue")])
    return Mouth(upper, lower, tongue)


def place_mouth(shape: np.ndarray, mouth: Mouth, lips: np.ndarray) -> np.ndarray:
    """How far (v, 3) each coarse vertex of teeth and tongue must move.

    Args:
        shape: (v, 3) the coarse mean. lips: (3,) where the lips touch in the middle.
    """
    shift = np.zeros_like(shape)
    edges = {}
    for name in ("upper", "lower"):
        row = getattr(mouth, name)
        middle = row[np.abs(shape[row, 0]) < 3]
        sign = 1 if name == "upper" else -1
        edges[name] = shape[middle[(sign * shape[middle, 1]).argmin()], 1:]
    upper = lips[1:] + UPPER_EDGE_MM
    lower = upper + np.array([OVERBITE_MM, -OVERJET_MM])
    for name, goal in (("upper", upper), ("lower", lower)):
        row = getattr(mouth, name)
        shift[row, 1:] = goal - edges[name]
        shift[row, 0] = (ARCH_WIDTH - 1) * shape[row, 0]
    shift[mouth.tongue] = TONGUE_MM
    shift[mouth.tongue, 0] = (TONGUE_WIDTH - 1) * shape[mouth.tongue, 0]
    return shift


def move_mouth(
    expressions: np.ndarray,
    names: tuple[str, ...],
    before: np.ndarray,
    shift: np.ndarray,
    mouth: Mouth,
) -> np.ndarray:
    """Expression units (k, v, 3) for teeth and tongue that were moved from ``before`` by ``shift``, (v, 3) each.

    Where a unit turns the jaw, the turn acts on the new place; a tongue that sticks out ends where it did.
    """
    moved = expressions.copy()
    for ids in (mouth.upper, mouth.lower, mouth.tongue):
        arm = np.concatenate([before[ids], np.ones((len(ids), 1))], 1)
        for i, name in enumerate(names):
            delta = expressions[i, ids]
            if np.abs(delta).max() < 0.01:
                continue
            if name == "tongueOut":
                share = np.linalg.norm(delta, axis=1, keepdims=True)
                moved[i, ids] -= share / share.max() * shift[ids]
            else:
                linear = np.linalg.lstsq(arm, delta, rcond=None)[0][:3]
                moved[i, ids] += shift[ids] @ linear
    return moved


def seat_teeth(basis: np.ndarray, shape: np.ndarray, mouth: Mouth, lips: np.ndarray) -> np.ndarray:
    """Identity modes (k, v, 3) whose teeth and tongue are carried along by the lips instead of being bent.

    Args:
        shape: (v, 3) the coarse mean. lips: vertices (n,) of lips and mouth bag near the teeth.
    """
    ids = np.concatenate([mouth.upper, mouth.lower, mouth.tongue])
    arm = shape - shape[lips].mean(0)
    carriers = np.stack(
        [np.broadcast_to(axis, arm.shape) for axis in np.eye(3)]
        + [np.cross(axis, arm) for axis in np.eye(3)]
        + [arm * [1, 0, 0]]
    )
    design = carriers[:, lips].reshape(len(carriers), -1).T
    motion = np.linalg.lstsq(design, basis[:, lips].reshape(len(basis), -1).T, rcond=None)[0]
    seated = basis.copy()
    seated[:, ids] = np.einsum("ck,cvi->kvi", motion, carriers[:, ids])
    return seated
