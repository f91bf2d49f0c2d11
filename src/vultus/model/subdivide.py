"""Catmull-Clark subdivision as one sparse matrix: a coarse quad mesh is stored, the fine one computed at load."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from ..errors import BadInput


@dataclass(frozen=True)
class Subdivision:
    """One level of subdivision of a quad mesh; every quad becomes four.

    Fine vertices are numbered: coarse vertices, then one per edge, then one per quad.

    Attributes:
        matrix: (v_fine, v_coarse) CSR; every row sums to one. Apply it to positions, deltas, colours, weights.
        quads_fine: (4 q, 4) with the winding of the coarse quads; quad ``4 k + i`` starts at corner ``i`` of coarse
            quad ``k``, so its corners are (coarse vertex, edge point, quad point, edge point).
        edges: (e, 2) the coarse edge of each edge point, smaller index first.
        boundary_edges: (e,) bool, edges of one quad only.
        quads: (q, 4) the coarse quads.
        num_coarse: how many coarse vertices there are.
    """

    matrix: sparse.csr_matrix
    quads_fine: NDArray[np.int64]
    edges: NDArray[np.int64]
    boundary_edges: NDArray[np.bool_]
    quads: NDArray[np.int64]
    num_coarse: int

    @property
    def num_fine(self) -> int:
        """How many fine vertices there are."""
        return self.num_coarse + len(self.edges) + len(self.quads)

    @property
    def parent_quad(self) -> NDArray[np.int64]:
        """The coarse quad (4 q,) of every fine quad: parts and materials carry over through it."""
        return np.repeat(np.arange(len(self.quads)), 4)


def catmull_clark(quads: NDArray[np.int64], num_vertices: int) -> Subdivision:
    """One level of Catmull-Clark subdivision; disconnected parts may share one call.

    Catmull and Clark, "Recursively generated B-spline surfaces on arbitrary topological meshes", CAD 10(6), 1978.
    Boundaries are cubic B-spline curves of their own (vertex 1/8, 3/4, 1/8), so parts that meet along equal boundaries
    stay together. Vertices in no quad stay where they are.

    Args:
        quads: (q, 4) vertex indices.
        num_vertices: how many vertices the indices refer to.

    Raises:
        BadInput: an edge belongs to more than two quads, or a quad uses a vertex twice.
    """
    quads, edges, edge_of_corner, boundary = _edges(quads, num_vertices)
    v, e, q = num_vertices, len(edges), len(quads)

    to_quads = _rows(quads, q, v) / 4
    ends = _rows(edges, e, v)
    sides = _rows(edge_of_corner, q, e).T.tocsr()  # (e, q): the quads beside each edge
    inner = sparse.diags((~boundary).astype(float))
    to_edges = inner @ (ends + sides @ to_quads) / 4 + sparse.diags(boundary.astype(float)) @ ends / 2

    # Interior vertex of valence n: (mean quad point + 2 mean edge midpoint + (n - 3) old) / n.
    valence = np.bincount(quads.ravel(), minlength=v).astype(float)
    on_boundary = np.zeros(v, bool)
    on_boundary[edges[boundary].ravel()] = True
    smooth = (valence > 0) & ~on_boundary
    per_valence = np.where(smooth, 1 / np.maximum(valence, 1), 0.0)
    quads_around = _rows(quads, q, v).T @ to_quads
    middles_around = ends.T @ ends / 2
    interior = sparse.diags(per_valence**2) @ (quads_around + 2 * middles_around)
    interior += sparse.diags(np.where(smooth, 1 - 3 * per_valence, 0.0))
    rim = sparse.diags(boundary.astype(float)) @ ends
    rim_neighbours = rim.T @ rim  # at a rim vertex: itself once per rim edge, and the other end of each
    rim_valence = rim_neighbours.diagonal()
    per_rim = np.divide(1.0, 4 * rim_valence, out=np.zeros(v), where=on_boundary)
    curve = sparse.diags(per_rim) @ rim_neighbours + sparse.diags(np.where(on_boundary, 0.5, 0.0))
    to_vertices = interior + curve + sparse.diags((valence == 0).astype(float))

    matrix = sparse.csr_matrix(sparse.vstack([to_vertices, to_edges, to_quads]))
    matrix.eliminate_zeros()
    return Subdivision(matrix, _quads_fine(quads, edge_of_corner, v, e), edges, boundary, quads, v)


def bilinear(quads: NDArray[np.int64], num_vertices: int) -> Subdivision:
    """Subdivision that only inserts midpoints: the surface stays the same (texture coordinates, labels)."""
    quads, edges, edge_of_corner, boundary = _edges(quads, num_vertices)
    v, e, q = num_vertices, len(edges), len(quads)
    matrix = sparse.csr_matrix(sparse.vstack([sparse.eye(v), _rows(edges, e, v) / 2, _rows(quads, q, v) / 4]))
    return Subdivision(matrix, _quads_fine(quads, edge_of_corner, v, e), edges, boundary, quads, v)


def subdivide_uv(
    uv: NDArray[np.floating], uv_quads: NDArray[np.int64]
) -> tuple[NDArray[np.floating], NDArray[np.int64]]:
    """Texture coordinates (t_fine, 2) and their quads (4 q, 4), corner for corner beside ``quads_fine``.

    Midpoints only and seams kept (face-varying), so a texture stays where it was.
    """
    fine = bilinear(uv_quads, len(uv))
    return fine.matrix @ uv, fine.quads_fine


def mirror_fine(subdivision: Subdivision, mirror: NDArray[np.int64]) -> NDArray[np.int64]:
    """The vertex on the other side (v_fine,) from that of the coarse vertices (v_coarse,).

    Raises:
        BadInput: the mirror image of an edge or a quad is none.
    """
    v, edges, quads = subdivision.num_coarse, subdivision.edges, subdivision.quads
    other_edges = _find_rows(np.sort(mirror[edges], axis=1), edges)
    other_quads = _find_rows(np.sort(mirror[quads], axis=1), np.sort(quads, axis=1))
    return np.concatenate([mirror, v + other_edges, v + len(edges) + other_quads])


def triangulate(quads: NDArray[np.int64], vertices: NDArray[np.floating] | None = None) -> NDArray[np.int64]:
    """Two triangles per quad (2 q, 3), the first of each pair at even rows; winding is kept.

    Without ``vertices`` the diagonal starts at the first corner. In a fine mesh of this module that is always from the
    coarse vertex to the quad point, hence the same on the left and on the right. With ``vertices`` (v, 3) the other
    diagonal is taken where it is clearly (5 %) shorter: nearly equal ones must not be decided by rounding, or a
    symmetric head would get asymmetric triangles.
    """
    quads = np.asarray(quads, dtype=np.int64)
    turn = np.zeros(len(quads), bool)
    if vertices is not None:
        a, b, c, d = (vertices[quads[:, i]] for i in range(4))
        turn = np.linalg.norm(d - b, axis=1) < 0.95 * np.linalg.norm(c - a, axis=1)
    quads = np.where(turn[:, None], np.roll(quads, -1, axis=1), quads)
    return quads[:, [0, 1, 2, 0, 2, 3]].reshape(-1, 3)


def _edges(
    quads: NDArray[np.int64], num_vertices: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """The quads as int64, unique edges (e, 2), the edge of corner i -> i + 1 (q, 4), and which edges have one quad."""
    quads = np.asarray(quads, dtype=np.int64).reshape(-1, 4)
    if (np.diff(np.sort(quads, axis=1), axis=1) == 0).any():
        raise BadInput("a quad uses the same vertex twice: subdivision needs true quads")
    pairs = np.sort(np.stack([quads, np.roll(quads, -1, axis=1)], axis=-1).reshape(-1, 2), axis=1)
    key, edge_of_corner, count = np.unique(
        pairs[:, 0] * num_vertices + pairs[:, 1], return_inverse=True, return_counts=True
    )
    if (count > 2).any():
        a, b = divmod(int(key[count > 2][0]), num_vertices)
        raise BadInput(f"edge {a}-{b} belongs to {count.max()} quads: remove all but two")
    edges = np.stack(np.divmod(key, num_vertices), axis=1)
    return quads, edges, edge_of_corner.reshape(-1, 4), count == 1


def _rows(columns: NDArray[np.int64], num_rows: int, num_columns: int) -> sparse.csr_matrix:
    """A 0/1 matrix whose row i has ones at ``columns[i]``."""
    rows = np.repeat(np.arange(num_rows), columns.shape[1])
    return sparse.csr_matrix((np.ones(columns.size), (rows, columns.ravel())), shape=(num_rows, num_columns))


def _quads_fine(
    quads: NDArray[np.int64], edge_of_corner: NDArray[np.int64], num_vertices: int, num_edges: int
) -> NDArray[np.int64]:
    after = num_vertices + edge_of_corner
    middle = num_vertices + num_edges + np.broadcast_to(np.arange(len(quads))[:, None], quads.shape)
    return np.stack([quads, after, middle, np.roll(after, 1, axis=1)], axis=-1).reshape(-1, 4)


def _find_rows(wanted: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each wanted row its position in ``rows`` (both with sorted entries)."""
    position = {tuple(row): i for i, row in enumerate(rows.tolist())}
    try:
        return np.array([position[tuple(row)] for row in wanted.tolist()], dtype=np.int64)
    except KeyError as missing:
        raise BadInput(f"the mirror map is not one of this mesh: no face or edge {missing}") from None
