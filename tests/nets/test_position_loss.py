"""Weights of texels from the model's regions, and a loss worked by hand."""

from dataclasses import replace

import pytest
import torch

from vultus.errors import BadInput
from vultus.model.bundled import load
from vultus.nets.position_loss import LossOptions, position_loss, weight_mask
from vultus.nets.position_readout import landmarks_from_map, landmarks_uv, vertices_from_map


@pytest.fixture(scope="module")
def model():
    return load()


def test_weights_of_the_bundled_chart(model):
    weight = weight_mask(model, 256)
    assert set(weight.unique().tolist()) == {
        3.0,
        4.0,
        16.0,
    }  # the chart is the face alone, and fills its square
    assert int((weight == 16).sum()) == 68  # no two points share a texel
    column, row = (landmarks_uv(model) * 256).long().T
    assert bool((weight[row, column] == 16).all())
    features = float((weight == 4).float().mean())
    # Their share of the chart's area, by the vertices.
    assert 0.25 < features < 0.6
    flat = torch.where(weight == 16, 3.5, weight)
    assert ((flat - flat.flip(1)).abs() > 0.75).float().mean() < 0.002  # symmetric but for texels at borders
    nose = model.chart.uv[model.regions["nose"] & ~model.regions["mouth"]].nanmean(0)
    brow = model.chart.uv[model.regions["forehead"]].nanmean(0)
    at = lambda uv: float(weight[int(uv[1] * 256), int(uv[0] * 256)])  # noqa: E731
    assert at(nose) in (4.0, 16.0) and at(brow) == 3.0


def test_what_is_no_face_has_no_weight(model):
    uv = model.chart.uv
    low = torch.nan_to_num(uv[:, 1]) > 0.8
    part = replace(model, regions={**model.regions, "face": model.regions["face"] & ~low, "mouth": model.regions["mouth"] & ~low})  # fmt: skip
    weight = weight_mask(part, 64)
    assert bool(((weight[54:] == 0) | (weight[54:] == 16)).all()) and bool((weight[:48] > 0).all())
    none = replace(model, regions={})
    assert set(weight_mask(none, 64).unique().tolist()) == {3.0, 16.0}
    for wrong, said in (
        (replace(model, chart=None), "no face chart"),
        (replace(model, landmarks={}), "68 points"),
    ):
        with pytest.raises(BadInput, match=said):
            weight_mask(wrong, 64)


def test_equation_1_by_hand():
    truth = torch.zeros(1, 3, 2, 2)
    predicted = truth.clone()
    predicted[0, :, 0, 0] = torch.tensor([3.0, 4, 0])  # distance 5
    predicted[0, :, 0, 1] = torch.tensor([0.0, 0, 1])  # distance 1
    predicted[0, :, 1, 0] = 100.0  # no weight
    weight = torch.tensor([[16.0, 4], [0, 3]])
    found = position_loss(predicted, truth, weight)
    assert float(found.total) == pytest.approx((16 * 5 + 4 * 1) / 23) and found.total is found.position
    assert float(found.normals) == 0 and float(found.edges) == 0
    both = position_loss(predicted.expand(2, -1, -1, -1), truth.expand(2, -1, -1, -1), weight)
    assert float(both.total) == pytest.approx(float(found.total))


def test_what_has_no_weight_gets_no_gradient_and_a_perfect_map_a_finite_one():
    predicted = torch.rand(1, 3, 4, 4, requires_grad=True)
    weight = torch.ones(4, 4)
    weight[1] = 0
    position_loss(predicted, torch.rand(1, 3, 4, 4), weight).total.backward()
    assert predicted.grad is not None
    assert bool((predicted.grad[:, :, 1] == 0).all()) and bool(
        (predicted.grad[:, :, 0].abs().sum(1) > 0).all()
    )
    perfect = torch.rand(1, 3, 4, 4, requires_grad=True)
    found = position_loss(perfect, perfect.detach().clone(), torch.ones(4, 4), LossOptions(1.0, 1.0))
    found.total.backward()
    position, normals, edges = (float(term.detach()) for term in found[1:])
    assert position < 1e-9 and edges < 1e-9 and normals == pytest.approx(0, abs=1e-6)
    assert perfect.grad is not None and bool(perfect.grad.isfinite().all())


def test_terms_about_shape():
    axis = torch.arange(6.0)
    flat = torch.stack([axis.expand(6, 6), axis[:, None].expand(6, 6), torch.zeros(6, 6)])[None]
    wide = flat * torch.tensor([2.0, 1, 1])[:, None, None]  # neighbours to the right twice as far
    tilted = torch.stack([flat[0, 0] * 0.6, flat[0, 1], flat[0, 0] * 0.8])[
        None
    ]  # turned by acos 0.6, same lengths
    options = LossOptions(normals=2.0, edges=3.0)
    weight = torch.ones(6, 6)
    stretched, turned = (position_loss(p, flat, weight, options) for p in (wide, tilted))
    assert float(stretched.edges) == pytest.approx(0.5) and float(stretched.normals) == pytest.approx(
        0, abs=1e-6
    )
    assert float(turned.edges) == pytest.approx(0, abs=1e-6) and float(turned.normals) == pytest.approx(0.4, abs=1e-6)  # fmt: skip
    assert float(turned.total) == pytest.approx(float(turned.position) + 2 * 0.4, abs=1e-5)


def test_wrong_shapes(model):
    with pytest.raises(BadInput, match="one size"):
        position_loss(torch.rand(1, 3, 4, 4), torch.rand(1, 3, 4, 4), torch.ones(8, 8))
    with pytest.raises(BadInput, match="all zero"):
        position_loss(torch.rand(1, 3, 4, 4), torch.rand(1, 3, 4, 4), torch.zeros(4, 4))


def test_reading_a_map_of_chart_coordinates(model):
    # A map that holds its own coordinates gives every vertex its place, and every landmark too.
    axis = (torch.arange(64) + 0.5) / 64
    v, u = torch.meshgrid(axis, axis, indexing="ij")
    own = torch.stack([u, v, u + v])
    found = vertices_from_map(model, own)
    inside = ~model.chart.uv[:, 0].isnan()
    assert (found[inside, :2] - model.chart.uv[inside]).abs().max() < 1e-5 and bool(
        found[~inside].isnan().all()
    )
    marks = landmarks_from_map(model, own[None])
    assert marks.shape == (1, 68, 3) and (marks[0, :, :2] - landmarks_uv(model)).abs().max() < 1e-5
