"""From scores per item to numbers in a table: means with confidence intervals over people, cumulative curves, text and JSON."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .benchmark import Curve, Evaluation, ItemScore, Row

_RESAMPLES = 1000
_CURVE_POINTS = 400
_POOLED_SAMPLES = 100_000


def row(
    what: str,
    unit: str,
    scores: Sequence[ItemScore],
    value: str,
    *,
    statistic: Callable[[NDArray[np.float64]], float] = lambda some: float(np.mean(some)),
    better: str = "lower",
) -> Row:
    """A statistic of one value over items, with the interval that other people would have given.

    Args:
        scores: those that lack the value, or have NaN there, do not count.
        value: its name in :attr:`ItemScore.values`. statistic: of the items' values; the mean when not given.
    """
    chosen = [s for s in scores if np.isfinite(s.values.get(value, np.nan))]
    values = np.array([s.values[value] for s in chosen], float)
    if not len(values):
        return Row(what, float("nan"), unit, better=better)
    low, high = interval([s.person for s in chosen], lambda ids: statistic(values[ids]))
    return Row(what, float(statistic(values)), unit, low, high, len(values), better)


def pooled_row(
    what: str,
    unit: str,
    scores: Sequence[ItemScore],
    sample: str,
    statistic: Callable[[NDArray[np.float64]], float],
    *,
    better: str = "lower",
) -> Row:
    """A statistic over all samples of all items thrown together, as NoW's median is; whole people are resampled for the interval."""
    chosen = [s for s in scores if len(s.samples.get(sample, ()))]
    if not chosen:
        return Row(what, float("nan"), unit, better=better)
    arrays = [np.asarray(s.samples[sample], float) for s in chosen]
    # Medians of millions of distances a thousand times over cost minutes and say no more than those of a share of each item.
    step = max(1, sum(map(len, arrays)) // _POOLED_SAMPLES)
    some = [array[::step] for array in arrays]
    low, high = interval(
        [s.person for s in chosen],
        lambda ids: statistic(np.concatenate([some[i] for i in ids])),
        resamples=_RESAMPLES // 4,
    )
    return Row(what, float(statistic(np.concatenate(arrays))), unit, low, high, len(chosen), better)


def interval(
    people: Sequence[str],
    statistic: Callable[[NDArray[np.int64]], float],
    *,
    resamples: int = _RESAMPLES,
    seed: int = 0,
) -> tuple[float | None, float | None]:
    """95 % percentile bootstrap over people (Efron 1979), because photos of one person are no independent evidence; None for a single one.

    Args:
        people: whom each item shows. statistic: of items by their numbers, which may come several times.
    """
    who, of_item = np.unique(np.asarray(people), return_inverse=True)
    if len(who) < 2:
        return None, None
    rng = np.random.default_rng(seed)
    picks = (rng.integers(len(who), size=len(who)) for _ in range(resamples))
    if len(who) == len(of_item):
        found = [statistic(pick) for pick in picks]
    else:
        items_of = [np.flatnonzero(of_item == i) for i in range(len(who))]
        found = [statistic(np.concatenate([items_of[i] for i in pick])) for pick in picks]
    low, high = np.nanpercentile(found, [2.5, 97.5])
    return float(low), float(high)


def curve(name: str, errors: NDArray[np.floating], unit: str) -> Curve:
    """The cumulative distribution of errors; thinned to some hundred points, the ends kept."""
    ordered = np.sort(np.asarray(errors, np.float64)[np.isfinite(errors)])
    share = np.arange(1, len(ordered) + 1) / max(len(ordered), 1)
    keep = np.unique(np.linspace(0, len(ordered) - 1, min(_CURVE_POINTS, len(ordered))).round().astype(int))
    return Curve(name, ordered[keep], share[keep], unit)


def text(result: Evaluation) -> str:
    """The table for a terminal."""
    cells = [(result.method, "", "95 % interval", "items")]
    for r in result.rows:
        between = "" if r.low is None or r.high is None else f"{r.low:.4g} to {r.high:.4g}"
        arrow = {"lower": "", "higher": " (higher is better)"}.get(r.better, "")
        cells.append((r.what + arrow, f"{r.value:.4g} {r.unit}".rstrip(), between, str(r.count or "")))
    widths = [max(len(line[i]) for line in cells) for i in range(4)]
    lines = [result.benchmark]
    lines += ["  " + "  ".join(c.ljust(w) for c, w in zip(line, widths)).rstrip() for line in cells]
    lines += [f"  {note}" for note in result.notes]
    return "\n".join(lines)


def document(result: Evaluation) -> dict[str, Any]:
    """The evaluation as JSON holds it (NaN as null); samples are left to the dump."""
    return {
        "benchmark": result.benchmark,
        "method": result.method,
        "rows": [
            {
                "what": r.what, "value": _number(r.value), "unit": r.unit, "low": _number(r.low), "high": _number(r.high),
                "count": r.count, "better": r.better,
            }
            for r in result.rows
        ],
        "notes": list(result.notes),
        "items": [
            {
                "key": s.key, "person": s.person, "group": s.group, "seconds": _number(s.seconds), "problem": s.problem,
                "values": {name: _number(value) for name, value in s.values.items()},
            }
            for s in result.scores
        ],
    }  # fmt: skip


def _number(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else float(f"{float(value):.6g}")
