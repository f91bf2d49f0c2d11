import igl
import numpy as np
import pytest

from vultus.geometry.closest import TriangleTree, closest_points


@pytest.fixture(scope="module")
def soup():
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(3000, 1, 3))
    vertices = (centres + 0.1 * rng.normal(size=(3000, 3, 3))).reshape(-1, 3)
    return vertices, np.arange(9000).reshape(-1, 3), rng.normal(size=(2000, 3)) * 1.5


def test_agrees_with_libigl_exactly(soup):
    vertices, triangles, queries = soup
    found = closest_points(queries, vertices, triangles)
    squared, _, _ = igl.point_mesh_squared_distance(queries, vertices, triangles)[:3]
    np.testing.assert_allclose(found.distances, np.sqrt(squared), atol=1e-9)
    rebuilt = (vertices[triangles[found.triangle_ids]] * found.barycentric[:, :, None]).sum(1)
    np.testing.assert_allclose(rebuilt, found.points, atol=1e-12)
    assert (found.barycentric >= 0).all()
    np.testing.assert_allclose(found.barycentric.sum(1), 1)


def test_degenerate_triangles_and_queries(soup):
    vertices, triangles, _queries = soup
    spoiled = np.concatenate([vertices, [[np.nan, 0, 0], [5, 5, 5]]])
    extra = np.array([[9000, 0, 1], [9001, 9001, 9001], [9001, 9001, 0]])
    tree = TriangleTree(spoiled, np.concatenate([triangles, extra]))
    found = tree.query(np.array([[5.0, 5, 5], [np.nan, 0, 0]]))
    assert found.distances[0] == 0
    assert np.isnan(found.distances[1])
    assert found.triangle_ids[1] == -1
    with pytest.raises(ValueError):
        TriangleTree(np.full((3, 3), np.nan), np.array([[0, 1, 2]]))


def test_a_single_triangle():
    found = closest_points(
        np.array([[0.2, 0.2, 3.0], [-1, -1, 0]]),
        [*np.eye(3)[[0, 1]].tolist(), [0, 0, 0]],
        np.array([[2, 0, 1]]),
    )
    np.testing.assert_allclose(found.distances, [3, np.sqrt(2)])


def test_only_triangles_that_face_the_same_way(soup):
    """As if the others were not there; a query that none faces finds nothing."""
    vertices, triangles, queries = soup
    corners = vertices[triangles]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    up = np.array([0.0, 0.0, 1.0])
    facing = normals @ up >= np.cos(np.deg2rad(30))
    found = TriangleTree(vertices, triangles).query(queries, np.tile(up, (len(queries), 1)), max_angle_deg=30)
    expected = closest_points(queries, vertices, triangles[facing])
    np.testing.assert_array_equal(found.triangle_ids, np.flatnonzero(facing)[expected.triangle_ids])
    np.testing.assert_allclose(found.distances, expected.distances)
    nothing = TriangleTree(vertices, triangles[facing]).query(
        queries[:2], -np.tile(up, (2, 1)), max_angle_deg=30
    )
    assert (nothing.triangle_ids == -1).all()
    assert np.isnan(nothing.points).all()


def test_no_queries_have_no_answers():
    found = TriangleTree(np.eye(3), np.array([[0, 1, 2]])).query(np.zeros((0, 3)))
    assert found.points.shape == (0, 3) and found.distances.shape == (0,)


def test_the_order_of_queries_does_not_matter():
    """Neighbours bound each other's search, across the chunks of the threads too."""
    rng = np.random.default_rng(5)
    tree = TriangleTree(rng.normal(size=(300, 3)), rng.integers(0, 300, (500, 3)))
    points = rng.normal(size=(1000, 3))
    normals = points / np.linalg.norm(points, axis=1, keepdims=True)
    for extra in ((), (normals, 50.0)):
        alone = [
            tree.query(p[None], *((e[None] if np.ndim(e) else e) for e in _row(extra, i)))
            for i, p in enumerate(points)
        ]
        together = tree.query(points, *extra)
        np.testing.assert_allclose(
            together.distances, np.concatenate([a.distances for a in alone]), atol=1e-12
        )


def _row(extra, i):
    return (extra[0][i], extra[1]) if extra else ()
