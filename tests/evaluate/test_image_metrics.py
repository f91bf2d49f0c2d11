"""L1 and SSIM over a mask: by hand, and against scikit-image."""

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from vultus.evaluate.image_metrics import masked_l1, masked_ssim, ssim_map


def noisy_pair(height=40, width=52):
    rng = np.random.default_rng(0)
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    smooth = np.stack([0.5 + 0.3 * np.sin(x / 7 + i) * np.cos(y / (5 + i)) for i in range(3)])
    return smooth, np.clip(smooth + 0.08 * rng.normal(size=smooth.shape), 0, 1)


def test_l1_counts_masked_pixels_only():
    image, drawn = torch.zeros(3, 4, 5), torch.zeros(3, 4, 5)
    mask = torch.zeros(4, 5, dtype=torch.bool)
    mask[1, 1] = mask[2, 3] = True
    drawn[:, 1, 1] = torch.tensor([0.1, 0.2, 0.6])
    drawn[:, 0, 0] = 1.0
    # (0.1 + 0.2 + 0.6) / 3 = 0.3 on one of two pixels
    assert masked_l1(image, drawn, mask) == pytest.approx(0.15, abs=1e-7)
    assert masked_l1(image, image, mask) == 0
    assert np.isnan(masked_l1(image, drawn, torch.zeros(4, 5, dtype=torch.bool)))


def test_ssim_is_that_of_scikit_image():
    first, second = noisy_pair()
    expected = structural_similarity(
        first, second, full=True, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1.0, channel_axis=0
    )[1]  # fmt: skip
    np.testing.assert_allclose(ssim_map(first, second), expected.mean(0), atol=1e-9)


@pytest.mark.parametrize("rows, columns", [((0, 40), (0, 52)), ((0, 3), (50, 52)), ((17, 23), (11, 30))])
def test_masked_ssim_averages_the_whole_map_over_the_mask(rows, columns):
    first, second = noisy_pair()
    mask = np.zeros(first.shape[1:], bool)
    mask[slice(*rows), slice(*columns)] = True
    mask[rows[0], columns[0]] = rows[0] == 0
    assert masked_ssim(
        torch.from_numpy(first), torch.from_numpy(second), torch.from_numpy(mask)
    ) == pytest.approx(ssim_map(first, second)[mask].mean(), abs=1e-12)


def test_ssim_of_equals_is_one_and_of_flat_pictures_follows_the_formula():
    first = torch.full((3, 20, 20), 0.4)
    mask = torch.ones(20, 20, dtype=torch.bool)
    assert masked_ssim(first, first, mask) == pytest.approx(1, abs=1e-12)
    # no variance: (2 * 0.4 * 0.6 + 1e-4) / (0.16 + 0.36 + 1e-4)
    assert masked_ssim(first, first + 0.2, mask) == pytest.approx(0.4801 / 0.5201, abs=1e-6)
    assert np.isnan(masked_ssim(first, first, ~mask))
