"""The basis network: what its maps are made of, and what it starts from."""

from __future__ import annotations

import pytest
import torch

from vultus.errors import BadInput
from vultus.geometry.position_map import normalised
from vultus.model.catalog import load_model
from vultus.nets.position import PositionConfig, network_of
from vultus.nets.position_basis import COMPONENTS, BasisPositionNet, map_basis
from vultus.nets.position_readout import vertices_from_map
from vultus.render.bake import bake

SIZE = 64


@pytest.fixture(scope="module")
def basis() -> torch.Tensor:
    return map_basis(load_model("vultus"), SIZE)


def test_the_basis_spans_the_channels_of_a_turned_head(basis: torch.Tensor):
    model = load_model("vultus")
    chart = model.chart
    assert chart is not None
    yaw = torch.tensor(1.1)
    turn = torch.tensor([[yaw.cos(), 0, yaw.sin()], [0, 1, 0], [-yaw.sin(), 0, yaw.cos()]])
    points = model.mean_mm @ turn.T
    truth, covered = bake(points, chart.topology, torch.arange(len(chart.triangles)), SIZE)
    columns = basis[:, covered].T
    solution = torch.linalg.lstsq(columns, truth[:, covered].T).solution
    error_mm = (columns @ solution - truth[:, covered].T).norm(dim=1)
    assert float(error_mm.mean()) < 0.6


def test_the_basis_is_the_same_whatever_was_drawn_before(basis: torch.Tensor):
    before = torch.random.get_rng_state()
    assert torch.equal(map_basis(load_model("vultus"), SIZE), basis)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_basis_maps_are_orthogonal_to_the_constant_one_and_fall_in_size(basis: torch.Tensor):
    assert basis.shape == (COMPONENTS + 1, SIZE, SIZE)
    size = basis[1:].square().mean((1, 2)).sqrt()
    assert bool((size[1:10] <= size[:9] * 1.3).all()) and float(size[0]) > 50 * float(size[-1]) > 0


def test_every_number_of_the_map_depends_on_the_picture_and_the_size_is_half_of_the_crop():
    torch.manual_seed(0)
    network = network_of(PositionConfig("basis", 128))
    assert isinstance(network, BasisPositionNet)
    network.set_basis(load_model("vultus"))
    image = torch.rand(2, 3, 128, 128, requires_grad=True)
    out = network(image)
    assert out.shape == (2, 3, 64, 64)
    assert torch.allclose(
        out, normalised(torch.full_like(out, 64.0), 128), atol=0.6
    )  # starts near the middle
    (slope,) = torch.autograd.grad(out[0, 0, 5, 7], image)
    assert float(slope[0].abs().amax(0)[8:-8, 8:-8].min()) >= 0 and float(slope[1].abs().max()) == 0
    assert float((slope[0] != 0).float().mean()) > 0.95


def test_crops_that_do_not_halve_six_times_are_refused():
    with pytest.raises(BadInput, match="multiple of 64"):
        PositionConfig("basis", 160)


def test_a_face_in_the_map_is_found_at_the_vertices(basis: torch.Tensor):
    model = load_model("vultus")
    vertices = vertices_from_map(model, basis[:3])
    assert vertices.shape == (len(model.mean_mm), 3)
