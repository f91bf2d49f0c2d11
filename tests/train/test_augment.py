"""Augmentation: picture and points move together, chance is the generator's alone, nothing leaves [0, 1]."""

import math

import numpy as np
import torch

from vultus.data.sample_maps import crop_picture
from vultus.geometry.position_map import FaceCrop
from vultus.train.augment import moved, occluded, recoloured, worsened
from vultus.train.config import AugmentConfig

CROP = FaceCrop((50.0, 60.0), 80.0, 0.0, 64)


def test_moves_stay_within_what_was_asked_and_reach_it():
    config, rng = AugmentConfig(), np.random.default_rng(0)
    crops = [moved(CROP, config, rng) for _ in range(2000)]
    turns = np.degrees([crop.roll_rad for crop in crops])
    shifts = np.array([crop.centre_px for crop in crops]) - CROP.centre_px
    scales = CROP.side_px / np.array([crop.side_px for crop in crops])
    for values, low, high in ((turns, -45, 45), (shifts[:, 0], -8, 8), (shifts[:, 1], -8, 8), (scales, 0.9, 1.2)):  # fmt: skip
        assert low <= values.min() < low + 0.02 * (high - low) and high - 0.02 * (high - low) < values.max() <= high  # fmt: skip


def test_nothing_moves_where_nothing_may():
    still = AugmentConfig(0.0, 0.0, (1.0, 1.0), (1.0, 1.0), 0.0)
    rng, image, mask = np.random.default_rng(0), torch.rand(3, 16, 16), torch.ones(16, 16)
    assert moved(CROP, still, rng) == CROP and torch.equal(recoloured(image, still, rng), image)
    assert occluded(image, mask, still, rng) == (image, mask)


def test_a_spot_is_where_its_point_is():
    picture = np.zeros((120, 100, 3), np.uint8)
    picture[58:61, 63:66] = 255  # a spot about (64.5, 59.5)
    rng = np.random.default_rng(1)
    for _ in range(10):
        crop = moved(CROP, AugmentConfig(), rng)
        bright = torch.from_numpy(crop_picture(picture, crop).astype(np.float32))[..., 0]
        rows, columns = torch.meshgrid(torch.arange(64) + 0.5, torch.arange(64) + 0.5, indexing="ij")
        seen = torch.stack([(bright * columns).sum(), (bright * rows).sum()]) / bright.sum()
        expected = crop.to_crop(torch.tensor([[64.5, 59.5]]))[0]
        assert math.dist(seen.tolist(), expected.tolist()) < 0.3


def test_colours_are_scaled_per_channel():
    grey = torch.full((3, 4, 4), 0.5)
    scaled = torch.stack([recoloured(grey, AugmentConfig(), np.random.default_rng(i))[:, 0, 0] for i in range(500)])  # fmt: skip
    assert scaled.min() >= 0.3 and scaled.max() <= 0.7 and scaled.std(1).max() > 0.1
    assert float(recoloured(torch.ones(3, 2, 2), AugmentConfig(), np.random.default_rng(0)).max()) <= 1


def test_occluders_cover_the_picture_and_the_mask_alike():
    config = AugmentConfig(occluders=1.0)
    image, mask = torch.full((3, 64, 64), 2.0), torch.ones(64, 64)  # no noise has this value
    covered = []
    for seed in range(40):
        found, seen = occluded(image, mask, config, np.random.default_rng(seed))
        assert torch.equal((found == 2.0).all(0), seen == 1)
        noise = found[:, seen == 0]
        assert noise.numel() == 0 or (noise.min() >= 0 and noise.max() <= 1)
        covered.append(float((seen == 0).float().mean()))
    assert 0.02 < np.mean(covered) < 0.3
    same = [occluded(image, mask, config, np.random.default_rng(5))[0] for _ in range(2)]
    assert torch.equal(*same)
    never = occluded(image, mask, AugmentConfig(occluders=0.0), np.random.default_rng(0))
    assert torch.equal(never[0], image)


def test_worse_pictures_are_grey_and_soft_and_in_place():
    image = torch.rand(3, 32, 48, generator=torch.Generator().manual_seed(0))
    rng = np.random.default_rng(2)
    grey = worsened(image, AugmentConfig(grey=1.0), rng)
    assert torch.equal(grey[0], grey[1]) and torch.allclose(grey[2], image.mean(0))
    soft = worsened(image, AugmentConfig(soften=1.0), rng)
    assert soft.shape == image.shape and float(soft.std()) < 0.8 * float(image.std())
    assert abs(float(soft.mean() - image.mean())) < 0.03
    columns = torch.linspace(0, 1, 48).expand(3, 32, 48)
    assert float((worsened(columns, AugmentConfig(soften=1.0), rng) - columns)[..., 8:-8].abs().max()) < 0.01
    assert worsened(image, AugmentConfig(), rng) is image
