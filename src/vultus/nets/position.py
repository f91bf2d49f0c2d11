"""Networks that put out a position map of the face in a crop: the paper's, and a light one for CPUs (docs/position.md).

Feng et al., "Joint 3D face reconstruction and dense alignment with position map regression network", ECCV 2018. Both take crops "b 3 c c" in [0, 1]
and put out "b 3 s s" from 0 to 1; :func:`~vultus.geometry.position_map.in_pixels` says which pixels that are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import BadInput
from ..geometry.position_map import CROP_PX
from .position_basis import BasisPositionNet

Variant = Literal["paper", "light", "basis"]

_DEEPEST = 32  # crop pixels per cell where the networks are narrowest


@dataclass(frozen=True)
class PositionConfig:
    """Which network; a checkpoint keeps it, so that weights know what they fit.

    Attributes:
        variant: "paper", "light" or "basis".
        crop_px: side of the crops, a multiple of 32 ("basis": of 64).
        map_size: texels per side; None: as many as crop pixels for "paper" (it knows no other), half as many for the others (or as many).

    Raises:
        BadInput: a combination that no network makes.
    """

    variant: Variant = "paper"
    crop_px: int = CROP_PX
    map_size: int | None = None

    def __post_init__(self) -> None:
        if self.variant not in _NETWORKS:
            raise BadInput(f"position network '{self.variant}': choose {' or '.join(_NETWORKS)}")
        deepest = 2 * _DEEPEST if self.variant == "basis" else _DEEPEST
        if self.crop_px <= 0 or self.crop_px % deepest:
            raise BadInput(f"crops of {self.crop_px} px: choose a multiple of {deepest}")
        possible = (self.crop_px,) if self.variant == "paper" else (self.crop_px // 2, self.crop_px)
        if self.map_size is not None and self.map_size not in possible:
            raise BadInput(
                f"a map of {self.map_size} texels from '{self.variant}' with crops of {self.crop_px} px: choose {' or '.join(map(str, possible))}"
            )

    @property
    def texels(self) -> int:
        """Texels of the map per side."""
        return self.map_size or (self.crop_px if self.variant == "paper" else self.crop_px // 2)


def make_network(
    name: Variant = "paper", *, crop_px: int = CROP_PX, map_size: int | None = None
) -> PositionNetwork:
    """A network with random weights (torch's generator), in training mode.

    Raises:
        BadInput: as :class:`PositionConfig`.
    """
    return network_of(PositionConfig(name, crop_px, map_size))


def network_of(config: PositionConfig) -> PositionNetwork:
    """The network that a configuration describes."""
    return _NETWORKS[config.variant](config)


class PositionNet(nn.Module):
    """The paper's network: a convolution, 10 residual blocks, 17 transposed convolutions; 13,353,618 parameters.

    As its authors' TensorFlow code (github.com/yfeng95/PRNet, predictor.py) has it: even kernels with "SAME" padding, which puts the odd
    pixel right and below; no biases; batch normalisation (epsilon 1e-3, decay 0.999) after the residual sum and before the last sigmoid too.
    """

    def __init__(self, config: PositionConfig | None = None) -> None:
        super().__init__()
        self.config = config or PositionConfig("paper")
        self.stem = nn.Sequential(_SameConv(3, 16, 1), _norm(16), nn.ReLU())
        blocks, channels = [], 16
        for wider in (32, 64, 128, 256, 512):
            blocks += [_Residual(channels, wider, 2), _Residual(wider, wider, 1)]
            channels = wider
        self.encoder = nn.Sequential(*blocks)
        layers: list[nn.Module] = [_Transposed(512, 512, 1)]
        for narrower, more in ((256, 2), (128, 2), (64, 2), (32, 1), (16, 1)):
            layers.append(_Transposed(channels, narrower, 2))
            layers += [_Transposed(narrower, narrower, 1) for _ in range(more)]
            channels = narrower
        layers += [_Transposed(16, 3, 1), _Transposed(3, 3, 1), _Transposed(3, 3, 1, nn.Sigmoid())]
        self.decoder = nn.Sequential(*layers)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.xavier_uniform_(module.weight)

    def forward(self, image: Tensor) -> Tensor:
        """Crops "b 3 c c" -> maps "b 3 c c"."""
        return self.decoder(self.encoder(self.stem(image)))


class LightPositionNet(nn.Module):
    """A sixth of the work: 3x3 convolutions, upsampling instead of transposed ones, a map of half the size; 1.79 M parameters, 0.75 GMAC.

    No depthwise convolutions: of the candidates (benchmarks/position_speed.py) those were fast in OpenVINO only, and slow to train.
    """

    CHANNELS = (16, 24, 48, 96, 160)
    DECODER = (128, 64, 48, 24, 16)

    def __init__(self, config: PositionConfig | None = None) -> None:
        super().__init__()
        self.config = config or PositionConfig("light")
        layers: list[nn.Module] = [_conv(3, self.CHANNELS[0], 3, 2)]
        for before, after in zip(self.CHANNELS, self.CHANNELS[1:]):
            layers += [_conv(before, after, 3, 2), _Basic(after)]
        # Where a texel's point lies may depend on any pixel: the deepest level has to look over the whole crop.
        layers += [_Basic(self.CHANNELS[-1])]
        self.encoder = nn.Sequential(*layers)
        layers, channels, cells = [], self.CHANNELS[-1], self.config.crop_px // _DEEPEST
        for narrower in self.DECODER:
            if cells == self.config.texels:
                break
            layers += [_conv(channels, narrower, 1), nn.Upsample(scale_factor=2, mode="bilinear")]
            layers += [_conv(narrower, narrower, 3), _conv(narrower, narrower, 3)]
            channels, cells = narrower, 2 * cells
        self.decoder = nn.Sequential(*layers, nn.Conv2d(channels, 3, 3, padding=1), nn.Sigmoid())
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        last = self.decoder[-2]
        assert isinstance(last, nn.Conv2d) and last.bias is not None
        nn.init.normal_(
            last.weight, std=0.01
        )  # starts in the middle of the range, where the sigmoid is not flat
        nn.init.zeros_(last.bias)

    def forward(self, image: Tensor) -> Tensor:
        """Crops "b 3 c c" -> maps "b 3 s s"."""
        return self.decoder(self.encoder(image))


_NETWORKS = {"paper": PositionNet, "light": LightPositionNet, "basis": BasisPositionNet}
PositionNetwork = PositionNet | LightPositionNet | BasisPositionNet


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=1e-3)


class _SameConv(nn.Module):
    """A 4x4 convolution as TensorFlow pads it with "SAME": in all three pixels at stride 1 (one before, two after), two at stride 2."""

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.pad = (1, 2, 1, 2) if stride == 1 else (1, 1, 1, 1)
        self.conv = nn.Conv2d(channels, out, 4, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, self.pad))


class _Residual(nn.Module):
    """1x1, 4x4, 1x1 with half the channels inside; the sum is normalised, not the branch."""

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        inside = out // 2
        self.branch = nn.Sequential(
            nn.Conv2d(channels, inside, 1, bias=False), _norm(inside), nn.ReLU(),
            _SameConv(inside, inside, stride), _norm(inside), nn.ReLU(),
            nn.Conv2d(inside, out, 1, bias=False),
        )  # fmt: skip
        # 16 channels or more come in here. With fewer, and channels_last, torch 2.13 corrupts memory in the backward pass of a strided 1x1.
        same = channels == out and stride == 1
        self.shortcut = nn.Identity() if same else nn.Conv2d(channels, out, 1, stride, bias=False)
        self.norm = _norm(out)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.branch(x) + self.shortcut(x)))


class _Transposed(nn.Module):
    """A 4x4 transposed convolution as TensorFlow pads it with "SAME"; at stride 1 torch's comes out one row and column too large."""

    def __init__(self, channels: int, out: int, stride: int, activation: nn.Module | None = None) -> None:
        super().__init__()
        self.stride = stride
        self.conv = nn.ConvTranspose2d(channels, out, 4, stride, padding=1, bias=False)
        self.norm = _norm(out)
        self.activation = activation or nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return self.activation(self.norm(x if self.stride == 2 else x[..., :-1, :-1]))


def _conv(channels: int, out: int, kernel: int, stride: int = 1, *, active: bool = True) -> nn.Sequential:
    layers = [nn.Conv2d(channels, out, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(out)]
    return nn.Sequential(*layers, *([nn.ReLU()] if active else []))


class _Basic(nn.Module):
    """Two 3x3 convolutions beside the identity (He et al., CVPR 2016)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(_conv(channels, channels, 3), _conv(channels, channels, 3, active=False))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.branch(x))
