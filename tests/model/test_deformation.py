"""The deformation operator: bilinear in the chart, smooth beyond it, still where nothing may move."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from synthetic_model import synthetic_model

from vultus.errors import BadInput
from vultus.geometry.mesh import edges, vertex_normals
from vultus.model.bundled import load
from vultus.model.deformation import REACH_MM, deformation_offsets, deformation_operator, face_vertices
from vultus.model.face import CoarseFace, DeformedFace, DetailedFace


@pytest.fixture(scope="module")
def model():
    return load()


def wave(size: int) -> torch.Tensor:
    """A smooth map "3 m m" of several millimetres that does not vanish at the border."""
    place = (torch.arange(size) + 0.5) / size
    v, u = torch.meshgrid(place, place, indexing="ij")
    return torch.stack(
        [2 * torch.sin(3 * u + 2 * v), 3 * torch.cos(4 * v), 4 * torch.sin(3 * u + 1) * torch.cos(4 * v)]
    )


@pytest.mark.parametrize("size", [16, 64])
def test_chart_vertices_take_the_bilinear_value(model, size):
    field = torch.randn(3, size, size, generator=torch.Generator().manual_seed(0))
    inside = torch.isfinite(model.chart.uv[:, 0])
    grid = 2 * model.chart.uv[inside] - 1
    expected = F.grid_sample(field[None], grid[None, None], padding_mode="border", align_corners=False)[
        0, :, 0
    ].T
    assert torch.allclose(deformation_offsets(model, field)[inside], expected, atol=1e-5)


def test_nothing_hard_moves_and_lashes_follow_their_lids(model):
    offsets = deformation_offsets(model, wave(64))
    for part in ("eye_left", "eye_right", "teeth", "tongue"):
        assert offsets[model.part_triangles(part).unique()].abs().max() == 0
    lashes = model.part_triangles("lashes").unique()
    rim = model.chart.triangles[model.chart.is_membrane].unique()
    nearest = rim[torch.cdist(model.mean_mm[lashes], model.mean_mm[rim]).argmin(1)]
    # The wave changes by less than 0.2 mm over the few millimetres of lid that a lash follows.
    assert (offsets[lashes] - offsets[nearest]).norm(dim=1).max() < 0.4


def test_a_constant_map_moves_the_chart_as_a_whole_and_fades_beyond_it(model):
    moved = deformation_offsets(model, torch.ones(3, 32, 32))[:, 0]
    inside = torch.isfinite(model.chart.uv[:, 0])
    assert torch.allclose(moved[inside], torch.ones(int(inside.sum())), atol=1e-5)
    assert moved.min() >= -0.02 and moved.max() <= 1.02
    skin = torch.zeros_like(inside)
    skin[model.part_triangles("skin").unique()] = True
    far = torch.cdist(model.mean_mm[skin & ~inside], model.mean_mm[inside]).amin(1) > REACH_MM
    assert far.any() and moved[skin & ~inside][far].abs().max() == 0
    outer = skin & ~inside & ~(model.regions["inner_mouth"] | model.regions["eye_sockets"])
    distance, outer = torch.cdist(model.mean_mm[outer], model.mean_mm[inside]).amin(1), moved[outer]
    rings = [float(outer[(distance >= low) & (distance < low + 6)].mean()) for low in range(0, 30, 6)]
    assert rings == sorted(rings, reverse=True) and rings[0] > 0.75 and rings[-1] < 0.03


def test_there_is_no_step_at_the_border_of_the_chart(model):
    inside = torch.isfinite(model.chart.uv[:, 0])
    before = vertex_normals(model.mean_mm, model.triangles)
    offsets = deformation_offsets(model, wave(64))
    turn = vertex_normals(model.mean_mm + offsets, model.triangles) - before
    outer = torch.zeros_like(inside)
    outer[model.part_triangles("skin").unique()] = True
    outer &= ~(model.regions["inner_mouth"] | model.regions["eye_sockets"])
    pairs = edges(model.part_triangles("skin"))
    pairs = pairs[outer[pairs].all(1)]
    length = (model.mean_mm[pairs[:, 0]] - model.mean_mm[pairs[:, 1]]).norm(dim=1).clamp_min(0.5)
    bend = (turn[pairs[:, 0]] - turn[pairs[:, 1]]).norm(dim=1) / length
    number = inside[pairs].sum(1)
    # Across the border the surface bends much less than the same map bends it inside; a harmonic continuation bends twice as much.
    assert bend[number == 1].max() < 0.5 * bend[number == 2].quantile(0.99)
    assert bend[number == 1].median() < 3 * bend[number == 2].median()


def test_the_nearest_map_gives_the_vertices_back(model):
    operator = deformation_operator(model, 32)
    offsets = operator.offsets_mm(wave(32))
    seen = torch.isfinite(model.chart.uv[:, 0]).float()
    found = operator.nearest_map(offsets, seen)
    assert found.shape == (3, 32, 32)
    assert (operator.offsets_mm(found) - offsets).norm(dim=1).max() < 0.05
    assert operator.nearest_map(offsets, 0 * seen).abs().max() < 1e-5  # nothing known: no motion


def test_offsets_are_linear_and_differentiable(model):
    operator = deformation_operator(model, 8)
    field = torch.randn(3, 8, 8, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(len(model.mean_mm), 3, dtype=torch.float64)
    (slope,) = torch.autograd.grad((operator.offsets_mm(field) * weight).sum(), field)
    step = torch.randn_like(field)
    change = (
        (operator.offsets_mm(field.detach() + step) - operator.offsets_mm(field.detach())) * weight
    ).sum()
    assert torch.allclose((slope * step).sum(), change, rtol=1e-6)


def test_vertices_of_a_face_at_every_level(model):
    coarse = CoarseFace(model.mean_code(), torch.eye(4), torch.zeros(3, 9))
    deformed = DeformedFace(coarse, wave(64))
    assert torch.equal(face_vertices(model, coarse), model.mean_mm)
    assert torch.equal(face_vertices(model, DeformedFace(coarse, 0 * wave(64))), model.mean_mm)
    moved = face_vertices(model, deformed)
    assert torch.allclose(moved - model.mean_mm, deformation_offsets(model, wave(64)), atol=1e-4)
    detailed = DetailedFace(deformed, torch.zeros(8, 8))
    assert torch.equal(face_vertices(model, detailed), moved)
    assert coarse.coarse is deformed.coarse is detailed.coarse


def test_small_models_and_models_without_a_chart():
    small = synthetic_model()
    offsets = deformation_offsets(small, torch.ones(3, 16, 16))
    assert offsets.isfinite().all() and offsets.abs().max() < 1.05
    assert offsets[small.part_triangles("eye_left").unique()].abs().max() == 0
    bare = dataclasses.replace(small, chart=None)
    with pytest.raises(BadInput, match="no face chart"):
        deformation_offsets(bare, torch.zeros(3, 16, 16))
