"""A position network for processors: a small trunk looks, a basis of maps draws (docs/position.md).

Position maps of faces are far from arbitrary: each channel is one row of a rotation times a shape, plus a shift, and shapes are few. So every channel
is a sum of the same hundred scalar maps, and a network need only say how much of each: three numbers a map, not three numbers a texel. What a
convolutional decoder costs, two thirds of the light network, falls away; what it would have to learn, that a face is smooth, is there from the start.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..geometry.position_map import SPAN
from ..model.morphable import MorphableModel
from ..render.bake import bake, dilate
from .position_readout import face_chart

if TYPE_CHECKING:
    from .position import PositionConfig

COMPONENTS = 128
"""Scalar maps of the basis, beside the constant one."""
_HEADS, _SEED = 1500, 0
_FACE_SHARE = 0.625  # a crop is 1.6 times as wide as the 68 points
_WIDTHS = (16, 32, 64, 128, 128, 128)
_REDUCED, _HIDDEN = 48, 320


class BasisPositionNet(nn.Module):
    """1.6 M parameters beside the basis; 0.1 GMAC for crops of 192 px.

    The trunk has the layout of MediaPipe's face mesh (Kartynnik et al., 2019: depthwise separable residual blocks with PReLU, no normalisation), so that its
    weights can be the start of a training (``vultus.train.position_start``).
    """

    def __init__(self, config: PositionConfig) -> None:
        super().__init__()
        self.config = config
        self.stem = nn.Sequential(_same_pad(), nn.Conv2d(3, _WIDTHS[0], 3, 2), nn.PReLU(_WIDTHS[0]))
        stages, channels = [nn.Sequential(_Separable(16, 16), _Separable(16, 16))], _WIDTHS[0]
        for width in _WIDTHS[1:]:
            stages.append(
                nn.Sequential(
                    _Separable(channels, width, 2), _Separable(width, width), _Separable(width, width)
                )
            )
            channels = width
        self.stages = nn.ModuleList(stages)
        cells = config.crop_px // 32  # of the last stage but one; the last has half as many, rounded down
        self.reduce = nn.Sequential(nn.Conv2d(channels, _REDUCED, 1), nn.PReLU(_REDUCED))
        features = _REDUCED * cells**2 + channels * (cells // 2) ** 2
        self.hidden = nn.Sequential(nn.Linear(features, _HIDDEN), nn.PReLU(_HIDDEN))
        self.mix = nn.Linear(_HIDDEN, 3 * (COMPONENTS + 1))
        self.basis = nn.Parameter(torch.zeros(COMPONENTS + 1, config.texels, config.texels))
        nn.init.normal_(self.mix.weight, std=0.1 / math.sqrt(_HIDDEN))
        nn.init.zeros_(self.mix.bias)

    def forward(self, image: Tensor) -> Tensor:
        """Crops "b 3 c c" -> maps "b 3 s s"; not clipped to 0..1."""
        x = self.stem(image)
        for stage in self.stages[:-1]:
            x = stage(x)
        features = torch.cat([self.reduce(x).flatten(1), self.stages[-1](x).flatten(1)], 1)
        mixed = self.mix(self.hidden(features)).unflatten(1, (3, COMPONENTS + 1))
        texels = self.basis.shape[-1]
        return (mixed @ self.basis.flatten(1)).unflatten(2, (texels, texels)) + 0.5

    @torch.no_grad()
    def set_basis(self, model: MorphableModel) -> None:
        """Start from the maps of a model's faces (:func:`map_basis`)."""
        self.basis.copy_(map_basis(model, self.config.texels))


def map_basis(model: MorphableModel, size: int) -> Tensor:
    """Scalar maps "129 s s" whose sums are the channels of normalised position maps of random faces in random poses.

    The first is constant; the others are the principal components of all three channels together, each as large as it varies, so that a unit of every mixing number
    matters as much as it should.

    Raises:
        BadInput: the model has no chart.
    """
    generator = torch.Generator().manual_seed(_SEED)
    chart = face_chart(model)
    ids = torch.unique(chart.triangles)
    identity = torch.randn(_HEADS, len(model.identity_mm), generator=generator)
    expression = (
        torch.randn(_HEADS, len(model.expression_mm), generator=generator) * model.expression_sigma
    ).clamp(0, 1)
    shapes = model.mean_mm[ids] + torch.einsum("hk,kvc->hvc", identity, model.identity_mm[:, ids])
    shapes = shapes + torch.einsum("hk,kvc->hvc", expression, model.expression_mm[:, ids])
    shapes = shapes - shapes.mean(1, keepdim=True)
    extent = (shapes.amax(1) - shapes.amin(1))[:, :2].mean(1)
    turned = shapes @ _rotations(_HEADS, generator).transpose(1, 2)
    channels = (turned * (_FACE_SHARE / SPAN / extent)[:, None, None]).transpose(1, 2).flatten(0, 1)
    channels = channels - channels.mean(1, keepdim=True)
    with torch.random.fork_rng(devices=[]):  # the method draws random directions to begin with
        torch.manual_seed(_SEED)
        _, sigma, axes = torch.svd_lowrank(channels, COMPONENTS, niter=4)
    scalars = (axes * (sigma / math.sqrt(len(channels)))).T
    every = torch.arange(len(chart.triangles))
    maps, covered = bake(_on_vertices(scalars, ids, len(chart.uv)), chart.topology, every, size)
    return torch.cat([torch.full((1, size, size), 0.1), dilate(maps, covered)])


def _on_vertices(scalars: Tensor, ids: Tensor, count: int) -> Tensor:
    values = torch.zeros(count, len(scalars))
    values[ids] = scalars.T
    return values


def _rotations(count: int, generator: torch.Generator) -> Tensor:
    """Random rotations "n 3 3", every one as likely: a basis for all poses favours none."""
    q, r = torch.linalg.qr(torch.randn(count, 3, 3, generator=generator))
    q = q * r.diagonal(dim1=1, dim2=2).sign()[:, None]
    return q * torch.linalg.det(q)[:, None, None]


class _Separable(nn.Module):
    """A depthwise and a pointwise convolution beside the identity, which is pooled and padded with zeros where the size changes."""

    def __init__(self, channels: int, out: int, stride: int = 1) -> None:
        super().__init__()
        self.more = out - channels
        self.stride = stride
        self.pad = _same_pad() if stride == 2 else nn.Identity()
        self.deep = nn.Conv2d(channels, channels, 3, stride, 1 if stride == 1 else 0, groups=channels)
        self.wide = nn.Conv2d(channels, out, 1)
        self.active = nn.PReLU(out)

    def forward(self, x: Tensor) -> Tensor:
        same = F.max_pool2d(x, 2) if self.stride == 2 else x
        if self.more:
            same = F.pad(same, (0, 0, 0, 0, 0, self.more))
        return self.active(same + self.wide(self.deep(self.pad(x))))


def _same_pad() -> nn.Module:
    """TensorFlow's "SAME" for a 3x3 kernel with stride 2 on even sizes: the odd pixel goes right and below."""
    return nn.ZeroPad2d((0, 1, 0, 1))
