"""Maps as files, the normal map against the normals that it stands for, and the dense mesh."""

import pytest
import torch
from synthetic_model import synthetic_model, synthetic_reconstruction

from vultus.errors import BadFile
from vultus.geometry.mesh import vertex_normals
from vultus.io.maps import (
    dense_mesh,
    normal_texture,
    read_deformation,
    read_displacement,
    write_deformation,
    write_displacement,
)
from vultus.io.ply import read_ply, write_ply
from vultus.model.bundled import load
from vultus.render.bake import bake


@pytest.fixture(scope="module")
def model():
    return load()


@pytest.mark.parametrize(("largest_mm", "step_mm"), [(0.5, 1e-4), (3.2, 1e-4), (6.5534, 2e-4), (0.0, 1e-4)])
def test_displacements_come_back_to_half_a_step(tmp_path, largest_mm, step_mm):
    generator = torch.Generator().manual_seed(0)
    d = largest_mm * (2 * torch.rand(40, 30, generator=generator) - 1)
    d[0, 0], d[0, 1] = largest_mm, -largest_mm
    entry = write_displacement(tmp_path / "displacement.png", d)
    assert entry["mm_per_step"] == pytest.approx(step_mm, rel=1e-3) and entry["zero"] == 32768
    again = read_displacement(tmp_path, entry)
    torch.testing.assert_close(again, d, atol=0.51 * step_mm, rtol=0)
    assert again[d == 0].abs().sum() == 0
    # What was read is written again without a change.
    assert write_displacement(tmp_path / "again.png", again)["mm_per_step"] == pytest.approx(
        entry["mm_per_step"], rel=1e-4
    )


def test_deformations_come_back_exactly(tmp_path):
    values = torch.randn(3, 16, 16)
    write_deformation(tmp_path / "deformation.npz", values)
    assert torch.equal(read_deformation(tmp_path / "deformation.npz"), values)
    for content in (b"", b"PK rubbish"):
        (tmp_path / "bad.npz").write_bytes(content)
        with pytest.raises(BadFile, match="bad"):
            read_deformation(tmp_path / "bad.npz")
    write_deformation(tmp_path / "flat.npz", torch.zeros(2, 4, 4))
    with pytest.raises(BadFile, match="shape"):
        read_deformation(tmp_path / "flat.npz")


def test_a_flat_displacement_gives_a_flat_normal_map(model):
    image = normal_texture(model, model.mean_mm, torch.zeros(64, 64), 128)
    flat = torch.tensor([0.5, 0.5, 1.0])[:, None, None].expand_as(image)
    torch.testing.assert_close(image, flat, atol=1e-3, rtol=0)


def test_a_bump_leans_outwards_in_the_normal_map(model):
    """A hill on the cheek: left of it normals point left (red low), above it up (green high)."""
    size = 256
    axis = (torch.arange(size) + 0.5) / size
    v, u = torch.meshgrid(axis, axis, indexing="ij")
    hill = 1.5 * torch.exp(-0.5 * ((u - 0.25) ** 2 + (v - 0.5) ** 2) / 0.02**2)
    image = normal_texture(model, model.mean_mm, hill, 512)
    at = lambda u, v: image[:, int((0.115 + 0.77 * v) * 512), int((0.115 + 0.77 * u) * 512)]  # noqa: E731
    assert at(0.23, 0.5)[0] < 0.45 < 0.55 < at(0.27, 0.5)[0]
    assert at(0.25, 0.48)[1] > 0.55 > 0.45 > at(0.25, 0.52)[1]
    torch.testing.assert_close(at(0.7, 0.5), torch.tensor([0.5, 0.5, 1.0]), atol=2e-3, rtol=0)
    assert ((2 * image - 1).norm(dim=0) - 1).abs().max() < 1e-4


def test_the_dense_mesh_lies_on_the_head(model):
    d = torch.zeros(96, 96)
    mesh = dense_mesh(model, model.mean_mm, d)
    chart = model.chart
    on_surface, covered = bake(model.mean_mm, chart.topology, (~chart.is_membrane).nonzero().squeeze(-1), 96)
    assert 0.9 * float(covered.sum()) < len(mesh.vertices) <= int(covered.sum())
    nearest = torch.cdist(mesh.vertices[::50], on_surface[:, covered].T).min(1).values
    assert nearest.max() < 0.1  # cdist rounds
    # Wound like the head, and moved outwards by a displacement.
    normals = vertex_normals(mesh.vertices, mesh.topology.triangles)
    assert (normals[:, 2] > 0).float().mean() > 0.8
    raised = dense_mesh(model, model.mean_mm, d + 1.0)
    torch.testing.assert_close(
        (raised.vertices - mesh.vertices).norm(dim=-1), torch.ones(len(mesh.vertices)), atol=1e-4, rtol=0
    )
    assert ((raised.vertices - mesh.vertices) * normals).sum(-1).median() > 0.98
    uv = mesh.topology.uv
    assert uv.min() > 0.11 and uv.max() < 0.89  # the chart's place in the skin's texture (docs/model.md)


def test_the_dense_mesh_of_another_model_and_its_ply(tmp_path):
    result = synthetic_reconstruction()
    mesh = dense_mesh(synthetic_model(), result.mesh.vertices, result.geometry.displacement_mm)
    assert torch.isfinite(mesh.vertices).all() and len(mesh.topology.triangles) > 500
    colours = torch.rand(len(mesh.vertices), 3)
    write_ply(tmp_path / "dense.ply", mesh, colours, normals=False, uv=True)
    header = (tmp_path / "dense.ply").read_bytes()[:500].decode("ascii", "replace")
    assert "property float s" in header and "property uchar red" in header and "nx" not in header
    again = read_ply(tmp_path / "dense.ply")
    torch.testing.assert_close(again.vertices, mesh.vertices, atol=1e-5, rtol=0)
    assert torch.equal(again.topology.triangles, mesh.topology.triangles)
