"""Whether a photo shows the same person as others: how much better its landmarks are foretold by theirs than by people in general.

What a view says about identity is a Gaussian likelihood (the Schur complement of its normal equations). Under "the same person" identity has the
others' posterior as its prior, under "a stranger" the population's. The logarithm of the ratio of the two evidences is the best test that
there is (Neyman and Pearson 1933; in recognition: probabilistic linear discriminant analysis, Ioffe, ECCV 2006), as far as the noise is known;
where to put the threshold is measured (benchmarks/fuse.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from .eliminate import ExpressionPrior
from .joint_landmarks import LandmarkView, told
from .landmark_system import LandmarkOptions, linearise
from .landmarks import fit_landmarks

_WORTH = 1.0  # of what landmarks say, as the shape fit counts it; more catches fewer strangers (benchmarks/fuse.py)
_SIGMA = 0.6  # of identity


@dataclass(frozen=True)
class IdentityEvidence:
    """A likelihood of identity x, up to a factor: exp(pull . x - x' precision x / 2).

    Attributes:
        precision: (k, k). pull: (k,).
    """

    precision: np.ndarray
    pull: np.ndarray

    def times(self, share: float) -> IdentityEvidence:
        """The same, worth so many of it."""
        return IdentityEvidence(self.precision * share, self.pull * share)


def joined(evidence: Sequence[IdentityEvidence], shared_error: float) -> IdentityEvidence:
    """What several views say together when their errors correlate: n / (1 + shared_error (n - 1)) views' worth."""
    precision = np.sum([one.precision for one in evidence], axis=0)
    pull = np.sum([one.pull for one in evidence], axis=0)
    return IdentityEvidence(precision, pull).times(1 / (1 + shared_error * (len(evidence) - 1)))


def same_person_log_odds(one: IdentityEvidence, others: IdentityEvidence, sigma: float) -> float:
    """log p(one | others) - log p(one): positive for the same person.

    Args:
        sigma: of the population's identity prior, N(0, sigma^2).
    """
    population = np.eye(len(one.pull)) / sigma**2
    return _log_evidence(one, population + others.precision, others.pull) - _log_evidence(
        one, population, np.zeros_like(one.pull)
    )


def _log_evidence(one: IdentityEvidence, precision: np.ndarray, pull: np.ndarray) -> float:
    """log of the integral of the likelihood over a prior exp(pull . x - x' precision x / 2)."""
    both = precision + one.precision
    ratio = np.linalg.slogdet(precision)[1] - np.linalg.slogdet(both)[1]
    together = pull + one.pull
    energy = together @ np.linalg.solve(both, together) - pull @ np.linalg.solve(precision, pull)
    return 0.5 * float(ratio + energy)


def identity_evidence(
    view: LandmarkView, prior: ExpressionPrior, options: LandmarkOptions
) -> IdentityEvidence:
    """What the landmarks of one photo say about identity, pose and expression integrated out."""
    options = replace(options, focal_log_sigma=view.focal_log_sigma)
    known = (view.points_px, view.principal_px, view.focal_px, prior)
    fit = fit_landmarks(view.basis, *known, options, view.trust)
    free = replace(options, identity_sigma=np.inf)
    here = linearise(view.basis, fit, *known, free, view.trust)
    precision, down = told(here, np.arange(7, 7 + len(fit.identity)))
    return IdentityEvidence(precision, precision @ fit.identity + down)


def agreement(evidence: Sequence[IdentityEvidence], shared_error: float = 0.3) -> list[float]:
    """How surely each of several views shows the same person as the others together: log odds, positive for yes."""
    found = []
    for i, one in enumerate(evidence):
        others = [other for j, other in enumerate(evidence) if j != i]
        found.append(
            same_person_log_odds(one.times(_WORTH), joined(others, shared_error).times(_WORTH), _SIGMA)
        )
    return found
