"""The landmark fit's derivatives, against finite differences of its own cost."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from vultus.fit.eliminate import ExpressionPrior
from vultus.fit.landmark_basis import landmark_basis
from vultus.fit.landmark_system import LandmarkFit, LandmarkOptions, linearise
from vultus.geometry.rigid import rotation_from_pose_angles
from vultus.model.bundled import load

CENTRE = np.full(2, 500.0)


@pytest.fixture(scope="module")
def scene():
    """A head somewhere, half wrong about everything, and detections that disagree with it."""
    model = load()
    basis = landmark_basis(model, "mediapipe478")
    prior = ExpressionPrior(
        model.expression_sigma.double().numpy(), *model.expression_range.double().numpy().T
    )
    rng = np.random.default_rng(0)
    k, e, m = basis.identity_mm.shape[1], basis.expression_mm.shape[1], basis.error_modes_mm.shape[1]
    rotation = rotation_from_pose_angles(*torch.tensor([7.0, -4.0, 25.0], dtype=torch.float64)).numpy()
    fit = LandmarkFit(
        rotation, np.array([20.0, -10.0, 900.0]), 1500.0, rng.normal(0, 0.5, k), rng.uniform(0, 0.3, e),
        rng.normal(0, 0.5, m), np.ones(478), np.zeros((478, 2)), np.eye(7), np.inf,
    )  # fmt: skip
    zero = np.zeros((478, 2))
    options = LandmarkOptions()
    seen = linearise(basis, fit, zero, CENTRE, 1400.0, prior, options, np.ones(478)).reprojection_px
    return basis, fit, seen + rng.normal(0, 6, (478, 2)), prior, rng.uniform(0.2, 1, 478), options


def at(scene, fit, basis=None):
    own, _, points, prior, trust, options = scene
    return linearise(basis or own, fit, points, CENTRE, 1400.0, prior, options, trust)


@pytest.mark.parametrize("responds", [True, False])
@pytest.mark.parametrize("part", ["identity", "expression", "bias"])
def test_downhill_is_minus_the_gradient_of_the_cost(scene, part, responds):
    basis, fit = scene[:2]
    basis = basis if responds else replace(basis, response_mm=None)
    k, e = len(fit.identity), len(fit.expression)
    first = {"identity": 7, "expression": 7 + k, "bias": 7 + k + e}[part]
    value = getattr(fit, part)
    here = at(scene, fit, basis)
    right = here.right[first : first + len(value)]
    for i in range(0, len(value), 7):
        step = np.zeros(len(value))
        step[i] = 1e-4
        cost = [at(scene, replace(fit, **{part: value + sign * step}), basis).cost for sign in (1, -1)]
        slope = (cost[0] - cost[1]) / 2e-4
        # Not differentiated: a landmark that comes nearer is less certain in pixels. One that moves by 5 mm (modes: less) at 900 mm
        # changes its share of the cost by 2 * 5 / 900. Neither bias nor the detector's response moves the surface.
        moves_surface = part == "expression" or (part == "identity" and not responds)
        slack = 2 * 5 / 900 * here.cost if moves_surface else 0
        assert -right[i] == pytest.approx(slope, rel=1e-4, abs=slack + 1e-4)


def test_curvature_is_the_product_of_numerical_derivatives(scene):
    basis, fit, points, prior, trust, options = scene
    basis = replace(basis, error_modes_mm=basis.error_modes_mm[:, :0], response_mm=None)
    # No outliers and a table that is alike in every pose, so that weights and positions stay while the pose moves.
    basis = replace(
        basis,
        **{
            name: np.broadcast_to(getattr(basis, name)[13:14], getattr(basis, name).shape)
            for name in ("mean_mm", "identity_mm", "expression_mm", "spread_mm")
        },
    )
    fit = replace(fit, bias=np.zeros(0))
    options = replace(options, outlier_sigma=1e6)

    def residual(fit):
        return linearise(basis, fit, points, CENTRE, 1400.0, prior, options, trust).reprojection_px

    def pushed(i, size):
        if i < 3:
            return replace(fit, rotation=Rotation.from_rotvec(size * np.eye(3)[i]).as_matrix() @ fit.rotation)
        if i < 6:
            return replace(fit, translation=fit.translation + size * np.eye(3)[i - 3])
        if i == 6:
            return replace(fit, focal_px=fit.focal_px * np.exp(size))
        name, place = ("identity", i - 7) if i < 7 + len(fit.identity) else ("expression", i - 107)
        value = getattr(fit, name).copy()
        value[place] += size
        return replace(fit, **{name: value})

    unknowns = [*range(7), 7, 20, 107, 130]
    columns = [(residual(pushed(i, 1e-3)) - residual(pushed(i, -1e-3))) / 2e-3 for i in unknowns]
    shape = basis.at(0.0, 0.0)
    points_mm = shape[0] + np.tensordot(fit.identity, shape[1], 1) + np.tensordot(fit.expression, shape[2], 1)
    depth = (points_mm @ fit.rotation.T + fit.translation)[:, 2]
    sigma = fit.focal_px / depth * np.sqrt(shape[3] ** 2 + options.noise_mm**2)
    weight = trust / np.where(basis.edges, options.edge_correlation, options.correlation) / sigma**2
    expected = np.einsum("alc,blc,l->ab", columns, columns, weight)
    found = linearise(basis, fit, points, CENTRE, 1400.0, prior, options, trust).normal
    found = found[np.ix_(unknowns, unknowns)]
    sizes = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
    # The mixture of pose bins has float32 weights: 1e-7 of 100 mm is 1e-4 of what 1e-3 rad move.
    off = ~np.eye(len(unknowns), dtype=bool)  # priors are on the diagonal
    np.testing.assert_allclose((found / sizes)[off], (expected / sizes)[off], atol=1e-4)
    np.testing.assert_allclose(np.diag(found)[:6], np.diag(expected)[:6], rtol=1e-4)
