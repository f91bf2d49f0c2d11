"""The landmark fit on perfect and imperfect points, projected from the bundled head."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from vultus.fit.landmark_basis import gather, landmark_basis, pose_angles_deg
from vultus.fit.landmarks import (
    ExpressionPrior,
    LandmarkOptions,
    fit_landmarks,
)
from vultus.geometry.rigid import pose_angles, rotation_from_pose_angles
from vultus.model.bundled import load

SIZE = 1000.0
# Perfect points: no detector noise, no known bias, so the prior must hardly pull.
EXACT = LandmarkOptions(iterations=15, noise_mm=0.01, correlation=1.0, outlier_sigma=1e3, focal_log_sigma=0.0)


@pytest.fixture(scope="module")
def scene():
    model = load()
    basis = landmark_basis(model, "mediapipe478")
    perfect = gather(model, basis.table.exact())
    prior = ExpressionPrior(
        model.expression_sigma.double().numpy(), *model.expression_range.double().numpy().T
    )
    return model, basis, perfect, prior


def project(basis, yaw, pitch, identity, expression, focal=1500.0, distance=900.0):
    rotation = rotation_from_pose_angles(*torch.tensor([yaw, pitch, 5.0], dtype=torch.float64)).numpy()
    mean, id_basis, ex_basis, _ = basis.at(*pose_angles_deg(rotation)[:2])
    shape = mean + np.tensordot(identity, id_basis, 1) + np.tensordot(expression, ex_basis, 1)
    camera = shape @ rotation.T + [10.0, -5.0, distance]
    return focal * camera[:, :2] / camera[:, 2:] + SIZE / 2, rotation


@pytest.mark.parametrize("yaw", [-60.0, 0.0, 35.0])
def test_recovers_pose_and_shape_from_exact_points(scene, yaw):
    model, _, perfect, prior = scene
    rng = np.random.default_rng(1)
    identity = rng.normal(size=perfect.identity_mm.shape[1])
    expression = np.zeros(len(model.expression_names))
    expression[model.expression_names.index("jawOpen")] = 0.4
    points, rotation = project(perfect, yaw, -8.0, identity, expression)
    fit = fit_landmarks(perfect, points, np.full(2, SIZE / 2), 1500.0, prior, EXACT)
    turn = np.degrees(np.arccos(np.clip((np.trace(fit.rotation @ rotation.T) - 1) / 2, -1, 1)))
    # 478 points leave 152 coefficients well determined near the face; what they cannot see stays at the prior's mean.
    difference = np.tensordot(fit.identity - identity, model.identity_mm.numpy(), 1)
    face = model.regions["face"].numpy()
    assert turn < 0.5
    assert np.median(np.linalg.norm(difference[face], axis=1)) < 0.3
    assert np.abs(fit.residual_px).max() < 0.5


def test_expression_stays_inside_its_bounds(scene):
    model, _, perfect, prior = scene
    expression = np.zeros(len(model.expression_names))
    expression[model.expression_names.index("jawOpen")] = -0.5  # impossible: the bound must hold
    points, _ = project(perfect, 0.0, 0.0, np.zeros(perfect.identity_mm.shape[1]), expression)
    fit = fit_landmarks(perfect, points, np.full(2, SIZE / 2), 1500.0, prior, EXACT)
    assert fit.expression.min() >= 0
    assert fit.expression.max() <= 1


def test_outliers_lose_their_influence(scene):
    model, basis, _, prior = scene
    rng = np.random.default_rng(0)
    points, rotation = project(
        basis, 10.0, 0.0, np.zeros(basis.identity_mm.shape[1]), np.zeros(len(model.expression_names))
    )
    spoiled = points.copy()
    hidden = rng.permutation(len(points))[:100]
    spoiled[hidden] += rng.normal(0, 150, (100, 2))
    fit = fit_landmarks(basis, spoiled, np.full(2, SIZE / 2), 1500.0, prior)
    turn = np.degrees(np.arccos(np.clip((np.trace(fit.rotation @ rotation.T) - 1) / 2, -1, 1)))
    assert turn < 3
    assert fit.weight[hidden].mean() < 0.5 < fit.weight[np.setdiff1d(np.arange(len(points)), hidden)].mean()


def test_untrusted_points_are_ignored(scene):
    model, basis, _, prior = scene
    points, _rotation = project(
        basis, 0.0, 0.0, np.zeros(basis.identity_mm.shape[1]), np.zeros(len(model.expression_names))
    )
    trust = np.ones(len(points))
    trust[::2] = 0
    points[::2] = 0
    fit = fit_landmarks(basis, points, np.full(2, SIZE / 2), 1500.0, prior, trust=trust)
    assert np.abs(fit.residual_px[1::2]).max() < 3


def test_curvature_belongs_to_the_unknowns_and_is_positive(scene):
    model, basis, _, prior = scene
    points, _ = project(
        basis, 0.0, 0.0, np.zeros(basis.identity_mm.shape[1]), np.zeros(len(model.expression_names))
    )
    fit = fit_landmarks(basis, points, np.full(2, SIZE / 2), 1500.0, prior)
    assert fit.normal.shape == (7 + len(fit.identity) + len(fit.expression),) * 2
    assert np.linalg.eigvalsh(fit.normal).min() > 0


def test_numpy_and_torch_agree_on_angles():
    rotation = Rotation.from_rotvec([0.3, -0.5, 0.2]).as_matrix()
    expected = [float(angle) for angle in pose_angles(torch.from_numpy(rotation))]
    np.testing.assert_allclose(pose_angles_deg(rotation), expected, atol=1e-9)


def test_a_detector_that_draws_faces_towards_the_mean_is_understood(scene):
    model, _, perfect, prior = scene
    table = perfect.table
    zero = torch.tensor(0.0)
    middle = table.bin_weight(zero, zero).flatten().argmax()
    shy = gather(model, replace(table, response_mm=torch.from_numpy(0.5 * perfect.identity_mm[middle])))
    identity = np.zeros(perfect.identity_mm.shape[1])
    identity[:5] = [1.5, -1.0, 0.5, 1.0, -0.5]
    half, _ = project(perfect, 0.0, 0.0, 0.5 * identity, np.zeros(len(model.expression_names)))
    found = fit_landmarks(shy, half, np.full(2, SIZE / 2), 1500.0, prior, EXACT).identity
    plain = fit_landmarks(perfect, half, np.full(2, SIZE / 2), 1500.0, prior, EXACT).identity
    # The surface of the true person is met twice as well as by taking the detections at their word. (Not exactly: the response has
    # no perspective, and directions in depth are left to the prior.)
    shape = model.identity_mm[:, model.regions["face"]].numpy()
    miss = lambda code: np.abs(np.tensordot(code - identity, shape, 1)).mean()  # noqa: E731
    assert miss(found) < 0.5 * miss(plain)
