"""Components with missing data: against a singular value decomposition, a planted basis, and what must hold whatever the data."""

import numpy as np
import pytest
import torch

from vultus.fit.albedo_basis import learn_components, posterior

GROUPS, PER_GROUP = 12, 5


def planted(count=300, rank=3, noise=0.05, seed=0):
    """Samples "n g p" of a known basis: values, mean, loadings "r g p", codes."""
    random = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=random)  # noqa: E731
    directions = torch.linalg.qr(draw(GROUPS * PER_GROUP, rank)).Q.T.reshape(rank, GROUPS, PER_GROUP)
    loadings = directions * torch.tensor([4.0, 2.0, 1.0])[:rank, None, None]
    mean, code = draw(GROUPS, PER_GROUP), draw(count, rank)
    values = mean + torch.einsum("nr,rgp->ngp", code, loadings) + noise * draw(count, GROUPS, PER_GROUP)
    return values, mean, loadings, code


def cosines(found, truth):
    """Of the angles between two subspaces "k g p" with orthonormal and any rows."""
    return torch.linalg.svdvals(found.flatten(1) @ torch.linalg.qr(truth.flatten(1).T).Q)


def test_without_holes_it_is_a_singular_value_decomposition():
    values, _, _, _ = planted()
    ones = torch.ones(values.shape[:2])
    found = learn_components(values, ones, torch.ones(len(values)), number=3, iterations=3, pretended=1e-9)
    flat = values.flatten(1).double().numpy()
    apart = flat - flat.mean(0)
    _, strength, rows = np.linalg.svd(apart, full_matrices=False)
    variance = strength**2 / len(flat)
    noise = variance[3:].sum() / (flat.shape[1] - 3)
    np.testing.assert_allclose(found.mean.flatten(), flat.mean(0), atol=1e-4)
    assert found.noise**2 == pytest.approx(noise, rel=1e-3)
    np.testing.assert_allclose(found.sigma, np.sqrt(variance[:3] - noise), rtol=1e-3)
    same = np.abs((found.directions.flatten(1).numpy() * rows[:3]).sum(1))
    np.testing.assert_allclose(same, 1, atol=1e-5)


def test_a_planted_basis_is_found_where_two_values_in_five_are_missing():
    values, mean, loadings, _code = planted(count=400)
    seen = (torch.rand(values.shape[:2], generator=torch.Generator().manual_seed(1)) > 0.4).float()
    holed = torch.where(seen[..., None] > 0, values, torch.nan)  # what is not seen is not looked at
    found = learn_components(holed, seen, torch.ones(len(values)), number=3, iterations=40)
    assert cosines(found.directions, loadings).min() > 0.999
    # Means of 240 samples of sigma sqrt(16 + 4 + 1) / sqrt(60) per value stray by 0.04; the noise is known to a hundredth.
    assert (found.mean - mean).abs().mean() < 0.08
    assert found.noise == pytest.approx(0.05, rel=0.03)
    np.testing.assert_allclose(found.sigma, [4, 2, 1], rtol=0.12)
    # Filling the holes with the mean, where it starts, is worse.
    start = learn_components(holed, seen, torch.ones(len(values)), number=3, iterations=0)
    assert start.noise > 3 * found.noise and start.sigma[0] < 0.9 * found.sigma[0]
    # Holes are filled by what was seen.
    expected, spread = posterior(holed, seen, found.mean, found.loadings, found.noise)
    filled = found.mean + torch.einsum("nk,kgp->ngp", expected, found.loadings)
    assert (filled - values)[seen == 0].square().mean().sqrt() < 0.08
    assert torch.linalg.eigvalsh(spread).min() > 0


def test_confidence_divides_the_variance_and_share_counts_samples():
    values, _, _, _ = planted(count=60)
    ones = torch.ones(values.shape[:2])
    # A sample that counts twice is a sample that comes twice.
    share = torch.ones(60)
    share[:10] = 2
    twice = torch.cat([values, values[:10]])
    options = {"number": 2, "iterations": 4, "pretended": 1e-9}
    one = learn_components(values, ones, share, **options)
    two = learn_components(twice, torch.ones(twice.shape[:2]), torch.ones(70), **options)
    torch.testing.assert_close(one.mean, two.mean, atol=1e-4, rtol=0)
    torch.testing.assert_close(one.sigma, two.sigma, atol=1e-3, rtol=1e-3)
    # One coefficient by hand: z = sum c w x / (noise^2 + sum c w^2).
    confidence = torch.rand(60, GROUPS, generator=torch.Generator().manual_seed(2))
    loading, noise = one.loadings[:1], 0.3
    found, spread = posterior(values, confidence, one.mean, loading, noise)
    c = confidence[5][:, None]
    precision = noise**2 + (c * loading[0] ** 2).sum()
    torch.testing.assert_close(found[5, 0], (c * loading[0] * (values[5] - one.mean)).sum() / precision)
    torch.testing.assert_close(spread[5, 0, 0], noise**2 / precision)


def test_nothing_seen_says_nothing_and_groups_that_nobody_sees_stay_quiet():
    values, _, _, _ = planted(count=50)
    seen = torch.ones(values.shape[:2])
    seen[:, 4] = 0
    values[:, 4] = torch.nan
    found = learn_components(values, seen, torch.ones(50), number=2, iterations=3)
    assert torch.isfinite(found.mean).all() and found.directions[:, 4].abs().max() < 1e-6
    code, spread = posterior(values, torch.zeros_like(seen), found.mean, found.loadings, found.noise)
    assert code.abs().max() == 0
    torch.testing.assert_close(spread, torch.eye(2).expand(50, 2, 2), atol=1e-5, rtol=0)


def test_mirrored_samples_make_a_symmetric_mean():
    values, _, _, _ = planted(count=80)
    seen = (torch.rand(80, GROUPS, generator=torch.Generator().manual_seed(3)) > 0.2).float()
    found = learn_components(
        torch.cat([values, values.flip(1)]), torch.cat([seen, seen.flip(1)]), torch.ones(160), number=3
    )
    torch.testing.assert_close(found.mean, found.mean.flip(0), atol=1e-4, rtol=0)
