"""Smoothing over time: what rests gets calm, what moves is followed, and frames may be missing."""

import math

import pytest
import torch

from vultus.errors import BadInput
from vultus.geometry.one_euro import OneEuro, smooth

FPS = 25.0


def run(settings: OneEuro, values: torch.Tensor, times=None) -> torch.Tensor:
    """Values "t n c" through the filter: the smoothed ones."""
    times = [index / FPS for index in range(len(values))] if times is None else times
    state, found = None, []
    for value, time_s in zip(values, times):
        state = smooth(settings, state, value, time_s)
        found.append(state.value)
    return torch.stack(found)


def test_a_constant_passes_unchanged_and_the_first_value_too():
    constant = torch.randn(5, 3).expand(20, 5, 3)
    assert torch.equal(run(OneEuro(), constant), constant)


def test_without_slope_it_is_the_low_pass_of_first_order():
    # A step from 0 to 1: after t seconds 1 - exp(-2 pi f t), whatever the frames in between were.
    settings = OneEuro(cutoff_hz=1.5, slope=0.0)
    for times in ([0.0, 0.3], [0.0, 0.1, 0.2, 0.3], [0.0, 0.04, 0.29, 0.3]):
        values = torch.ones(len(times), 1, 1)
        values[0] = 0
        last = run(settings, values, times)[-1].item()
        assert last == pytest.approx(1 - math.exp(-2 * math.pi * 1.5 * 0.3), abs=1e-6)


def test_noise_at_rest_is_reduced_and_motion_is_followed():
    torch.manual_seed(0)
    noise = 0.01 * torch.randn(500, 200, 2)
    settings = OneEuro(cutoff_hz=1.0, slope=2.0)
    still = run(settings, noise)[50:]
    # The gain g = 1 - exp(-2 pi f dt) leaves sqrt(g / (2 - g)) of white noise: 0.36 at 1 Hz and 25 frames per second; the speed that noise feigns opens it somewhat.
    assert still.std() < 0.45 * noise.std()
    # At a constant speed v a low-pass of cutoff f lags by about v / (2 pi f): 0.16 for v = 1 without slope, a third with f = 1 + 2 * 1.
    ramp = torch.arange(100.0)[:, None, None].expand(-1, 1, 1) / FPS
    lag = {slope: float((ramp - run(OneEuro(1.0, slope), ramp))[-1]) for slope in (0.0, 2.0, 10.0)}
    # In discrete time the lag is a frame's worth less: (1 - g) / g frames.
    for slope, found in lag.items():
        gain = 1 - math.exp(-2 * math.pi * (1 + slope) / FPS)
        assert found == pytest.approx((1 - gain) / gain / FPS, rel=0.02)
    assert lag[10.0] < 0.15 * lag[0.0]


def test_points_do_not_share_their_speed_and_axes_do():
    both = torch.zeros(30, 2, 2)
    both[:, 1, 0] = torch.arange(30.0) / 5
    settings = OneEuro(1.0, 3.0)
    found = run(settings, both)
    assert torch.equal(found[:, 0], both[:, 0])
    assert torch.allclose(found[:, 1], run(settings, both[:, 1:])[:, 0])
    angle = torch.tensor(0.7)
    turn = torch.stack([torch.stack([angle.cos(), -angle.sin()]), torch.stack([angle.sin(), angle.cos()])])
    noisy = torch.randn(30, 4, 2)
    assert torch.allclose(run(settings, noisy @ turn), run(settings, noisy) @ turn, atol=1e-5)


def test_bad_values():
    state = smooth(OneEuro(), None, torch.zeros(1, 2), 1.0)
    for time_s in (1.0, 0.5, float("nan")):
        with pytest.raises(BadInput, match="times must grow"):
            smooth(OneEuro(), state, torch.zeros(1, 2), time_s)
    for wrong in ({"cutoff_hz": 0.0}, {"slope": -1.0}, {"speed_cutoff_hz": float("nan")}):
        with pytest.raises(BadInput, match="must be positive"):
            OneEuro(**wrong)
