"""Albedo of one fitted photo: a head drawn with known skin and light gives its skin back; what is no skin, or not seen, is not believed."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from heads_in_photos import painted_fit

from vultus.data.albedo_texture import (
    ChartAlbedo,
    albedo_of_fit,
    balanced,
    chart_region,
    face_skin,
    read_albedo,
    white_balance,
    write_albedo,
)
from vultus.data.photo_fit import PhotoFit, camera_of
from vultus.errors import BadFile, BadInput
from vultus.geometry.light import ambient_and_directional, shading
from vultus.geometry.mesh import vertex_normals
from vultus.model.bundled import load
from vultus.render.bake import bake, dilate
from vultus.render.shade import srgb_from_linear

SIZE = 64


@pytest.fixture(scope="module")
def model():
    return load()


def lit_fit(model, skin, *, key="a", yaw=5.0, exposure=1.0, from_left=0.5) -> PhotoFit:
    """A fit of the mean head with linear albedo "v 3", a lamp from above and the side."""
    camera = camera_of(painted_fit(model, yaw=yaw, size_px=300).sample)
    normals = vertex_normals(camera.to_camera(model.mean_mm), model.triangles)
    white = torch.ones(3) * exposure
    light = ambient_and_directional(0.5 * white, 0.4 * white, torch.tensor([from_left, -0.5, -1.0]))
    colours = srgb_from_linear((skin * shading(normals, light)).clamp(0, 1))
    fit = painted_fit(model, yaw=yaw, size_px=300, key=key, colours=colours)
    return PhotoFit(replace(fit.sample, light=light.numpy()), fit.person)


def over_chart(model, values):
    topology = model.chart.topology
    return dilate(*bake(values, topology, torch.arange(len(topology.triangles)), SIZE))


@pytest.fixture(scope="module")
def skin(model):
    """The mean skin, darker, with a birthmark on one cheek."""
    mark = torch.exp(-(((model.mean_mm - torch.tensor([42.0, -40.0, 20.0])).norm(dim=1) / 9) ** 2))
    return 0.6 * model.albedo_mean * (1 - mark[:, None] * torch.tensor([0.25, 0.5, 0.5]))


def test_light_is_taken_off_and_skin_is_left(model, skin):
    found = albedo_of_fit(model, lit_fit(model, skin), SIZE)
    assert found is not None
    truth = over_chart(model, skin)
    sure = found.confidence > 0.8
    assert sure.float().mean() > 0.3
    # Level and tint are the photographer's; what varies over the face is the skin's. Second-order harmonics with 6 % of error leave a few percent.
    ratio = (found.albedo / truth)[:, sure]
    level = ratio.median(1, keepdim=True).values
    assert 0.7 < level.mean() < 1.5 and (level / level.mean() - 1).abs().max() < 0.15
    assert (ratio / level - 1).abs().median() < 0.04 and (ratio / level - 1).abs().quantile(0.9) < 0.12
    # The birthmark is on its side only.
    cheeks = chart_region(model, "cheeks", SIZE) & sure & sure.flip(-1)
    odd = lambda image: (image.log() - image.flip(-1).log())[1][cheeks]  # noqa: E731
    assert np.corrcoef(odd(found.albedo.clamp_min(1e-3)), odd(truth))[0, 1] > 0.8
    assert found.asymmetry < 0.1


def test_only_skin_that_is_seen_is_believed(model, skin):
    head_on, turned = (albedo_of_fit(model, lit_fit(model, skin, yaw=yaw), SIZE) for yaw in (0.0, 35.0))
    assert head_on is not None and turned is not None
    allowed = face_skin(model, SIZE)
    assert head_on.confidence[~allowed].max() == 0 and 0.75 < allowed.float().mean() < 0.97
    assert torch.equal(allowed, allowed.flip(-1))
    near, far = turned.confidence[:, : SIZE // 2].mean(), turned.confidence[:, SIZE // 2 :].mean()
    assert min(near, far) < 0.5 * max(near, far)
    # A hand over the chin: where the mask has no skin nothing is known.
    fit = lit_fit(model, skin, yaw=0.0)
    mask = fit.sample.mask.copy()
    chin = camera_of(fit.sample).project(model.mean_mm[model.regions["chin"]])[:, :2]
    mask[int(chin[:, 1].min()) :, : int(chin[:, 0].mean())] = 0
    hidden = albedo_of_fit(model, PhotoFit(replace(fit.sample, mask=mask), fit.person), SIZE)
    assert hidden is not None and hidden.confidence.mean() < 0.97 * head_on.confidence.mean()
    nothing = albedo_of_fit(model, PhotoFit(replace(fit.sample, mask=0 * mask), fit.person), SIZE)
    assert nothing is None


def test_burnt_out_and_dark_skin_is_believed_less(model, skin):
    usual, bright = (albedo_of_fit(model, lit_fit(model, skin, exposure=e, from_left=1.5), SIZE) for e in (1.0, 9.0))  # fmt: skip
    assert usual is not None and (bright is None or bright.confidence.mean() < 0.8 * usual.confidence.mean())


def test_white_balance_moves_tints_and_leaves_tones(model):
    mean = model.albedo_mean[model.regions["cheeks"]].mean(0)
    torch.testing.assert_close(white_balance(model, mean), torch.ones(3), atol=1e-4, rtol=0)
    darker = mean * torch.exp(-0.5 * torch.tensor([0.55, 1.0, 1.45]))
    # A step of melanin is nearly all believed to be one; a lamp's tint is not unlike it.
    assert (white_balance(model, darker).log().abs() < 0.1 * (darker / mean).log().abs().max()).all()
    # Half the light looks a little like more melanin.
    assert (white_balance(model, 0.5 * mean).log().abs() < 0.1).all()
    tint = torch.tensor([-0.05, 0.1, -0.05])
    found = white_balance(model, mean * tint.exp()).log()
    assert abs(float(found.sum())) < 1e-5 and 0.03 < found[1] < 0.1


def test_light_is_needed(model):
    with pytest.raises(BadInput, match="without light"):
        albedo_of_fit(model, painted_fit(model), SIZE)


def test_balancing_takes_slow_differences_and_leaves_moles():
    u = (torch.arange(96) + 0.5) / 96
    even = torch.full((3, 96, 96), 0.4)
    even[:, 40:43, 20:23] = 0.2
    lit = (even + 0.02) * torch.exp(0.3 * (u - 0.5))[None, None] - 0.02
    ones = torch.ones(96, 96)
    found, asymmetry = balanced(lit, ones)
    assert 0.05 < asymmetry < 0.15
    inside = slice(16, 80)
    assert (found / lit.mean() - even / even.mean())[:, inside, inside].abs().median() < 0.01
    assert found[0, 41, 21] < 0.6 * found[0, 41, 96 - 22]
    _again, less = balanced(found, ones)
    assert less < 0.35 * asymmetry
    # One side alone says nothing about the other.
    half = ones.clone()
    half[:, :48] = 0
    same, none = balanced(lit, half)
    assert none == 0
    torch.testing.assert_close(same, lit, atol=1e-5, rtol=0)


def test_kept_albedos_come_back_and_damage_is_told(tmp_path):
    one = ChartAlbedo("x", torch.rand(3, 8, 8), torch.rand(8, 8), 0.04, 31.0)
    write_albedo(tmp_path / "x.npz", "x", one)
    back = read_albedo(tmp_path / "x.npz")
    assert back is not None and back.key == "x" and back.typology_deg == 31.0
    torch.testing.assert_close(back.albedo, one.albedo, atol=1e-3, rtol=0)
    torch.testing.assert_close(back.confidence, one.confidence, atol=2.1e-3, rtol=0)
    write_albedo(tmp_path / "none.npz", "none", None)
    assert read_albedo(tmp_path / "none.npz") is None
    (tmp_path / "bad.npz").write_bytes((tmp_path / "x.npz").read_bytes()[:100])
    with pytest.raises(BadFile, match="delete it"):
        read_albedo(tmp_path / "bad.npz")
