"""Baking: vertices to texels, photo to texels, and colour around islands."""

from dataclasses import replace

import pytest
import torch

from vultus.errors import BadInput
from vultus.geometry.mesh import Topology
from vultus.render import bake as bake_module
from vultus.render.bake import bake, dilate, photo_pyramid, sample_photo, texel_level
from vultus.render.shade import linear_from_srgb, srgb_from_linear

SQUARE = Topology(
    triangles=torch.tensor([[0, 1, 2], [0, 2, 3]]),
    num_vertices=4,
    uv=torch.tensor([[0.25, 0.25], [0.75, 0.25], [0.75, 1.0], [0.25, 1.0]]),
)
BOTH = torch.arange(2)


def test_bakes_its_own_coordinates():
    values, covered = bake(SQUARE.uv, SQUARE, BOTH, 16)
    centre = (torch.arange(16) + 0.5) / 16
    v, u = torch.meshgrid(centre, centre, indexing="ij")
    inside = (u > 0.25) & (u < 0.75) & (v > 0.25)
    assert torch.equal(covered, inside)
    torch.testing.assert_close(values[:, inside], torch.stack([u, v])[:, inside])
    assert (values[:, ~inside] == 0).all()


def test_bands_are_rows_of_the_whole():
    attributes = torch.rand(4, 3, generator=torch.Generator().manual_seed(0))
    whole, _ = bake(attributes, SQUARE, BOTH, 20)
    bands = [bake(attributes, SQUARE, BOTH, 20, rows=rows)[0] for rows in ((0, 7), (7, 20))]
    torch.testing.assert_close(torch.cat(bands, 1), whole, atol=1e-6, rtol=0)


def test_seams_by_triangle_corners():
    """One vertex at two places of the texture: each triangle has its own coordinates."""
    uv = torch.tensor([[0.0, 0.0], [0.5, 0.0], [0.0, 1.0], [1.0, 0.0], [0.5, 1.0], [1.0, 1.0]])
    topology = Topology(torch.tensor([[0, 1, 2], [1, 0, 3]]), 4, uv, torch.tensor([[0, 1, 2], [3, 4, 5]]))
    values, covered = bake(torch.tensor([[0.0], [1.0], [2.0], [3.0]]), topology, BOTH, 8)
    assert values[0, 0, 0] == pytest.approx(0.125 + 0.125, abs=1e-5)  # 1/8 of vertex 1, 1/16 of vertex 2
    assert covered[7, 7]
    assert values[0, 7, 7] == pytest.approx(1 * 0.0625 + 0 * 0.125 + 3 * 0.8125, abs=1e-5)


def test_what_is_kept_is_not_mistaken_for_something_else():
    """Same texture, other triangles, size, rows, type or coordinates: as if drawn for the first time."""
    attributes = torch.rand(4, 1, generator=torch.Generator().manual_seed(0))
    moved = replace(SQUARE, uv=SQUARE.uv * 0.5)
    calls = [
        (attributes, SQUARE, BOTH, 16, None),
        (attributes, SQUARE, BOTH[:1], 16, None),
        (attributes, SQUARE, BOTH, 12, None),
        (attributes, SQUARE, BOTH, 16, (4, 12)),
        (attributes.double(), SQUARE, BOTH, 16, None),
        (attributes, moved, BOTH, 16, None),
    ]
    alone = []
    for *call, rows in calls:
        bake_module._kept.clear()
        alone.append(bake(*call, rows=rows))
    bake_module._kept.clear()
    for i in [0, 1, 2, 0, 3, 4, 5, 0, 1, 5, 4, 3, 2, 1, 0]:
        *call, rows = calls[i]
        for found, expected in zip(bake(*call, rows=rows), alone[i]):
            assert torch.equal(found, expected)
            assert found.dtype == expected.dtype
    assert len(bake_module._kept) <= bake_module._MOST_KEPT
    assert len({(*values.shape, str(values.dtype)) for values, _ in alone}) == 4


def test_other_triangles_in_the_same_tensor_are_drawn_anew():
    ids = BOTH[:1].clone()
    first = bake(SQUARE.uv, SQUARE, ids, 16)[1]
    ids[0] = 1
    second = bake(SQUARE.uv, SQUARE, ids, 16)[1]
    assert first.any()
    assert second.any()
    assert not (first & second).any()


def test_no_coordinates():
    with pytest.raises(BadInput, match="texture coordinates"):
        bake(torch.zeros(4, 1), Topology(SQUARE.triangles, 4), BOTH, 8)


def grid_px(size, scale, offset=0.0):
    axis = (torch.arange(size) + 0.5) * scale + offset
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return torch.stack([x, y])


def test_sampling_pixel_centres_gives_the_pixels():
    image = torch.rand(3, 40, 40, generator=torch.Generator().manual_seed(1))
    texels = grid_px(20, 1.0, offset=8.0)
    pyramid = photo_pyramid(image, texels, torch.ones(20, 20, dtype=torch.bool))
    assert len(pyramid.levels) == 1
    torch.testing.assert_close(sample_photo(pyramid, texels), image[:, 8:28, 8:28], atol=1e-5, rtol=0)


def test_large_texels_see_the_mean_of_the_light():
    """Texels of 4 x 4 pixels; a fine chequerboard of black and white shows half of the light, not half of the sRGB value."""
    image = ((torch.arange(64)[:, None] + torch.arange(64)) % 2).float().expand(3, 64, 64)
    texels = grid_px(16, 4.0)
    pyramid = photo_pyramid(image, texels, torch.ones(16, 16, dtype=torch.bool))
    colour = sample_photo(pyramid, texels)
    torch.testing.assert_close(linear_from_srgb(colour), torch.full((3, 16, 16), 0.5), atol=1e-4, rtol=0)
    torch.testing.assert_close(texel_level(texels), torch.full((16, 16), 2.0))


def test_large_texels_in_a_part_of_the_photo():
    light = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(2))
    blocks = light.repeat_interleave(2, 1).repeat_interleave(2, 2)
    texels = grid_px(10, 2.0, offset=20.0)
    pyramid = photo_pyramid(srgb_from_linear(blocks), texels, torch.ones(10, 10, dtype=torch.bool))
    torch.testing.assert_close(
        linear_from_srgb(sample_photo(pyramid, texels)), light[:, 10:20, 10:20], atol=1e-4, rtol=0
    )


def test_nothing_wanted():
    pyramid = photo_pyramid(torch.rand(3, 8, 8), grid_px(4, 2.0), torch.zeros(4, 4, dtype=torch.bool))
    assert torch.isfinite(sample_photo(pyramid, grid_px(4, 2.0))).all()


def test_dilate_keeps_what_is_known_and_invents_nothing():
    generator = torch.Generator().manual_seed(3)
    covered = torch.rand(33, 47, generator=generator) > 0.9
    image = (0.4 + 0.2 * torch.rand(3, 33, 47, generator=generator)) * covered
    filled = dilate(image, covered)
    assert torch.equal(filled[:, covered], image[:, covered])
    assert filled.min() >= 0.4 - 1e-5
    assert filled.max() <= 0.6 + 1e-5
    nothing = torch.zeros(4, 4, dtype=torch.bool)
    assert torch.equal(dilate(image[:, :4, :4], nothing), image[:, :4, :4])
