"""Subdivision against a naive loop, and its invariants."""

import numpy as np
import pytest

from vultus.errors import BadInput
from vultus.model.subdivide import bilinear, catmull_clark, mirror_fine, subdivide_uv, triangulate

CUBE = np.array([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]])
CORNERS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)


def grid(width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Quads and bumpy vertices of a grid, symmetric about x = 0."""
    index = np.arange((width + 1) * (height + 1)).reshape(height + 1, width + 1)
    quads = np.stack([index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]], -1).reshape(-1, 4)
    y, x = np.mgrid[: height + 1, : width + 1].astype(float)
    x -= width / 2
    return quads, np.stack([x, y, np.cos(1.3 * x + 0) * np.sin(y)], -1).reshape(-1, 3)


def grid_mirror(width: int, height: int) -> np.ndarray:
    return np.arange((width + 1) * (height + 1)).reshape(height + 1, width + 1)[:, ::-1].ravel()


def naive_catmull_clark(quads: np.ndarray, vertices: np.ndarray) -> dict[tuple, np.ndarray]:
    """The textbook rules, one vertex at a time, keyed by the coarse element."""
    quads_of_edge: dict[tuple, list[int]] = {}
    for k, quad in enumerate(quads):
        for i in range(4):
            quads_of_edge.setdefault(tuple(sorted((quad[i], quad[(i + 1) % 4]))), []).append(k)
    point = {("quad", k): vertices[quad].mean(0) for k, quad in enumerate(quads)}
    for edge, beside in quads_of_edge.items():
        ends = [vertices[i] for i in edge]
        point["edge", edge] = np.mean(
            [*ends, *(point["quad", k] for k in beside)] if len(beside) == 2 else ends, 0
        )
    for i, old in enumerate(vertices):
        edges = [edge for edge in quads_of_edge if i in edge]
        rim = [edge for edge in edges if len(quads_of_edge[edge]) == 1]
        if not edges:
            point["vertex", i] = old
        elif rim:
            others = [vertices[sum(edge) - i] for edge in rim]
            point["vertex", i] = 0.75 * old + 0.25 * np.mean(others, 0)
        else:
            n = len(edges)
            around = np.mean([point["quad", k] for k, quad in enumerate(quads) if i in quad], 0)
            middles = np.mean([vertices[list(edge)].mean(0) for edge in edges], 0)
            point["vertex", i] = (around + 2 * middles + (n - 3) * old) / n
    return point


@pytest.mark.parametrize("mesh", ["cube", "grid", "two parts and a loose vertex"])
def test_same_as_naive_loop(mesh):
    quads, vertices = (CUBE, CORNERS) if mesh == "cube" else grid(4, 3)
    if mesh.startswith("two"):
        quads = np.concatenate([quads, CUBE + len(vertices)])
        vertices = np.concatenate([vertices, CORNERS + 5, [[7.0, 8.0, 9.0]]])
    fine = catmull_clark(quads, len(vertices))
    points = fine.matrix @ vertices
    naive = naive_catmull_clark(quads, vertices)
    keys = [("vertex", i) for i in range(len(vertices))]
    keys += [("edge", tuple(edge)) for edge in fine.edges.tolist()]
    keys += [("quad", k) for k in range(len(quads))]
    np.testing.assert_allclose(points, np.stack([naive[key] for key in keys]), atol=1e-12)
    assert fine.num_fine == len(keys) == fine.matrix.shape[0]


def test_rows_sum_to_one_and_planes_stay_planes():
    quads, vertices = grid(5, 4)
    fine = catmull_clark(quads, len(vertices))
    np.testing.assert_allclose(fine.matrix.sum(1), 1, atol=1e-12)
    vertices[:, 2] = 2 * vertices[:, 0] - vertices[:, 1]
    points = fine.matrix @ vertices
    np.testing.assert_allclose(points[:, 2], 2 * points[:, 0] - points[:, 1], atol=1e-12)


def test_winding_and_closedness_are_kept():
    fine = catmull_clark(CUBE, 8)
    directed = np.stack([fine.quads_fine, np.roll(fine.quads_fine, -1, 1)], -1).reshape(-1, 2)
    assert len(np.unique(directed, axis=0)) == len(
        directed
    )  # every edge once in each direction: closed and oriented
    points = fine.matrix @ CORNERS
    a, b, c = (points[triangulate(fine.quads_fine)[:, i]] for i in range(3))
    volume = np.einsum("ij,ij->i", a, np.cross(b, c)) / 6
    a, b, c = (CORNERS[triangulate(CUBE)[:, i]] for i in range(3))
    before = np.einsum("ij,ij->i", a, np.cross(b, c)) / 6
    assert (np.sign(volume) == np.sign(before[0])).all()
    assert abs(volume.sum()) < abs(before.sum())


def test_boundary_is_a_curve_of_its_own():
    """Moving an inner vertex does not move the boundary."""
    quads, vertices = grid(6, 6)
    fine = catmull_clark(quads, len(vertices))
    moved = vertices.copy()
    moved[24] += 1
    rim = fine.num_coarse + np.flatnonzero(fine.boundary_edges)
    change = fine.matrix @ (moved - vertices)
    assert (change[rim] == 0).all()
    assert (change[fine.edges[fine.boundary_edges].ravel()] == 0).all()
    assert np.abs(change).max() > 0.3


def test_uv_midpoints_run_beside_the_fine_quads():
    """A seam: two quads share an edge in space but not in texture; positions as 'uv' must come out bilinear."""
    quads = np.array([[0, 1, 4, 3], [1, 2, 5, 4]])
    vertices = np.array([[0, 0], [1, 0], [2, 0], [0, 1], [1, 1], [2, 1]], float)
    uv_quads = np.arange(8).reshape(2, 4)
    uv = vertices[quads].reshape(-1, 2) + np.repeat([[0, 0], [5, 0]], 4, axis=0)
    uv_fine, uv_quads_fine = subdivide_uv(uv, uv_quads)
    fine = bilinear(quads, 6)
    expected = (fine.matrix @ vertices)[fine.quads_fine] + np.where(fine.parent_quad == 1, 5, 0)[
        :, None, None
    ] * [1, 0]
    np.testing.assert_allclose(uv_fine[uv_quads_fine], expected)


def test_mirror_and_triangles_are_symmetric():
    quads, vertices = grid(6, 5)
    fine = catmull_clark(quads, len(vertices))
    points = fine.matrix @ vertices
    other = mirror_fine(fine, grid_mirror(6, 5))
    np.testing.assert_allclose(points[other] * [-1, 1, 1], points, atol=1e-12)
    for positions in (None, points):
        triangles = triangulate(fine.quads_fine, positions)
        as_sets = {tuple(sorted(triangle)) for triangle in triangles.tolist()}
        assert as_sets == {tuple(sorted(triangle)) for triangle in other[triangles].tolist()}


def test_shorter_diagonal_is_taken():
    vertices = np.array([[0, 0, 0], [1, 0, 0], [3, 1, 0], [0, 1, 0]], float)
    quads = np.array([[0, 1, 2, 3]])
    assert triangulate(quads).tolist() == [[0, 1, 2], [0, 2, 3]]
    assert triangulate(quads, vertices).tolist() == [[1, 2, 3], [1, 3, 0]]


def test_bad_meshes_are_refused():
    with pytest.raises(BadInput, match="belongs to 3 quads"):
        catmull_clark(np.array([[0, 1, 2, 3], [1, 0, 4, 5], [0, 1, 6, 7]]), 8)
    with pytest.raises(BadInput, match="twice"):
        catmull_clark(np.array([[0, 1, 1, 3]]), 4)
    with pytest.raises(BadInput, match="mirror"):
        mirror_fine(catmull_clark(CUBE, 8), np.array([0, 1, 2, 3, 4, 5, 7, 6]))
    assert catmull_clark(np.zeros((0, 4), int), 3).matrix.shape == (3, 3)
