"""The light on a known shape."""

import torch

from vultus.fit.map_light import fit_map_light
from vultus.geometry.light import COSINE_LOBE, frontal_light, sh_basis


def sphere(size=64):
    """Unit normals "3 h w" of a ball's half that faces the camera, and where it is."""
    axis = (torch.arange(size) + 0.5) / size * 2 - 1
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    inside = x.square() + y.square() < 0.9
    z = -(1 - x.square() - y.square()).clamp_min(0.05).sqrt()
    return torch.nn.functional.normalize(torch.stack([x, y, z]), dim=0), inside


def photo(normals, light, albedo):
    basis = sh_basis(normals.permute(1, 2, 0)) * torch.tensor(COSINE_LOBE)
    return albedo * (basis @ light.T).permute(2, 0, 1)


def test_a_light_is_found_again():
    normals, inside = sphere()
    albedo = torch.tensor([0.5, 0.35, 0.3])[:, None, None].expand_as(normals)
    light = frontal_light() * torch.tensor([1.1, 1.0, 0.9])[:, None]
    seen = photo(normals, light, albedo)
    found = fit_map_light(seen, albedo, normals, inside.float(), frontal_light())
    error = (photo(normals, found, albedo) - seen)[:, inside].abs().mean() / seen[:, inside].mean()
    assert error < 0.03


def test_a_hard_lamp_on_dark_skin_does_not_blow_the_light_up():
    """The darker half may pull the constant term below zero, which hues must not be divided by."""
    normals, inside = sphere()
    albedo = torch.tensor([0.45, 0.25, 0.12])[:, None, None].expand_as(normals)
    lamp = (normals * torch.tensor([-0.75, -0.5, -0.45])[:, None, None]).sum(0).clamp_min(0) ** 3
    seen = torch.tensor([0.5, 0.15, 0.03])[:, None, None] * (2 * lamp + 1e-4)
    weight = inside.float() * (normals[0] < 0.1)  # hair and glasses hide the rest
    found = fit_map_light(seen, albedo, normals, weight, frontal_light())
    assert found.abs().max() < 50
    assert photo(normals, found, albedo)[:, weight > 0].abs().max() < 10 * seen.max()
