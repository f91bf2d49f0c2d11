"""Several views of one head: exact points, noisy points, known cameras."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from vultus.fit.joint_landmarks import JointOptions, LandmarkView, fit_landmarks_jointly
from vultus.fit.landmark_basis import gather, landmark_basis, pose_angles_deg
from vultus.fit.landmarks import ExpressionPrior, LandmarkOptions
from vultus.geometry.rigid import rotation_from_pose_angles
from vultus.model.bundled import load

FOCAL, CENTRE = 1500.0, np.full(2, 500.0)
EXACT = JointOptions(12, LandmarkOptions(15, 0.01, 1.0, 1.0, 1e3, 0.0, 1.0), shared_error=0.0)


@pytest.fixture(scope="module")
def scene():
    model = load()
    basis = gather(model, landmark_basis(model, "mediapipe478").table.exact())
    prior = ExpressionPrior(
        model.expression_sigma.double().numpy(), *model.expression_range.double().numpy().T
    )
    return model, basis, prior


def seen(basis, identity, expression, yaw, distance=900.0, noise=0.0, seed=0):
    """Points and pose of one view."""
    rotation = rotation_from_pose_angles(*torch.tensor([yaw, -4.0, 3.0], dtype=torch.float64)).numpy()
    mean, by_identity, by_expression, _ = basis.at(*pose_angles_deg(rotation)[:2])
    shape = mean + np.tensordot(identity, by_identity, 1) + np.tensordot(expression, by_expression, 1)
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation, [10.0, -5.0, distance]
    camera = shape @ rotation.T + pose[:3, 3]
    points = FOCAL * camera[:, :2] / camera[:, 2:] + CENTRE
    return points + np.random.default_rng(seed).normal(0, noise, points.shape), pose


def as_view(basis, points, camera=None):
    return LandmarkView(basis, points, np.ones(len(points)), CENTRE, FOCAL, 0.0, camera)


def face_error(model, difference):
    """Median distance in mm between the faces of two identities, centred."""
    face = model.regions["face"].numpy()
    offset = np.tensordot(difference, model.identity_mm.numpy(), 1)[face]
    return np.median(np.linalg.norm(offset - offset.mean(0), axis=1))


@pytest.fixture(scope="module")
def person(scene):
    model, basis, _ = scene
    rng = np.random.default_rng(2)
    identity = rng.normal(size=basis.identity_mm.shape[1])
    smile = np.zeros(len(model.expression_names))
    smile[[model.expression_names.index(f"mouthSmile{side}") for side in ("Left", "Right")]] = 0.5
    return identity, np.zeros_like(smile), smile


def test_two_exact_views_give_identity_pose_and_expressions(scene, person):
    model, basis, prior = scene
    identity, neutral, smile = person
    views = [seen(basis, identity, neutral, -25.0), seen(basis, identity, smile, 30.0)]
    joint = fit_landmarks_jointly([as_view(basis, points) for points, _ in views], prior, EXACT)
    first, second = joint.fits
    np.testing.assert_array_equal(first.identity, second.identity)
    # As for one view, but two views leave hardly any direction of the face unseen.
    assert face_error(model, first.identity - identity) < 0.2
    assert np.abs(first.residual_px).max() < 0.3
    smiles = [model.expression_names.index(f"mouthSmile{side}") for side in ("Left", "Right")]
    np.testing.assert_allclose(second.expression[smiles], 0.5, atol=0.15)
    np.testing.assert_allclose(first.expression[smiles], 0.0, atol=0.15)


def test_more_noisy_views_are_better_than_one(scene, person):
    model, basis, prior = scene
    identity, neutral, _ = person
    options = JointOptions(8, LandmarkOptions(8, 0.8, 1.0, 1.0, 10.0, 0.0, 1.0), shared_error=0.0)
    views = [
        as_view(basis, seen(basis, identity, neutral, yaw, noise=1.5, seed=i)[0])
        for i, yaw in enumerate((-40, -15, 0, 15, 40))
    ]
    alone = [
        face_error(model, fit_landmarks_jointly([view], prior, options).fits[0].identity - identity)
        for view in views
    ]
    together = face_error(model, fit_landmarks_jointly(views, prior, options).fits[0].identity - identity)
    assert together < 0.85 * np.mean(alone)


def test_known_cameras_share_one_head_and_find_the_worlds_scale(scene, person):
    model, basis, prior = scene
    identity, neutral, _ = person
    head = np.eye(4)
    head[:3, :3] = Rotation.from_euler("yx", [40, 10], degrees=True).as_matrix()
    head[:3, 3] = [200.0, 1500.0, -300.0]
    views, poses = [], []
    for yaw, distance in ((-35, 700), (5, 1100), (30, 900)):
        points, pose = seen(basis, identity, neutral, yaw, distance)
        in_world = pose @ np.linalg.inv(head)
        # The world is measured with a yardstick that is 4 % too long: its millimetres are fewer.
        in_world[:3, 3] = (pose[:3, 3] - in_world[:3, :3] @ head[:3, 3]) / 1.04
        views.append(as_view(basis, points, in_world))
        poses.append(pose)
    joint = fit_landmarks_jointly(views, prior, EXACT)
    # World points are scaled as well, so the head's place absorbs nothing: the scale is what three rays say.
    assert joint.scale == pytest.approx(1.04, abs=0.01)
    in_world = [
        view.T_camera_world[:3, :3].T @ fit.rotation for view, fit in zip(views, joint.fits)
    ]  # the same head
    np.testing.assert_allclose(in_world[1], in_world[0], atol=1e-6)
    for fit, pose in zip(joint.fits, poses):
        np.testing.assert_allclose(fit.translation, pose[:3, 3], atol=6)
    assert face_error(model, joint.fits[0].identity - identity) < 0.3


def test_roots_are_roots_of_the_joint_covariance(scene, person):
    """Brute force: the normal matrix over all unknowns of two views, inverted as a whole."""
    _, basis, prior = scene
    identity, neutral, smile = person
    views = [as_view(basis, seen(basis, identity, e, yaw)[0]) for e, yaw in ((neutral, -20.0), (smile, 10.0))]
    options = replace(EXACT, landmarks=replace(EXACT.landmarks, noise_mm=1.0))
    joint = fit_landmarks_jointly(views, prior, options)
    k, n = len(identity), len(joint.fits[0].normal)
    own = np.setdiff1d(np.arange(n), np.arange(7, 7 + k))
    size = k + 2 * len(own)
    whole = np.zeros((size, size))
    whole[:k, :k] = np.eye(k)
    for i, fit in enumerate(joint.fits):
        place = np.zeros(n, int)
        place[7 : 7 + k] = np.arange(k)
        place[own] = k + i * len(own) + np.arange(len(own))
        whole[np.ix_(place, place)] += fit.normal
        if i == 0:
            kept = place
    expected = np.linalg.inv(whole)[np.ix_(kept, kept)]
    found = joint.roots[0] @ joint.roots[0].T
    np.testing.assert_allclose(found, expected, atol=2e-4 * np.abs(expected).max())
