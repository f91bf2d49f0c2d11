"""Backends give the same answer, leave the caller's network alone, and say what to install."""

import sys

import pytest
import torch
from torch import nn

from vultus.errors import AssetMissing, BadInput
from vultus.nets.runtime import onnx_bytes, runner


def small_network() -> nn.Module:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
        nn.ConvTranspose2d(16, 3, 4, 2, 1), nn.Upsample(scale_factor=2, mode="bilinear"), nn.Sigmoid(),
    )  # fmt: skip
    network(torch.rand(4, 3, 32, 32))  # statistics
    return network


@pytest.fixture(scope="module")
def network():
    return small_network()


def reference(network: nn.Module, images: torch.Tensor) -> torch.Tensor:
    training = network.training
    with torch.no_grad():
        out = network.eval()(images)
    network.train(training)
    return out


@pytest.mark.parametrize(
    ("backend", "precision", "needs", "within"),
    [
        ("torch", "fp32", "torch", 1e-5), ("torch", "bf16", "torch", 2e-2), ("onnx", "fp32", "onnxruntime", 1e-4),
        ("openvino", "fp32", "openvino", 1e-4), ("openvino", "bf16", "openvino", 2e-2),
    ],
)  # fmt: skip
def test_backends_agree(network, backend, precision, needs, within):
    for name in {needs, *(() if needs == "torch" else ("onnx", "onnxscript"))}:
        pytest.importorskip(name)
    run = runner(network, backend, precision, input_px=32)
    for batch in (1, 3, 1):  # any length, and back again
        images = torch.rand(batch, 3, 32, 32)
        out = run(images)
        assert out.dtype == torch.float32 and not out.requires_grad and out.is_contiguous()
        assert (out - reference(network, images)).abs().max() < within
    first = run(images)
    kept = first.clone()
    run(torch.rand(1, 3, 32, 32))
    assert torch.equal(first, kept)  # an answer is not overwritten by the next
    (out * torch.ones(1, requires_grad=True)).sum().backward()  # and may be used where gradients are wanted


def test_the_callers_network_is_left_alone():
    network = small_network().train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    run = runner(network)
    images = torch.rand(2, 3, 32, 32)
    out = run(images)
    assert network.training and all(torch.equal(before[n], v) for n, v in network.state_dict().items())
    assert all(p.requires_grad for p in network.parameters())
    with torch.no_grad():
        network[0].weight.zero_()  # type: ignore[union-attr,operator]
    assert torch.equal(run(images), out)


@pytest.mark.parametrize("missing", ["onnx", "onnxscript", "onnxruntime", "openvino"])
def test_missing_packages_are_named(network, monkeypatch, missing):
    backend = "openvino" if missing == "openvino" else "onnx"
    for name in ("onnx", "onnxscript", "onnxruntime", "openvino"):  # the others count as there
        monkeypatch.setitem(sys.modules, name, None if name == missing else sys)
    with pytest.raises(AssetMissing, match=f"pip install .*{missing}"):
        runner(network, backend)
    if missing in ("onnx", "onnxscript"):
        with pytest.raises(AssetMissing, match="pip install"):
            onnx_bytes(network, 32)


def test_unknown_names(network):
    for backend, precision, said in (
        ("tensorrt", "fp32", "torch, onnx, openvino"), ("torch", "int8", "fp32 or bf16"), ("onnx", "bf16", "openvino or torch"),
    ):  # fmt: skip
        with pytest.raises(BadInput, match=said):
            runner(network, backend, precision)  # type: ignore[arg-type]
