"""What several photos show of one skin becomes one picture: their colours made to agree, and at each texel mostly the photo that shows it best."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..geometry.chart_map import unit
from ..geometry.mesh import vertex_normals
from ..geometry.view import View
from ..model.morphable import MorphableModel
from ..render.bake import bake, dilate
from ..render.shade import linear_from_srgb, srgb_from_linear
from ..render.visible import facing
from .photo_evidence import depth_buffer, sample_mask
from .skin_look import resized

_WINNER = 4.0  # power: seams are where photos show the skin equally well, and soft
_SOFT = 2  # texels of the blending around a seam
_GAIN_SIGMA, _SLOPE_SIGMA = (
    0.7,
    0.25,
)  # of the logarithm of a photo's exposure, and of how it varies with the normal
_NOISE = 0.15  # of the logarithm of a texel's colour, between photos
_ITERATIONS = 4
_MOVED_MM = 3.0  # skin that an expression has moved so far looks different
_GRAZING = 0.35
_FLOOR = 0.01


@dataclass(frozen=True)
class Shown:
    """What one photo shows of the skin, in its texture.

    Attributes:
        small: "3 b b" sRGB at the blending's size, meaningless where the score is zero.
        rows: gives rows of the whole texture, "3 r s" sRGB.
        evidence: "1 b b" in [0, 1], trust. score: "1 b b", how well the photo shows each texel; comparable between photos.
    """

    small: Tensor
    rows: Callable[[tuple[int, int]], Tensor]
    evidence: Tensor
    score: Tensor


@dataclass(frozen=True)
class Merged:
    """One picture of several, as :func:`~vultus.stages.skin_texture.complete` takes it.

    Attributes:
        small, rows, evidence: as of :class:`Shown`. shares: "n b b", how much of each texel comes from which photo.
    """

    small: Tensor
    rows: Callable[[tuple[int, int]], Tensor]
    evidence: Tensor
    shares: Tensor


def merge(shown: Sequence[Shown], normals: Tensor, size: int, anchor: int | None) -> Merged:
    """Merge photos of one skin.

    Args:
        normals: "3 b b" unit, in a frame that turns with the head: light and camera differ between photos as smooth functions of them.
        size: texels per side of the whole texture.
        anchor: the photo whose colours stay; None: the mean of all.
    """
    scores = torch.cat([one.score for one in shown])
    shares = shares_of(scores)
    colours = torch.stack([linear_from_srgb(one.small) for one in shown])
    trust = torch.cat([one.evidence for one in shown]) * (scores > 0)
    basis = torch.cat([torch.ones_like(normals[:1]), normals])
    few = (..., slice(None, None, 4), slice(None, None, 4))
    gains = equalising_gains(colours[few], trust[few], basis[few], anchor)  # n 3 4
    maps = torch.einsum("nck,khw->nchw", gains, basis).clamp(-1.5, 1.5).exp()
    small = srgb_from_linear((shares[:, None] * colours * maps).sum(0).clamp(0, 1))

    def rows(band: tuple[int, int]) -> Tensor:
        total = None
        for one, share, gain in zip(shown, shares, maps):
            weight = resized(share[None], size, band)
            if bool((weight > 1e-3).any()):
                part = weight * resized(gain, size, band) * linear_from_srgb(one.rows(band))
                total = part if total is None else total + part
        return resized(small, size, band) if total is None else srgb_from_linear(total.clamp(0, 1))

    evidence = (shares * torch.cat([one.evidence for one in shown])).sum(0, keepdim=True)
    return Merged(small, rows, evidence, shares)


def shares_of(scores: Tensor) -> Tensor:
    """How much of each texel comes from which of n photos, "n b b": sums to one where any shows it, to zero elsewhere."""
    best = scores.amax(0, keepdim=True).clamp_min(1e-12)
    shares = (scores / best) ** _WINNER
    side = 2 * _SOFT + 1
    padded = F.pad(shares[None], (_SOFT,) * 4, mode="replicate")
    # Blurred, but never onto what a photo does not show.
    soft = F.avg_pool2d(padded, side, 1)[0] * (scores / best).clamp(0, 1) ** (_WINNER / 2)
    total = soft.sum(0, keepdim=True)
    return torch.where(scores.amax(0, keepdim=True) > 0, soft / total.clamp_min(1e-12), 0.0)


def equalising_gains(colours: Tensor, trust: Tensor, basis: Tensor, anchor: int | None) -> Tensor:
    """Coefficients "n 3 k" over smooth functions "k b b" that bring n photos' logarithmic colours to agree.

    Least squares over all pairs at once: each texel has one true colour (eliminated), each photo shows it times exp(basis . gain); robustly, for
    cast shadows and highlights are no gain. Small gains are likelier.

    Args:
        colours: "n 3 b b" linear. trust: "n b b". anchor: the photo whose gain is zero.
    """
    num, size = len(colours), len(basis)
    logs = (colours + _FLOOR).log().flatten(2).double()
    functions = basis.flatten(1).double()
    usual = trust.flatten(1).double()
    sigma = functions.new_tensor([_GAIN_SIGMA] + [_SLOPE_SIGMA] * (size - 1)).repeat(num, 1)
    if anchor is not None:
        sigma[anchor] = 1e-4
    prior = torch.diag(sigma.flatten() ** -2)
    gains = functions.new_zeros(num, 3, size)
    # Neighbouring texels err together; what counts is how many patches of skin two photos share.
    information = 200.0 / usual.sum().clamp_min(1) * num / _NOISE**2
    robust = _alike_but_for_exposure(logs, usual)
    for _ in range(_ITERATIONS):
        weight = usual * robust
        total = weight.sum(0).clamp_min(1e-9)
        for channel in range(3):
            mean = (weight * logs[:, channel]).sum(0) / total
            normal, right = prior.clone(), functions.new_zeros(num, size)
            for i in range(num):
                right[i] = -information * functions @ (weight[i] * (logs[i, channel] - mean))
                for j in range(num):
                    pair = (weight[i] if i == j else 0) - weight[i] * weight[j] / total
                    block = information * (functions * pair) @ functions.T
                    normal[i * size : (i + 1) * size, j * size : (j + 1) * size] += block
            gains[:, channel] = torch.linalg.solve(normal, right.flatten()).view(num, size)
        after = logs + torch.einsum("nck,kt->nct", gains, functions)
        mean = (weight[:, None] * after).sum(0) / total
        distance = (after - mean).abs().mean(1)
        robust = 1 / (1 + (distance / (2 * _NOISE)) ** 2) ** 2
    return gains.to(colours)


def _alike_but_for_exposure(logs: Tensor, usual: Tensor) -> Tensor:
    """First robust weights "n t": photos "n 3 t" brought to one exposure by their medians, which a shadow does not move."""
    shared = usual.clamp(max=1).prod(0) > 0.25
    if int(shared.sum()) < 50:
        return torch.ones_like(usual)
    level = logs[:, :, shared].median(-1).values[:, :, None]
    levelled = logs - level
    from_middle = (levelled - levelled.median(0).values).abs().mean(1)
    from_mean = (levelled - levelled.mean(0)).abs().mean(1)
    distance = torch.maximum(from_middle, from_mean)  # of two photos, either may be the shadowed one
    return 1 / (1 + (distance / (2 * _NOISE)) ** 2) ** 2


def unchanged(moved_mm: Tensor) -> Tensor:
    """How far skin that an expression has moved by so much "..." still looks the same, in [0, 1]."""
    return 1 / (1 + (moved_mm / _MOVED_MM) ** 2)


def chart_score(view: View, model: MorphableModel, vertices: Tensor, alike: Tensor, size: int) -> Tensor:
    """How well a photo shows each texel of the face chart, "s s": zero where it does not.

    Args:
        vertices: "v 3" of the view, head frame. alike: "v" in [0, 1], see :func:`unchanged`.
    """
    assert model.chart is not None
    camera_mm = view.camera.to_camera(vertices)
    normals = vertex_normals(camera_mm, model.triangles)
    values = torch.cat([camera_mm, facing(camera_mm, normals)[:, None], alike[:, None]], -1)
    topology = model.chart.topology
    drawn, covered = bake(values, topology, torch.arange(len(topology.triangles)), size)
    drawn = dilate(drawn, covered)
    texels = view.camera.project_camera(drawn[:3].flatten(1).T).T.reshape(3, size, size)
    seen = covered & depth_buffer(view, model, vertices).sees(texels)
    skin = sample_mask(view.skin_mask, texels[:2])
    slope = ((drawn[3] - _GRAZING) / (1 - _GRAZING)).clamp(0, 1)
    density = float(view.camera.focal_px) / drawn[2].clamp_min(1)
    score = seen * skin * slope**2 * density**2 * drawn[4]
    return F.avg_pool2d(score[None], 5, 1, 2)[0] * seen


def merge_displacements(displacements: Sequence[Tensor], scores: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """One map "s s" in mm of several, and where any photo shows the face, "s s" bool.

    Where no photo shows the face it is zero. Averages would halve wrinkles that one photo shows and others blur, so the sharper wins.
    """
    score = torch.stack(list(scores))
    shares = shares_of(score)
    return (shares * torch.stack(list(displacements))).sum(0), score.amax(0) > 0


def mirrored_where_hidden(displacement_mm: Tensor, shown: Tensor, share: float) -> Tensor:
    """What no photo shows gets a share of what is seen on the other side."""
    hidden = F.avg_pool2d((~shown).to(displacement_mm)[None], 9, 1, 4)[0] * ~shown
    return displacement_mm + share * (displacement_mm * shown).flip(-1) * hidden


def head_normals(model: MorphableModel, vertices: Tensor, triangle_ids: Tensor, size: int) -> Tensor:
    """Unit normals "3 s s" of the skin in the head frame, in its texture."""
    normals = vertex_normals(vertices, model.triangles)
    return unit(dilate(*bake(normals, model.topology, triangle_ids, size)))
