"""The odds that two views show one person: against numbers integrated by sampling, and their signs."""

import numpy as np
import pytest

from vultus.fit.same_person import IdentityEvidence, agreement, joined, same_person_log_odds


def said(identity, precision):
    return IdentityEvidence(precision * np.eye(len(identity)), precision * np.asarray(identity, float))


def test_odds_are_the_ratio_of_two_integrals():
    one, others, sigma = said([0.4], 6.0), said([1.1], 3.0), 0.7
    x = np.linspace(-8, 8, 20001)

    def evidence(log_prior):
        prior = np.exp(log_prior - log_prior.max())
        likelihood = np.exp(one.pull[0] * x - 0.5 * one.precision[0, 0] * x**2)
        return (prior * likelihood).sum() / prior.sum()

    people = -0.5 * x**2 / sigma**2
    known = people + others.pull[0] * x - 0.5 * others.precision[0, 0] * x**2
    expected = np.log(evidence(known) / evidence(people))
    assert same_person_log_odds(one, others, sigma) == pytest.approx(expected, abs=1e-6)


def test_a_stranger_among_friends_is_the_least_likely():
    rng = np.random.default_rng(0)
    person, stranger = rng.normal(0, 0.6, (2, 30))
    views = [said(person + rng.normal(0, 0.1, 30), 100.0) for _ in range(4)]
    views.insert(2, said(stranger + rng.normal(0, 0.1, 30), 100.0))
    odds = agreement(views)
    assert int(np.argmin(odds)) == 2
    assert odds[2] < 0
    assert min(agreement(views[:2] + views[3:])) > 0


def test_what_says_nothing_is_neither():
    nothing = IdentityEvidence(np.zeros((5, 5)), np.zeros(5))
    assert same_person_log_odds(nothing, said(np.ones(5), 10.0), 0.6) == pytest.approx(0.0)


def test_views_that_err_alike_count_less():
    views = [said([1.0], 2.0)] * 4
    assert joined(views, 0.0).precision[0, 0] == pytest.approx(8)
    assert joined(views, 1.0).precision[0, 0] == pytest.approx(2)
