"""Textures: a head with a known texture is drawn, and its texture is taken back from the picture."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from synthetic_model import synthetic_model

from vultus.geometry.camera import Camera
from vultus.geometry.light import ambient_and_directional, shading
from vultus.geometry.mesh import vertex_normals
from vultus.geometry.rigid import rigid_transform, rotation_from_pose_angles
from vultus.geometry.view import View
from vultus.model.bundled import load
from vultus.model.face import CoarseFace
from vultus.render.bake import bake
from vultus.render.raster import rasterize
from vultus.render.shade import linear_from_srgb, render, sample_texture, srgb_from_linear
from vultus.render.visible import facing, visible_texels
from vultus.stages import skin_look as skin_stage
from vultus.stages.surface_colour import mirror_gain
from vultus.stages.texture import texture

SIZE = 256
AMBIENT = ambient_and_directional(torch.ones(3), torch.zeros(3), torch.tensor([0.0, 0.0, -1.0]))


@pytest.fixture(scope="module")
def model():
    return load()


def pattern(symmetric: bool) -> torch.Tensor:
    """A smooth skin-like texture "3 s s" sRGB, waves of 40 texels and longer."""
    axis = (torch.arange(512) + 0.5) / 512 - 0.5
    v, u = torch.meshgrid(axis, axis, indexing="ij")
    u = u.abs() if symmetric else u
    waves = torch.stack([torch.sin(19 * u + 13 * v), torch.sin(23 * v - 11 * u), torch.sin(29 * u + 1.0)])
    return 0.5 + 0.12 * waves


def camera_at(yaw_deg: float, size_px=(480, 600)) -> Camera:
    angles = (torch.tensor(a) for a in (yaw_deg, 0.0, 0.0))
    pose = rigid_transform(rotation_from_pose_angles(*angles), torch.tensor([0.0, -20.0, 700.0]))
    return Camera(torch.tensor(1400.0), torch.tensor([size_px[0] / 2, size_px[1] / 2]), size_px, pose)


def photograph(model, known, yaw_deg, light=AMBIENT, background=(0.1, 0.9, 0.1)):
    """A picture of the skin with a known texture, on green; and what a perfect fit would say about it."""
    camera = camera_at(yaw_deg)
    code = model.mean_code()
    skin = model.part_of_triangle == 0
    t = model.topology
    rgba = render(
        model.vertices(code), model.triangles[skin], camera, light,
        texture=linear_from_srgb(known), uv=t.uv, uv_triangles=t.uv_triangles[skin], samples=2,
    )  # fmt: skip
    colour = linear_from_srgb(torch.tensor(background))[:, None, None]
    image = srgb_from_linear((rgba[0, :3] + (1 - rgba[0, 3:]) * colour).clamp(0, 1))
    mask = torch.ones(camera.size_px[::-1], dtype=torch.bool)
    view = View(image, camera, torch.zeros(68, 2), "ibug68", mask)
    return view, CoarseFace(code, camera.T_camera_head, light)


def truth(known, size=SIZE):
    return F.interpolate(known[None], (size, size), mode="bilinear", antialias=True)[0]


def psnr(a, b):
    return -10 * math.log10(float((a - b).square().mean()))


@pytest.mark.parametrize("yaw_deg", [0.0, 40.0])
def test_gives_back_what_was_drawn(model, yaw_deg):
    known = pattern(symmetric=False)
    view, coarse = photograph(model, known, yaw_deg)
    face = texture(view, model, coarse, size=SIZE)
    sure = face.observed > 0.98
    assert sure.float().mean() > 0.15
    assert psnr(face.texture["skin"][:, sure], truth(known)[:, sure]) > 40


@pytest.mark.parametrize("yaw_deg", [0.0, 60.0])
def test_takes_nothing_from_the_photo_where_the_camera_sees_something_else(model, yaw_deg):
    """Hidden texels, by a z-buffer at full size of the whole head, have no weight; and green is nowhere."""
    view, coarse = photograph(model, pattern(symmetric=False), yaw_deg)
    face = texture(view, model, coarse, size=SIZE)
    vertices = model.vertices(coarse.code)
    camera_mm = view.camera.to_camera(vertices)
    normals = vertex_normals(camera_mm, model.triangles)
    skin = (model.part_of_triangle == 0).nonzero().squeeze(-1)
    solid = model.triangles[model.part_of_triangle != model.part_names.index("lashes")]
    baked, _ = bake(
        torch.cat([view.camera.project(vertices), facing(camera_mm, normals)[:, None]], -1),
        model.topology,
        skin,
        SIZE,
    )
    projected = view.camera.project(vertices)[None]
    buffer = rasterize(projected, solid, view.camera.size_px)
    seen = visible_texels(baked[None, :3], buffer, projected, solid, tolerance_mm=3.0)[0]
    assert (face.observed[~seen] == 0).all()
    assert face.observed[baked[3] < 0.15].max() < 0.06
    red, green, blue = face.texture["skin"]
    assert (
        green - torch.maximum(red, blue)
    ).max() < 0.32  # of the pattern itself: 0.24; of the backdrop: 0.8


def test_hidden_side_is_the_mirror_image(model):
    known = pattern(symmetric=True)
    view, coarse = photograph(model, known, 45.0)
    face = texture(view, model, coarse, size=SIZE)
    mirrored = (face.observed < 0.01) & (face.observed.flip(-1) > 0.98)
    assert mirrored.sum() > 500
    assert psnr(face.texture["skin"][:, mirrored], truth(known)[:, mirrored]) > 30


def test_mirror_gain_is_the_ratio_of_the_lights(model):
    """Where both sides look at the camera, sRGB times the gain is the other side's colour in this side's light."""
    lamp = ambient_and_directional(
        torch.full((3,), 0.5), torch.full((3,), 0.5), torch.tensor([-0.6, 0.0, -1.0])
    )
    view, coarse = photograph(model, pattern(symmetric=True), 10.0, lamp)
    normals = vertex_normals(view.camera.to_camera(model.vertices(coarse.code)), model.triangles)
    gain = mirror_gain(model, normals, lamp)
    both = (normals[:, 2] < -0.7) & (normals[model.mirror, 2] < -0.7) & model.regions["face"]
    lit = srgb_from_linear(0.35 * shading(normals, lamp))
    error = (lit[model.mirror] * gain - lit)[both].abs().mean()
    assert error < 0.15 * (lit[model.mirror] - lit)[both].abs().mean()
    torch.testing.assert_close(gain * gain[model.mirror], torch.ones_like(gain))
    assert mirror_gain(replace(model, mirror=None), normals, lamp) is None
    assert mirror_gain(synthetic_model(), normals[: len(synthetic_model().mean_mm)], lamp) is None


def test_no_seams(model):
    """From texel to texel the texture changes no more at the border of the photo, or of the chart, than within the photo.

    The head is of one colour but for a slow gradient from left to right, so all that jumps is a seam.
    """
    ramp = (
        torch.linspace(0.35, 0.65, 512)[None, None].expand(3, 512, 512)
        * torch.tensor([1.0, 0.8, 0.7])[:, None, None]
    )
    view, coarse = photograph(model, ramp, 25.0)
    plain = replace(model, albedo_mean=torch.full_like(model.albedo_mean, 0.3))
    face = texture(view, plain, coarse, size=SIZE)
    image, observed = face.texture["skin"], face.observed
    pockets = torch.stack([model.regions[n] for n in ("inner_mouth", "eye_sockets", "nostrils")]).any(0)
    skin = (model.part_of_triangle == 0).nonzero().squeeze(-1)
    inside, _ = bake(pockets.float()[:, None], model.topology, skin, SIZE)
    outside = F.max_pool2d(inside, 9, 1, 4)[0] == 0
    jump = torch.maximum(
        F.pad(image.diff(dim=-1).abs().amax(0), (0, 1)), F.pad(image.diff(dim=-2).abs().amax(0), (0, 0, 0, 1))
    )
    border = (observed > 0) & (observed < 1) & outside
    assert jump[border].max() < 0.03
    low, high = round(0.115 * SIZE), round(0.885 * SIZE)
    chart_border = torch.zeros_like(border)
    chart_border[low - 2 : low + 2] = chart_border[high - 2 : high + 2] = True
    chart_border[:, low - 2 : low + 2] = chart_border[:, high - 2 : high + 2] = True
    assert jump[chart_border & outside].max() < 0.02


def test_nothing_seen_at_all(model):
    """No skin in the mask: the albedo model alone, everywhere finite, nothing observed."""
    view, coarse = photograph(model, pattern(symmetric=True), 0.0)
    face = texture(replace(view, skin_mask=torch.zeros_like(view.skin_mask)), model, coarse, size=64)
    hidden = replace(view, camera=replace(view.camera, T_camera_head=view.camera.T_camera_head.clone()))
    hidden.camera.T_camera_head[0, 3] = 5000.0  # beside the photo
    away = texture(hidden, model, coarse, size=64)
    assert away.observed.max() == 0
    for result in (face, away):
        for image in result.texture.values():
            assert torch.isfinite(image).all()
            assert image.min() >= 0
            assert image.max() <= 1
    assert away.texture["skin"].mean() > 0.2


def test_bands_do_not_show(model, monkeypatch):
    view, coarse = photograph(model, pattern(symmetric=False), 20.0)
    whole = texture(view, model, coarse, size=128)
    monkeypatch.setattr(skin_stage, "TEXELS_PER_BAND", 128 * 37)
    banded = texture(view, model, coarse, size=128)
    torch.testing.assert_close(banded.texture["skin"], whole.texture["skin"], atol=5e-3, rtol=0)
    torch.testing.assert_close(banded.observed, whole.observed, atol=1e-5, rtol=0)


def test_every_part_of_any_model():
    """A model with seams, without lashes, mirrored textures and most regions."""
    model = synthetic_model()
    camera = camera_at(10.0)
    view = View(
        torch.full((3, 600, 480), 0.6),
        camera,
        torch.zeros(68, 2),
        "ibug68",
        torch.ones(600, 480, dtype=torch.bool),
    )
    face = texture(view, model, CoarseFace(model.mean_code(), camera.T_camera_head, AMBIENT), size=100)
    assert set(face.texture) == set(model.part_names)
    assert face.texture["skin"].shape == (3, 100, 100)
    assert face.observed.shape == (100, 100)
    assert face.observed.max() > 0.99
    assert all(torch.isfinite(image).all() for image in face.texture.values())


def test_iris_has_the_colour_in_the_photo(model):
    """Eyes painted blue, then brown, are drawn blue and brown; the pupil is dark, the white light."""
    camera, code = camera_at(0.0), model.mean_code()
    coarse = CoarseFace(code, camera.T_camera_head, AMBIENT)
    for iris in ((0.10, 0.16, 0.30), (0.12, 0.06, 0.03)):
        albedo = model.albedo_mean.clone()
        for part in ("eye_left", "eye_right"):
            ids = torch.unique(model.part_triangles(part))
            ray = model.mean_mm[ids] - model.mean_mm[ids].mean(0)
            albedo[ids] = torch.where(ray[:, 2:] > 10.3, torch.tensor(iris), torch.tensor([0.6, 0.56, 0.53]))
        rgba = render(model.vertices(code), model.triangles, camera, AMBIENT, albedo=albedo, samples=2)
        image = srgb_from_linear(rgba[0, :3].clamp(0, 1))
        view = View(image, camera, torch.zeros(68, 2), "ibug68", torch.ones(600, 480, dtype=torch.bool))
        face = texture(view, model, coarse, size=64)
        for part in ("eye_left", "eye_right"):
            eye = linear_from_srgb(face.texture[part])
            middle = torch.tensor([128.0 - 22.0, 128.0 + 22.0]).long()
            ring = eye[:, 128, middle].mean(1)
            assert (ring / ring.sum() - torch.tensor(iris) / sum(iris)).abs().max() < 0.12
            assert eye[:, 128, 128].mean() < 0.3 * ring.mean()
            assert eye[:, 128, 200].mean() > 2 * ring.mean()


def test_same_every_time(model):
    view, coarse = photograph(model, pattern(symmetric=False), 20.0)
    first, second = (texture(view, model, coarse, size=64) for _ in range(2))
    for part, image in first.texture.items():
        assert torch.equal(image, second.texture[part])
    uv = torch.rand(1, 2, 3, 3)
    assert sample_texture(first.texture["skin"], uv).shape == (1, 3, 3, 3)
