import numpy as np
import pytest

from vultus.errors import BadInput
from vultus.evaluate.scan import (
    Alignment,
    align_points,
    align_to_scan,
    face_area,
    sample_surface,
    scan_error,
)
from vultus.geometry.closest import closest_points
from vultus.geometry.rigid import rotation_from_axis_angle


def bumpy(size=40):
    """A face-sized height field without symmetry, (v, 3) mm, and its triangles."""
    x, y = np.meshgrid(np.linspace(-70, 70, size), np.linspace(-90, 90, size))
    z = 60 - (x / 12) ** 2 - (y / 18) ** 2 + 22 * np.exp(-(((x - 3) / 12) ** 2) - ((y + 8) / 22) ** 2)
    z += 4 * np.sin(x / 11 + y / 25) * np.cos(y / 13)
    i = np.arange(size * size).reshape(size, size)
    a, b, c, d = (part.ravel() for part in (i[:-1, :-1], i[:-1, 1:], i[1:, :-1], i[1:, 1:]))
    return np.stack([x, y, z], -1).reshape(-1, 3), np.concatenate(
        [np.stack([a, b, c], 1), np.stack([b, d, c], 1)]
    )


def moved_by(rng, scale=1.0, angle=0.4):
    import torch

    rotation = rotation_from_axis_angle(torch.from_numpy(rng.normal(size=3) * angle)).numpy()
    return Alignment(scale, rotation, rng.normal(size=3) * 50)


LANDMARKS = np.array([210, 630, 820, 1010, 1333, 455, 1180])


def test_alignment_of_points_and_its_inverse():
    rng = np.random.default_rng(0)
    points, truth = rng.normal(size=(7, 3)) * 40, moved_by(rng, 1.3)
    found = align_points(points, truth.apply(points), with_scale=True)
    np.testing.assert_allclose(found.apply(points), truth.apply(points), atol=1e-9)
    np.testing.assert_allclose(found.inverse().apply(found.apply(points)), points, atol=1e-9)
    assert align_points(points, truth.apply(points), with_scale=False).scale == 1
    with pytest.raises(BadInput):
        align_points(points[:2], points[:2], with_scale=True)


@pytest.mark.parametrize("with_scale", [True, False])
def test_a_perfect_mesh_scores_zero_from_a_poor_start(with_scale):
    """The metric is blind to where the scan is and, with a scale, to its unit; landmarks 3 mm off are but a start."""
    rng = np.random.default_rng(1)
    vertices, triangles = bumpy()
    truth = moved_by(rng, 1.4 if with_scale else 1.0)
    points, _ = sample_surface(truth.apply(vertices), triangles, 4000)
    inner = np.abs(truth.inverse().apply(points) / [70, 90, 1e9]).max(1) < 0.85
    picked = vertices[LANDMARKS]
    error = scan_error(
        vertices,
        triangles,
        points[inner],
        mesh_landmarks=picked + rng.normal(size=picked.shape) * 3,
        scan_landmarks=truth.apply(picked),
        with_scale=with_scale,
    )
    assert error.distances_mm.max() < 2e-3
    assert error.alignment.scale == pytest.approx(truth.scale, rel=1e-4)


def test_distances_count_in_the_units_of_the_scan():
    """A mesh in metres, or ten times too large, scores the same against a scan in millimetres."""
    vertices, triangles = bumpy()
    scan = vertices + [0, 0, 1] * np.random.default_rng(2).normal(size=(len(vertices), 1)) * 0.5
    points, _ = sample_surface(scan, triangles, 3000)
    scores = [
        scan_error(
            unit * vertices,
            triangles,
            points,
            mesh_landmarks=unit * vertices[LANDMARKS],
            scan_landmarks=vertices[LANDMARKS],
            with_scale=True,
        ).median_mm
        for unit in (1e-3, 1.0, 10.0)
    ]
    np.testing.assert_allclose(scores, scores[1], rtol=1e-3)
    assert 0.1 < scores[1] < 0.5


def test_noise_on_the_scan_does_not_grow_the_mesh():
    """Residuals in the mesh's units would fall when the scan shrinks: at 4 mm of noise the scan would shrink to a point."""
    rng = np.random.default_rng(3)
    vertices, triangles = bumpy()
    points, _ = sample_surface(vertices, triangles, 20000)
    points = points[np.abs(points / [70, 90, 1e9]).max(1) < 0.85]
    noisy = points + rng.normal(size=points.shape) * 4
    found = align_to_scan(vertices, triangles, noisy, Alignment(1.0, np.eye(3), np.zeros(3)), with_scale=True)

    def cost(
        scale,
    ):  # the naive oracle: mean |distance| in scan units over a line of scales about the solution
        aligned = (found.apply(vertices) - noisy.mean(0)) * scale + noisy.mean(0)
        return np.abs(closest_points(noisy, aligned, triangles).distances).mean()

    assert min(cost(0.99), cost(1.01)) > cost(1.0)
    assert found.scale == pytest.approx(1.0, abs=0.006)


def test_similarity_never_scores_worse_than_rigid_by_much():
    vertices, triangles = bumpy()
    scan = vertices * [1.06, 1.0, 0.95] + [3, 1, 4]
    points, _ = sample_surface(scan, triangles, 3000)
    marks = {"mesh_landmarks": vertices[LANDMARKS], "scan_landmarks": scan[LANDMARKS]}
    rigid, similar = (
        scan_error(vertices, triangles, points, with_scale=scaled, **marks) for scaled in (False, True)
    )
    assert similar.mean_mm <= 1.02 * rigid.mean_mm
    assert rigid.alignment.scale == 1


def test_an_offset_worked_by_hand():
    """Two parallel planes 2 mm apart with the alignment held: every distance is 2."""
    square = np.array([[-9.0, -9, 0], [9, -9, 0], [9, 9, 0], [-9, 9, 0]])
    triangles = np.array([[0, 1, 2], [0, 2, 3]])
    points, _ = sample_surface(square + np.array([0, 0, 2]), triangles, 50)
    assert closest_points(points, square, triangles).distances == pytest.approx(np.full(50, 2.0))
    error = scan_error(
        square, triangles, points, mesh_landmarks=square, scan_landmarks=square, with_scale=False
    )
    assert (
        error.median_mm < 1e-6
    )  # free to move, the plane slides onto the scan: sliding within it has no remedy and no cost


def test_samples_lie_on_the_surface_evenly():
    vertices, triangles = bumpy(12)
    points, ids = sample_surface(vertices, triangles, 40000, seed=5)
    assert closest_points(points, vertices, triangles).distances.max() < 1e-9
    corners = vertices[triangles]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    expected = 40000 * area / area.sum()
    # Stratified: a triangle's count differs from its share by less than two strata.
    assert np.abs(np.bincount(ids, minlength=len(triangles)) - expected).max() < 2
    # Within triangles too: the mean of the barycentric coordinates is a third each, sigma 0.24 / sqrt(40000).
    inside = ((points - corners[ids].mean(1)) / np.sqrt(area[ids, None])).mean(0)
    assert np.abs(inside).max() < 0.02
    again, _ = sample_surface(vertices, triangles, 40000, seed=5)
    np.testing.assert_array_equal(points, again)
    flat = np.concatenate([triangles, [[0, 0, 0]]])
    assert sample_surface(vertices, flat, 100)[1].max() < len(triangles)


def test_face_area_and_bad_input():
    vertices, triangles = bumpy(6)
    near = face_area(np.array([[0.0, 0, 0], [94, 0, 0], [96, 0, 0]]), np.zeros(3))
    assert near.tolist() == [True, True, False]
    marks = {"mesh_landmarks": vertices[:7], "scan_landmarks": vertices[:7], "with_scale": True}
    with pytest.raises(BadInput, match="scan_points"):
        scan_error(vertices, triangles, vertices[:0], **marks)
    with pytest.raises(BadInput, match="vertices"):
        scan_error(vertices * np.nan, triangles, vertices, **marks)
