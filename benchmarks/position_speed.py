"""Time the position networks, and what else a light one could have been, in every way of running them that is installed.

    python benchmarks/position_speed.py [--threads 2] [--repeats 15] [--only NAME ...] [--save]

Milliseconds for one crop of 256 px: the least of the runs on the clock, and of processor time (all threads; what a busy machine disturbs least). Backends
must give torch's map within 1e-3 of its range in fp32. Candidates that were not taken:
  half    the paper's network with half the channels
  mobile  depthwise convolutions, MobileNet-like (Sandler et al., CVPR 2018), both ways

Processor time in ms of one core, on a server CPU of two cores that others kept busy (load 8): read the ratios. Light by this script, the rest by its
prototype (the same layers) some minutes before. Torch 2.13, ONNX Runtime 1.32, OpenVINO 2026.4.

            parameters   torch   channels_last   and bf16   ONNX Runtime   OpenVINO   and bf16
  paper     13.35 M        135             115         75            104         85         77
  half       3.34 M         62              43         33             37         30         28
  light      1.79 M         30              23         15             19         17        9.4
  mobile     0.80 M         23              17         15              8          8        5.5

Light fits 15 ms with OpenVINO in bf16 on one such core; what it takes on two quiet ones by the clock was not measured. Largest difference
from torch: 4e-6 in fp32; 0.05 of the range in bf16, with random weights. A step of training (4 crops, bf16): 158 ms of one core.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from report import Report, Row, table, write
from torch import Tensor, nn

from vultus.errors import AssetMissing
from vultus.nets.position import _conv, _norm, _Residual, _SameConv, _Transposed, make_network
from vultus.nets.position_weights import position_weights
from vultus.nets.runtime import Run, runner

CROP_PX, GOAL_MS, WITHIN = 256, 15.0, 1e-3
BACKENDS = (
    ("torch", "fp32"),
    ("torch", "bf16"),
    ("onnx", "fp32"),
    ("openvino", "fp32"),
    ("openvino", "bf16"),
)


class _Inverted(nn.Module):
    """Widen, filter each channel, narrow."""

    def __init__(self, channels: int, out: int, stride: int, kernel: int, wider: int) -> None:
        super().__init__()
        inside = channels * wider
        self.same = channels == out and stride == 1
        self.branch = nn.Sequential(
            _conv(channels, inside, 1),
            _depthwise(inside, kernel, stride),
            _conv(inside, out, 1, active=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.branch(x) if self.same else self.branch(x)


def _depthwise(channels: int, kernel: int, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(channels, channels, kernel, stride, kernel // 2, groups=channels, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(channels), nn.ReLU())


def mobile() -> nn.Module:
    layers: list[nn.Module] = [_conv(3, 16, 3, 2)]
    channels = 16
    for out, blocks, wider, kernel in ((24, 2, 3, 3), (40, 3, 3, 5), (80, 3, 4, 3), (160, 3, 4, 5)):
        for i in range(blocks):
            layers.append(_Inverted(channels, out, 2 if i == 0 else 1, kernel, wider))
            channels = out
    for out in (128, 64, 48, 24):
        layers += [_conv(channels, out, 1), nn.Upsample(scale_factor=2, mode="bilinear")]
        for _ in range(2):
            layers += [_depthwise(out, 5), _conv(out, out, 1)]
        channels = out
    return nn.Sequential(*layers, nn.Conv2d(channels, 3, 3, padding=1), nn.Sigmoid())


def half() -> nn.Module:
    """For timing of what it answers only: its first strided 1x1 has 8 channels, which torch 2.13 cannot train in channels_last."""
    blocks, channels = [], 8
    for wider in (16, 32, 64, 128, 256):
        blocks += [_Residual(channels, wider, 2), _Residual(wider, wider, 1)]
        channels = wider
    layers: list[nn.Module] = [_Transposed(256, 256, 1)]
    for narrower, more in ((128, 2), (64, 2), (32, 2), (16, 1), (8, 1)):
        layers += [_Transposed(channels, narrower, 2)]
        layers += [_Transposed(narrower, narrower, 1) for _ in range(more)]
        channels = narrower
    last = [_Transposed(8, 3, 1), _Transposed(3, 3, 1), _Transposed(3, 3, 1, nn.Sigmoid())]
    return nn.Sequential(_SameConv(3, 8, 1), _norm(8), nn.ReLU(), *blocks, *layers, *last)


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "paper": lambda: make_network("paper"),
    "light": lambda: make_network("light"),
    "light, 256 texels": lambda: make_network("light", map_size=256),
    "half": half,
    "mobile": mobile,
    "basis": lambda: position_weights().network,
}


def input_px(network: nn.Module) -> int:
    """Side of the crops that a network looks at: what ships resamples those of 256 px to its own 192."""
    return int(network.config.crop_px) if hasattr(network, "config") else CROP_PX  # type: ignore[union-attr]


def lived_in(network: nn.Module) -> nn.Module:
    """With statistics and shifts that keep activations alive, as in a trained network: fresh ones answer the middle of the range."""
    generator = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the mean of all batches seen
            nn.init.normal_(module.bias, std=0.3, generator=generator)
    with torch.no_grad():
        network.train()(torch.rand(2, 3, input_px(network), input_px(network), generator=generator))
    return network.eval()


def least_ms(work: Callable[[], object], repeats: int) -> tuple[float, float]:
    """The least time on the clock and of the processor."""
    for _ in range(3):
        work()
    clock, processor = [], []
    for _ in range(repeats):
        start, before = time.perf_counter(), time.process_time()
        work()
        clock.append(time.perf_counter() - start)
        processor.append(time.process_time() - before)
    return 1e3 * min(clock), 1e3 * min(processor)


def train_step(network: nn.Module) -> Callable[[], object]:
    network = network.train().to(memory_format=torch.channels_last)
    images = torch.rand(4, 3, input_px(network), input_px(network)).contiguous(
        memory_format=torch.channels_last
    )

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            out = network(images)
        out.float().square().mean().backward()

    return step


def measure(threads: int = 2, repeats: int = 15, only: tuple[str, ...] = ()) -> Report:
    torch.set_num_threads(threads)
    rows: list[Row] = []
    notes: list[str] = [f"{threads} threads"]
    for name, make in NETWORKS.items():
        if only and name not in only:
            continue
        torch.manual_seed(0)
        network = lived_in(make())
        image = torch.rand(1, 3, input_px(network), input_px(network))
        with torch.no_grad():
            expected, best = network(image), float("inf")
        notes.append(f"{name}: {sum(p.numel() for p in network.parameters()):,} parameters")
        ways: dict[str, Run] = {"torch, as it is": network}
        for backend, precision in BACKENDS:
            try:
                ways[f"{backend}, {precision}"] = runner(
                    network, backend, precision, input_px=input_px(network)
                )  # type: ignore[arg-type]
            except AssetMissing as error:
                notes.append(str(error))
        for way, run in ways.items():
            with torch.no_grad():
                apart = float((run(image) - expected).abs().max())
                clock, processor = least_ms(lambda: run(image), repeats)  # noqa: B023
            if not way.endswith("bf16") and apart > WITHIN:
                raise AssertionError(f"{name}, {way}: {apart:.2g} from what torch says")
            best = min(best, clock)
            rows += [Row(f"{name}, {way}", clock, "ms"), Row(f"{name}, {way}, processor", processor, "ms")]
            notes.append(f"{name}, {way}: at most {apart:.1e} from torch")
        rows.append(
            Row(f"{name}, best", best, "ms", goal=f"<= {GOAL_MS}" if name in ("light", "basis") else "")
        )
        if name != "half":
            rows.append(Row(f"{name}, a step of training, 4 crops, bf16, processor", least_ms(train_step(network), 3)[1], "ms"))  # fmt: skip
    return Report("position_speed", tuple(rows), tuple(notes))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--only", nargs="*", default=(), choices=tuple(NETWORKS))
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/")
    options = parser.parse_args()
    report = measure(options.threads, options.repeats, tuple(options.only))
    print(table(report))
    if options.save:
        write(report)


if __name__ == "__main__":
    main()
