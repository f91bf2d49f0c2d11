"""The prior over deformation maps: how large, how smooth, how stiff at the openings."""

import numpy as np
import pytest
import torch

from vultus.fit.smoothness import PriorOptions, chart_positions, map_prior
from vultus.model.bundled import load

SIZE = 48


@pytest.fixture(scope="module")
def model():
    return load()


def covariance_of(prior, texel: int) -> np.ndarray:
    unit = np.zeros(prior.precision.shape[0])
    unit[texel] = 1
    return prior.factor.solve(unit)


def texel_at(model, point_mm) -> int:
    position = chart_positions(model, model.mean_mm, SIZE).flatten(1).T
    return int((position - torch.tensor(point_mm)).norm(dim=1).argmin())


def test_offsets_have_the_size_and_reach_that_were_asked_for(model):
    options = PriorOptions(sigma_mm=2.0, correlation_mm=30.0)
    prior = map_prior(model, SIZE, options)
    position = chart_positions(model, model.mean_mm, SIZE).flatten(1).T.numpy()
    cheek = texel_at(
        model, model.mean_mm[model.regions["cheeks"] & (model.mean_mm[:, 0] > 0)].mean(0).tolist()
    )
    column = covariance_of(prior, cheek)
    # Rows and columns of the chart do not meet at right angles everywhere, which costs some accuracy.
    assert np.sqrt(column[cheek]) == pytest.approx(2.0, rel=0.3)
    distance = np.linalg.norm(position - position[cheek], axis=1)
    correlation = column / column[cheek]
    assert correlation[distance < 5].mean() > 0.75
    assert 0 < correlation[(distance > 12) & (distance < 18)].mean() < 0.7
    assert np.abs(correlation[distance > 60]).max() < 0.15


def test_lids_and_lips_are_stiff_and_lips_move_together(model):
    prior = map_prior(model, SIZE, PriorOptions(sigma_mm=1.5))
    rim = model.chart.triangles[model.chart.is_membrane].unique()
    at_lips = model.regions["mouth"][rim]

    def texels(ids):
        uv = (model.chart.uv[ids] * SIZE).long().clamp(0, SIZE - 1)
        return (uv[:, 1] * SIZE + uv[:, 0]).unique().tolist()

    lids, lips = texels(rim[~at_lips])[::5], texels(rim[at_lips])[::5]
    sigma = lambda ids: np.sqrt([covariance_of(prior, i)[i] for i in ids])  # noqa: E731
    assert sigma(lids).max() < 0.9 and sigma(lips).max() < 1.3
    middle = rim[at_lips][model.mean_mm[rim[at_lips], 0].abs() < 4]
    height = model.chart.uv[middle, 1]
    upper, lower = (texels(middle[i : i + 1])[0] for i in (int(height.argmin()), int(height.argmax())))
    column = covariance_of(prior, upper)
    assert column[lower] / np.sqrt(column[upper] * covariance_of(prior, lower)[lower]) > 0.8


@pytest.mark.parametrize("smoothness", ["laplacian", "tv"])
def test_the_factor_belongs_to_a_positive_precision(model, smoothness):
    prior = map_prior(model, 16, PriorOptions(smoothness=smoothness))
    dense = prior.precision.toarray()
    assert np.allclose(dense, dense.T, rtol=1e-6) and np.linalg.eigvalsh(dense).min() > 0
    values = np.random.default_rng(0).normal(size=(256, 3))
    assert np.allclose(prior.factor.solve(prior.precision @ values), values)
    assert prior.energy(values) == pytest.approx(0.5 * np.einsum("ni,nm,mi", values, dense, values))
    assert map_prior(model, 16, PriorOptions(smoothness=smoothness)) is prior


def test_published_smoothness_allows_sharper_changes(model):
    """A one-texel spike costs more under a prior that bends smoothly."""
    spike = np.zeros((SIZE * SIZE, 1))
    spike[texel_at(model, [0.0, 60.0, 30.0])] = 1
    published, bending = (
        map_prior(model, SIZE, PriorOptions(smoothness=s)).energy(spike) for s in ("tv", "laplacian")
    )  # type: ignore[arg-type]
    assert published < 0.5 * bending
