"""Lashes as single hairs on transparent cards: drawn opaque, the cards look like paper fans over the photo's own lashes."""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from ..model.morphable import MorphableModel
from ..render.bake import bake, dilate
from ..render.shade import srgb_from_linear

_SIZE = 512
_HAIRS = 110  # around the whole eye
_WIDEST, _SOFT = 0.62, 0.30  # of the space of one hair, at the root; over which its edge fades
_SHORTEST = 0.55  # of the card's length
_LEANING = 0.12  # radians that a tip lies beside its root
_OPACITY = {"upper": 0.85, "lower": 0.40}
_BESIDE = 0.15  # radians around a hair within which the card's length is looked for
_SEED = 9


def lash_texture(model: MorphableModel, part: str, exposure: Tensor) -> Tensor:
    """Lashes "4 s s": sRGB and opacity, hairs that thin out from the lid to the tip.

    Args:
        exposure: "3", linear colour that a white surface on the face shows in this photo.
    """
    triangle_ids = (model.part_of_triangle == model.part_names.index(part)).nonzero().squeeze(-1)
    triangles, mean = model.triangles[triangle_ids], model.mean_mm
    used = torch.unique(triangles)
    along, angle, opacity = (torch.zeros(len(mean)).to(mean) for _ in range(3))
    for card, centre in _cards(model, triangles):
        offset = mean[card] - centre
        # Mirrored, so that both eyes get the same hairs.
        angle[card] = torch.atan2(offset[:, 1], offset[:, 0] * centre[0].sign())
        along[card] = _from_root_to_tip(offset.norm(dim=1), angle[card])
        opacity[card] = _OPACITY["upper" if offset[:, 1].mean() > 0 else "lower"]
    values = torch.stack([along, torch.cos(angle), torch.sin(angle), opacity], -1)
    baked, covered = bake(values, model.topology, triangle_ids, _SIZE)
    alpha = _hairs(baked[0].clamp(0, 1), torch.atan2(baked[2], baked[1])) * baked[3] * covered
    hair = model.vertex_albedo(model.mean_code(mean.dtype))[used].mean(0) * exposure
    colour = srgb_from_linear(hair.clamp(0, 1))[:, None, None].expand(3, _SIZE, _SIZE)
    return dilate(torch.cat([colour, alpha[None]]), covered).clamp(0, 1)


def _hairs(along: Tensor, angle: Tensor) -> Tensor:
    """Opacity "h w" of tapering hairs of different lengths, from the way along each and the angle around the eye."""
    noise = torch.Generator().manual_seed(_SEED)
    lengths = (_SHORTEST + (1 - _SHORTEST) * torch.rand(_HAIRS, generator=noise)).to(along)
    leanings = (_LEANING * torch.randn(_HAIRS, generator=noise)).to(along)
    place = (angle / (2 * math.pi) % 1) * _HAIRS
    alpha = torch.zeros_like(along)
    for step in (-1, 0, 1):  # a hair leans into the space of its neighbours
        hair = (place.floor().long() + step) % _HAIRS
        middle = 0.5 + step + leanings[hair] * along.square() * _HAIRS / (2 * math.pi)
        beside = (place - place.floor() - middle).abs()
        rest = (1 - along / lengths[hair]).clamp(0, 1)
        width = 0.5 * _WIDEST * rest**0.6
        drawn = ((width - beside) / _SOFT + 0.5).clamp(0, 1) * (rest / 0.15).clamp(0, 1)
        alpha = torch.maximum(alpha, drawn)
    return alpha


def _from_root_to_tip(distance: Tensor, angle: Tensor) -> Tensor:
    """How far along its hair each vertex of a card lies "n", from its distance to the eye's centre: roots are nearest to it."""
    near = (angle[:, None] - angle[None]).abs() < _BESIDE
    low = torch.where(near, distance[None], torch.inf).amin(1)
    high = torch.where(near, distance[None], -torch.inf).amax(1)
    return (distance - low) / (high - low).clamp_min(1e-3)


def _cards(model: MorphableModel, triangles: Tensor) -> list[tuple[Tensor, Tensor]]:
    """The vertices of every connected card "n", and the centre "3" of the eye that it belongs to."""
    mean = model.mean_mm
    ends = triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2).cpu().numpy()
    graph = sparse.coo_matrix((np.ones(len(ends)), ends.T), shape=(len(mean), len(mean)))
    card_of = torch.from_numpy(connected_components(graph, directed=False)[1]).to(triangles)
    used = torch.unique(triangles)
    centres = [mean[model.part_triangles(eye).unique()].mean(0) for eye in model.part_names if "eye_" in eye]
    found = []
    for card in torch.unique(card_of[used]):
        ids = used[card_of[used] == card]
        middle = mean[ids].mean(0)
        centre = min(centres, key=lambda c: float((c - middle).norm()), default=middle)
        found.append((ids, centre))
    return found
