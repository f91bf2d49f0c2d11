"""L*a*b* and skin tones, against scikit-image."""

import numpy as np
import torch
from skimage.color import rgb2lab

from vultus.render.lab import TONES, lab_from_linear, tone_of, typology_deg
from vultus.render.shade import linear_from_srgb


def test_lab_is_that_of_scikit_image():
    srgb = torch.rand(3, 40, generator=torch.Generator().manual_seed(0))
    srgb[:, :4] = torch.tensor([[0.0, 1.0, 0.02, 0.001]])
    expected = rgb2lab(srgb.T.numpy()[None])[0].T
    np.testing.assert_allclose(lab_from_linear(linear_from_srgb(srgb)).numpy(), expected, atol=0.02)


def test_tones_fall_from_light_to_dark():
    light, dark = (linear_from_srgb(torch.tensor(c)) for c in ([0.95, 0.85, 0.80], [0.25, 0.15, 0.11]))
    assert typology_deg(light) > 55 > -30 > typology_deg(dark)
    lightness, _, yellow = lab_from_linear(light)
    assert (
        abs(float(typology_deg(light)) - np.degrees(np.arctan2(float(lightness) - 50, float(yellow)))) < 1e-3
    )
    assert [TONES[tone_of(angle)] for angle in (70, 41.1, 41.0, 20, 10, -30, -90)] == [
        "very light", "light", "intermediate", "tan", "brown", "dark", "dark",
    ]  # fmt: skip
    assert torch.isfinite(typology_deg(torch.zeros(3)))
