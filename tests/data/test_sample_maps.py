"""Samples as maps and back: texels, landmarks, pictures and poses fit together, within stated bounds."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from synthetic_model import synthetic_model

from vultus.data.sample import Sample
from vultus.data.sample_maps import chart_lattice, points_in_crop, position_sample
from vultus.data.scene import look_at_head
from vultus.errors import BadInput
from vultus.geometry.position_map import (
    FaceCrop,
    crop_around,
    facing_camera,
    in_pixels,
    mirrored,
    pose_from_points,
)
from vultus.geometry.rigid import axis_angle_from_rotation
from vultus.model.bundled import load
from vultus.nets.position_input import crop_picture
from vultus.nets.position_readout import landmarks_from_map, vertices_from_map
from vultus.render.bake import bake

SIZE_PX = 200


@pytest.fixture(scope="module")
def model():
    return load()


@pytest.fixture(scope="module")
def lattice(model):
    return chart_lattice(model, 256)


def sample_of(
    model, yaw=25.0, pitch=-8.0, roll=12.0, distance_mm=600.0, face_px=90.0, vertices=None
) -> Sample:
    """The mean head before a camera; the picture holds its own coordinates: red is x, green is y."""
    vertices = model.mean_mm if vertices is None else vertices
    camera = look_at_head(yaw, pitch, roll, distance_mm=distance_mm, face_px=face_px, size_px=SIZE_PX)
    zero = torch.zeros(())
    marks = camera.project(model.landmarks["ibug68"].points(vertices, model.triangles, zero, zero))
    x = np.arange(SIZE_PX, dtype=np.uint8)
    image = np.stack([np.tile(x, (SIZE_PX, 1)), np.tile(x[:, None], (1, SIZE_PX)), np.zeros((SIZE_PX, SIZE_PX), np.uint8)], 2)  # fmt: skip
    return Sample(
        "one", "test", image, np.full((SIZE_PX, SIZE_PX), 255, np.uint8), vertices.numpy(), float(camera.focal_px),
        camera.principal_px.numpy(), camera.T_camera_head.numpy(), marks.numpy(),
    )  # fmt: skip


def crop_of(sample: Sample, roll_rad: float = 0.3) -> FaceCrop:
    return replace(crop_around(torch.from_numpy(sample.landmarks_px)), roll_rad=roll_rad)


def test_the_lattice_is_what_the_rasteriser_draws(model, lattice):
    every = torch.arange(len(model.chart.triangles))
    drawn, covered = bake(model.mean_mm, model.chart.topology, every, 256)
    assert bool(covered.all())
    found = lattice.spread(model.mean_mm[lattice.vertex_ids])
    assert found.shape == (3, 256, 256) and (found - drawn).abs().max() < 1e-3  # float32 at 100 mm
    np.testing.assert_allclose(np.asarray(lattice.matrix.sum(1)), 1, atol=1e-6)
    assert float(lattice.share.sum()) == pytest.approx(1, abs=1e-5) and float(lattice.share.min()) > 0


def test_map_to_vertices_and_landmarks_and_back(model):
    sample = sample_of(model)
    crop, error = crop_of(sample), {}
    for size in (64, 128, 256):
        fine = chart_lattice(model, size)
        points, marks = points_in_crop(sample, crop, fine)
        position = fine.spread(points)
        back = vertices_from_map(model, position)
        assert bool(back[fine.vertex_ids].isfinite().all())
        error[size] = float((back[fine.vertex_ids] - points).norm(dim=1).mean())
        apart = (landmarks_from_map(model, position) - marks).norm(dim=1)
        # A texel is about 0.5 to 1 crop pixel wide at 256; between texels a facetted surface is missed by less than half of one.
        assert float(apart.max()) < 0.5 * 256 / size, size
    assert error[256] < 0.06 and error[256] < 0.7 * error[128] < 0.5 * error[64]


def test_a_map_holds_pixels_of_the_crop(model, lattice):
    sample = sample_of(model)
    crop = crop_of(sample)
    made = position_sample(sample, crop, lattice)
    assert (
        made.image.shape == (3, 256, 256)
        and made.mask.shape == (256, 256)
        and made.position.shape == (3, 256, 256)
    )
    position = in_pixels(made.position)
    # The picture says where in the photo each crop pixel comes from, and so does the crop's inverse, to 8 bits.
    photo = crop.to_photo(position.flatten(1).T)
    x, y = position[:2].long().clamp(0, 255)
    inside = ((position[:2] > 1) & (position[:2] < 255)).all(0)
    told = made.image[:2, y, x] * 255 + 0.5 + 0.5  # pixel centres; and Pillow rounds down
    apart = (told.flatten(1).T - photo[:, :2])[inside.flatten()]
    assert apart.abs().max() < 1.5 and apart.mean(0).abs().max() < 0.2  # rounded to pixels, but not shifted
    # z: zero on average, one scale for all axes.
    assert abs(float(position[2].mean())) < 0.01
    head = torch.from_numpy(sample.vertices_mm)[lattice.vertex_ids]
    pose = pose_from_points(vertices_from_map(model, position)[lattice.vertex_ids], head)
    apart_deg = torch.linalg.matrix_norm(
        pose.rotation_camera_head @ pose.rotation_camera_head.T - torch.eye(3)
    )
    assert float(apart_deg) < 1e-9
    depth_mm = float((head @ torch.from_numpy(sample.T_camera_head[:3, :3]).T + torch.from_numpy(sample.T_camera_head[:3, 3]))[:, 2].mean())  # fmt: skip
    assert float(pose.scale_px_per_mm) == pytest.approx(sample.focal_px / depth_mm * crop.scale, rel=0.03)


@pytest.mark.parametrize("yaw", [-90.0, -45.0, 0.0, 60.0, 90.0])
def test_poses_of_far_heads_come_back(model, lattice, yaw):
    # From 100 m perspective turns nothing by more than 1 mm / 100 m, and the map's resampling is left.
    sample = sample_of(model, yaw, 15.0, -20.0, distance_mm=1e5)
    crop = crop_of(sample)
    position = lattice.spread(points_in_crop(sample, crop, lattice)[0])
    pose = pose_from_points(crop.to_photo(vertices_from_map(model, position)), model.mean_mm)
    true = torch.from_numpy(sample.T_camera_head[:3, :3]).double()
    apart = axis_angle_from_rotation(pose.rotation_camera_head @ true.T).norm()
    assert math.degrees(float(apart)) < 0.1
    if abs(yaw) < 89:  # in the crop itself the head is turned back by the crop's roll, and by nothing else
        within = pose_from_points(vertices_from_map(model, position), model.mean_mm).angles
        assert abs(float(within.yaw_deg - pose.angles.yaw_deg)) < 1e-3
        assert abs(float(within.roll_deg - pose.angles.roll_deg) - math.degrees(0.3)) < 1e-3


def test_a_mirrored_map_turns_yaw_and_roll_round(model, lattice):
    sample = sample_of(model, 30.0, 12.0, -14.0, distance_mm=1e5)
    made = position_sample(sample, crop_of(sample, 0.0), lattice)
    found = []
    for output in (made.position, mirrored(made.position)):
        found.append(pose_from_points(vertices_from_map(model, in_pixels(output)), model.mean_mm).angles)
    one, other = found
    assert abs(float(one.yaw_deg) - 30) < 0.1
    for name, sign in (("yaw_deg", -1), ("pitch_deg", 1), ("roll_deg", -1)):
        assert abs(float(getattr(other, name)) - sign * float(getattr(one, name))) < 0.1, name


def test_the_far_side_of_a_profile_faces_away(model, lattice):
    sample = sample_of(model, 80.0, 0.0, 0.0)
    position = lattice.spread(points_in_crop(sample, crop_of(sample), lattice)[0])
    cosine = facing_camera(position)
    # Positive yaw shows the image's left, that is the subject's right half: u < 0.5 in a chart seen from outside.
    assert (cosine[:, :96] > 0).float().mean() > 0.9 and (cosine[:, 160:] > 0).float().mean() < 0.4
    assert (facing_camera(lattice.spread(points_in_crop(sample_of(model, 0.0), crop_of(sample), lattice)[0])) > 0).float().mean() > 0.8  # fmt: skip


def test_pictures_beyond_the_border_and_at_other_scales():
    rng = np.random.default_rng(0)
    photo = rng.integers(1, 255, (60, 80, 3), dtype=np.uint8)
    same = crop_picture(photo, FaceCrop((30.0, 30.0), 40.0, 0.0, 40))
    np.testing.assert_array_equal(same, photo[10:50, 10:50])
    outside = crop_picture(photo, FaceCrop((0.0, 0.0), 40.0, 0.0, 40))
    assert not outside[:20].any() and not outside[:, :20].any()
    np.testing.assert_array_equal(outside[20:, 20:], photo[:20, :20])
    quarter = crop_picture(photo, FaceCrop((30.0, 30.0), 40.0, math.pi / 2, 40))
    # Turned clockwise: the crop's right is the photo's down.
    np.testing.assert_array_equal(quarter, np.rot90(photo[10:50, 10:50], 1))
    small = crop_picture(photo[..., 0], FaceCrop((32.0, 32.0), 40.0, 0.0, 10))
    means = photo[12:52, 12:52, 0].reshape(10, 4, 10, 4).mean((1, 3))
    # Sixteen pixels or more make one: no noise passes that their average would not let pass, and nothing gets darker but by rounding.
    assert small.std() < 1.1 * means.std() and abs(small.mean() - means.mean()) < 6
    assert not crop_picture(photo, FaceCrop((900.0, 30.0), 40.0)).any()


def test_stored_samples_may_be_read_only(model, lattice, recwarn):
    sample = sample_of(model)
    crop = crop_of(sample)
    for array in (sample.image, sample.vertices_mm, sample.T_camera_head, sample.landmarks_px, sample.mask):
        array.flags.writeable = False
    made = position_sample(sample, crop, lattice)
    made.image.mul_(0.5)
    made.mask.mul_(0.5)
    assert not [w for w in recwarn if "writable" in str(w.message)]


def test_samples_that_do_not_fit(model, lattice):
    sample = sample_of(model)
    with pytest.raises(BadInput, match="one: 10 vertices"):
        position_sample(replace(sample, vertices_mm=sample.vertices_mm[:10]), crop_of(sample), lattice)
    behind = sample.T_camera_head.copy()
    behind[2, 3] = 10.0
    with pytest.raises(BadInput, match="behind the camera"):
        position_sample(replace(sample, T_camera_head=behind), crop_of(sample), lattice)
    with pytest.raises(BadInput, match="no face chart"):
        chart_lattice(replace(model, chart=None), 64)
    with pytest.raises(BadInput, match="1 texels"):
        chart_lattice(model, 1)


def test_a_chart_with_empty_texels_is_filled():
    model = synthetic_model()
    assert model.chart is not None
    empty = chart_lattice(model, 32)
    every = torch.arange(len(model.chart.triangles))
    drawn, covered = bake(model.mean_mm, model.chart.topology, every, 32)
    found = empty.spread(model.mean_mm[empty.vertex_ids])
    assert (found - drawn)[:, covered].abs().max() < 1e-3
    np.testing.assert_allclose(np.asarray(empty.matrix.sum(1)), 1, atol=1e-6)
