"""Walk on a quad mesh: edge loops, paths on the subdivided mesh, and the pieces that closed paths cut out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from vultus.model.subdivide import Subdivision


def edge_loop(quads: np.ndarray, a: int, b: int) -> list[int]:
    """The closed loop that starts with edge ``a`` -> ``b`` and goes straight on at every vertex of valence four.

    Raises:
        ValueError: the loop meets an irregular vertex or a boundary before it closes.
    """
    neighbours: dict[int, set[int]] = {}
    quads_at: dict[int, list[int]] = {}
    for k, quad in enumerate(quads.tolist()):
        for i in range(4):
            neighbours.setdefault(quad[i], set()).update((quad[i - 1], quad[(i + 1) % 4]))
            quads_at.setdefault(quad[i], []).append(k)
    if b not in neighbours[a]:
        raise ValueError(f"no edge {a} -> {b}")
    loop = [a, b]
    while True:
        before, here = loop[-2:]
        beside = set(quads[[k for k in quads_at[here] if before in quads[k]]].ravel().tolist())
        ahead = neighbours[here] - beside
        if len(neighbours[here]) != 4 or len(ahead) != 1:
            raise ValueError(f"the loop {a} -> {b} meets an irregular vertex at {here}")
        (after,) = ahead
        if after == a:
            return loop
        loop.append(after)


def fine_path(subdivision: Subdivision, path: Sequence[int], *, closed: bool = False) -> np.ndarray:
    """Fine vertices along a coarse path whose steps are edges or diagonals of quads."""
    v, e = subdivision.num_coarse, len(subdivision.edges)
    point = {tuple(edge): v + i for i, edge in enumerate(subdivision.edges.tolist())}
    for k, (a, b, c, d) in enumerate(subdivision.quads.tolist()):
        point[min(a, c), max(a, c)] = v + e + k
        point[min(b, d), max(b, d)] = v + e + k
    ends = zip(path, [*path[1:], path[0]] if closed else path[1:])
    steps = [(a, point[min(a, b), max(a, b)]) for a, b in ends]
    return np.array([i for step in steps for i in step] + ([] if closed else [path[-1]]))


def flood(triangles: np.ndarray, seed_vertex: int, walls: Iterable[np.ndarray]) -> np.ndarray:
    """Which triangles (f,) bool can be reached from those at a vertex without crossing the walls (vertex paths)."""
    blocked = {tuple(sorted(pair)) for wall in walls for pair in zip(wall[:-1].tolist(), wall[1:].tolist())}
    sides: dict[tuple[int, int], list[int]] = {}
    for k, (a, b, c) in enumerate(triangles.tolist()):
        for pair in ((a, b), (b, c), (a, c)):
            sides.setdefault((min(pair), max(pair)), []).append(k)
    neighbours: dict[int, list[int]] = {}
    for pair, beside in sides.items():
        if pair not in blocked and len(beside) == 2:
            neighbours.setdefault(beside[0], []).append(beside[1])
            neighbours.setdefault(beside[1], []).append(beside[0])
    todo = np.flatnonzero((triangles == seed_vertex).any(1)).tolist()
    reached = np.zeros(len(triangles), bool)
    reached[todo] = True
    while todo:
        for k in neighbours.get(todo.pop(), []):
            if not reached[k]:
                reached[k] = True
                todo.append(k)
    return reached


def ladder(upper: np.ndarray, lower: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Triangles (f, 3) between two chains of vertices, by the shorter rung each time.

    Chains that share their first or last vertex give a triangle there. Counter-clockwise when ``upper`` lies to the left of
    the direction in which the chains run.
    """
    triangles, i, j = [], 0, 0
    while i + 1 < len(upper) or j + 1 < len(lower):
        rung_upper = np.linalg.norm(points[upper[i + 1]] - points[lower[j]]) if i + 1 < len(upper) else np.inf
        rung_lower = np.linalg.norm(points[upper[i]] - points[lower[j + 1]]) if j + 1 < len(lower) else np.inf
        if rung_upper <= rung_lower:
            triangles.append((upper[i], lower[j], upper[i + 1]))
            i += 1
        else:
            triangles.append((upper[i], lower[j], lower[j + 1]))
            j += 1
    triangles = np.array(triangles, dtype=np.int64)
    return triangles[(np.diff(np.sort(triangles, axis=1), axis=1) > 0).all(1)]


def sides_of(triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The undirected edges (e, 2), smaller index first, and how many triangles share each (e,)."""
    sides = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    return np.unique(np.sort(sides, axis=1), axis=0, return_counts=True)


def chain(sides: np.ndarray, start: int) -> np.ndarray:
    """The edges (e, 2) of an open path as its vertices from one end, ``start``, to the other."""
    neighbours: dict[int, list[int]] = {}
    for a, b in sides.tolist():
        neighbours.setdefault(a, []).append(b)
        neighbours.setdefault(b, []).append(a)
    path, before = [start], -1
    while len(ahead := [a for a in neighbours[path[-1]] if a != before]) == 1:
        before = path[-1]
        path.append(ahead[0])
    return np.array(path)
