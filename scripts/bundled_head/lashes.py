"""Lashes: two sheets per eye that grow out of the lid margin and go wherever it goes."""

from __future__ import annotations

import numpy as np
from lids import Lids, lid_of

ROOT_RING = 1.6  # between rings 1 and 2 of the margin, counted from the eyeball
UPPER, LOWER = (0.07, 0.97), (0.2, 0.96)  # where along the lid they begin and end
UPPER_MM, LOWER_MM = (3.0, 5.2), (1.4, 2.2)  # length at the inner and at the outer end
CURL, DROOP = 0.42, 0.22  # they first dip towards the opening, then bend away from it: shares of their length
FAN = 0.55  # how far the outer ones lean outwards, and half as much the inner ones inwards


def lash_grids(quads: np.ndarray, points: np.ndarray, centre: np.ndarray) -> list[np.ndarray]:
    """The sheets of the left eye as grids (rows from root to tip, columns from nose to temple) of coarse vertices, upper one first.

    Args:
        quads: (q, 4) of all lashes. points: (v, 3) MakeHuman's own, still in place. centre: (3,) of the left eyeball.
    """
    neighbours: dict[int, set[int]] = {}
    for quad in quads.tolist():
        for i in range(4):
            neighbours.setdefault(quad[i], set()).update((quad[i - 1], quad[(i + 1) % 4]))
    count = np.bincount(quads.ravel(), minlength=len(points))
    corners = [v for v in np.flatnonzero(count == 1).tolist() if points[v, 0] * centre[0] > 0]
    grids = []
    while corners:
        first = min(corners, key=lambda v: np.linalg.norm(points[v] - centre))
        sides = [_side(first, step, neighbours, count) for step in neighbours[first]]
        root, rise = sorted(sides, key=len, reverse=True)
        if points[root[0], 0] > points[root[-1], 0]:
            root = root[::-1]
            rise = _side(root[0], (neighbours[root[0]] - {root[1]}).pop(), neighbours, count)
        rows = [root]
        for start in rise[1:]:
            row = [start]
            for below in rows[-1][1:]:
                (ahead,) = (neighbours[row[-1]] & neighbours[below]) - set(rows[-1])
                row.append(ahead)
            rows.append(row)
        grids.append(np.array(rows))
        corners = [v for v in corners if v not in grids[-1]]
    return sorted(grids, key=lambda grid: -points[grid, 1].mean())


def grow_lashes(
    shape: np.ndarray, lids: Lids, centre: np.ndarray, grids: list[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Coarse vertices (n,) and where they lie (n, 3) on the left lids of a fine shape (v, 3) whose eyeball stands at ``centre``."""
    ids, places = [], []
    for grid, is_upper, (start, end), (inner_mm, outer_mm) in zip(
        grids, (True, False), (UPPER, LOWER), (UPPER_MM, LOWER_MM)
    ):
        lid = lid_of(lids, is_upper)
        ring, share = int(ROOT_RING), ROOT_RING % 1
        rim = (1 - share) * shape[lids.rings[ring, lid]] + share * shape[lids.rings[ring + 1, lid]]
        outer_edge = shape[lids.rings[3, lid]]
        arc = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(rim, axis=0), axis=1))])
        u = np.linspace(start, end, grid.shape[1])
        at = u * arc[-1]
        root, away = (
            np.stack([np.interp(at, arc, path[:, i]) for i in range(3)], 1) for path in (rim, outer_edge)
        )
        up = root - centre
        up /= np.linalg.norm(up, axis=1, keepdims=True)
        along = np.gradient(root, axis=0)
        along /= np.linalg.norm(along, axis=1, keepdims=True)
        away = away - root
        away -= (away * up).sum(1, keepdims=True) * up + (away * along).sum(1, keepdims=True) * along
        away /= np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1e-6)
        lean = np.where(u > 0.4, FAN * (u - 0.4) / 0.6, 0.5 * FAN * (u - 0.4) / 0.4)[:, None]
        length = np.interp(u, [start, end], [inner_mm, outer_mm])[:, None]
        length = length * np.minimum(1, 0.35 + 4 * (u - start))[:, None]  # the innermost are short
        v = np.linspace(0, 1, len(grid))[:, None, None]
        places.append(
            (root + length * (v * up + (CURL * v**2 - DROOP * v) * away + v * lean * along)).reshape(-1, 3)
        )
        ids.append(grid.ravel())
    return np.concatenate(ids), np.concatenate(places)


def _side(first: int, step: int, neighbours: dict[int, set[int]], count: np.ndarray) -> list[int]:
    """Along the border of a sheet from one corner to the next."""
    side = [first, step]
    while count[side[-1]] != 1:
        ahead = [v for v in neighbours[side[-1]] if v != side[-2] and count[v] <= 2]
        side.append(min(ahead, key=lambda v: count[v]))
    return side
