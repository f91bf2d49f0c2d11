"""Maps of surfaces whose geometry is known in closed form."""

import math

import pytest
import torch

from vultus.geometry.chart_map import detailed_normals, displaced, grid_normals, metric, tangent_space, unit

SIZE = 64


def sphere(radius_mm: float = 80.0, dtype=torch.float64) -> torch.Tensor:
    """The front of a sphere seen from outside: u right, v down; positions "3 h w"."""
    axis = ((torch.arange(SIZE, dtype=dtype) + 0.5) / SIZE - 0.5) * 1.2
    v, u = torch.meshgrid(axis, axis, indexing="ij")
    return radius_mm * torch.stack([torch.sin(u) * torch.cos(v), -torch.sin(v), torch.cos(u) * torch.cos(v)])


def plane(dtype=torch.float64) -> torch.Tensor:
    """A plane of texels 0.5 mm wide, x right and y up."""
    axis = (torch.arange(SIZE, dtype=dtype) + 0.5) * 0.5
    v, u = torch.meshgrid(axis, axis, indexing="ij")
    return torch.stack([u, -v, torch.zeros_like(u)])


def test_grid_normals_point_out_of_a_sphere():
    position = sphere()
    inner = (slice(None), slice(1, -1), slice(1, -1))
    torch.testing.assert_close(grid_normals(position)[inner], unit(position)[inner], atol=2e-4, rtol=0)


def test_no_displacement_keeps_the_smooth_normals():
    position = sphere()
    smooth = unit(position + 0.3 * torch.randn(3, 1, 1, dtype=torch.float64))
    torch.testing.assert_close(detailed_normals(position, smooth, torch.zeros(SIZE, SIZE).double()), smooth)


def test_a_wave_on_a_plane_turns_the_normals_as_calculus_says():
    position = plane()
    normals = torch.zeros_like(position)
    normals[2] = 1
    k = 2 * math.pi / 12.0
    d = 0.4 * torch.sin(k * position[0])
    slope = 0.4 * math.sin(k * 0.5) / 0.5 * torch.cos(k * position[0])  # of central differences over 1 mm
    expected = unit(torch.stack([-slope, torch.zeros_like(slope), torch.ones_like(slope)]))
    found = detailed_normals(position, normals, d)[:, :, 1:-1]
    torch.testing.assert_close(found, expected[:, :, 1:-1], atol=1e-9, rtol=0)
    raw = detailed_normals(position, normals, d, normalised=False)
    torch.testing.assert_close(unit(raw), detailed_normals(position, normals, d))
    torch.testing.assert_close(displaced(position, normals, d)[2], d)


def test_metric_gives_the_surface_gradient():
    """f = a . x restricted to a sphere has the gradient a - (a . n) n."""
    position = sphere()
    a = torch.tensor([0.3, -0.7, 0.2], dtype=torch.float64)[:, None, None]
    down, right = torch.gradient((a * position).sum(0))
    surface = metric(position)
    gradient = right * surface.along_u + down * surface.along_v
    n = unit(position)
    inner = (slice(None), slice(2, -2), slice(2, -2))
    torch.testing.assert_close(gradient[inner], (a - (a * n).sum(0) * n)[inner], atol=1e-3, rtol=0)
    assert float(surface.area_mm2[2:-2, 2:-2].mean()) == pytest.approx(
        (80 * 1.2 / SIZE) ** 2 * 0.94, rel=0.03
    )


def test_tangent_space_is_flat_without_wrinkles_and_leans_towards_the_slope():
    position = sphere()
    n, right = unit(position), torch.gradient(position, dim=2)[0]
    flat = tangent_space(n, n, right)
    torch.testing.assert_close(flat, torch.tensor([0.0, 0, 1]).double()[:, None, None].expand_as(flat))
    up = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)[:, None, None]
    leaning = (
        tangent_space(unit(n + 0.2 * unit(right)), n, right),
        tangent_space(unit(n + 0.2 * up), n, right),
    )
    assert (leaning[0][0] > 0.1).all() and leaning[0][1].abs().max() < 1e-6
    assert (leaning[1][1] > 0.05).all()


def test_batch_equals_loop_and_folds_stay_finite():
    position = torch.stack([sphere(), sphere(60.0)])
    d = torch.randn(2, SIZE, SIZE, dtype=torch.float64)
    normals = unit(position)
    together = detailed_normals(position, normals, d)
    for i in range(2):
        torch.testing.assert_close(together[i], detailed_normals(position[i], normals[i], d[i]))
    folded = sphere()
    folded[:, 20:30] = folded[:, 20:21]
    assert all(torch.isfinite(part).all() for part in (*vars(metric(folded)).values(), grid_normals(folded)))


def test_gradients():
    position = sphere()[:, :6, :6].clone().requires_grad_()
    normals = unit(sphere()[:, :6, :6])
    d = torch.randn(6, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda p, d: detailed_normals(p, normals, d), (position, d))
