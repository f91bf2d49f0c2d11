"""Optimiser, clipping and the running average against a few lines of arithmetic."""

import pytest
import torch
from torch import nn

from vultus.train.config import OptimiserConfig
from vultus.train.optimiser import Average, clip_gradients, make_optimiser, take_step
from vultus.train.schedule import average_decay


@pytest.mark.parametrize("kind", ["adam", "adamw"])
def test_first_steps_by_hand(kind):
    network = nn.Linear(1, 1)
    nn.init.constant_(network.weight, 2.0)
    nn.init.constant_(network.bias, 2.0)
    optimiser = make_optimiser(network, OptimiserConfig(kind, decay=0.1))
    network.weight.grad, network.bias.grad = torch.full((1, 1), 3.0), torch.full((1,), 3.0)
    take_step(optimiser, 0.5)
    # Adam's first step is as long as the rate; decay in the gradient does not change its sign, decay apart shrinks the weight by rate * decay.
    weight = 2.0 - 0.5 if kind == "adam" else 2.0 * (1 - 0.5 * 0.1) - 0.5
    assert network.weight.item() == pytest.approx(weight) and network.bias.item() == pytest.approx(1.5)
    assert network.weight.grad is None
    network.weight.grad, network.bias.grad = torch.zeros(1, 1), torch.zeros(1)
    before = network.bias.item()
    take_step(optimiser, 0.0)
    assert network.bias.item() == before  # the rate is the one that is given


def test_gradients_are_shortened_not_turned():
    network = nn.Linear(2, 1, bias=False)
    for longest, expected in ((1.0, [0.6, 0.8]), (None, [3.0, 4.0]), (10.0, [3.0, 4.0])):
        network.weight.grad = torch.tensor([[3.0, 4.0]])
        assert float(clip_gradients(network, longest)) == pytest.approx(5.0)
        torch.testing.assert_close(network.weight.grad, torch.tensor([expected]), rtol=1e-4, atol=0)


def test_the_average_is_what_its_formula_says():
    network = nn.Sequential(nn.Linear(1, 1, bias=False), nn.BatchNorm1d(1))
    average, plain = Average(network, 0.8), Average(network, 0.0)
    expected = network[0].weight.item()
    for step in range(100):
        nn.init.constant_(network[0].weight, float(step))
        network[1].running_mean.fill_(float(step))
        for one in (average, plain):
            one.update(network, step)
        decay = average_decay(0.8, step)
        expected = decay * expected + (1 - decay) * step
    assert (
        average.network[0].weight.item() == pytest.approx(expected, rel=1e-5) != pytest.approx(99, rel=1e-2)
    )
    assert plain.network[0].weight.item() == 99 and average.network[1].running_mean.item() == 99
    assert not average.network.training and not average.network[0].weight.requires_grad
