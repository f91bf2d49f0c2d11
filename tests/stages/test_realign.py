"""The published re-alignment against looking the photo up again."""

import torch

from vultus.stages.realign import realignment_flow, warp_by_flow

SIZE = 96


def photo_at(points_px: torch.Tensor) -> torch.Tensor:
    """A smooth "photo" that can be evaluated anywhere: "3 h w" at "2 h w"."""
    x, y = points_px / 40
    return torch.stack([torch.sin(x) * torch.cos(y), torch.sin(x + y), torch.cos(2 * x - y)])


def layouts() -> tuple[torch.Tensor, torch.Tensor]:
    """Where texels lie in the photo before and after a deformation; turned, stretched, and not linear."""
    place = torch.arange(SIZE) + 0.5
    v, u = torch.meshgrid(place, place, indexing="ij")
    before = torch.stack(
        [0.6 * u - 1.1 * v + 3 * torch.sin(v / 30), 1.2 * u + 0.5 * v + 2 * torch.cos(u / 25)]
    )
    return before, before + torch.stack([3 * torch.sin(u / 20), 2 * torch.cos(v / 15) + 1])


def test_the_flow_leads_to_the_pixel_that_the_deformed_texel_sees():
    before, after = layouts()
    flow = realignment_flow(before, after)
    found = warp_by_flow(before, flow)
    inner = (slice(None), slice(8, -8), slice(8, -8))  # at the border the old texture ends
    assert (found - after)[inner].abs().max() < 0.05
    warped = warp_by_flow(photo_at(before), flow)
    assert (warped - photo_at(after))[inner].abs().max() < 0.02
    assert (photo_at(before) - photo_at(after))[inner].abs().max() > 0.1


def test_no_deformation_no_flow_and_a_shift_is_a_shift():
    before, _ = layouts()
    assert realignment_flow(before, before).abs().max() < 1e-4
    row, column = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    grid = torch.stack([column, row])
    flow = realignment_flow(grid, grid + torch.tensor([2.0, -1.0])[:, None, None])
    assert torch.allclose(
        flow[:, 4:-4, 4:-4], torch.tensor([2.0, -1.0])[:, None, None].expand(2, 24, 24), atol=1e-3
    )


def test_texels_without_extent_stay_finite():
    flow = realignment_flow(torch.zeros(2, 8, 8), torch.ones(2, 8, 8))
    assert flow.isfinite().all() and flow.abs().max() == 0


def test_warping_is_a_bilinear_lookup():
    texture = torch.rand(2, 5, 7)
    assert torch.allclose(warp_by_flow(texture, torch.zeros(2, 5, 7)), texture, atol=1e-6)
    half = warp_by_flow(texture, torch.tensor([0.5, 0.0])[:, None, None].expand(2, 5, 7))
    assert torch.allclose(half[..., :-1], (texture[..., :-1] + texture[..., 1:]) / 2, atol=1e-6)
