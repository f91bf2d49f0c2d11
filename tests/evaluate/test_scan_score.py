"""Scoring against a scan: zero for the truth, blind to frame and unit, and right where the answer is known."""

import numpy as np
import pytest
import torch

from vultus.errors import BadInput
from vultus.evaluate.benchmark import FaceMesh
from vultus.evaluate.corresponded import template
from vultus.evaluate.regions import REGIONS, face_mesh, lay_mean_face, mean_face, region_of
from vultus.evaluate.scan import align_to_scan, face_area, sample_surface, scan_error
from vultus.evaluate.scan_score import KINDS, mean_angle_deg, score_against_scan
from vultus.evaluate.scan_truth import truth_of_scan
from vultus.geometry.rigid import rotation_from_axis_angle
from vultus.model import bundled
from vultus.model.face import FaceCode


def person(seed: int) -> FaceMesh:
    """A random head of the bundled model with its landmarks."""
    model, rng = bundled.load(), np.random.default_rng(seed)
    identity = torch.from_numpy(rng.normal(size=len(model.identity_mm))).float()
    vertices = model.vertices(
        FaceCode(identity, torch.zeros(len(model.expression_names)), torch.zeros(len(model.albedo)))
    )
    return face_mesh(model, vertices)


def turned(mesh: FaceMesh, scale: float = 1.0) -> FaceMesh:
    rotation = rotation_from_axis_angle(torch.tensor([0.4, -0.8, 0.3], dtype=torch.float64)).numpy()
    move = lambda points: scale * points @ rotation.T + [40.0, -300.0, 900.0]  # noqa: E731
    return FaceMesh(move(mesh.vertices), mesh.triangles, move(mesh.landmarks))


@pytest.fixture(scope="module")
def scan():
    return person(1)


@pytest.fixture(scope="module")
def truth(scan):
    return truth_of_scan(scan.vertices, scan.triangles, scan.landmarks, num_points=3000)


def test_the_truth_scores_zero_and_every_number_has_its_name(scan, truth):
    values, samples = score_against_scan(scan, truth, corresponded=True)
    for kind in KINDS:
        for name in ("median_mm", "mean_mm", "std_mm", "p90_mm", "chamfer_mm", "corresponded_median_mm", "corresponded_mean_mm"):  # fmt: skip
            assert values[f"{kind}_{name}"] == pytest.approx(0, abs=1e-6)
        assert values[f"{kind}_normal_deg"] == pytest.approx(0, abs=1e-3)
        assert values[f"{kind}_completeness_percent"] == 100
        assert values[f"{kind}_scale"] == pytest.approx(1, abs=1e-9)
        assert all(values[f"{kind}_{region}_mm"] == pytest.approx(0, abs=1e-6) for region in REGIONS)
    assert samples["distance_mm"].shape == samples["head_vertex"].shape == (len(truth.points),)


def test_the_score_does_not_depend_on_where_the_prediction_is(truth):
    """ICP stops within 0.005 mm of rest, and the registration takes discrete decisions: hence not to the last bit."""
    other = person(2)
    before, _ = score_against_scan(other, truth, corresponded=True)
    after, _ = score_against_scan(turned(other), truth, corresponded=True)
    assert before["rigid_median_mm"] > 0.3
    for name, value in before.items():
        assert after[name] == pytest.approx(value, abs=0.1 if "percent" in name or "deg" in name else 0.02), (
            name
        )


def test_with_scale_the_unit_does_not_count_either(truth):
    other = person(2)
    before, _ = score_against_scan(other, truth, kinds=("similarity",))
    after, _ = score_against_scan(turned(other, 0.01), truth, kinds=("similarity",))
    assert after["similarity_median_mm"] == pytest.approx(before["similarity_median_mm"], abs=0.01)
    assert after["similarity_scale"] == pytest.approx(100 * before["similarity_scale"], rel=1e-3)
    assert not any(name.startswith("rigid") for name in after)


def test_a_known_offset_is_measured_exactly():
    """A cube of half side 61 around one of 60: every point of its faces, away from the edges, is 1 mm off; symmetry keeps the alignment at rest.

    With a scale the same cube fits perfectly.
    """
    corners = np.array([[x, y, z] for x in (-1.0, 1) for y in (-1, 1) for z in (-1, 1)])
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    triangles = np.array([t for a, b, c, d in quads for t in ((a, b, c), (a, c, d))])
    grid = np.linspace(-50, 50, 9)
    plane = np.stack(np.meshgrid(grid, grid), -1).reshape(-1, 2)
    points = np.concatenate(
        [np.insert(plane, axis, side * 61.0, axis=1) for axis in range(3) for side in (-1, 1)]
    )
    picked = {"mesh_landmarks": 60 * corners, "scan_landmarks": 60 * corners}
    rigid = scan_error(60 * corners, triangles, points, with_scale=False, **picked)
    np.testing.assert_allclose(rigid.distances_mm, 1.0, atol=1e-6)
    assert rigid.mean_mm == pytest.approx(1, abs=1e-6) and rigid.std_mm == pytest.approx(0, abs=1e-6)
    similar = scan_error(60 * corners, triangles, points, with_scale=True, **picked)
    np.testing.assert_allclose(similar.distances_mm, 0.0, atol=1e-4)


def test_turned_normals_are_measured_and_turned_round():
    normals = np.array([[0.0, 0, 1]] * 4)
    tilted = np.array([[np.sin(a), 0, np.cos(a)] for a in np.radians([10, 20, 30, 40])])
    assert mean_angle_deg(3 * tilted, normals) == pytest.approx(25, abs=1e-9)
    assert mean_angle_deg(-tilted, normals) == pytest.approx(25, abs=1e-9)


def test_half_a_face_is_incomplete_and_the_rest_of_it_is_not_punished(scan, truth):
    """Only the subject's left half is there: about half of the scan's face is within 5 mm."""
    left = (scan.vertices[scan.triangles][..., 0] > 0).all(1)
    half = FaceMesh(scan.vertices, scan.triangles[left], scan.landmarks)
    values, _ = score_against_scan(half, truth, kinds=("rigid",))
    assert 40 < values["rigid_completeness_percent"] < 75
    assert values["rigid_median_mm"] < 5


def test_corresponding_points_see_what_closest_points_forgive(truth, scan):
    """The same surface, but the mesh's skin slid along itself: its landmarks say the mouth is 4 mm lower than it is."""
    landmarks = scan.landmarks.copy()
    landmarks[[48, 54]] -= [0, 4.0, 0]
    slid, _ = score_against_scan(FaceMesh(scan.vertices, scan.triangles, landmarks), truth, corresponded=True)
    assert slid["rigid_mean_mm"] < 1e-3
    assert slid["rigid_corresponded_mean_mm"] > 0.1


@pytest.mark.parametrize("seed", [2, 4])
def test_corresponded_distance_lies_between_the_closest_and_the_true_one(truth, seed):
    """Heads of one model: their vertices correspond exactly, so the true distance is known. Smooth skin slides unseen: a lower bound."""
    other = person(seed)
    values, _ = score_against_scan(other, truth, corresponded=True, kinds=("rigid",))
    true_mm = rigid_gap_mm(bent_to_model(other), bent_to_model(person(1)))
    assert 1.2 * values["rigid_mean_mm"] < values["rigid_corresponded_mean_mm"] < 1.1 * true_mm


def bent_to_model(mesh: FaceMesh) -> np.ndarray:
    """The model's own vertices under the template."""
    mean, shape = mean_face(), template()
    lookup = {tuple(v): i for i, v in enumerate(np.round(mean.vertices, 6))}
    return mesh.vertices[[lookup[tuple(v)] for v in np.round(shape.vertices, 6)]]


def rigid_gap_mm(source: np.ndarray, target: np.ndarray) -> float:
    from vultus.geometry.rigid import umeyama

    weight = template().area_mm2
    found = umeyama(*(torch.from_numpy(x) for x in (source, target, weight)), with_scale=False)
    away = (found.apply(torch.from_numpy(source)) - torch.from_numpy(target)).norm(dim=1).numpy()
    return float((away * weight).sum() / weight.sum())


def test_regions_are_where_they_are_called(scan):
    points, _ = sample_surface(scan.vertices, scan.triangles, 6000)
    laid = lay_mean_face(points[face_area(points, scan.seven[4])], scan.seven)
    marks = scan.landmarks
    found = region_of(np.stack([marks[30], marks[51], marks[8], marks[27] + [0, 35, 0]]), laid)
    assert [REGIONS[i] for i in found] == ["nose", "mouth", "chin", "forehead"]
    assert region_of(marks[30:31] + np.array([0, 0, 200.0]), laid)[0] == -1


def test_icp_comes_back_from_any_start_within_30_degrees_and_30_mm(scan):
    """benchmarks/metrics.py does this a thousand times."""
    from vultus.evaluate.scan import Alignment

    points, _ = sample_surface(scan.vertices, scan.triangles, 4000)
    points = points[face_area(points, scan.seven[4])][:600]
    rng = np.random.default_rng(0)
    for _ in range(12):
        axis, shift = rng.normal(size=(2, 3))
        turn = rotation_from_axis_angle(
            torch.from_numpy(axis / np.linalg.norm(axis) * np.radians(30))
        ).numpy()
        start = Alignment(1.0, turn, 30 * shift / np.linalg.norm(shift))
        found = align_to_scan(scan.vertices, scan.triangles, points, start, with_scale=False, max_steps=40)
        np.testing.assert_allclose(found.apply(points), points, atol=0.05)


def test_what_cannot_be_measured_is_said(scan, truth):
    with pytest.raises(BadInput, match="no landmarks"):
        score_against_scan(FaceMesh(scan.vertices, scan.triangles), truth)
    with pytest.raises(BadInput, match="nose tip"):
        truth_of_scan(scan.vertices + 1000.0, scan.triangles, scan.seven)
