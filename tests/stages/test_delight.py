"""Delighting: a head of known albedo is photographed in hard side light, and its albedo taken back."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from vultus.data.wrinkles import Lamp, photograph
from vultus.geometry.camera import Camera
from vultus.geometry.light import frontal_light
from vultus.geometry.rigid import rigid_transform, rotation_from_pose_angles
from vultus.geometry.view import View
from vultus.model.bundled import load
from vultus.model.face import CoarseFace
from vultus.render.shade import linear_from_srgb, srgb_from_linear
from vultus.stages.delight import likely_exposure
from vultus.stages.photo_evidence import grown, texels_of
from vultus.stages.sheen import dulled
from vultus.stages.texture import texture

SIZE = 256
SIDE = [Lamp(torch.tensor([-1.0, -0.3, -0.6]), torch.full((3,), 0.8))]


@pytest.fixture(scope="module")
def model():
    return load()


def portrait(model, lamps=SIDE, ambient=0.2, albedo=None):
    rotation = rotation_from_pose_angles(*torch.tensor([0.0, 0.0, 0.0]))
    pose = rigid_transform(rotation, torch.tensor([0.0, -25.0, 900.0]))
    camera = Camera(torch.tensor(1700.0), torch.tensor([210.0, 250.0]), (420, 500), pose)
    code = model.mean_code()
    vertex_albedo = model.vertex_albedo(code) if albedo is None else albedo
    flat = torch.zeros(512, 512)
    image, cover = photograph(
        model,
        model.vertices(code),
        vertex_albedo,
        flat,
        camera,
        torch.full((3,), ambient),
        lamps,
        noise=0.004,
    )
    view = View(image, camera, torch.zeros(68, 2), "ibug68", cover > 0.5)
    return view, CoarseFace(code, pose, frontal_light())


@pytest.fixture(scope="module")
def side_lit(model):
    view, face = portrait(model)
    return texture(view, model, face, size=SIZE)


def halves(model, image, region="cheeks"):
    """Mean linear brightness of the two sides of a region, both seen."""
    inside = texels_of(model, model.regions[region], SIZE)
    light = linear_from_srgb(image).mean(0)
    left = torch.zeros_like(inside)
    left[:, : SIZE // 2] = True
    return float(light[inside & left].mean()), float(light[inside & ~left].mean())


def test_hard_side_light_comes_out_even(model, side_lit):
    lit = halves(model, side_lit.texture["skin"])
    delit = halves(model, side_lit.albedo)
    uneven = lambda pair: abs(pair[0] - pair[1]) / sum(pair) * 2  # noqa: E731
    assert uneven(lit) > 0.5
    assert uneven(delit) < 0.2 * uneven(lit)


def test_the_albedo_does_not_depend_on_the_lamp(model, side_lit):
    view, face = portrait(model, [Lamp(torch.tensor([0.3, -0.8, -1.0]), torch.full((3,), 0.4))], 0.5)
    other = texture(view, model, face, size=SIZE)
    both = (side_lit.observed > 0.9) & (other.observed > 0.9)
    difference = lambda a, b: (a - b)[:, both].abs().mean()  # noqa: E731
    assert difference(side_lit.albedo, other.albedo) < 0.5 * difference(
        side_lit.texture["skin"], other.texture["skin"]
    )


def test_marks_and_hue_stay(model):
    """A dark spot on the cheek keeps its contrast, skin of another colour its colour."""
    tint = torch.tensor([1.0, 0.75, 0.6])
    albedo = (model.vertex_albedo(model.mean_code()) * tint).clamp(0, 1)
    cheek = model.regions["cheeks"] & (model.mean_mm[:, 0] > 20)
    nearest = (model.mean_mm - model.mean_mm[cheek].mean(0)).norm(dim=-1).masked_fill(~cheek, 1e9).argmin()
    mark = ((model.mean_mm - model.mean_mm[nearest]).norm(dim=-1) < 5) & cheek
    albedo[mark] *= 0.5
    view, face = portrait(model, albedo=albedo)
    found = linear_from_srgb(texture(view, model, face, size=SIZE).albedo)
    on_mark = texels_of(model, mark, SIZE)
    around = (
        F.max_pool2d(on_mark.float()[None], 15, 1, 7)[0].bool()
        & ~F.max_pool2d(on_mark.float()[None], 5, 1, 2)[0].bool()
    )
    inner = -F.max_pool2d(-on_mark.float()[None], 3, 1, 1)[0] > 0.5
    # 0.5 as painted. A mark of a centimetre is nearly as wide as shadows are soft, so some of it goes with them.
    assert found[:, inner].mean() / found[:, around].mean() < 0.78
    cheeks = texels_of(model, model.regions["cheeks"] & ~mark, SIZE)
    hue = found[:, cheeks].mean(1) / found[:, cheeks].mean()
    wanted = albedo[model.regions["cheeks"] & ~mark].mean(0)
    torch.testing.assert_close(hue, wanted / wanted.mean(), atol=0.12, rtol=0)


def test_highlights_lose_much_of_their_excess_and_their_whiteness():
    skin = torch.tensor([0.55, 0.38, 0.30])
    usual = skin[:, None, None].expand(3, 1, 4)
    shiny, paler, dark = skin + 0.15, 1.3 * skin, 0.5 * skin
    found = dulled(torch.stack([skin, shiny, paler, dark], 1)[:, None], usual, torch.zeros(1, 1, 4))[:, 0].T
    torch.testing.assert_close(found[0], skin)
    torch.testing.assert_close(found[3], dark)  # moles, stubble, shadows are none of its business
    assert 0 < found[1].mean() - skin.mean() < 0.6 * 0.15
    saturation = lambda colour: 1 - colour.min() / colour.max()  # noqa: E731
    assert saturation(found[1]) > saturation(skin) - 0.4 * (saturation(skin) - saturation(shiny))
    torch.testing.assert_close(found[2] / found[2].mean(), skin / skin.mean())  # a pale spot keeps its hue


def test_a_bleached_cheek_gets_its_hue_back_and_a_blush_keeps_it():
    """No brighter than usual after the light is off, but greyer, or with the red channel clipped, and lit brightly."""
    skin = torch.tensor([0.55, 0.38, 0.30])
    bleached = torch.lerp(skin, skin.mean().expand(3), 0.4)
    clipped = skin * torch.tensor([0.8, 1.0, 1.0])
    blush = skin * torch.tensor([1.15, 0.9, 0.9])
    colours = torch.stack([bleached, clipped, blush], 1)[:, None]
    usual = skin[:, None, None].expand(3, 1, 3)
    hue = lambda colour: colour / colour.mean(0)  # noqa: E731
    lit = hue(dulled(colours, usual, torch.ones(1, 1, 3)))[:, 0].T
    torch.testing.assert_close(lit[0], hue(skin), atol=0.05, rtol=0)
    torch.testing.assert_close(lit[1], hue(skin), atol=0.05, rtol=0)
    torch.testing.assert_close(lit[2], hue(blush))
    torch.testing.assert_close(dulled(colours, usual, torch.zeros(1, 1, 3)), colours)


@pytest.fixture(scope="module")
def mottled(model):
    """A face of mottled skin under a spotlight on its forehead, its brows a little beside where the model has them."""
    albedo = model.vertex_albedo(model.mean_code())
    skin = albedo[model.regions["forehead"] & ~model.regions["brows"]].mean(0)
    spots = torch.randn(len(albedo), 1, generator=torch.Generator().manual_seed(0))
    albedo = (skin * (1 + 0.1 * spots)).clamp(0.02, 1)
    albedo[torch.cdist(model.mean_mm, model.mean_mm[model.regions["brows"]]).amin(1) < 3] = 0.15 * skin
    lamps = [Lamp(torch.tensor([0.0, -0.3, -1.0]), torch.full((3,), 0.4))]
    view, face = portrait(model, lamps, 0.3, albedo)
    middle = view.camera.project(model.mean_mm[model.regions["forehead"]].mean(0, keepdim=True))[0, :2]
    pixels = torch.stack(torch.meshgrid(torch.arange(500.0), torch.arange(420.0), indexing="ij")[::-1], -1)
    spotlight = 1 + torch.exp(-(pixels - middle).square().sum(-1) / (2 * 25.0**2))
    image = srgb_from_linear((linear_from_srgb(view.image) * spotlight).clamp(0, 1))
    return texture(replace(view, image=image), model, face, size=SIZE)


def test_brightly_lit_skin_keeps_its_grain(model, mottled):
    """Taking skin for a highlight smooths it to plastic."""
    brows = grown(texels_of(model, model.regions["brows"], SIZE), 8)
    inside = texels_of(model, model.regions["forehead"], SIZE) & ~brows & (mottled.observed > 0.9)

    def grain(image):
        light = linear_from_srgb(image).mean(0).clamp_min(0.01).log()
        return (light - F.avg_pool2d(light[None], 9, 1, 4)[0])[inside].std()

    assert grain(mottled.albedo) > 0.87 * grain(mottled.texture["skin"])


def test_skin_beside_brows_does_not_glow(model, mottled):
    """Hairs beside where the model has them are not shadow; what they darken must not brighten the skin around."""
    brightness = linear_from_srgb(mottled.albedo).mean(0)
    brows = texels_of(model, model.regions["brows"], SIZE)
    beside = grown(brows, 8) & ~grown(brows, 5) & (mottled.observed > 0.9)
    around = grown(brows, 20) & ~grown(brows, 12) & (mottled.observed > 0.9)
    assert brightness[beside].median() < 1.05 * brightness[around].median()


def test_exposure_is_near_white_and_near_grey():
    shade = torch.tensor([3.0, 1.5, 0.9])[:, None, None].expand(3, 8, 8)
    factor = likely_exposure(shade, torch.ones(8, 8))
    seen = (shade * factor)[:, 0, 0]
    assert 0.7 < seen.mean() < 1.5 and seen.max() / seen.min() < 1.3
    assert torch.equal(likely_exposure(shade, torch.zeros(8, 8)), torch.ones(3, 1, 1))


def test_nothing_seen_gives_the_model_s_albedo(model):
    view, face = portrait(model)
    blind = replace(view, skin_mask=torch.zeros_like(view.skin_mask))
    found = texture(blind, model, face, size=64)
    assert torch.isfinite(found.albedo).all()
    assert 0.2 < found.albedo.mean() < 0.8
    assert texture(blind, model, face, size=64, delight=False).albedo is None


def test_a_beard_does_not_darken_the_skin_that_the_photo_does_not_show(model):
    """Dark jaws and a dark fringe end where they are seen to end; nothing of them spreads over neck and forehead."""
    code = model.mean_code()
    albedo = torch.full_like(model.vertex_albedo(code), 0.4)
    chin = model.mean_mm[model.regions["mouth"], 1].mean()
    bearded = (model.regions["chin"] | model.regions["cheeks"]) & (model.mean_mm[:, 1] < chin)
    albedo[bearded] = 0.02
    view, face = portrait(model, [Lamp(torch.tensor([0.0, -0.3, -1.0]), torch.full((3,), 0.4))], 0.4, albedo)
    dark = linear_from_srgb(view.image).mean(0) < 0.15
    view = replace(view, skin_mask=view.skin_mask & ~dark)
    found = texture(view, model, face, size=SIZE, delight=False)
    light = linear_from_srgb(found.texture["skin"]).mean(0)
    shown = texels_of(model, bearded, SIZE) & (found.observed > 0.9)
    forehead = texels_of(model, model.regions["forehead"], SIZE) & (found.observed > 0.9)
    below = texels_of(
        model, model.mean_mm[:, 1] < model.mean_mm[model.regions["chin"], 1].quantile(0.1), SIZE
    )
    beside = grown(shown, 24) & ~grown(shown, 12) & below & (found.observed == 0)
    assert light[shown].median() < 0.15 * light[forehead].median()  # the beard itself is there
    assert light[beside].median() > 0.5 * light[forehead].median()
