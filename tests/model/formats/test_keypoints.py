"""Tables of one vertex per landmark."""

import pytest
import torch

from vultus.errors import WeightsMismatch
from vultus.model.formats.keypoints import vertex_table


def test_points_are_the_vertices():
    triangles = torch.tensor([[4, 1, 2], [2, 1, 3], [3, 6, 4]])
    vertices = torch.randn(7, 3, generator=torch.Generator().manual_seed(0))
    ids = torch.tensor([6, 1, 3, 3, 2])
    table = vertex_table("some", ids, triangles, spread_mm=3.0)
    for yaw in (-30.0, 50.0):
        points = table.points(vertices, triangles, torch.tensor(yaw), torch.tensor(10.0))
        torch.testing.assert_close(points, vertices[ids])
    assert (table.spread_mm == 3).all()
    for lost in (0, 5, 9):
        with pytest.raises(WeightsMismatch, match=f"vertex {lost}"):
            vertex_table("some", torch.tensor([1, lost]), triangles)
