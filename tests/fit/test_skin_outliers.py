import torch

from vultus.fit.skin_outliers import refine_mask

MASK = torch.zeros(120, 100, dtype=torch.bool)
MASK[10:110, 10:90] = True


def noise(sigma: float = 0.05) -> torch.Tensor:
    return sigma * torch.randn(120, 100, generator=torch.Generator().manual_seed(0))


def test_a_patch_that_the_fit_does_not_explain_falls_out():
    residual = noise()
    residual[60:80, 30:60] += 0.4
    refined = refine_mask(MASK, residual)
    assert not refined[62:78, 32:58].any()
    far = MASK.clone()
    far[55:85, 25:65] = False
    assert refined[far].all()
    assert not (refined & ~MASK).any()


def test_noise_moles_and_a_constant_error_stay():
    residual = noise() + 0.3  # exposure is no occluder
    residual[40:43, 40:43] += 0.8
    assert torch.equal(refine_mask(MASK, residual), MASK)


def test_channels_scale_and_unknown_pixels():
    residual = noise()
    residual[60:80, 30:60] += 0.4
    residual[66:70, 40:50] = float("nan")
    three = residual.expand(3, -1, -1)
    assert torch.equal(refine_mask(MASK, three), refine_mask(MASK, residual))
    assert not refine_mask(MASK, residual)[66:70, 40:50].any()
    fine = torch.nn.functional.interpolate(residual[None, None], scale_factor=2)[0, 0]
    mask = MASK.repeat_interleave(2, 0).repeat_interleave(2, 1)
    assert not refine_mask(mask, fine, mm_per_px=0.5)[124:156, 64:116].any()


def test_a_fit_that_explains_nothing_is_not_believed():
    wrong = noise()
    wrong[:, :50] += 3
    assert torch.equal(refine_mask(MASK, wrong), MASK)
    unknown = torch.full((120, 100), float("nan"))
    assert torch.equal(refine_mask(MASK, unknown), MASK)
    empty = torch.zeros_like(MASK)
    assert not refine_mask(empty, noise()).any()
