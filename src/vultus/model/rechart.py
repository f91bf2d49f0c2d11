"""Make carried-over chart coordinates a proper chart: a disc without flipped triangles, its holes closed by membranes."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import spsolve

ROUNDS = 12
MIN_AREA = 1e-9  # twice the area of the smallest triangle in a unit chart that float32 still tells from a flipped one
FLIPPED_COST = 1e9
MOST_ENCLOSED = 0.1  # of the chart's triangles


def signed_area(uv: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Twice the area "f" in the chart, positive for triangles that face the viewer (u right, v **down**)."""
    a, b, c = (uv[triangles[:, i]] for i in range(3))
    first, second = b - a, c - a
    return first[:, 1] * second[:, 0] - first[:, 0] * second[:, 1]


def clean_chart(uv: np.ndarray, surface: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Coordinates "v 2" and triangles "f 3" of a chart without flips, in one piece, whose borders are simple loops.

    Closest points fold where the surfaces differ in detail. Vertices of flipped triangles, and with every round one more ring
    around them, are put to the average of their neighbours (Tutte's embedding with the rest held still); a triangle that stays
    flipped, which happens at the border only, is left out. So are vertices without coordinates put there that the chart encloses:
    nostrils of another depth.

    Args:
        uv: "v 2", NaN where nothing corresponds. surface: "g 3" triangles that may belong to the chart.

    Returns:
        coordinates, the triangles that remain, and how many triangles were flipped at first.
    """
    uv = uv.copy()
    known = np.isfinite(uv[:, 0])
    triangles = _one_simple_piece(surface[known[surface].all(1)])
    triangles = np.concatenate([triangles, _enclosed(surface, triangles)])
    lost = np.unique(triangles[~known[triangles]])
    if len(lost):
        _relax(uv, lost, _links(triangles, len(uv)))
    num_flipped = int((signed_area(uv, triangles) <= 0).sum())
    _untangle(uv, triangles)
    while (flipped := signed_area(uv, triangles) <= MIN_AREA).any():
        triangles = _one_simple_piece(triangles[~flipped])
    return uv, triangles, num_flipped


def border_loops(triangles: np.ndarray) -> list[np.ndarray]:
    """The borders of triangles "f 3" whose border vertices have one border edge each way: closed lists of vertices.

    Each runs with the surface on its left.
    """
    after = dict(_border_edges(triangles).tolist())
    loops = []
    while after:
        start, here = after.popitem()
        loop = [start]
        while here != start:
            loop.append(here)
            here = after.pop(here)
        loops.append(np.array(loop))
    return loops


def close_holes(uv: np.ndarray, triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Close every hole (border loop except the longest in the chart) with membranes, without new vertices.

    Returns:
        the triangles "f 3" that remain (where a hole's outline crosses itself, some around the crossing go) and membranes "m 3".
    """
    while True:
        loops = border_loops(triangles)
        length = [np.linalg.norm(uv[loop] - uv[np.roll(loop, 1)], axis=1).sum() for loop in loops]
        holes = [loop[::-1] for i, loop in enumerate(loops) if i != int(np.argmax(length))]
        pieces = [_triangulate(uv, loop) for loop in holes]
        membranes = np.concatenate(pieces) if pieces else np.zeros((0, 3), np.int64)
        flipped = membranes[signed_area(uv, membranes) <= 0]
        if not len(flipped):
            return triangles, membranes
        triangles = _one_simple_piece(triangles[~np.isin(triangles, flipped).any(1)])


def _untangle(uv: np.ndarray, triangles: np.ndarray) -> None:
    linked = _links(triangles, len(uv))
    on_border = np.zeros(len(uv), bool)
    on_border[_border_edges(triangles)] = True
    for rings in range(ROUNDS):
        flipped = signed_area(uv, triangles) <= MIN_AREA
        free = np.zeros(len(uv), bool)
        free[triangles[flipped]] = True
        for _ in range(min(rings, 4)):
            free |= linked @ free > 0
        ids = np.flatnonzero(free & ~on_border)
        if not len(ids):
            break
        _relax(uv, ids, linked)


def _relax(uv: np.ndarray, ids: np.ndarray, linked: sparse.csr_matrix) -> None:
    """Put the vertices ``ids`` to the average of their neighbours, all at once; the others stay."""
    rows = linked[ids]
    rows = sparse.diags(1 / np.asarray(rows.sum(1)).ravel()) @ rows
    held = np.setdiff1d(np.flatnonzero(np.isfinite(uv[:, 0])), ids)
    system = sparse.csc_matrix(sparse.eye(len(ids)) - rows[:, ids])
    uv[ids] = spsolve(system, rows[:, held] @ uv[held]).reshape(-1, 2)


def _links(triangles: np.ndarray, num_vertices: int) -> sparse.csr_matrix:
    """Adjacency "v v" of ones."""
    pairs = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    linked = sparse.coo_matrix((np.ones(len(pairs)), pairs.T), (num_vertices, num_vertices)).tocsr()
    return ((linked + linked.T) > 0).astype(float)


def _enclosed(surface: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Pieces of the surface "g 3" that ``triangles`` enclose: they end at these only, not at the surface's own border.

    A large piece is no patch but the rest of a closed head.
    """
    size = int(surface.max()) + 1
    key = lambda corners: np.sort(corners, 1) @ np.array([size**2, size, 1])  # noqa: E731
    rest = surface[~np.isin(key(surface), key(triangles))]
    if not len(rest):
        return rest
    label = _pieces(rest)
    open_end = np.isin(rest, _border_edges(surface)).any(1)
    large = np.bincount(label) > MOST_ENCLOSED * len(triangles)
    return rest[~np.isin(label, label[open_end]) & ~large[label]]


def _one_simple_piece(triangles: np.ndarray) -> np.ndarray:
    """The largest edge-connected piece, without triangles at vertices where borders touch."""
    while True:
        label = _pieces(triangles)
        triangles = triangles[label == np.bincount(label).argmax()]
        starts, count = np.unique(_border_edges(triangles)[:, 0], return_counts=True)
        pinched = np.isin(triangles, starts[count > 1]).any(1)
        if not pinched.any():
            return triangles
        triangles = triangles[~pinched]


def _pieces(triangles: np.ndarray) -> np.ndarray:
    """The edge-connected piece "f" of each triangle."""
    sides = np.sort(np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]), 1)
    _, side = np.unique(sides, axis=0, return_inverse=True)
    owner = np.tile(np.arange(len(triangles)), 3)
    meets = sparse.coo_matrix((np.ones(len(owner)), (owner, side.ravel()))).tocsr()
    return connected_components(meets @ meets.T)[1]


def _border_edges(triangles: np.ndarray) -> np.ndarray:
    """Directed edges "e 2" of one triangle only."""
    directed = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    _, inverse, count = np.unique(np.sort(directed, 1), axis=0, return_inverse=True, return_counts=True)
    return directed[count[inverse.ravel()] == 1]


def _triangulate(uv: np.ndarray, loop: np.ndarray) -> np.ndarray:
    """The triangulation of a simple polygon of vertices "n" with the best-shaped triangles "n - 2, 3".

    Klincsek, "Minimal triangulations of polygonal domains", 1980: best[i, j] is the least cost of the polygon i, i + 1 ... j. No triangle that
    is flipped or flat takes part, so if the polygon is simple the result covers it once.
    """
    n, points = len(loop), uv[loop]
    best, cut = np.zeros((n, n)), np.zeros((n, n), np.int64)
    for width in range(2, n):
        i = np.arange(n - width)[:, None]
        j, k = i + width, i + np.arange(1, width)
        corners = np.stack(np.broadcast_arrays(i, k, j), -1).reshape(-1, 3)
        area = signed_area(points, corners)
        sides = sum(((points[corners[:, a]] - points[corners[:, a - 1]]) ** 2).sum(1) for a in range(3))
        shape = np.where(area > MIN_AREA, sides / np.maximum(area, MIN_AREA), FLIPPED_COST)
        cost = best[i, k] + best[k, j] + shape.reshape(k.shape)
        chosen = cost.argmin(1)[:, None]
        best[i, j], cut[i, j] = np.take_along_axis(cost, chosen, 1), np.take_along_axis(k, chosen, 1)
    triangles, open_spans = [], [(0, n - 1)]
    while open_spans:
        i, j = open_spans.pop()
        if j - i > 1:
            k = int(cut[i, j])
            triangles.append((loop[i], loop[k], loop[j]))
            open_spans += [(i, k), (k, j)]
    return np.array(triangles, np.int64)
