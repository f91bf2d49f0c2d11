"""Wrinkles on a curved patch, from shading that is known exactly."""

import pytest
import torch

from vultus.fit.displacement import DisplacementOptions, _shade, fit_displacement, shading_slopes
from vultus.geometry.chart_map import detailed_normals, metric, unit
from vultus.geometry.light import ambient_and_directional

SIZE = 96


@pytest.fixture(scope="module")
def patch():
    """A piece of a cheek: positions and normals "3 h w" in the camera frame (y down, the camera looks along +z)."""
    axis = ((torch.arange(SIZE) + 0.5) / SIZE - 0.5) * 40.0
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    position = torch.stack([x, y, 600 + 80 - (80**2 - x**2 - y**2).sqrt() - 80])
    down, right = torch.gradient(position, dim=(1, 2))
    return position, unit(torch.linalg.cross(down, right, dim=0))


@pytest.fixture(scope="module")
def light():
    return ambient_and_directional(
        torch.full((3,), 0.3), torch.full((3,), 0.7), torch.tensor([-1.0, -0.5, -0.8])
    )


def crease(slant: float = 0.4) -> torch.Tensor:
    axis = ((torch.arange(SIZE) + 0.5) / SIZE - 0.5) * 40.0
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    across = (x + slant * y) / (1 + slant**2) ** 0.5
    fade = torch.exp(-0.5 * ((y - slant * x) / 9.0) ** 2)
    return -0.3 * fade * (torch.exp(-0.5 * (across / 1.0) ** 2) - 0.4 * torch.exp(-0.5 * (across / 2.5) ** 2))


def ones() -> torch.Tensor:
    return torch.ones(SIZE, SIZE)


def brightness_of(patch, light, d):
    position, normals = patch
    turned = detailed_normals(position, normals, d)
    return torch.log(_shade(turned, light) / _shade(normals, light))


def test_a_known_crease_is_found(patch, light):
    """Nearly noise-free shading: what is lost is what the prior takes, and the null space along the light."""
    d = crease()
    options = DisplacementOptions(noise=0.005, occlusion_mm=0.0)
    found = fit_displacement(
        *patch, light, brightness_of(patch, light, d), ones(), 0 * ones(), ones(), options
    )
    assert torch.corrcoef(torch.stack([found.flatten(), d.flatten()]))[0, 1] > 0.9
    before = (detailed_normals(*patch, d) - patch[1]).norm(dim=0).mean()
    after = (detailed_normals(*patch, d) - detailed_normals(*patch, found)).norm(dim=0).mean()
    assert after < 0.4 * before


def test_hollows_are_dark_in_soft_light(patch):
    """Without a direction in the light, only darkness tells: a dark line becomes a valley, if it may."""
    even = ambient_and_directional(torch.ones(3), torch.zeros(3), torch.tensor([0.0, 0.0, -1.0]))
    dark = 0.5 * crease()
    valley = fit_displacement(*patch, even, dark, ones(), ones(), ones())
    middle = SIZE // 2
    assert valley[middle, middle] < -0.02 and valley.argmin() == dark.argmin()
    flat = fit_displacement(*patch, even, dark, ones(), 0 * ones(), ones())
    assert flat.abs().max() < 1e-3


def test_nothing_moves_without_reason(patch, light):
    assert fit_displacement(*patch, light, 0 * ones(), ones(), ones(), ones()).abs().max() < 1e-5
    shown = brightness_of(patch, light, crease())
    held = ones()
    held[:, : SIZE // 2] = 0
    found = fit_displacement(*patch, light, shown, ones(), ones(), held)
    assert found[:, : SIZE // 2].abs().max() == 0 and found[:, SIZE // 2 :].abs().max() > 0.02
    assert fit_displacement(*patch, light, shown, ones(), ones(), 0 * ones()).abs().max() == 0
    unseen = fit_displacement(*patch, light, shown, 0 * ones(), ones(), ones())
    assert unseen.abs().max() < 1e-6


def test_a_patch_of_another_colour_stays_flat(patch, light):
    """A step in brightness is dear to explain by shape and is left alone, mostly; the same change as a crease is not."""
    spot = torch.zeros(SIZE, SIZE)
    spot[30:60, 30:60] = -0.15
    as_shape = fit_displacement(*patch, light, spot, ones(), 0 * ones(), ones())
    shown = brightness_of(patch, light, crease())
    as_crease = fit_displacement(
        *patch, light, shown * (0.15 / shown.abs().max()), ones(), 0 * ones(), ones()
    )

    def explained(d, target):
        left = brightness_of(patch, light, d) - target
        return 1 - left.square().sum() / target.square().sum()

    assert explained(as_crease, shown * (0.15 / shown.abs().max())) > explained(as_shape, spot) + 0.1


def test_slopes_are_the_derivative_of_the_shading(patch, light):
    position, normals = (part.double() for part in patch)
    light = light.double()
    surface = metric(position)
    by_u, by_v = shading_slopes(normals, light, surface)
    for direction, slope in ((surface.along_u, by_u), (surface.along_v, by_v)):
        step = 1e-5
        moved = _shade(normals - step * direction, light).log() - _shade(normals, light).log()
        torch.testing.assert_close(moved / step, slope, atol=1e-3, rtol=1e-3)


def test_a_fold_in_the_map_does_no_harm(patch, light):
    position, normals = (part.clone() for part in patch)
    position[:, 40:50] = position[:, 40:41]
    found = fit_displacement(
        position, normals, light, brightness_of(patch, light, crease()), ones(), ones(), ones()
    )
    assert torch.isfinite(found).all()
