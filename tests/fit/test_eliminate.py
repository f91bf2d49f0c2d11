"""Normal equations with bounds, against what optimal steps have in common, and marginals against covariances."""

import numpy as np

from vultus.fit.eliminate import ExpressionPrior, bounded_solve, marginal


def system(seed, size=9):
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(size, 2 * size))
    return root @ root.T, rng.normal(size=size) * 20


def test_far_bounds_leave_the_solution_alone():
    normal, right = system(0)
    prior = ExpressionPrior(np.ones(3), np.full(3, -1e6), np.full(3, 1e6))
    step = bounded_solve(normal, right, np.zeros(3), prior, 4)
    np.testing.assert_allclose(step, np.linalg.solve(normal, right), rtol=1e-10)


def test_bounds_hold_and_the_others_answer_to_them():
    for seed in range(20):
        normal, right = system(seed)
        expression = np.array([0.1, 0.5, 0.0])
        prior = ExpressionPrior(np.ones(3), np.zeros(3), np.ones(3))
        step = bounded_solve(normal, right, expression, prior, 4)
        inside = expression + step[4:7]
        assert inside.min() >= -1e-8
        assert inside.max() <= 1 + 1e-8
        # Whatever is not at a bound solves the equations: nothing pulls it any further.
        pull = right - normal @ step
        free = np.r_[np.arange(4), 4 + np.flatnonzero((inside > 1e-8) & (inside < 1 - 1e-8)), 7, 8]
        np.testing.assert_allclose(pull[free], 0, atol=1e-8)


def test_one_bound_is_the_best_of_all_that_keep_it():
    normal, right = system(3)
    prior = ExpressionPrior(np.ones(1), np.zeros(1), np.ones(1))
    step = bounded_solve(normal, right, np.array([0.5]), prior, 2)
    objective = lambda s: 0.5 * s @ normal @ s - right @ s  # noqa: E731
    others = np.delete(np.arange(9), 2)
    for value in np.linspace(-0.5, 0.5, 11):
        rival = np.zeros(9)
        rival[2] = value
        rival[others] = np.linalg.solve(
            normal[np.ix_(others, others)], right[others] - normal[others, 2] * value
        )
        assert objective(step) <= objective(rival) + 1e-9


def test_marginal_is_the_inverse_of_the_covariance():
    normal, _ = system(5)
    np.testing.assert_allclose(
        np.linalg.inv(marginal(normal, 4)), np.linalg.inv(normal)[:4, :4], rtol=1e-9, atol=1e-12
    )
    np.testing.assert_array_equal(marginal(normal, 9), normal)
