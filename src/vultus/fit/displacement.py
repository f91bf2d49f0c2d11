"""Wrinkles from shading: a displacement map whose shading explains what the photo shows beyond a smooth, evenly coloured face.

On a surface with normal N under a light whose shading is S(N), a displacement d along N turns the normal by minus its surface gradient and
hides part of the light in its hollows. To first order the relative brightness changes by

    rho = -(dS/dN . grad d) / S  -  kappa * laplacian d,

a linear function of d. The first term is shape from shading (Horn 1970), the second says that hollows are dark, whatever the light
(Langer and Zucker 1994; "dark is deep" in Beeler et al., "High-quality single-shot capture of facial geometry", SIGGRAPH 2010). What
the photo shows is rho plus albedo, which no single photo can tell apart; priors do. A Gaussian one keeps d small, flat and
without low frequencies, so a change of brightness is explained cheaply by a crease (a dark and a bright flank, beginning and ending at the same
height) and dearly by a step. What remains unexplained loses its weight (robust residuals): it is albedo. :mod:`.crease_evidence` takes
out before what cannot be shading. The solution is one sparse linear system per outer iteration.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from ..geometry.chart_map import Metric, detailed_normals, length, metric
from ..geometry.light import shading
from .poisson import surface_conductance

_FOLDED = 0.01  # of the mean area under a texel: no texel weighs nothing
_SMALLEST_MM2 = 0.02  # texels in folds: their curvature says nothing
_TRACE = 1e-3  # texels that may move less than this (mm) are left out
_DARKEST_SHADING = 0.25  # of the mean: what is darker is lit by what the light model does not know
_LUMINANCE = (0.2126, 0.7152, 0.0722)


@dataclass(frozen=True)
class DisplacementOptions:
    """Knobs of :func:`fit_displacement`.

    Attributes:
        noise: relative brightness that is no shape: pores, freckles, sensor noise.
        typical_mm: standard deviation of the displacement. typical_slope: of its gradient.
        occlusion_mm: kappa, how much darker hollows are.
        outlier: residuals beyond so many times the noise lose their influence.
        iterations: Gauss-Newton steps, each with new normals and robust weights.
        steps: conjugate-gradient steps of each.
    """

    noise: float = 0.03
    typical_mm: float = 0.6
    typical_slope: float = 0.4
    occlusion_mm: float = 0.10
    outlier: float = 8.0
    iterations: int = 2
    steps: int = 60


def fit_displacement(
    position: Tensor,
    normals: Tensor,
    light: Tensor,
    brightness: Tensor,
    weight: Tensor,
    hollow: Tensor,
    freedom: Tensor,
    options: DisplacementOptions | None = None,
) -> Tensor:
    """The displacement "h w" in mm whose shading explains a map of relative brightness.

    Args:
        position: "3 h w" of the smooth surface, camera frame, mm. normals: "3 h w", its unit normals.
        light: "3 9" in the camera frame.
        brightness: "h w", logarithm of what the photo shows over what the smooth surface would show; its low frequencies removed.
        weight: "h w" in [0, 1], trust in it.
        hollow: "h w" in [0, 1], how far darkness may mean depth there (creases: 1, spots: 0).
        freedom: "h w" in [0, 1], scales the typical displacement; 0 keeps a texel where it is.
    """
    options = options or DisplacementOptions()
    active = np.flatnonzero(_numpy(freedom) * options.typical_mm > _TRACE)
    if not len(active):
        return torch.zeros_like(brightness)
    surface = metric(position)
    grid = _Grid.of(position, surface, active)
    area = _numpy(surface.area_mm2)[active]
    area = np.maximum(area / area.mean(), _FOLDED)
    prior = grid.prior(
        stiffness=area / (options.typical_mm * _numpy(freedom)[active]) ** 2,
        bend_u=area * (_numpy(length(surface.along_u))[active] / options.typical_slope) ** 2,
        bend_v=area * (_numpy(length(surface.along_v))[active] / options.typical_slope) ** 2,
    )
    wanted = _numpy(brightness)[active]
    information = area * _numpy(weight)[active] / options.noise**2
    kappa = options.occlusion_mm * _numpy(hollow)[active]
    darkening = grid.stencil(np.zeros_like(kappa), np.zeros_like(kappa), -kappa)
    smooth_shade = _shade(normals, light)
    d, robust = np.zeros(len(active)), np.ones(len(active))
    for _ in range(options.iterations):
        current = _scattered(d, active, brightness)
        turned = detailed_normals(position, normals, current)
        slope_u, slope_v = (_numpy(c)[active] for c in shading_slopes(turned, light, surface))
        model = grid.stencil(slope_u, slope_v, -kappa)
        explained = _numpy(torch.log(_shade(turned, light) / smooth_shade))[active] + darkening @ d
        residual = wanted - explained
        trust = information * robust
        change = _solve(model, trust, prior, model.T @ (trust * residual) - prior @ d, options.steps)
        d = d + change
        residual = residual - model @ change
        robust = 1 / (1 + (residual / (options.outlier * options.noise)) ** 2)
    return _scattered(d, active, brightness)


def shading_slopes(normals: Tensor, light: Tensor, surface: Metric) -> tuple[Tensor, Tensor]:
    """How the logarithm of the shading grows with the differences d_u and d_v of a displacement: "h w" each.

    N' = N - grad d and grad d = d_u along_u + d_v along_v, so d log S / d d_u = -(dS/dN . along_u) / S.
    """
    turned = normals.detach().requires_grad_(True)
    with torch.enable_grad():
        shade = _shade(turned, light)
        (by_normal,) = torch.autograd.grad(shade.log().sum(), turned)
    return -(by_normal * surface.along_u).sum(0), -(by_normal * surface.along_v).sum(0)


def _shade(normals: Tensor, light: Tensor) -> Tensor:
    """Luminance of a white surface "h w", kept off zero."""
    colour = shading(normals.permute(1, 2, 0), light)
    shade = colour @ colour.new_tensor(_LUMINANCE)
    return shade.clamp_min(_DARKEST_SHADING * float(shade.detach().mean().clamp_min(1e-3)))


@dataclass(frozen=True)
class _Grid:
    """Five-point stencils on the active texels; what is not active does not move.

    Attributes:
        columns: (n, 5) rows of the texel itself and of its neighbours left, right, above, below; itself where one is missing.
        there: (n, 5) bool, which are active.
        conductance: (4, n) of the edges to the four neighbours, for the Laplacian. per_area: (n,) per square mm.
    """

    columns: np.ndarray
    there: np.ndarray
    conductance: np.ndarray
    per_area: np.ndarray

    @staticmethod
    def of(position: Tensor, surface: Metric, active: np.ndarray) -> _Grid:
        height, width = position.shape[1:]
        row_of = np.full((height + 2, width + 2), -1, np.int64)
        y, x = np.divmod(active, width)
        row_of[y + 1, x + 1] = np.arange(len(active))
        around = ((0, 0), (0, -1), (0, 1), (-1, 0), (1, 0))
        columns = np.stack([row_of[y + 1 + dy, x + 1 + dx] for dy, dx in around], 1)
        across, along = surface_conductance(position)
        edges = np.zeros((4, height, width))
        edges[0, :, 1:] = edges[1, :, :-1] = _numpy(across).reshape(height, width - 1)
        edges[2, 1:] = edges[3, :-1] = _numpy(along).reshape(height - 1, width)
        per_area = 1 / np.maximum(_numpy(surface.area_mm2)[active], _SMALLEST_MM2)
        own = np.arange(len(active))[:, None]
        return _Grid(
            np.where(columns < 0, own, columns), columns >= 0, edges.reshape(4, -1)[:, active], per_area
        )

    def stencil(self, by_u: np.ndarray, by_v: np.ndarray, by_laplacian: np.ndarray) -> sparse.csr_matrix:
        """The operator by_u d_u + by_v d_v + by_laplacian laplacian(d), with central differences."""
        c = self.conductance * (self.per_area * by_laplacian)
        values = np.stack([-c.sum(0), c[0] - by_u / 2, c[1] + by_u / 2, c[2] - by_v / 2, c[3] + by_v / 2], 1)
        return self._matrix(values)

    def prior(self, stiffness: np.ndarray, bend_u: np.ndarray, bend_v: np.ndarray) -> sparse.csr_matrix:
        """The matrix of sum stiffness d^2 + bend_u d_u^2 + bend_v d_v^2, with differences between neighbours."""
        beside = lambda bend, k: (bend + bend[self.columns[:, k]]) / 2  # noqa: E731
        edges = np.stack([beside(bend_u, 1), beside(bend_u, 2), beside(bend_v, 3), beside(bend_v, 4)], 1)
        return self._matrix(np.concatenate([(stiffness + edges.sum(1))[:, None], -edges], 1))

    def _matrix(self, values: np.ndarray) -> sparse.csr_matrix:
        count = len(values)
        index = (
            np.where(self.there, values, 0).ravel(),
            self.columns.ravel(),
            np.arange(0, 5 * count + 1, 5),
        )
        return sparse.csr_matrix(index, shape=(count, count))


def _solve(
    model: sparse.csr_matrix, trust: np.ndarray, prior: sparse.csr_matrix, right: np.ndarray, steps: int
) -> np.ndarray:
    """Conjugate gradients with the diagonal as preconditioner on (model^T trust model + prior) x = right."""
    squared = model.copy()
    squared.data = squared.data**2
    diagonal = prior.diagonal() + squared.T @ trust
    transposed = sparse.csr_matrix(model.T)
    x, rest = np.zeros_like(right), right.copy()
    better = rest / diagonal
    direction, fit = better, rest @ better
    goal = 1e-5 * fit
    for _ in range(steps):
        if fit <= goal:
            break
        applied = transposed @ (trust * (model @ direction)) + prior @ direction
        stride = fit / (direction @ applied)
        x += stride * direction
        rest -= stride * applied
        better = rest / diagonal
        fit, before = rest @ better, fit
        direction = better + fit / before * direction
    return x


def _scattered(values: np.ndarray, active: np.ndarray, like: Tensor) -> Tensor:
    full = np.zeros(like.numel())
    full[active] = values
    return torch.from_numpy(full.reshape(like.shape)).to(like)


def _numpy(values: Tensor) -> np.ndarray:
    return values.detach().cpu().double().numpy().ravel()
