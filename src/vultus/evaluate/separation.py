"""Distances between things of one person and of different people: how large they are, and how well they tell people apart.

People count the same, and so do couples of people, however many photos there are of each. Intervals resample people.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .benchmark import Row

_RESAMPLES = 1000

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Pairs:
    """Pairs that were compared.

    Attributes:
        people: (m, 2) int64, numbers of the two people. distance_mm: (m,).
    """

    people: NDArray[np.int64]
    distance_mm: Floats

    @property
    def is_same(self) -> NDArray[np.bool_]:
        """(m,): of one person."""
        return self.people[:, 0] == self.people[:, 1]


@dataclass(frozen=True)
class Separation:
    """What a set of pairs says.

    Attributes:
        within_mm: a person's median distance, averaged over people; between_mm: the same of couples. NaN: no such pairs.
        auc: probability that a pair of different people is further apart than a pair of one person, ties half. d_prime: difference of the two
            means in pooled standard deviations; 0 where all distances are the same.
    """

    within_mm: float
    between_mm: float
    auc: float
    d_prime: float

    @property
    def ratio(self) -> float:
        """Between over within: 1 tells nobody apart; NaN for 0 / 0, infinite for perfect consistency of different heads."""
        if self.within_mm == 0:
            return float("inf") if self.between_mm > 0 else float("nan")
        return self.between_mm / self.within_mm


class PairTable:
    """Pairs sorted for :meth:`separation`, which a bootstrap asks a thousand times."""

    def __init__(self, pairs: Pairs) -> None:
        self._distance = pairs.distance_mm
        self._same = pairs.is_same
        self._groups, group = np.unique(np.sort(pairs.people, 1), axis=0, return_inverse=True)
        self._group = group.ravel()
        self._size = np.bincount(self._group, minlength=len(self._groups))
        self._medians = np.array(
            [np.median(self._distance[self._group == g]) for g in range(len(self._groups))]
        )
        self._level = np.unique(self._distance, return_inverse=True)[1].ravel()
        self.num_people = int(pairs.people.max()) + 1 if len(pairs.people) else 0

    def separation(self, times: Floats | None = None) -> Separation:
        """Of the people as they are, or each taken so many ``times`` (people,).

        A couple of two people counts as often as the two can be paired; a person beside their own copy is no couple.
        """
        times = np.ones(self.num_people) if times is None else times
        p, q = self._groups.T if len(self._groups) else np.zeros((2, 0), int)
        of_group = np.where(p == q, times[p], times[p] * times[q])
        of_pair = (of_group / self._size)[self._group]
        within, between = of_pair * self._same, of_pair * ~self._same
        return Separation(
            _mean(self._medians, of_group * (p == q)),
            _mean(self._medians, of_group * (p != q)),
            self._auc(within, between),
            _d_prime(self._distance, within, between),
        )

    def _auc(self, within: Floats, between: Floats) -> float:
        """Mann and Whitney 1947, weighted: equal distances share a level and count half."""
        total = within.sum() * between.sum()
        if total == 0:
            return float("nan")
        low, high = (np.bincount(self._level, weights) for weights in (within, between))
        below = np.cumsum(low) - low
        return min(1.0, float(high @ (below + low / 2) / total))


def separation_rows(pairs: Pairs, count: int) -> tuple[Row, ...]:
    """The rows of a table about ``count`` items, with 95 % percentile bootstrap intervals over people."""
    table = PairTable(pairs)
    found = _numbers(table.separation())
    intervals = _intervals(table)
    names = (
        ("within a person", "mm", "lower"), ("between people", "mm", ""), ("between / within", "", "higher"),
        ("ROC AUC of same person", "", "higher"), ("d' of same person", "", "higher"),
    )  # fmt: skip
    return tuple(
        Row(what, value, unit, low, high, count, better)
        for (what, unit, better), value, (low, high) in zip(names, found, intervals, strict=True)
    )


def _intervals(table: PairTable) -> list[tuple[float | None, float | None]]:
    people = table.num_people
    if people < 2:
        return [(None, None)] * 5
    rng = np.random.default_rng(0)
    drawn = rng.multinomial(people, np.full(people, 1 / people), size=_RESAMPLES).astype(float)
    values = np.array([_numbers(table.separation(times)) for times in drawn])
    # Resamples that hold nobody twice, or one person only, have no such number.
    return [_percentiles(column[np.isfinite(column)]) for column in values.T]


def _percentiles(values: Floats) -> tuple[float | None, float | None]:
    if not len(values):
        return None, None
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def _numbers(found: Separation) -> tuple[float, float, float, float, float]:
    return found.within_mm, found.between_mm, found.ratio, found.auc, found.d_prime


def _mean(values: Floats, weights: Floats) -> float:
    total = float(weights.sum())
    return float(values @ weights) / total if total else float("nan")


def _d_prime(distance: Floats, within: Floats, between: Floats) -> float:
    """Green and Swets 1966: (mean_b - mean_w) / sqrt((var_b + var_w) / 2)."""
    means = [_mean(distance, weights) for weights in (within, between)]
    if not np.isfinite(means).all():
        return float("nan")
    variance = (
        sum(
            _mean((distance - mean) ** 2, weights)
            for mean, weights in zip(means, (within, between), strict=True)
        )
        / 2
    )
    gap = means[1] - means[0]
    if abs(gap) < 1e-12:
        return 0.0
    return float(gap / np.sqrt(variance)) if variance > 0 else float(np.copysign(np.inf, gap))
