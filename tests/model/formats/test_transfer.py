"""Carried over to itself, the bundled head keeps what it has."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from vultus.model import bundled
from vultus.model.transfer import Transfer


@pytest.fixture(scope="module")
def model():
    return bundled.load()


@pytest.fixture(scope="module")
def itself(model):
    mean = model.mean_mm.double().numpy()
    hidden = model.regions["inner_mouth"] | model.regions["eye_sockets"]
    visible = (model.part_of_triangle == 0) & ~hidden[model.triangles].any(1)
    ids = visible.nonzero().squeeze(-1).numpy()
    part = model.part_of_triangle.numpy()
    return Transfer(model, mean, mean, model.triangles.numpy(), part, model.part_names, ids)


def test_chart(model, itself):
    chart = itself.chart()
    known = ~chart.uv.isnan().any(1)
    lost = ~model.chart.uv.isnan().any(1) & ~known
    # Triangles that touch lids or lips from behind take some rim vertices with them, nothing else.
    assert lost.float().sum() < 0.03 * known.float().sum()
    error = (chart.uv - model.chart.uv)[known].norm(dim=1)
    assert error.median() < 1e-5
    assert error.quantile(0.97) < 0.002


def test_regions(model, itself):
    regions = itself.regions(model.chart)
    assert set(regions) == set(model.regions)
    for name, mask in model.regions.items():
        both, either = (regions[name] & mask).sum(), (regions[name] | mask).sum()
        assert both > 0.9 * either, name


def test_landmarks(model, itself):
    """Also a point on an eyeball stays there."""
    triangles = torch.cat(
        [t[:1] for t in (model.part_of_triangle == 1).nonzero()] + [torch.arange(0, 30000, 997)]
    )
    visible = torch.isin(triangles, torch.from_numpy(itself.surface_ids)) | (
        model.part_of_triangle[triangles] == 1
    )
    triangles = triangles[visible][None, None]
    weight = torch.rand(*triangles.shape, 3, generator=torch.Generator().manual_seed(0)) + 0.1
    weight /= weight.sum(-1, keepdim=True)
    table = replace(
        next(iter(model.landmarks.values())),
        name="some",
        yaw_deg=torch.zeros(1),
        pitch_deg=torch.zeros(1),
        triangle_ids=triangles,
        barycentric=weight,
        spread_mm=torch.ones(triangles.shape),
    )
    carried = replace(itself, template=replace(model, landmarks={"some": table})).landmarks()["some"]
    zero = torch.tensor(0.0)
    expected, found = (t.points(model.mean_mm, model.triangles, zero, zero) for t in (table, carried))
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)
    assert torch.equal(
        model.part_of_triangle[carried.triangle_ids], model.part_of_triangle[table.triangle_ids]
    )


def test_no_tables_no_landmarks(model, itself):
    assert replace(itself, template=replace(model, landmarks={})).landmarks() == {}


def test_albedo_and_atlas(model, itself):
    mean, axes = itself.albedo()
    error = (mean - model.albedo_mean).abs().amax(1)
    assert error.quantile(0.98) < 0.02
    assert axes.shape == model.albedo.shape
    assert (axes - model.albedo).abs().amax((0, 2)).quantile(0.98) < 0.02
    skin = model.part_of_triangle == 0
    corners = model.topology.uv[model.topology.uv_triangles[skin]]
    error = (itself.atlas()[model.triangles[skin]] - corners).norm(dim=-1)
    assert np.percentile(error.numpy(), 95) < 1e-4
