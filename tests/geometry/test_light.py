import math

import pytest
import torch
from torch.nn.functional import normalize

from vultus.geometry.light import (
    ambient_and_directional,
    frontal_light,
    gamma_from_light,
    in_one_hue,
    light_from_gamma,
    sh_basis,
    shade,
    shading,
)


def directions(count: int = 200, seed: int = 0) -> torch.Tensor:
    points = torch.randn(count, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return normalize(points, dim=-1)


def sphere_grid(rows: int = 200):
    """Quadrature over the sphere: directions and their solid angles."""
    z = (torch.arange(rows, dtype=torch.float64) + 0.5) / rows * 2 - 1
    turn = (torch.arange(2 * rows, dtype=torch.float64) + 0.5) / (2 * rows) * 2 * math.pi
    z, turn = (t.reshape(-1) for t in torch.meshgrid(z, turn, indexing="ij"))
    ring = (1 - z**2).sqrt()
    return torch.stack([ring * turn.cos(), ring * turn.sin(), z], -1), 4 * math.pi / len(z)


def test_basis_is_orthonormal():
    points, area = sphere_grid()
    basis = sh_basis(points)
    torch.testing.assert_close(
        basis.T @ basis * area, torch.eye(9, dtype=torch.float64), rtol=0, atol=2e-4
    )  # quadrature


def test_shading_is_the_integral_of_radiance_times_cosine():
    points, area = sphere_grid()
    light = torch.randn(3, 9, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    radiance = sh_basis(points) @ light.T
    normals = directions(5)
    irradiance = (normals @ points.T).clamp_min(0) @ radiance * area
    torch.testing.assert_close(shading(normals, light), irradiance / math.pi, rtol=0, atol=1e-3)


def test_ambient_light_shows_the_albedo():
    albedo = torch.rand(200, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    one = torch.ones(3, dtype=torch.float64)
    light = ambient_and_directional(one, 0 * one, one)
    torch.testing.assert_close(shade(albedo, directions(), light), albedo)


def test_a_lamp_is_a_clamped_cosine():
    colour, towards = torch.tensor([1.0, 0.5, 0.0]).double(), torch.tensor([3.0, -4.0, 0.0]).double()
    light = ambient_and_directional(torch.zeros(3).double(), colour, towards)
    normals = directions(2000)
    cosine = (normals @ (towards / 5)).clamp_min(0)
    seen = shading(normals, light)
    # The order-2 series, 1/4 + x/2 + (15 x^2 - 5)/32 with x the cosine, is off most at x = 0: 1/4 - 5/32 = 3/32.
    assert (seen[:, 0] - cosine).abs().max() <= 3 / 32 + 1e-9
    torch.testing.assert_close(seen[:, 1], seen[:, 0] / 2)
    assert (seen[:, 2] == 0).all()
    facing = shading(towards[None] / 5, light)[0]
    torch.testing.assert_close(facing, 1.0625 * colour)


def test_frontal_light_falls_on_what_faces_the_camera():
    front, back = shading(torch.tensor([[0.0, 0.0, -1.0], [0.0, 0.0, 1.0]]), frontal_light()).mean(-1)
    assert 0.8 < front < 1.05
    assert 0 < back < 0.6


def test_gamma_of_deep3d():
    """Their formula, written out as in method descriptions, at their normals (y up, z to the viewer)."""
    gamma = 0.3 * torch.randn(4, 27, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    normals = directions()
    x, y, z = normals[:, 0], -normals[:, 1], -normals[:, 2]
    a0, a1, a2 = math.pi, 2 * math.pi / math.sqrt(3), 2 * math.pi / math.sqrt(8)
    c0, c1, c2 = (
        1 / math.sqrt(4 * math.pi),
        math.sqrt(3) / math.sqrt(4 * math.pi),
        3 * math.sqrt(5) / math.sqrt(12 * math.pi),
    )
    basis = torch.stack([
        a0 * c0 * torch.ones_like(x), -a1 * c1 * y, a1 * c1 * z, -a1 * c1 * x, a2 * c2 * x * y, -a2 * c2 * y * z,
        a2 * c2 / (2 * math.sqrt(3)) * (3 * z**2 - 1), -a2 * c2 * x * z, 0.5 * a2 * c2 * (x**2 - y**2),
    ], -1)  # fmt: skip
    theirs = gamma.reshape(4, 3, 9) + torch.tensor([0.8] + [0.0] * 8).double()
    torch.testing.assert_close(shading(normals, light_from_gamma(gamma)), basis @ theirs.transpose(1, 2))
    torch.testing.assert_close(gamma_from_light(light_from_gamma(gamma)), gamma)


def test_batch_is_a_loop_and_gradients():
    normals = directions(6).reshape(2, 3, 3)
    light = torch.randn(2, 3, 9, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    whole = shading(normals, light)
    for i in range(2):
        torch.testing.assert_close(whole[i], shading(normals[i], light[i]))
    assert torch.autograd.gradcheck(shading, (normals.requires_grad_(), light.requires_grad_()))
    assert torch.autograd.gradcheck(
        light_from_gamma, (torch.zeros(27, dtype=torch.float64, requires_grad=True),)
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_type_is_kept(dtype):
    assert frontal_light(dtype=dtype).dtype == dtype
    assert shading(torch.eye(3, dtype=dtype), frontal_light(dtype=dtype)).dtype == dtype


def test_one_hue_is_the_constant_terms_and_a_constant_of_nothing_has_none():
    grey = torch.linspace(1.0, -0.6, 9)
    hue = torch.tensor([1.2, 1.0, 0.8])
    coloured = hue[:, None] * grey
    torch.testing.assert_close(in_one_hue(coloured), coloured)
    coloured[:, 1:] = grey[1:]  # a white lamp in a coloured room
    torch.testing.assert_close(in_one_hue(coloured), hue[:, None] * grey)
    hard = coloured.clone()
    hard[:, 0] = torch.tensor([1e-7, -2e-7, 1.1e-7])
    torch.testing.assert_close(in_one_hue(hard), hard.mean(0).expand(3, 9))
