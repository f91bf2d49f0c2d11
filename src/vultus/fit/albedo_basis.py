"""Mean, components and noise of textures of which each is seen in part: probabilistic principal components with missing data.

Tipping and Bishop, "Probabilistic principal component analysis", Journal of the Royal Statistical Society B 61, 1999: a sample is mean + loadings z + noise
with z and noise normal, fitted by expectation and maximisation. Here every value carries a confidence, which divides its noise's variance (so 0 is missing), and
every sample a share, how many times it counts. Values that share their confidence are kept in groups (a small block of texels, all channels), which is what makes
the posterior of each sample cheap: its precision is a sum over groups.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_LEAST_NOISE = 1e-8


@dataclass(frozen=True)
class Components:
    """A distribution of samples: mean + sum_k z_k sigma_k directions_k + noise, z standard normal.

    Attributes:
        mean: "g p". directions: "k g p", orthonormal. sigma: "k", falling. noise: standard deviation of each value about that.
    """

    mean: Tensor
    directions: Tensor
    sigma: Tensor
    noise: float

    @property
    def loadings(self) -> Tensor:
        """Directions times sigma: "k g p"."""
        return self.directions * self.sigma[:, None, None]


def learn_components(
    values: Tensor,
    confidence: Tensor,
    share: Tensor,
    *,
    number: int,
    iterations: int = 20,
    pretended: float = 1e-3,
) -> Components:
    """The most likely components, starting from those of the samples with their holes filled by the mean.

    Args:
        values: "n g p", anything where the confidence is zero. confidence: "n g" in [0, 1]. share: "n", positive: how much each sample counts.
        number: of components; at most one less than there are samples, and than there are values.
        iterations: of expectation and maximisation; without missing values the start is already the answer.
        pretended: what every loading is held to zero, and every mean to the start's, by: in samples.
    """
    share = share / share.mean()
    values = torch.where(confidence[..., None] > 0, values, 0)
    known = confidence * share[:, None]
    seen = known.sum(0)
    total = (known[..., None] * values).sum(0)
    usual = total.sum() / (seen.sum() * values.shape[-1]).clamp_min(1e-12)
    mean = torch.where(seen[:, None] > 1e-6, total / seen.clamp_min(1e-6)[:, None], usual)
    start = mean
    loadings, noise = _filled_components(values, confidence, share, mean, number)
    for _ in range(iterations):
        mean, loadings, noise = _improved(values, confidence, share, mean, loadings, noise, start, pretended)
    return _ordered(mean, loadings, noise)


def posterior(
    values: Tensor, confidence: Tensor, mean: Tensor, loadings: Tensor, noise: float
) -> tuple[Tensor, Tensor]:
    """What samples say about their coefficients: means "n k" (the most probable ones) and covariances "n k k".

    Args:
        values: "n g p". confidence: "n g". mean: "g p". loadings: "k g p". noise: standard deviation.
    """
    precision = _precision(confidence, loadings, noise)
    apart = torch.where(confidence[..., None] > 0, confidence[..., None] * (values - mean), 0)
    right = apart.flatten(1) @ loadings.flatten(1).T
    factor = torch.linalg.cholesky(precision)
    return torch.cholesky_solve(right[..., None], factor)[..., 0], noise**2 * torch.cholesky_inverse(factor)


def _precision(confidence: Tensor, loadings: Tensor, noise: float) -> Tensor:
    """noise^2 times the posterior precision "n k k"."""
    number = len(loadings)
    by_group = loadings.permute(1, 0, 2)
    grams = by_group @ by_group.transpose(1, 2)
    weighed = (confidence @ grams.flatten(1)).unflatten(1, (number, number))
    return weighed + max(noise**2, _LEAST_NOISE) * torch.eye(number, dtype=loadings.dtype)


def _improved(
    values: Tensor, confidence: Tensor, share: Tensor, mean: Tensor, loadings: Tensor, noise: float, start: Tensor, pretended: float
) -> tuple[Tensor, Tensor, float]:  # fmt: skip
    """One expectation and maximisation."""
    number = len(loadings)
    code, spread = posterior(values, confidence, mean, loadings, noise)
    lifted = torch.cat(
        [code, torch.ones_like(code[:, :1])], 1
    )  # the mean is the loading of a coefficient that is always one
    second = lifted[:, :, None] * lifted[:, None, :]
    second[:, :number, :number] += spread
    known = confidence * share[:, None]
    normal = (known.T @ second.flatten(1)).unflatten(1, (number + 1, number + 1))
    weighed = known[..., None] * values
    right = (lifted.T @ weighed.flatten(1)).unflatten(1, values.shape[1:]).permute(1, 0, 2)
    normal = normal + pretended * torch.eye(number + 1, dtype=values.dtype)
    right[:, -1] += pretended * start
    found = torch.linalg.solve(normal, right)
    mean, loadings = found[:, -1], found[:, :-1].permute(1, 0, 2).contiguous()
    # What the samples differ from what they should be, and what their coefficients may yet be.
    rest = values - mean - (code @ loadings.flatten(1)).unflatten(1, mean.shape)
    unexplained = (known * rest.square().sum(-1)).sum()
    by_group = loadings.permute(1, 0, 2)
    grams = (by_group @ by_group.transpose(1, 2)).flatten(1)
    unsure = ((known.T @ spread.flatten(1)) * grams).sum()
    variance = (unexplained + unsure) / (known.sum() * values.shape[-1]).clamp_min(1e-12)
    # Plain maximisation hardly moves sigma where noise is small. The coefficients are standard normal by definition, so their own mean and spread belong
    # into mean and loadings (parameter expansion: Liu, Rubin and Wu, "Parameter expansion to accelerate EM", Biometrika 85, 1998).
    weight = share / share.sum()
    middle = weight @ code
    spread_of_all = torch.einsum("n,nkl->kl", weight, second[:, :number, :number]) - torch.outer(
        middle, middle
    )
    mean = mean + (middle @ loadings.flatten(1)).reshape(mean.shape)
    loadings = (torch.linalg.cholesky(spread_of_all).T @ loadings.flatten(1)).reshape(loadings.shape)
    return mean, loadings, float(variance.clamp_min(_LEAST_NOISE).sqrt())


def _filled_components(
    values: Tensor, confidence: Tensor, share: Tensor, mean: Tensor, number: int
) -> tuple[Tensor, float]:
    """Principal components of samples whose holes are filled with the mean: loadings "k g p" and noise, from the samples' Gram matrix."""
    apart = (confidence[..., None] * (values - mean)).flatten(1)
    apart = apart * share.sqrt()[:, None]
    strength, vectors = torch.linalg.eigh((apart @ apart.T).double())
    strength, vectors = strength.flip(0).clamp_min(0), vectors.flip(1)
    count = float(share.sum())
    directions = (
        vectors[:, :number].to(apart) / strength[:number].sqrt().clamp_min(1e-9).to(apart)
    ).T @ apart
    variance = strength / count
    left = min(len(strength), apart.shape[1]) - number
    dimensions = apart.shape[1] - number
    noise = float(variance[number:].sum() / max(dimensions, 1)) if left > 0 and dimensions > 0 else 0.0
    sigma = (variance[:number] - noise).clamp_min(1e-12).sqrt().to(apart)
    return (directions * sigma[:, None]).unflatten(1, mean.shape), max(noise, _LEAST_NOISE) ** 0.5


def _ordered(mean: Tensor, loadings: Tensor, noise: float) -> Components:
    """The same distribution with orthonormal directions, strongest first; the larger half of each is positive, so that runs agree."""
    flat = loadings.flatten(1)
    strength, vectors = torch.linalg.eigh((flat @ flat.T).double())
    sigma = strength.flip(0).clamp_min(1e-18).sqrt().to(flat)
    directions = vectors.flip(1).T.to(flat) @ flat / sigma[:, None]
    directions = directions * torch.where(directions.sum(1, keepdim=True) < 0, -1.0, 1.0)
    return Components(mean, directions.unflatten(1, mean.shape), sigma, noise)
