"""Drawn wrinkles: where they are, and what light makes of them."""

import pytest
import torch

from vultus.data.wrinkles import Lamp, light_map, photograph, skin_albedo, wrinkle_map
from vultus.geometry.camera import Camera
from vultus.geometry.rigid import rigid_transform, rotation_from_pose_angles
from vultus.model.bundled import load

SIZE = 96


@pytest.fixture(scope="module")
def model():
    return load()


def groove():
    """A plane of texels 0.5 mm wide facing the camera, with a valley 1 mm deep from top to bottom."""
    axis = (torch.arange(SIZE) + 0.5) * 0.5
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    position = torch.stack([x, y, torch.full_like(x, 600.0)])  # camera frame: y down
    smooth = torch.zeros_like(position)
    smooth[2] = -1
    return position, smooth, -torch.exp(-0.5 * ((x - x.mean()) / 1.0) ** 2)


def test_wrinkles_are_where_and_as_deep_as_they_should_be(model):
    deep = wrinkle_map(model, 256, seed=1)
    assert deep.min() < -0.3 and deep.max() < 0.6
    assert (deep.abs() > 0.02).float().mean() < 0.4
    assert deep[120:130, 120:136].abs().max() < 0.01  # the nose's ridge has none
    assert torch.equal(deep, wrinkle_map(model, 256, seed=1))
    assert not torch.equal(deep, wrinkle_map(model, 256, seed=2))
    assert wrinkle_map(model, 64, strength=0.0).abs().max() == 0


def test_valleys_are_darker_under_an_even_sky():
    position, smooth, d = groove()
    white = light_map(position, smooth, d, torch.ones(3), [])
    middle = SIZE // 2
    assert white[0, middle, middle] < 0.93 < 0.98 < white[0, middle, 5] <= 1
    flat = light_map(position, smooth, 0 * d, torch.ones(3), [])
    torch.testing.assert_close(flat, torch.ones_like(flat))


def test_a_lamp_from_the_left_lights_the_right_flank_and_shades_the_left():
    position, smooth, d = groove()
    lamp = Lamp(torch.tensor([-1.0, 0.0, -1.0]), torch.ones(3))
    lit = light_map(position, smooth, d, torch.zeros(3), [lamp])[0, SIZE // 2]
    flat = float(light_map(position, smooth, 0 * d, torch.zeros(3), [lamp])[0, 0, 0])
    assert flat == pytest.approx(0.5**0.5, rel=0.02)
    middle = SIZE // 2
    assert lit[middle + 2] > 1.1 * flat > 0.8 * flat > lit[middle - 3]


def test_pictures(model):
    code = model.mean_code()
    rotation = rotation_from_pose_angles(*torch.tensor([10.0, 0.0, 0.0]))
    pose = rigid_transform(rotation, torch.tensor([0.0, -20.0, 700.0]))
    camera = Camera(torch.tensor(700.0), torch.tensor([100.0, 120.0]), (200, 240), pose)
    vertices, albedo = model.vertices(code), model.vertex_albedo(code)
    lamps = [Lamp(torch.tensor([-0.8, -0.5, -1.0]), torch.full((3,), 0.5))]
    wrinkled, smooth = (
        photograph(
            model, vertices, albedo, wrinkle_map(model, 256, 0, s), camera, torch.full((3,), 0.4), lamps
        )
        for s in (1.0, 0.0)
    )
    image, cover = wrinkled
    assert image.shape == (3, 240, 200) and cover.shape == (240, 200)
    assert 0.1 < cover.mean() < 0.9 and image.min() >= 0 and image.max() <= 1
    assert 0.001 < (image - smooth[0]).abs().max(0).values[cover > 0.9].mean() < 0.05
    moles = skin_albedo(model, albedo, 256)
    assert moles.min() >= 0.005 and moles.max() <= 1 and moles.shape == (3, 256, 256)
