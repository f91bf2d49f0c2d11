"""What a deformation map is like before the photo is looked at: small, smooth, stiff at lids, lips and nostrils."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from scipy import sparse
from scipy.sparse.linalg import SuperLU, splu
from torch import Tensor

from ..geometry.mesh import Topology
from ..model.morphable import MorphableModel
from ..render.bake import bake, dilate
from .poisson import surface_conductance

Smoothness = Literal["laplacian", "tv"]
_TV_SPREAD = 0.2  # scale of the membrane whose texels vary by about one sigma: ln(range / texel) / 2 pi
_SMALLEST_TEXEL_MM2 = 0.05
_MAX_STRETCH = 30.0
_EDGE_CORRELATED = 0.1  # correlation that is left at the range of a Matern field of order one


@dataclass(frozen=True)
class MapPrior:
    """A Gaussian prior of one coordinate of a map with n = m * m texels: precision (n, n), and what it takes to divide by it.

    Attributes:
        precision: (n, n) sparse, per mm^2.
        factor: of it.
    """

    precision: sparse.csr_matrix
    factor: SuperLU

    def energy(self, values_mm: np.ndarray) -> float:
        """Half of x' Q x, summed over the columns of (n, 3)."""
        return 0.5 * float((values_mm * (self.precision @ values_mm)).sum())


@dataclass(frozen=True)
class PriorOptions:
    """Knobs of the prior.

    Attributes:
        smoothness: ``laplacian``: a Matern field on the face's surface, which bends smoothly; ``tv``: squared differences between
            neighbouring texels, as published (called total variation there).
        sigma_mm: how far a point of the face typically is from where the morphable model puts it.
        correlation_mm: distance along the skin at which two offsets have hardly anything in common.
        lid, lip, nostril: sigma there, as a share of ``sigma_mm``.
    """

    smoothness: Smoothness = "laplacian"
    sigma_mm: float = 1.5
    correlation_mm: float = 30.0
    lid: float = 0.2
    lip: float = 0.4
    nostril: float = 0.4


def map_prior(model: MorphableModel, size: int, options: PriorOptions) -> MapPrior:
    """The prior over maps of ``size`` texels per side on a model's mean head.

    ``laplacian``: with kappa^2 M + L the texels' areas and the surface's Laplacian, K M^-1 K is the precision of a Matern field of
    variance 1 / (4 pi kappa^2) and range sqrt(8) / kappa (Lindgren, Rue and Lindstrom, "An explicit link between Gaussian fields
    and Gaussian Markov random fields", JRSS B 2011). The map is this field times sigma, which differs from texel to texel.
    """
    kept = _cache.get((id(model), size, options))
    if kept is not None and kept[0] is model:
        return kept[1]
    position = chart_positions(model, model.mean_mm, size)
    sigma = _sigma(model, size, options).double().numpy().ravel()
    down, right = torch.gradient(position, dim=(1, 2))
    area = (
        torch.linalg.cross(right, down, dim=0)
        .norm(dim=0)
        .clamp_min(_SMALLEST_TEXEL_MM2)
        .double()
        .numpy()
        .ravel()
    )
    kappa_squared = 8 / options.correlation_mm**2
    if options.smoothness == "laplacian":
        stiff = _grid_laplacian(*surface_conductance(position, limit=_MAX_STRETCH))
        inner = sparse.diags(kappa_squared * area) + stiff
        field = inner @ sparse.diags(1 / area) @ inner / (4 * math.pi * kappa_squared)
    else:
        even = torch.ones(1, size, size)
        field = _TV_SPREAD * (
            sparse.diags(kappa_squared * area) + _grid_laplacian(even[..., 1:], even[:, 1:])
        )
    precision = (sparse.diags(1 / sigma) @ field @ sparse.diags(1 / sigma)).tocsr()
    prior = MapPrior(precision, splu(precision.tocsc(), permc_spec="MMD_AT_PLUS_A"))
    if len(_cache) > 12:
        _cache.clear()
    _cache[id(model), size, options] = (model, prior)
    return prior


_cache: dict[tuple[int, int, PriorOptions], tuple[MorphableModel, MapPrior]] = {}


def chart_positions(model: MorphableModel, vertices_mm: Tensor, size: int) -> Tensor:
    """Values "c m m" at the texels of a map of vertex values "v c" (positions, say), eyes and mouth closed by their membranes."""
    chart = model.chart
    assert chart is not None, "a deformation operator was made before"
    topology = Topology(chart.triangles, len(vertices_mm), chart.uv)
    return dilate(*bake(vertices_mm, topology, torch.arange(len(chart.triangles)), size))


def _sigma(model: MorphableModel, size: int, options: PriorOptions) -> Tensor:
    """Sigma per texel "m m": smaller around the openings."""
    chart = model.chart
    assert chart is not None
    share = torch.ones(len(model.mean_mm))
    rim = chart.triangles[chart.is_membrane].unique()
    at_lips = model.regions.get("mouth", torch.zeros_like(share, dtype=torch.bool))[rim]
    for ids, least, reach_mm in ((rim[~at_lips], options.lid, 7.0), (rim[at_lips], options.lip, 5.0)):
        share = torch.minimum(share, _rising(model, ids, least, reach_mm))
    if "nostrils" in model.regions:
        ids = model.regions["nostrils"].nonzero().squeeze(-1)
        share = torch.minimum(share, _rising(model, ids, options.nostril, 3.0))
    return options.sigma_mm * chart_positions(model, share[:, None], size)[0].clamp_min(0.02)


def distance_to_openings(model: MorphableModel) -> Tensor:
    """Millimetres "v" on the mean head from each vertex to the nearest rim of eyes and mouth, nostril, lip or brow."""
    found = torch.full((len(model.mean_mm),), torch.inf)
    ids = [] if model.chart is None else [model.chart.triangles[model.chart.is_membrane].unique()]
    ids += [
        model.regions[name].nonzero().squeeze(-1)
        for name in ("nostrils", "lips", "brows")
        if name in model.regions
    ]
    for some in ids:
        if len(some):
            found = torch.minimum(found, torch.cdist(model.mean_mm, model.mean_mm[some]).amin(1))
    return found


def _rising(model: MorphableModel, ids: Tensor, least: float, reach_mm: float) -> Tensor:
    """A share per vertex "v": ``least`` at the vertices ``ids``, one farther away than about ``reach_mm``."""
    if not len(ids):
        return torch.ones(len(model.mean_mm))
    distance = torch.cdist(model.mean_mm, model.mean_mm[ids]).amin(1)
    return 1 - (1 - least) * torch.exp(-((distance / reach_mm) ** 2))


def _grid_laplacian(across: Tensor, along: Tensor) -> sparse.csr_matrix:
    """Graph Laplacian of a grid from the conductances of its edges, "1 h w-1" to the right and "1 h-1 w" downwards."""
    height, width = across.shape[1], along.shape[2]
    ids = np.arange(height * width).reshape(height, width)
    first = np.concatenate([ids[:, :-1].ravel(), ids[:-1].ravel()])
    second = np.concatenate([ids[:, 1:].ravel(), ids[1:].ravel()])
    weight = torch.cat([across.flatten(), along.flatten()]).double().numpy()
    one_way = sparse.csr_matrix((weight, (first, second)), shape=(height * width,) * 2)
    edges = one_way + one_way.T
    return (sparse.diags(np.asarray(edges.sum(1)).ravel()) - edges).tocsr()
