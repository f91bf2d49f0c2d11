"""Lines, spots, hair and colours on an even patch of skin."""

import pytest
import torch

from vultus.fit.crease_evidence import bare_skin, crease_evidence, high_pass
from vultus.fit.line_filter import blurred, find_lines
from vultus.fit.map_light import fit_map_light
from vultus.geometry.light import ambient_and_directional, frontal_light, shade

SIZE, TEXEL_MM = 128, 0.4


def grid():
    axis = (torch.arange(SIZE) + 0.5) * TEXEL_MM
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return x, y


def position():
    x, y = grid()
    return torch.stack([x, -y, 0 * x])


def noise(strength: float, seed: int = 0):
    return strength * torch.randn(SIZE, SIZE, generator=torch.Generator().manual_seed(seed))


def line():
    """A dark line from top to bottom at x = 15 mm, slanting."""
    x, y = grid()
    return -0.15 * torch.exp(-0.5 * ((x - 15 - 0.3 * y) / 0.8) ** 2)


def spot(x_mm: float, y_mm: float, radius_mm: float = 1.2):
    x, y = grid()
    return -0.5 * torch.sigmoid(6 * (1 - torch.hypot(x - x_mm, y - y_mm) / radius_mm))


ONES = torch.ones(SIZE, SIZE)


def at(image, x_mm, y_mm):
    return float(image[int(y_mm / TEXEL_MM), int(x_mm / TEXEL_MM)])


def test_lines_are_found_and_spots_are_not():
    image = line() + spot(40, 25) + noise(0.03)
    lines = find_lines(image, TEXEL_MM, ONES, (0.6, 1.1))
    # The spot is three times as dark as the line.
    assert at(lines.strength, 15 + 0.3 * 25, 25) > max(5, 1.5 * at(lines.strength, 40, 25))
    assert at(lines.spots, 40, 25) > 3 > at(lines.spots, 15 + 0.3 * 25, 25)
    assert (lines.strength > 3).float().mean() < 0.1
    # Along the line the noise is averaged away, and the line stays.
    assert (lines.smoothed - line())[:, :60].std() < 0.6 * (image - line())[:, :60].std()


@pytest.mark.parametrize("turns", [0, 1])
def test_lines_are_found_in_every_direction(turns):
    image = torch.rot90(line() + noise(0.03), turns)
    strength = find_lines(image, TEXEL_MM, ONES, (1.0,)).strength
    assert (torch.rot90(strength, -turns)[line() < -0.12] > 3).float().mean() > 0.9


def test_colour_belongs_to_the_albedo():
    """The same dark line, once as shading in all channels, once with the hue of melanin."""
    grey = line()[None].expand(3, -1, -1) + noise(0.01)
    brown = line() * torch.tensor([0.4, 1.0, 1.6])[:, None, None] + noise(0.01)
    shaded, coloured = (crease_evidence(image, position(), ONES) for image in (grey, brown))
    on_line = line() < -0.12
    assert shaded.hollow[on_line].mean() > max(0.7, 1.6 * coloured.hollow[on_line].mean())
    assert shaded.weight[on_line].mean() > max(0.7, 1.3 * coloured.weight[on_line].mean())
    assert shaded.noise < 0.02


def test_stubble_is_no_skin():
    rough = noise(0.02) + torch.where(grid()[0] > 30, noise(0.2, 1), 0)
    bare = bare_skin(rough, TEXEL_MM, ONES)
    assert bare[:, :50].mean() > 0.9 and bare[:, 95:].mean() < 0.1


def test_slow_changes_are_taken_out():
    x, _ = grid()
    slow = 0.5 * torch.sin(x / 25.0)
    fast = 0.1 * torch.sin(x / 0.5)
    left = high_pass((slow + fast)[None], position(), ONES, 1.8)[0]
    inner = (slice(8, -8), slice(8, -8))
    assert (left - fast)[inner].abs().max() < 0.04
    hidden = high_pass((slow + fast)[None], position(), 0 * ONES, 1.8)
    assert (hidden == 0).all()


def test_blur_keeps_means_and_constants():
    image = torch.rand(2, 40, 50)
    torch.testing.assert_close(blurred(torch.ones(1, 20, 20), 2.0), torch.ones(1, 20, 20))
    torch.testing.assert_close(blurred(image, 1.0)[0], blurred(image[:1], 1.0)[0])
    assert blurred(image, 3.0).std() < 0.3 * image.std()


def test_the_light_of_a_known_surface():
    """A second-order light is recovered although a tenth of the texels are something else."""
    axis = torch.linspace(-0.9, 0.9, 80)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    z = -(1 - x**2 - y**2).clamp_min(0).sqrt()
    normals = torch.stack([x, y, z])
    on_ball = ((x**2 + y**2) < 0.8).float()
    light = ambient_and_directional(
        torch.tensor([0.3, 0.28, 0.25]), torch.tensor([0.7, 0.65, 0.6]), torch.tensor([-1.0, -0.4, -0.7])
    )
    albedo = torch.tensor([0.5, 0.3, 0.2])[:, None, None] * (1 + 0.1 * torch.rand(80, 80))
    colour = shade(albedo.permute(1, 2, 0), normals.permute(1, 2, 0), light).permute(2, 0, 1)
    colour = torch.where(torch.rand(80, 80, generator=torch.Generator().manual_seed(0)) < 0.1, 0.05, colour)
    found = fit_map_light(colour, albedo, normals, on_ball, frontal_light())
    error = shade(albedo.permute(1, 2, 0), normals.permute(1, 2, 0), found).permute(2, 0, 1) - colour
    assert error[:, on_ball > 0].abs().median() < 0.02
    assert (found[:, 3] < -0.5).all()  # the lamp stands to the left
    nothing = fit_map_light(colour, albedo, normals, 0 * on_ball, frontal_light())
    assert torch.equal(nothing, frontal_light())
