import numpy as np
import pytest
from scanned_faces import SEVEN_MM, bumpy, layers, marks, moved, plate

from vultus.errors import BadInput
from vultus.evaluate.benchmark import FaceMesh, ItemScore
from vultus.evaluate.scan import Alignment, align_points
from vultus.evaluate.scan_protocol import (
    NOSE_BASE_SEVEN,
    align_least_squares,
    groups_of,
    inner_face,
    named_points,
    pooled_rows,
    surface_distances,
)
from vultus.geometry.closest import closest_points

HERE = Alignment(1.0, np.eye(3), np.zeros(3))


def test_the_crop_by_hand():
    """Bridge (0, 20), base (0, -20): centre (0, -8). Radius 1.4 * (90 + 40) / 2 = 91 and 1.2 * (90 + 40) / 2 = 78."""
    at = np.array([[0.0, -8 + r, 0] for r in (77.9, 78.1, 90.9, 91.1)] + [[0, -8, 91.1], [0, -8, -90.9]])
    assert inner_face(at, SEVEN_MM, 1.4).tolist() == [True, True, True, False, False, True]
    assert inner_face(at, SEVEN_MM, 1.2).tolist() == [True, False, False, False, False, False]


def test_an_outlier_pulls_as_squares_say():
    """Heights 0, 0, 0, 3 at every node: least squares lie at 0.75, hence distances of 0.75 and 2.25. Robust weights would leave it near 0."""
    points = layers([0.0, 0, 0, 3])
    found = align_least_squares(plate(), points, HERE, with_scale=False)
    expected = np.where(points[:, 2] > 0, 2.25, 0.75)
    np.testing.assert_allclose(surface_distances(plate(), found, points), expected, atol=1e-6)


@pytest.mark.parametrize("with_scale", [True, False])
def test_no_other_alignment_has_a_smaller_sum_of_squares(with_scale):
    """The naive oracle: move the mesh a little in every way; points beyond the border count at their true distance."""
    rng = np.random.default_rng(1)
    scan, face = bumpy(30), bumpy(30)
    points = scan.vertices * [1.05, 0.95, 1.1] + rng.normal(size=scan.vertices.shape)
    small = face.triangles[np.abs(face.vertices[face.triangles][:, :, 0]).max(1) < 70]
    face = FaceMesh(face.vertices, small, face.landmarks)
    found = align_least_squares(face, points, HERE, with_scale=with_scale)

    def cost(grow=1.0, turn=(0, 0, 0), shift=(0, 0, 0)):
        a = found.apply(face.vertices)
        centre = points.mean(0)
        a = (a - centre) * grow + centre + np.cross(turn, a - centre) + shift
        return (closest_points(points, a, face.triangles).distances ** 2).sum()

    best = cost()
    ways = [{"turn": s * np.eye(3)[i] * 1e-3} for i in range(3) for s in (-1, 1)]
    ways += [{"shift": s * np.eye(3)[i] * 0.05} for i in range(3) for s in (-1, 1)]
    ways += [{"grow": 1 + s * 1e-3} for s in (-1, 1)] if with_scale else []
    assert min(cost(**way) for way in ways) > best
    assert with_scale or found.scale == 1


def test_a_moved_face_comes_back():
    face, scan = bumpy(), moved(bumpy(), 1.3, seed=2)
    rough = marks(scan) + np.random.default_rng(3).normal(size=(68, 3)) * 2
    found = align_least_squares(
        face, scan.vertices, align_points(marks(face), rough, with_scale=True), with_scale=True
    )
    assert found.scale == pytest.approx(1.3, abs=1e-6)
    assert surface_distances(face, found, scan.vertices).max() < 1e-3


def test_the_nose_of_these_protocols_is_its_base():
    face = bumpy()
    picked = named_points(face, NOSE_BASE_SEVEN, "now", "a")
    np.testing.assert_array_equal(picked[:, :2], SEVEN_MM[:, :2])
    own = FaceMesh(face.vertices, face.triangles, SEVEN_MM + 1)
    np.testing.assert_array_equal(named_points(own, NOSE_BASE_SEVEN, "now", "a"), SEVEN_MM + 1)


@pytest.mark.parametrize(
    ("face", "what"),
    [
        (None, "the prediction has none"),
        (FaceMesh(np.zeros((3, 3)), np.array([[0, 1, 2]])), "as .npy or .txt"),
        (FaceMesh(np.zeros((3, 3)), np.array([[0, 1, 2]]), np.zeros((5, 3))), r"7 or 68 rows .* \(5, 3\)"),
        (FaceMesh(np.full((3, 3), np.nan), np.array([[0, 1, 2]]), SEVEN_MM), "not finite"),
        (FaceMesh(np.zeros((3, 3)), np.zeros((0, 3), int), SEVEN_MM), "no triangles"),
    ],
)
def test_what_cannot_be_measured_is_said(face, what):
    with pytest.raises(BadInput, match=f"p/1: .*{what}"):
        named_points(face, NOSE_BASE_SEVEN, "now", "p/1")


def test_rows_pool_distances_over_photos_and_split_by_group():
    """1, 2, 3 of one person and 10 of another: median 2.5, mean 4, deviation sqrt((9 + 4 + 1 + 36) / 4)."""
    scores = [
        ItemScore("p/1", "p", "a", samples={"distance_mm": np.array([1.0, 2, 3])}),
        ItemScore("q/1", "q", "b", samples={"distance_mm": np.array([10.0])}),
    ]
    rows = {row.what: row for row in pooled_rows(scores)}
    assert rows["median"].value == 2.5 and rows["mean"].value == 4
    assert rows["standard deviation"].value == pytest.approx(12.5**0.5)
    assert rows["median, a"].value == 2 and rows["mean, b"].value == 10
    assert rows["median"].low is not None and rows["median, a"].low is None
    assert groups_of(scores[:1]) == ("",)
