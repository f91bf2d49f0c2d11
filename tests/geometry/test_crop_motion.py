"""Crops over time: turned with the face, moved, compared, matched."""

import math

import pytest
import torch

from vultus.geometry.crop_motion import distance, moved_on, overlap, pairs, share_inside, turned_crop
from vultus.geometry.position_map import FaceCrop, crop_around


def face_points() -> torch.Tensor:
    """68 points with the nose's root above the chin, and a box of 100 x 120 on (50, 60)."""
    points = torch.rand(68, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([100.0, 100.0, 9.0])
    points[0, :2], points[16, :2] = torch.tensor([0.0, 50.0]), torch.tensor([100.0, 50.0])
    points[27, :2], points[8, :2], points[19, :2] = torch.tensor([50.0, 40.0]), torch.tensor([50.0, 120.0]), torch.tensor([30.0, 0.0])  # fmt: skip
    return points


def test_an_upright_face_has_the_usual_crop():
    crop, usual = turned_crop(face_points()), crop_around(face_points())
    assert crop.roll_rad == pytest.approx(0, abs=1e-6) and crop.size_px == usual.size_px
    assert crop.side_px == pytest.approx(usual.side_px, rel=1e-5) and crop.side_px == pytest.approx(1.6 * 110)
    assert crop.centre_px == pytest.approx((50, 60), abs=1e-3)


@pytest.mark.parametrize("turn_deg", [-170.0, -60.0, 25.0, 90.0])
def test_a_turned_face_looks_upright_in_its_crop(turn_deg):
    points, angle = face_points(), math.radians(turn_deg)
    # Clockwise as seen, y down.
    turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    turned = points.clone()
    turned[:, :2] = 3 * points[:, :2] @ turn.T + torch.tensor([500.0, 300.0])
    crop = turned_crop(turned)
    assert math.degrees(crop.roll_rad) == pytest.approx(turn_deg, abs=1e-3)
    assert crop.side_px == pytest.approx(3 * 1.6 * 110, rel=1e-4)
    torch.testing.assert_close(crop.to_crop(turned)[:, :2], turned_crop(points).to_crop(points)[:, :2], atol=0.01, rtol=0)  # fmt: skip


def test_moved_and_compared():
    crop = FaceCrop((10.0, 20.0), 8.0, 0.2, 64)
    assert moved_on(crop, (0.5, -1.0), 2.0) == FaceCrop((18.0, 4.0), 8.0, 0.2, 64)
    assert overlap(crop, crop) == pytest.approx(1)
    assert overlap(crop, moved_on(crop, (0.5, 0.0), 1.0)) == pytest.approx(0.5 / 1.5)
    assert overlap(crop, FaceCrop((10.0, 20.0), 4.0)) == pytest.approx(0.25)
    assert overlap(crop, FaceCrop((10.0, 40.0), 8.0)) == 0
    assert distance(crop, FaceCrop((13.0, 24.0), 12.0)) == pytest.approx(0.5)
    points = torch.tensor([[0.0, 0.0], [9.9, 4.9], [10.0, 3.0], [3.0, -0.1]])
    assert share_inside(points, (10, 5)) == 0.5


def test_matching_minimises_the_sum_and_leaves_strangers_alone():
    row = [FaceCrop((x, 0.0), 10.0) for x in (0.0, 4.0, 30.0)]
    moved = [FaceCrop((x, 0.0), 10.0) for x in (7.0, 3.0, 80.0)]
    # Greedily 4 would take 3; in sum 0 -> 3 and 4 -> 7 is as good as it gets within the gate.
    assert pairs(row, moved) == {0: 1, 1: 0}
    assert pairs(row[:1], [FaceCrop((0.0, 0.0), 25.0)]) == {}
    assert pairs([], moved) == {} and pairs(row, []) == {}
