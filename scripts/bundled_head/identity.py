"""Identity: MakeHuman's sculpted targets, weighted the way ICT-FaceKit's scanned heads vary.

The targets alone know what a head can look like but not how often; ICT's modes know how often, on another mesh. So 5,000 random ICT
heads are explained by the targets (rigid motion and scale free, because a photo cannot see them), and the covariance of the
coefficients, not ICT's modes, gives the principal components. A small share of MakeHuman's own ethnicity, age, sex and weight axes is
added for people whom ICT's scans cover thinly.
"""

from __future__ import annotations

import makehuman
import numpy as np
from scans import IctHeads

from vultus.geometry.closest import TriangleTree

NUM_HEADS = 5000
RIDGE = 10.0
OWN_SHARE = 0.15  # share of MakeHuman's own variation in the covariance
FACE_WEIGHT, HEAD_WEIGHT = 1.0, 0.15


def identity_directions(head: makehuman.RawHead) -> np.ndarray:
    """(n, v, 3) every direction an adult head can take from the average: targets, then whole-body types."""
    average = makehuman.mean_adult(head)
    changes = [{"male": 1.0}, {"male": 0.0}, {"old": 0.0}, {"old": 1.0}, {"weight": 0.0}, {"weight": 1.0}, {"muscle": 0.0},
               {"muscle": 1.0}, {"african": 1.0, "asian": 0.0}, {"african": 0.0, "asian": 1.0}, {"african": 0.0, "asian": 0.0}]  # fmt: skip
    types = [makehuman.mean_adult(head, **change) - average for change in changes]
    return np.concatenate([head.targets_mm, np.stack(types)])


def random_adults(head: makehuman.RawHead, number: int, rng: np.random.Generator) -> np.ndarray:
    """(number, m) macro weights of MakeHuman's random adults: any sex, age 20-80, origin, weight and muscle."""
    origins = rng.dirichlet([0.6, 0.6, 0.6], number)
    return np.stack(
        [
            makehuman.adult_macro_weight(
                head.macro_names, male=rng.integers(2), old=rng.uniform() ** 1.5, african=o[0], asian=o[1],
                weight=np.clip(rng.normal(0.5, 0.2), 0, 1), muscle=np.clip(rng.normal(0.5, 0.2), 0, 1),
            )
            for o in origins
        ]
    )  # fmt: skip


def fit_ict_heads(
    directions_fine: np.ndarray,
    on_ict: np.ndarray,
    trusted: np.ndarray,
    face: np.ndarray,
    ict: IctHeads,
    rng: np.random.Generator,
) -> tuple[np.ndarray, dict[str, float]]:
    """Explain random ICT heads by the directions.

    Args:
        directions_fine: (n, v, 3) in ICT's frame. on_ict: (v, 3) the template on ICT's neutral head: the correspondence.
        trusted: (v,) vertices with a counterpart on ICT's skin. face: (v,) those that count most.

    Returns:
        (heads, n) coefficients, and how much was explained.
    """
    ids = np.flatnonzero(trusted)
    found = TriangleTree(ict.neutral_mm, ict.skin).query(on_ict[ids])
    near = found.distances < 1.0
    ids = ids[near]
    corners = ict.identity_mm[:, ict.skin[found.triangle_ids[near]]]
    modes = np.einsum("ktcd,tc->ktd", corners, found.barycentric[near].astype(np.float32), optimize=True)
    codes = rng.standard_normal((NUM_HEADS, len(modes)))
    arm = on_ict[ids] - on_ict[ids].mean(0)
    axes = np.eye(3)
    motion = (
        [np.broadcast_to(axis, arm.shape) for axis in axes] + [np.cross(axis, arm) for axis in axes] + [arm]
    )
    design = np.concatenate([directions_fine[:, ids], np.stack(motion)]).reshape(len(directions_fine) + 7, -1)
    weight = np.repeat(np.where(face[ids], FACE_WEIGHT, HEAD_WEIGHT), 3)
    ridge = np.concatenate([np.full(len(directions_fine), RIDGE), np.full(7, 1e-6)])
    # The fit is linear, so it is solved once per ICT mode and mixed by each head's code.
    solution = np.linalg.solve(
        (design * weight) @ design.T + np.diag(ridge), (design * weight) @ modes.reshape(len(modes), -1).T
    )
    left = (modes.reshape(len(modes), -1) - solution.T @ design).reshape(modes.shape)[:, face[ids]]
    whole = modes[:, face[ids]] - (solution[-7:].T @ design[-7:]).reshape(modes.shape)[:, face[ids]]
    report = {
        "variation_rms_mm": float(np.sqrt((whole**2).sum((0, 2)).mean())),
        "unexplained_rms_mm": float(np.sqrt((left**2).sum((0, 2)).mean())),
    }
    return codes @ solution[:-7].T, report


def principal_components(
    heads: np.ndarray, own: np.ndarray, directions: np.ndarray, vertex_weight: np.ndarray, number: int
) -> tuple[np.ndarray, np.ndarray]:
    """Identity basis per sigma (number, v, 3) and its size (number,) as root mean square millimetres.

    Args:
        heads: (m, n) coefficients of random heads on the first n of ``directions`` (n + k, v, 3, coarse mesh).
        own: (m', k) coefficients of MakeHuman's random adults on the last k.
        vertex_weight: (v,) importance of each vertex in the decomposition.
    """
    covariance = np.zeros((len(directions), len(directions)))
    n = heads.shape[1]
    covariance[:n, :n] = (1 - OWN_SHARE) * np.cov(heads.T)
    covariance[n:, n:] = OWN_SHARE * np.cov(own.T)
    values, vectors = np.linalg.eigh(covariance)
    root = np.sqrt(values.clip(0))[:, None] * vectors.T
    scale = np.repeat(np.sqrt(vertex_weight), 3)
    _, s, vt = np.linalg.svd(root @ directions.reshape(len(directions), -1) * scale, full_matrices=False)
    basis = ((s[:number, None] * vt[:number]) / scale).reshape(number, -1, 3)
    sign = np.sign([b[np.abs(b).sum(1).argmax()].sum() for b in basis])
    size = np.sqrt(((basis**2).sum(2) * vertex_weight).sum(1) / vertex_weight.sum())
    return basis * sign[:, None, None], size


def remove_motion(deltas: np.ndarray, shape: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Take the rigid motion and scale out of (n, v, 3) displacements of a (v, 3) shape, least squares over ``weight`` (v,)."""
    arm = shape - (weight[:, None] * shape).sum(0) / weight.sum()
    axes = np.eye(3)
    motion = np.stack(
        [np.broadcast_to(axis, arm.shape) for axis in axes] + [np.cross(axis, arm) for axis in axes] + [arm]
    )
    flat = motion.reshape(7, -1)
    w = np.repeat(weight, 3)
    solution = np.linalg.solve((flat * w) @ flat.T, (flat * w) @ deltas.reshape(len(deltas), -1).T)
    return deltas - (solution.T @ flat).reshape(deltas.shape)
