"""What the light may be off by, while the shape is found."""

import torch

from vultus.fit.refine import light_errors
from vultus.geometry.light import ambient_and_directional, shading


def lamp(strength: float) -> torch.Tensor:
    grey = torch.ones(3)
    return ambient_and_directional(
        (1 - 0.7 * strength) * grey, strength * grey, torch.tensor([0.8, -0.5, -1.0])
    )


def normals_before_the_camera(number: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(number, 3, generator=generator) * torch.tensor([0.7, 0.7, 0.3]) - torch.tensor(
        [0.0, 0.0, 1.0]
    )
    return torch.nn.functional.normalize(directions, dim=1)


def test_errors_are_derivatives_of_the_log_brightness():
    normals, light, size = normals_before_the_camera(200).double(), lamp(0.6).double(), 0.2
    found = light_errors(normals, light, size)
    log = lambda x: shading(normals, x).mean(1).log()  # noqa: E731
    for k in range(9):
        step = 1e-5 * float(light.mean(0)[0]) * (1.0 if k == 0 else size)
        more, less = light.clone(), light.clone()
        more[:, k] += step
        less[:, k] -= step
        torch.testing.assert_close(found[:, k] * 2e-5, log(more) - log(less), rtol=1e-4, atol=1e-9)


def test_another_lamp_is_explained_by_them_and_a_bump_is_not():
    normals, light = normals_before_the_camera(400), lamp(0.5)
    modes = light_errors(normals, light, 0.2)
    explained = torch.linalg.lstsq(modes, torch.eye(len(normals))).solution
    left = lambda residual: float((residual - modes @ (explained @ residual)).norm() / residual.norm())  # noqa: E731
    log = lambda n, x: shading(n, x).mean(1).log()  # noqa: E731
    other_lamp = log(normals, lamp(0.6)) - log(normals, light)
    assert left(other_lamp) < 0.2
    generator = torch.Generator().manual_seed(1)
    bent = torch.nn.functional.normalize(
        normals + 0.1 * torch.randn(normals.shape, generator=generator), dim=1
    )
    assert left(log(bent, light) - log(normals, light)) > 0.9


def test_dark_normals_stay_finite():
    away = torch.tensor([[-0.8, 0.5, 0.6]])
    light = ambient_and_directional(torch.zeros(3), torch.ones(3), torch.tensor([0.8, -0.5, -1.0]))
    assert torch.isfinite(light_errors(torch.nn.functional.normalize(away, dim=1), light, 0.2)).all()
