"""Tables: means, intervals over people, curves, JSON without NaN."""

import json

import numpy as np
import pytest

from vultus.errors import BadInput
from vultus.evaluate.benchmark import Item, ItemScore, Prediction, evaluation, run_item
from vultus.evaluate.summary import curve, document, interval, pooled_row, row, text


def scores(values, people=None):
    people = people or [str(i) for i in range(len(values))]
    return [
        ItemScore(f"k{i}", who, values={"mm": v}, samples={"d": np.full(i + 1, v)})
        for i, (v, who) in enumerate(zip(values, people, strict=True))
    ]


def test_a_row_is_the_mean_and_leaves_out_what_was_not_measured():
    found = row("x", "mm", scores([1.0, 2.0, np.nan, 6.0]), "mm")
    assert found.value == pytest.approx(3) and found.count == 3
    assert np.isnan(row("x", "mm", scores([1.0]), "absent").value)
    assert row("x", "mm", scores([1.0, 5.0, 3.0]), "mm", statistic=lambda v: float(np.median(v))).value == 3


def test_the_interval_covers_the_mean_as_often_as_it_says():
    """200 samples of 40 normal numbers: a 95 % interval misses the true mean in about 10; 24 would be three sigma and more."""
    rng = np.random.default_rng(0)
    missed = 0
    for _ in range(200):
        values = rng.normal(3.0, 1.0, 40)
        low, high = interval([str(i) for i in range(40)], lambda ids: float(values[ids].mean()))  # noqa: B023
        missed += not low <= 3.0 <= high
    assert 2 <= missed <= 24


def test_photos_of_one_person_are_no_independent_evidence():
    """Ten people with ten equal photos each: the interval must be that of ten numbers, not of a hundred."""
    values = np.repeat(np.random.default_rng(0).normal(size=10), 10)
    mean = lambda ids: float(values[ids].mean())  # noqa: E731
    people = [str(i // 10) for i in range(100)]
    wide, narrow = (np.diff(interval(who, mean))[0] for who in (people, [str(i) for i in range(100)]))
    assert wide > 2.5 * narrow
    assert interval(["a"] * 3, mean) == (None, None)


def test_pooled_rows_count_samples_not_items():
    """One distance of 1, two of 2, three of 9: their median is (2 + 9) / 2, the mean of the medians would be 4."""
    assert pooled_row("x", "mm", scores([1.0, 2.0, 9.0]), "d", lambda d: float(np.median(d))).value == 5.5


def test_a_curve_is_a_cumulative_distribution():
    found = curve("x", np.array([3.0, 1.0, np.nan, 2.0, 2.0]), "mm")
    assert found.errors.tolist() == [1, 2, 2, 3] and found.share.tolist() == [0.25, 0.5, 0.75, 1]
    assert len(curve("x", np.random.default_rng(0).normal(size=10_000), "mm").errors) <= 400


class Ones:
    """A benchmark of two items with the value one."""

    name = "ones"
    items = (Item("a", "a"), Item("b", "b"))

    def score(self, item, prediction):
        return ItemScore.of(item, {"mm": 1.0})

    def summarise(self, scores):
        return (row("one", "mm", scores, "mm"),), (), ("a note",)


def test_failures_are_counted_and_never_averaged():
    def method(item):
        if item.key == "b":
            raise BadInput("b is\nbad")
        return Prediction(seconds=0.5)

    results = [run_item(Ones(), method, item) for item in Ones.items]
    assert results[0].seconds == 0.5 and results[1].problem == "b is bad"
    found = evaluation(Ones(), "m", results)
    assert (
        found.rows[0].count == 1 and "1 of 2 not scored" in found.notes[-1] and "b is bad" in found.notes[-1]
    )
    assert "one  1 mm" in text(found) and "a note" in text(found)
    assert json.loads(json.dumps(document(found), allow_nan=False))["items"][1]["problem"] == "b is bad"
    assert evaluation(Ones(), "m", [results[1]]).rows == ()


def test_a_bug_does_not_pass_for_a_bad_photo():
    def method(item):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_item(Ones(), method, Ones.items[0])
