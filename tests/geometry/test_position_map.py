"""Position maps: crops that invert, one scale on all axes, poses over half a turn, mirrors, and what faces the camera."""

import math

import pytest
import torch

from vultus.errors import BadInput
from vultus.geometry.position_map import (
    SPAN,
    FaceCrop,
    crop_around,
    facing_camera,
    in_pixels,
    mirrored,
    normalised,
    pose_from_points,
    sample_map,
    weak_perspective,
)
from vultus.geometry.rigid import axis_angle_from_rotation, rotation_from_pose_angles

CROP = FaceCrop((310.0, 220.5), 190.0, 0.6)


def cloud(n: int = 60) -> torch.Tensor:
    return torch.randn(n, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 50


def test_crop_and_back_is_the_identity_and_keeps_angles():
    points = cloud() + torch.tensor([300.0, 200, 0])
    inside = CROP.to_crop(points)
    assert (CROP.to_photo(inside) - points).abs().max() < 1e-6
    # A similarity: all distances, also those along z, grow by the same factor.
    ratio = torch.pdist(inside) / torch.pdist(points)
    assert (ratio - 256 / 190).abs().max() < 1e-9 and pytest.approx(256 / 190) == CROP.scale
    assert torch.equal(CROP.to_crop(points[:, :2]), inside[:, :2])


def test_a_turned_crop_by_hand():
    # Turned clockwise by a quarter: what lies right of the centre in the photo lies on top in the crop.
    crop = FaceCrop((100.0, 50.0), 256.0, math.pi / 2)
    seen = crop.to_crop(torch.tensor([[110.0, 50, 7], [100, 60, 0]]))
    torch.testing.assert_close(seen, torch.tensor([[128.0, 118, 7], [138, 128, 0]]), atol=1e-4, rtol=0)


def test_the_crop_around_points():
    crop = crop_around(torch.tensor([[10.0, 20, 5], [50, 100, 9], [30, 30, 0]]))
    assert crop.centre_px == (30.0, 60.0) and crop.side_px == pytest.approx(1.6 * 60) and crop.roll_rad == 0
    for wrong in (torch.zeros(1, 3), torch.full((4, 2), torch.nan)):
        with pytest.raises(BadInput, match="must be positive"):
            crop_around(wrong)


def test_the_range_of_the_output():
    corners = torch.tensor([[0.0, 0, 0], [1, 1, 1], [0.5, 0.5, 0.5]]).T[:, None]
    px = in_pixels(corners)[:, 0].T
    assert px.tolist() == [[-64, -64, -192], [320, 320, 192], [128, 128, 0]]
    values = cloud(64).T.reshape(3, 8, 8)
    assert (in_pixels(normalised(values, 128), 128) - values).abs().max() < 1e-10
    # The unit is the same on all axes.
    assert torch.allclose(
        normalised(values + 3) - normalised(values), torch.tensor(3 / (SPAN * 256)).double()
    )


def test_weak_perspective_by_hand():
    # Focal length 1000 px, face at 500 mm: 2 px per mm; 10 mm nearer is 20 px towards the camera.
    found = weak_perspective(torch.tensor([[3.0, 4, 490], [5, 6, 500]]), 1000.0, 500.0)
    assert found.tolist() == [[3, 4, 20], [5, 6, 0]]


def test_sampling_is_exact_for_linear_maps_up_to_the_border():
    axis = (torch.arange(16) + 0.5) / 16
    v, u = torch.meshgrid(axis, axis, indexing="ij")
    linear = torch.stack([u, v, 2 * u - 3 * v + 1])
    uv = torch.tensor([[0.0, 0], [1, 1], [0.31, 0.77], [torch.nan, 0.5]])
    found = sample_map(linear.expand(2, 3, 16, 16), uv)
    expected = torch.stack([uv[:, 0], uv[:, 1], 2 * uv[:, 0] - 3 * uv[:, 1] + 1], 1)[:3]
    assert found.shape == (2, 4, 3) and (found[:, :3] - expected).abs().max() < 1e-5
    assert bool(found[:, 3].isnan().all())
    assert torch.equal(sample_map(linear, uv)[:3], found[0, :3])


@pytest.mark.parametrize("yaw", [-90.0, -60.0, -5.0, 0.0, 30.0, 75.0, 90.0])
def test_poses_come_back(yaw):
    head = cloud()
    true = rotation_from_pose_angles(*torch.tensor([yaw, 17.0, -32.0]).double())
    # As float32, as a map is; camera frame to map: z towards the camera.
    points = ((1.7 * head @ true.T + torch.tensor([120.0, 140, 3])) * torch.tensor([1.0, 1, -1])).float()
    points = torch.cat([points, torch.full((1, 3), torch.nan)])
    pose = pose_from_points(points, torch.cat([head.float(), torch.zeros(1, 3)]))
    apart = axis_angle_from_rotation(pose.rotation_camera_head @ true.T).norm()
    assert math.degrees(float(apart)) < 0.1
    assert float(torch.linalg.det(pose.rotation_camera_head)) == pytest.approx(1)
    assert float(pose.scale_px_per_mm) == pytest.approx(1.7, rel=1e-5)
    assert abs(float(pose.angles.yaw_deg) - yaw) < 0.1
    if abs(yaw) < 89:  # at 90 degrees pitch and roll are the same turn
        assert abs(float(pose.angles.pitch_deg) - 17) < 0.1 and abs(float(pose.angles.roll_deg) + 32) < 0.1


def test_a_pose_needs_points():
    with pytest.raises(BadInput, match="3 of 9 points"):
        pose_from_points(torch.tensor([[torch.nan] * 3] * 6 + [[0.0, 0, 0]] * 3), torch.randn(9, 3))


def test_a_mirrored_reflection_is_not_taken_for_a_rotation():
    head = cloud()
    pose = pose_from_points(head * torch.tensor([-1.0, 1, 1]), head)
    assert float(torch.linalg.det(pose.rotation_camera_head)) == pytest.approx(1)


def test_mirroring_twice_is_the_identity():
    output = torch.rand(2, 3, 8, 8, dtype=torch.float64)
    assert torch.allclose(mirrored(mirrored(output)), output)
    px, other = in_pixels(output), in_pixels(mirrored(output))
    assert torch.allclose(other[:, 0], 256 - px[:, 0].flip(-1)) and torch.allclose(
        other[:, 1:], px[:, 1:].flip(-1)
    )


def test_what_faces_the_camera():
    # A roof along y: its ridge in the middle, both sides 45 degrees steep, then turned so that one side looks away.
    x = torch.arange(-10.0, 10) + 0.5
    roof = torch.stack([x.expand(20, 20), x[:, None].expand(20, 20), -x.abs().expand(20, 20)])
    cosine = facing_camera(roof)
    assert torch.allclose(cosine[:, 1:8], torch.tensor(math.sqrt(0.5))) and bool((cosine > 0).all())
    turn = torch.tensor([[0.5, 0, -math.sqrt(0.75)], [0, 1, 0], [math.sqrt(0.75), 0, 0.5]])  # by 60 degrees
    turned = facing_camera((turn @ roof.flatten(1)).reshape(3, 20, 20))
    assert bool((turned[:, 1:8] * turned[:, 12:19] < 0).all())
    assert (turned[:, 1:8] - math.cos(math.radians(105))).abs().max() < 1e-5
    assert (turned[:, 12:19] - math.cos(math.radians(15))).abs().max() < 1e-5
    assert torch.equal(facing_camera(torch.zeros(3, 4, 4)), torch.zeros(4, 4))  # a point faces nowhere
