import math

import torch

from vultus.geometry.rigid import (
    FRONTAL,
    axis_angle_from_rotation,
    cross_matrix,
    pose_angles,
    rigid_transform,
    rotation_from_axis_angle,
    rotation_from_pose_angles,
    transform_points,
    umeyama,
)

torch.manual_seed(0)


def random_rotations(n: int) -> torch.Tensor:
    return rotation_from_axis_angle(torch.randn(n, 3, dtype=torch.float64))


def test_rodrigues_is_the_matrix_exponential_and_round_trips():
    vectors = torch.randn(50, 3, dtype=torch.float64)
    vectors[0] = 0
    vectors[1] = 1e-7
    rotations = rotation_from_axis_angle(vectors)
    torch.testing.assert_close(rotations, torch.matrix_exp(cross_matrix(vectors)), atol=1e-10, rtol=0)
    torch.testing.assert_close(
        rotation_from_axis_angle(axis_angle_from_rotation(rotations)), rotations, atol=1e-8, rtol=0
    )
    half_turn = rotation_from_axis_angle(torch.tensor([0.0, math.pi, 0.0], dtype=torch.float64))
    assert abs(axis_angle_from_rotation(half_turn).norm() - math.pi) < 1e-6


def test_rodrigues_gradient_at_zero_and_elsewhere():
    for start in (torch.zeros(3), torch.tensor([0.4, -1.0, 2.0])):
        assert torch.autograd.gradcheck(rotation_from_axis_angle, start.double().requires_grad_())


def test_umeyama_recovers_a_similarity_and_never_mirrors():
    source = torch.randn(4, 20, 3, dtype=torch.float64)
    rotation, translation = random_rotations(4), torch.randn(4, 3, dtype=torch.float64)
    scale = torch.rand(4, dtype=torch.float64) + 0.5
    target = scale[:, None, None] * source @ rotation.transpose(1, 2) + translation[:, None]
    found = umeyama(source, target)
    torch.testing.assert_close(found.rotation, rotation)
    torch.testing.assert_close(found.scale, scale)
    torch.testing.assert_close(found.apply(source), target)
    torch.testing.assert_close(found.inverse().apply(target), source)
    mirrored = umeyama(source, target * torch.tensor([-1.0, 1, 1]), with_scale=False)
    torch.testing.assert_close(torch.linalg.det(mirrored.rotation), torch.ones(4, dtype=torch.float64))
    weight = torch.cat([torch.ones(4, 10), torch.zeros(4, 10)], 1).double()
    spoiled = torch.cat([target[:, :10], torch.randn(4, 10, 3).double()], 1)
    torch.testing.assert_close(umeyama(source, spoiled, weight).scale, scale)


def test_pose_angles_round_trip_and_their_signs():
    angles = torch.tensor([[0.0, 0, 0], [30, 10, -20], [-80, -40, 60]], dtype=torch.float64)
    rotation = rotation_from_pose_angles(*angles.unbind(-1))
    torch.testing.assert_close(torch.stack(pose_angles(rotation), -1), angles, atol=1e-9, rtol=0)
    torch.testing.assert_close(rotation[0], FRONTAL.double())
    nose = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)

    def turn(yaw, pitch):
        return rotation_from_pose_angles(*torch.tensor([yaw, pitch, 0.0], dtype=torch.float64)) @ nose

    assert turn(30.0, 0.0)[0] > 0  # subject's left is the image's right
    assert turn(0.0, 30.0)[1] > 0  # down in the image


def test_transforms_compose_and_batch_equals_loop():
    a = rigid_transform(random_rotations(5), torch.randn(5, 3, dtype=torch.float64))
    points = torch.randn(5, 7, 3, dtype=torch.float64)
    torch.testing.assert_close(
        transform_points(a @ a, points), transform_points(a, transform_points(a, points))
    )
    torch.testing.assert_close(
        transform_points(a, points), torch.stack([transform_points(t, p) for t, p in zip(a, points)])
    )
