"""Merging what photos show: shares, gains, displacements."""

import torch

from vultus.stages.merge import (
    Shown,
    equalising_gains,
    merge,
    merge_displacements,
    mirrored_where_hidden,
    shares_of,
    unchanged,
)

SIZE = 32


def normals():
    y, x = torch.meshgrid(*[torch.linspace(-0.6, 0.6, SIZE)] * 2, indexing="ij")
    return torch.stack([x, y, (1 - x**2 - y**2).sqrt()])


def test_shares_sum_to_one_where_anything_is_seen_and_never_leave_it():
    scores = torch.zeros(2, SIZE, SIZE)
    scores[0, :, :20] = 1.0
    scores[1, :, 12:28] = 2.0
    shares = shares_of(scores)
    total = shares.sum(0)
    assert torch.allclose(total[:, :28], torch.ones(SIZE, 28), atol=1e-5)
    assert float(total[:, 28:].abs().max()) == 0
    assert float(shares[scores == 0].abs().max()) == 0
    assert float(shares[1, 5, 18]) > 0.9  # the better one wins


def test_gains_undo_exposure_and_the_light_from_a_side():
    generator = torch.Generator().manual_seed(0)
    truth = 0.2 + 0.5 * torch.rand(3, SIZE, SIZE, generator=generator)
    n = normals()
    basis = torch.cat([torch.ones_like(n[:1]), n])
    lamp = torch.tensor([[0.3, 0.2, 0.0, 0.0], [0.2, 0.2, 0.0, 0.0], [0.1, 0.2, 0.1, 0.0]])
    second = truth * torch.einsum("ck,khw->chw", lamp, basis).exp()
    trust = torch.ones(2, SIZE, SIZE)
    gains = equalising_gains(torch.stack([truth, second]), trust, basis, 0)
    assert float(gains[0].abs().max()) < 1e-3
    after = second * torch.einsum("ck,khw->chw", gains[1], basis).exp()
    # The prior pulls a little; the FLOOR in the logarithm bends a little.
    assert float((after / truth).log().abs().max()) < 0.04


def test_gains_ignore_a_shadow_and_photos_without_overlap():
    truth = torch.full((3, SIZE, SIZE), 0.4)
    shadowed = truth.clone()
    shadowed[:, :, :8] *= 0.3
    n = normals()
    basis = torch.cat([torch.ones_like(n[:1]), n])
    gains = equalising_gains(torch.stack([truth, shadowed]), torch.ones(2, SIZE, SIZE), basis, 0)
    after = shadowed * torch.einsum("ck,khw->chw", gains[1], basis).exp()
    assert float((after / truth)[:, :, 12:].log().abs().max()) < 0.12
    apart = torch.zeros(2, SIZE, SIZE)
    apart[0, :, :10] = apart[1, :, 20:] = 1.0
    assert float(equalising_gains(torch.stack([truth, 2 * truth]), apart, basis, 0).abs().max()) < 1e-6


def test_one_photo_is_shown_as_it_is():
    image = torch.rand(3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    whole = torch.ones(1, SIZE, SIZE)
    merged = merge([Shown(image, lambda rows: image[:, rows[0] : rows[1]], whole, whole)], normals(), SIZE, 0)
    assert torch.allclose(merged.small, image, atol=1e-3)
    assert torch.allclose(merged.rows((4, 9)), image[:, 4:9], atol=1e-3)
    assert torch.allclose(merged.evidence, whole, atol=1e-6)


def test_wrinkles_come_from_the_photo_that_shows_them_and_half_from_the_other_side():
    first, second = torch.full((SIZE, SIZE), 0.5), torch.full((SIZE, SIZE), -0.5)
    scores = torch.zeros(2, SIZE, SIZE)
    scores[0, :, :16], scores[1, :, 4:16] = 4.0, 1.0
    merged, shown = merge_displacements([first, second], [*scores])
    assert float(merged[16, 8]) > 0.45
    assert float(merged[:, 17:].abs().max()) == 0
    assert torch.equal(shown, scores.amax(0) > 0)
    mirrored = mirrored_where_hidden(merged, shown, 0.5)
    assert 0.2 < float(mirrored[16, 26]) < 0.3
    assert torch.equal(mirrored[shown], merged[shown])


def test_skin_that_moved_counts_less():
    assert float(unchanged(torch.tensor(0.0))) == 1
    assert float(unchanged(torch.tensor(9.0))) < 0.15
