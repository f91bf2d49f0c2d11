"""The networks: sizes as published, TensorFlow's padding against its definition, and options that no network makes."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from vultus.errors import BadInput
from vultus.nets.position import PositionConfig, PositionNet, _SameConv, _Transposed, make_network, network_of


def num_parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def same_conv(x: torch.Tensor, weight: torch.Tensor, stride: int) -> torch.Tensor:
    """TensorFlow's "SAME" by its definition: ceil(n / s) outputs, the padding that they need, the odd pixel at the end."""
    kernel, size = weight.shape[-1], x.shape[-1]
    need = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    before = need // 2
    return F.conv2d(F.pad(x, (before, need - before) * 2), weight, stride=stride)


@pytest.mark.parametrize("stride", [1, 2])
def test_convolutions_pad_as_tensorflow_does(stride):
    ours = _SameConv(3, 5, stride).double()
    x = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    torch.testing.assert_close(ours(x), same_conv(x, ours.conv.weight, stride))


@pytest.mark.parametrize("stride", [1, 2])
def test_transposed_convolutions_are_gradients_of_convolutions(stride):
    # That is how TensorFlow defines conv2d_transpose: the gradient of "SAME" conv2d with respect to its input.
    ours = _Transposed(4, 3, stride, nn.Identity()).double().eval()
    ours.norm = nn.Identity()  # type: ignore[assignment]
    x = torch.randn(2, 4, 8, 8, dtype=torch.float64)
    size = 8 * stride
    before = torch.zeros(2, 3, size, size, dtype=torch.float64, requires_grad=True)
    (expected,) = torch.autograd.grad(same_conv(before, ours.conv.weight, stride), before, x)
    torch.testing.assert_close(ours(x), expected)
    # The form that ports use: pad by (2, 1), then crop by padding 3.
    if stride == 1:
        port = F.conv_transpose2d(F.pad(x, (2, 1, 2, 1)), ours.conv.weight, padding=3)
        torch.testing.assert_close(ours(x), port)


def test_the_papers_network_is_the_papers():
    network = make_network("paper")
    assert isinstance(network, PositionNet) and num_parameters(network) == 13_353_618
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    # One for the stem, three for each residual block, one for each transposed convolution; scale and shift in all.
    assert len(norms) == 1 + 3 * 10 + 17
    assert all((norm.eps, norm.momentum, norm.affine) == (1e-3, 1e-3, True) for norm in norms)
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    assert all(convolution.bias is None for convolution in convolutions)
    shapes = []
    for layer in (network.stem, *network.encoder, *network.decoder):
        layer.register_forward_hook(lambda _m, _i, out: shapes.append((out.shape[1], out.shape[2])))
    with torch.no_grad():
        out = network.eval()(torch.rand(1, 3, 64, 64))
    assert shapes == [
        (16, 64), (32, 32), (32, 32), (64, 16), (64, 16), (128, 8), (128, 8), (256, 4), (256, 4), (512, 2), (512, 2),
        (512, 2), (256, 4), (256, 4), (256, 4), (128, 8), (128, 8), (128, 8), (64, 16), (64, 16), (64, 16),
        (32, 32), (32, 32), (16, 64), (16, 64), (3, 64), (3, 64), (3, 64),
    ]  # fmt: skip
    assert bool((out > 0).all() & (out < 1).all())


def test_the_light_network():
    network = make_network("light", crop_px=64)
    assert num_parameters(network) == 1_791_547 and network.config.texels == 32
    images = torch.rand(2, 3, 64, 64)
    out = network(images)
    assert out.shape == (2, 3, 32, 32) and bool((out > 0).all() & (out < 1).all())
    assert (out - 0.5).abs().max() < 0.4  # nothing is saturated before training
    assert make_network("light", crop_px=64, map_size=64)(images).shape == (2, 3, 64, 64)


@pytest.mark.parametrize("name", ["paper", "light"])
def test_every_pixel_reaches_every_texel(name):
    torch.manual_seed(0)
    network = make_network(name).eval()
    for norm in network.modules():  # shifts, or activations would be nearly zero in evaluation mode
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.normal_(norm.bias, std=0.5)
    images = torch.rand(1, 3, 256, 256, requires_grad=True)
    (gradient,) = torch.autograd.grad(network(images)[0, :, 0, 0].sum(), images)
    assert (gradient[0].abs().sum(0) > 0).float().mean() > 0.95


@pytest.mark.parametrize("name", ["paper", "light"])
def test_a_batch_can_be_learnt_in_channels_last(name):
    torch.manual_seed(0)
    network = make_network(name, crop_px=64)
    nn.Module.to(network, memory_format=torch.channels_last)  # type: ignore[call-overload]
    texels = network.config.texels
    truth = torch.linspace(0.3, 0.7, texels)[:, None].expand(2, 3, texels, texels)
    optimiser = torch.optim.Adam(network.parameters(), 3e-3)
    batch, errors = torch.rand(2, 3, 64, 64), []
    for _ in range(5):
        error = (network(batch) - truth).square().mean()
        optimiser.zero_grad()
        error.backward()
        optimiser.step()
        errors.append(error.item())
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in network.parameters())
    assert errors[-1] < 0.95 * errors[0]


def test_configurations():
    config = PositionConfig("light", 96, 96)
    assert network_of(config).config is config and config.texels == 96
    assert PositionConfig().texels == 256 and PositionConfig("light").texels == 128
    for wrong, said in (
        ({"variant": "heavy"}, "paper or light"), ({"crop_px": 100}, "multiple of 32"), ({"crop_px": 0}, "multiple"),
        ({"map_size": 128}, "choose 256"), ({"variant": "light", "map_size": 64}, "128 or 256"),
    ):  # fmt: skip
        with pytest.raises(BadInput, match=said):
            PositionConfig(**wrong)  # type: ignore[arg-type]
