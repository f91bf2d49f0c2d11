"""Lashes are hairs that one sees the lid through, the same on both eyes."""

import pytest
import torch

from vultus.model.bundled import load
from vultus.render.bake import bake
from vultus.stages.lash_texture import lash_texture


@pytest.fixture(scope="module")
def model():
    return load()


@pytest.fixture(scope="module")
def image(model):
    return lash_texture(model, "lashes", torch.ones(3))


def on_cards(model, values, size):
    ids = (model.part_of_triangle == model.part_names.index("lashes")).nonzero().squeeze(-1)
    return bake(values, model.topology, ids, size)


def test_most_of_a_card_is_clear_and_hairs_are_dark(model, image):
    assert image.shape[0] == 4
    _, covered = on_cards(model, model.mean_mm, image.shape[1])
    alpha = image[3][covered]
    assert alpha.mean() < 0.35 and alpha.quantile(0.98) > 0.6
    assert image[:3].max() < 0.35


def test_hairs_thin_out_to_nothing_and_lower_ones_are_fainter(model, image):
    baked, covered = on_cards(model, model.mean_mm, image.shape[1])
    eye = model.mean_mm[model.part_triangles("eye_left").unique()].mean(0)
    offset = baked - eye[:, None, None]
    left, upper = covered & (baked[0] > 0), offset[1] > 0
    above, below = left & upper & ((offset[0]).abs() < 6), left & ~upper & ((offset[0]).abs() < 6)
    distance = offset.norm(dim=0)
    roots = above & (distance < distance[above].quantile(0.2))
    tips = above & (distance > distance[above].quantile(0.9))
    assert image[3][tips].mean() < 0.25 * image[3][roots].mean()
    assert image[3][below].max() < 0.6 * image[3][above].max()


def test_both_eyes_have_the_same_lashes(image):
    assert (image - image.flip(-1)).abs().mean() < 0.01
