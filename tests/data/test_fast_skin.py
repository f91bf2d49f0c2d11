"""Made skins: from the albedo basis, different, repeatable, and without a seam where the chart ends."""

import numpy as np
import pytest
import torch

from vultus.data import fast_skin
from vultus.data.fast_skin import TEXELS, around_chart, made_skin, worn_skin
from vultus.model.albedo_basis import load_albedo_basis, random_code
from vultus.model.bundled import load


@pytest.fixture(scope="module")
def model():
    return load()


def test_made_skins_differ_and_come_again(model):
    first, again, other = made_skin(model, 3, 1), made_skin(model, 3, 1), made_skin(model, 4, 1)
    assert first.albedo.shape == (3, TEXELS, TEXELS) and first.relief is not None
    np.testing.assert_array_equal(first.albedo, again.albedo)
    assert np.abs(first.albedo.astype(int) - other.albedo).mean() > 3
    tone = worn_skin(model, first, mirrored=False).tone
    assert tone.min() > 0.01 and tone[0] > tone[1] > tone[2]


def test_the_chart_ends_without_a_seam(model):
    basis = load_albedo_basis()
    rng = np.random.default_rng(0)
    edge = fast_skin._grounds(model).chart
    border = (edge > 0.02) & (edge < 0.98)
    for within in (1e-6, 2.5):
        code = random_code(basis, rng, within=within) if within > 1 else torch.zeros(len(basis.sigma))
        atlas = around_chart(model, basis, basis.texture(code))
        assert atlas.shape == (3, TEXELS, TEXELS) and atlas.min() > 0
        steps = torch.stack(torch.gradient(atlas.log(), dim=(1, 2))).abs().sum(0).mean(0)
        # From the face's tone to the neck's within six texels: a step would be a tenth per texel and more.
        assert steps[border].quantile(0.9) < 0.06
    # The face is the basis's where that is known, well inside.
    chart = basis.texture(code)
    pasted = fast_skin._pasted(
        torch.nn.functional.interpolate(chart[None], (fast_skin._CHART,) * 2, mode="bilinear")[0]
    )
    known = fast_skin._pasted(
        torch.nn.functional.interpolate(
            basis.known[None, None].float(), (fast_skin._CHART,) * 2, mode="bilinear"
        )[0]
    )[0]
    middle = fast_skin._pasted(fast_skin._inside_face(fast_skin._CHART))[0]
    inside = (edge > 0.999) & (known > 0.999) & (middle > 0.999)
    assert inside.float().mean() > 0.1
    torch.testing.assert_close(atlas[:, inside], pasted.clamp_min(0.004)[:, inside], atol=1e-3, rtol=1e-2)
