"""Eyes: what is drawn on the eyeball and on the rims of the lids."""

import pytest
import torch

from vultus.geometry.light import frontal_light
from vultus.model.bundled import load
from vultus.model.face import CoarseFace
from vultus.render.shade import linear_from_srgb
from vultus.stages.eye_colour import EyeColour, iris_radius, polar
from vultus.stages.eye_texture import eye_texture
from vultus.stages.surface_colour import occluded_albedo


@pytest.fixture(scope="module")
def model():
    return load()


def test_a_drawn_iris_has_the_measured_colour_in_the_shadow_of_the_lids(model):
    """It was measured there, so that drawing the shadow over it must not darken it once more; beneath the upper lid it is darker."""
    colour = torch.tensor([0.10, 0.16, 0.30])
    image = linear_from_srgb(
        eye_texture(model, "eye_left", EyeColour(colour, torch.full((3,), 0.6), 1.0), size=256)
    )
    radius, angle = polar(256, colour)
    relative = radius / iris_radius(model, "eye_left")
    zone = (relative > 0.45) & (relative < 0.85)
    torch.testing.assert_close(image[:, zone].mean(1), colour, atol=0.01, rtol=0.05)
    white = (relative > 1.1) & (relative < 1.6)
    assert image[1, white & (angle < -1.2) & (angle > -1.9)].mean() < 0.75 * image[1, white].median()


def test_upper_lids_have_a_dark_line_and_cheeks_have_not(model):
    coarse = CoarseFace(model.mean_code(), torch.eye(4), frontal_light())
    darkened = occluded_albedo(model, coarse) / model.vertex_albedo(coarse.code)
    rim = model.chart.triangles[model.chart.is_membrane].unique()
    eye = model.mean_mm[model.part_triangles("eye_left").unique()].mean(0)
    lids = rim[(model.mean_mm[rim] - eye).norm(dim=1) < 20]
    above = model.mean_mm[lids, 1] > eye[1]
    assert darkened[lids[above]].max() < 0.4 < 0.6 < darkened[lids[~above]].min() < 0.9
    far = (model.mean_mm[:, :2] - eye[:2]).norm(dim=1) > 24
    torch.testing.assert_close(darkened[model.regions["cheeks"] & far].min(), torch.tensor(1.0))
