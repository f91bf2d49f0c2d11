"""Photos turned out of plane: at rest the photo itself, turned what a camera would see, and every number as it says."""

from typing import Any

import numpy as np
import pytest
import torch
from heads_in_photos import GREEN, painted_fit, picture_of

from vultus.data.photo_fit import SOURCE as FITTED
from vultus.data.photo_fit import camera_of, write_fit
from vultus.data.profiling import (
    SOURCE,
    ProfileOptions,
    TurnedPhotos,
    manifest_of,
    turns_of,
)
from vultus.data.profiling_background import fill_hole, ramp, strands, unprojected
from vultus.data.profiling_draw import partly_turned, turn
from vultus.data.profiling_scene import build_scene, neck_share, sample_px
from vultus.data.shards import read_samples, write_shards
from vultus.errors import BadFile, BadInput
from vultus.geometry.rigid import pose_angles
from vultus.model.bundled import load


@pytest.fixture(scope="module")
def model():
    return load()


@pytest.fixture(scope="module")
def scene(model):
    return build_scene(model, painted_fit(model))


def test_at_rest_it_is_the_photo(model, scene):
    for one in (scene, build_scene(model, painted_fit(model, yaw=-25, hair_px=6))):
        own = pose_angles(one.camera.T_camera_head[:3, :3])
        turned = turn(one, float(own.yaw_deg))
        difference = (turned.image - one.image).abs().mean(0)
        assert difference[turned.head].mean() * 255 < 1
        assert difference.mean() * 255 < 1  # and what is around it
        torch.testing.assert_close(turned.camera.T_camera_head, one.camera.T_camera_head, atol=1e-3, rtol=0)
        torch.testing.assert_close(turned.vertices_mm, one.vertices_mm, atol=2e-3, rtol=0)


@pytest.mark.parametrize("yaw", [-60.0, 30.0])
def test_turned_it_is_what_a_camera_sees(model, scene, yaw):
    turned = turn(scene, yaw, -8.0, 5.0)
    assert [float(a) for a in pose_angles(turned.camera.T_camera_head[:3, :3])] == pytest.approx([yaw, -8, 5], abs=1e-3)  # fmt: skip
    face = model.regions["face"]
    torch.testing.assert_close(turned.vertices_mm[face], scene.vertices_mm[face], atol=1e-3, rtol=0)
    expected, head, shown = picture_of(model, turned.vertices_mm, turned.camera)
    assert (head ^ turned.head).float().mean() < 0.01  # the scalp may have been lifted by a pixel of hair
    assert (turned.mask ^ shown)[head].float().mean() < 0.02
    difference = (turned.image - expected).abs().mean(0)
    # Where the photo shows the surface at less than 60 degrees it is resampled once: the pattern is 45 pixels long, so 1/255 is plenty.
    well = sample_facing(model, scene, turned)
    assert difference[well & turned.mask].mean() * 255 < 2
    # Elsewhere on the face the mirror image or colours from around it stand in.
    assert difference[turned.mask].mean() * 255 < 16


def sample_facing(model, scene, turned):
    """Pixels of a turned picture whose surface the photo sees squarely."""
    seen = scene.facing[:, None].expand(-1, 3) * 1.0
    drawn, _, shown = picture_of(model, turned.vertices_mm, turned.camera, seen)
    return shown & (drawn[0] > 0.5)


def test_the_far_side_comes_from_the_near_side(model):
    # The photo shows the right half of the face at 45 degrees; turned to -30 most of what is seen is the left one.
    # Stripes 12 mm long: the colours that are spread over the surface where nothing is known are too coarse for them.
    stripes = (0.5 + 0.3 * (model.mean_mm[:, 1:2] / 1.9).sin()) * torch.tensor([1.0, 0.3, 1.0])
    turned = turn(build_scene(model, painted_fit(model, yaw=45, size_px=320, colours=stripes)), -30.0)
    expected, _, shown = picture_of(model, turned.vertices_mm, turned.camera, stripes)
    side = ((model.mean_mm[:, 0] > 25) & (model.mean_mm[:, 2] > -20)).float()[:, None].expand(-1, 3)
    left = picture_of(model, turned.vertices_mm, turned.camera, side)[0][0] > 0.99
    chosen = left & shown & turned.mask
    assert chosen.sum() > 300
    got, wanted = turned.image[0][chosen], expected[0][chosen]
    assert torch.corrcoef(torch.stack([got, wanted]))[0, 1] > 0.8
    assert got.std() > 0.8 * wanted.std()


def test_nothing_of_the_head_stays_behind(model, scene):
    magenta = lambda image: (image[0] > 0.35) & (image[2] > 0.35) & (image[1] < 0.35)  # noqa: E731
    assert magenta(scene.image)[scene.seen.mask[0]].float().mean() > 0.9
    turned = turn(scene, 85.0)
    chin = int(turned.camera.project(model.mean_mm[model.regions["face"]])[:, 1].max()) - 8
    # Above the neck, which stays; a rim of half-covered pixels is left.
    assert magenta(turned.image)[:chin][~turned.head[:chin]].float().mean() < 0.004
    far = torch.zeros_like(turned.head)
    far[:15] = True
    torch.testing.assert_close(
        turned.image[:, far], GREEN[:, None].expand(-1, int(far.sum())), atol=0.02, rtol=0
    )


def test_hair_beside_the_head_turns_with_it(model):
    scene = build_scene(model, painted_fit(model, hair_px=8))
    brown = lambda image: (image - torch.tensor([0.3, 0.2, 0.1])[:, None, None]).abs().amax(0) < 0.06  # noqa: E731
    assert brown(turn(scene, 60.0).image).sum() > 0.4 * brown(scene.image).sum()
    assert not brown(scene.backdrop)[:100].any()


def test_a_head_at_the_border_has_room_to_turn(model):
    fit = painted_fit(model)
    cut = {"image": fit.sample.image[40:, 70:], "mask": fit.sample.mask[40:, 70:], "principal_px": fit.sample.principal_px - np.array([70, 40], np.float32)}  # fmt: skip
    sample = type(fit.sample)(**{**vars(fit.sample), **cut})
    scene = build_scene(model, type(fit)(sample, fit.person[40:, 70:]))
    assert scene.image.shape[2] > sample.image.shape[1] and bool(torch.isfinite(scene.image).all())
    points = torch.tensor([[0.0, 0, 0], [10, -30, 20]])
    moved = scene.camera.project(points) - camera_of(sample).project(points)
    assert moved[0, 0] > 0 and moved[:, 2].abs().max() < 1e-4
    torch.testing.assert_close(moved[0], moved[1], atol=1e-3, rtol=0)
    assert turn(scene, -70.0).mask.sum() > 500


def test_the_neck_is_twisted(model, scene):
    share = neck_share(model, model.mean_mm)
    assert share[~model.regions["neck"]].min() == 1
    lowest = model.mean_mm[:, 1] < model.mean_mm[:, 1].min() + 3
    assert share[lowest].max() < 0.05
    quarter = torch.tensor([0.0, 0.0, np.pi / 2])
    pivot = torch.tensor([1.0, 0, 0])
    moved = partly_turned(torch.tensor([[2.0, 0, 5], [2.0, 0, 5], [2, 0, 5]]), torch.tensor([0.0, 1.0, 0.5]), quarter, pivot)  # fmt: skip
    half = 0.5**0.5
    torch.testing.assert_close(moved, torch.tensor([[2.0, 0, 5], [1, 1, 5], [1 + half, half, 5]]))
    bottom = scene.camera.to_camera(model.mean_mm[lowest])
    turned = turn(scene, 80.0)
    torch.testing.assert_close(turned.camera.to_camera(turned.vertices_mm[lowest]), bottom, atol=5, rtol=0)


def test_holes_are_filled_from_around_them():
    ramp_image = torch.linspace(0.2, 0.8, 64)[None, None].expand(3, 48, 64).clone()
    hole = torch.zeros(48, 64, dtype=torch.bool)
    hole[12:36, 20:44] = True
    wrecked = torch.where(hole, torch.rand(3, 48, 64), ramp_image)
    filled = fill_hole(wrecked, hole)
    # A membrane through a linear ramp is the ramp; it keeps to its rim on cells of two pixels, which are worth 0.02, and gets the photo's grain.
    assert (filled - ramp_image)[:, hole].abs().max() < 0.04
    assert torch.equal(filled[:, ~hole], wrecked[:, ~hole])
    assert fill_hole(wrecked, torch.zeros_like(hole)) is wrecked
    assert fill_hole(wrecked, torch.ones_like(hole)) is wrecked


def test_small_things(model):
    camera = camera_of(painted_fit(model).sample)
    points = torch.tensor([[3.0, -5, 400], [80, 20, 900]])
    torch.testing.assert_close(unprojected(camera, camera.project_camera(points)), points)
    assert ramp(torch.tensor([0.0, 0.5, 1.0, 2.0]), 0.0, 1.0).tolist() == [0, 0.5, 1, 1]
    assert ramp(torch.tensor([0.0, 1.0]), 1.0, 0.0).tolist() == [1, 0]
    image = torch.arange(12.0).reshape(1, 3, 4)
    assert sample_px(image, torch.tensor([[0.5, 0.5], [2.0, 1.5], [-9.0, 0.5]]))[0].tolist() == pytest.approx([0, 5.5, 0], abs=1e-5)  # fmt: skip
    noise = strands(model.mean_mm)
    assert bool(torch.isfinite(noise).all()) and noise.std() < 1.5 and noise.mean().abs() < 0.3


@pytest.fixture
def fits(model, tmp_path):
    for key, yaw in (("a", 5.0), ("b", -32.0)):
        write_fit(tmp_path, painted_fit(model, yaw, size_px=128, key=key))
    return tmp_path


def test_a_set_of_turned_photos(model, fits, tmp_path):
    options = ProfileOptions(fits, step_deg=30, max_yaw_deg=60)
    source = TurnedPhotos(model, options)
    assert options.yaws_deg == (-60, -30, 0, 30, 60) and len(source) == 10
    first, missing = source[0], source[2]
    assert first is not None and missing is None and source[6] is None  # 5 is near 0, and -32 near -30
    assert first.source == SOURCE != FITTED and first.person == "a" and "." not in first.key
    camera = camera_of(first)
    assert float(pose_angles(camera.T_camera_head[:3, :3]).yaw_deg) == pytest.approx(-60, abs=1e-3)
    zero = torch.zeros(())
    marks = model.landmarks["ibug68"].points(torch.from_numpy(first.vertices_mm), model.triangles, zero, zero)
    np.testing.assert_allclose(first.landmarks_px, camera.project(marks).numpy(), atol=1e-3)
    again = TurnedPhotos(model, options)[0]
    assert again is not None and np.array_equal(again.image, first.image)  # whatever was asked for before
    other = turns_of(first, ProfileOptions(fits, seed=1))
    assert other != turns_of(first, ProfileOptions(fits)) == turns_of(first, ProfileOptions(fits))
    assert [new for _, new in write_shards(source, tmp_path / "set", manifest_of(options, per_shard=4))] == [
        True
    ] * 3
    keys = [sample.key for sample in read_samples(tmp_path / "set", shuffle=False)]
    assert len(set(keys)) == len(keys) == 8 and keys[0] == first.key


def test_options_are_checked(tmp_path, model):
    cases: tuple[dict[str, Any], ...] = ({"step_deg": 0}, {"max_yaw_deg": 120}, {"pitch_deg": -1}, {"roll_deg": 90}, {"seed": -1})  # fmt: skip
    for wrong in cases:
        with pytest.raises(BadInput, match=f"--{next(iter(wrong)).replace('_', '-')}"):
            ProfileOptions(tmp_path, **wrong)
    with pytest.raises(BadInput, match="no fits in it"):
        TurnedPhotos(model, ProfileOptions(tmp_path))
    (tmp_path / "fits").mkdir()
    (tmp_path / "fits" / "a.npz").write_bytes(b"nothing")
    with pytest.raises(BadFile, match=r"a\.npz: not a fit"):
        TurnedPhotos(model, ProfileOptions(tmp_path))[0]
