"""Carry everything that hangs on the face (eyes, teeth, expressions) from MakeHuman's average adult to the bundled mean."""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import cdist


class Warp:
    """A smooth map of space that moves given points where they belong: biharmonic splines in three dimensions.

    Carr et al., "Reconstruction and representation of 3D objects with radial basis functions", SIGGRAPH 2001, eq. 5-8, kernel |r|,
    with a little smoothing because lips and eyelids touch without belonging together.
    """

    def __init__(self, source: np.ndarray, target: np.ndarray, smoothing: float = 0.02):
        """Fit to pairs (n, 3), (n, 3); millimetres."""
        n = len(source)
        affine = np.concatenate([np.ones((n, 1)), source], 1)
        system = np.zeros((n + 4, n + 4))
        system[:n, :n] = -cdist(source, source) + smoothing * np.eye(n) * 100
        system[:n, n:], system[n:, :n] = affine, affine.T
        right = np.concatenate([target - source, np.zeros((4, 3))])
        self._centres = source
        self._weights = np.linalg.solve(system, right)

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Map points (n, 3)."""
        affine = np.concatenate([np.ones((len(points), 1)), points], 1)
        return points - cdist(points, self._centres) @ self._weights[:-4] + affine @ self._weights[-4:]

    def carry(self, points: np.ndarray, deltas: np.ndarray) -> np.ndarray:
        """Displacements (k, n, 3) of points (n, 3), as they become after the warp: a closed eye stays closed."""
        rest = self(points)
        carried = np.zeros_like(deltas)
        for k, delta in enumerate(deltas):
            moved = np.flatnonzero(np.abs(delta).max(1) > 1e-6)
            if len(moved):
                carried[k, moved] = self(points[moved] + delta[moved]) - rest[moved]
        return carried


def farthest_points(points: np.ndarray, number: int) -> np.ndarray:
    """Indices of ``number`` points spread evenly over (n, 3), by farthest-point sampling from the first."""
    chosen = [0]
    distance = np.linalg.norm(points - points[0], axis=1)
    while len(chosen) < number:
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, np.linalg.norm(points - points[chosen[-1]], axis=1))
    return np.array(chosen)
