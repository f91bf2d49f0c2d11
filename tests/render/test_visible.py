import pytest
import torch
from shapes import camera, sphere
from torch.nn.functional import normalize

from vultus.geometry.mesh import vertex_normals
from vultus.render.raster import rasterize
from vultus.render.visible import facing, visible_points, visible_texels, visible_vertices

BACKENDS = ["numba", "torch"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_front_of_a_ball_is_seen_and_its_back_is_not(backend):
    vertices, triangles = sphere(rings=40, sectors=60)
    view = camera(size_px=(200, 160), focal_px=500.0)
    seen = visible_vertices(view.project(vertices)[None], triangles, view.size_px, backend=backend)[0]
    # The outline of a ball is where the ray is tangent: normal . way to the camera = 0. The ball is a polyhedron, and the z-buffer has
    # pixels, so the ring within 10 degrees is left out.
    cosine = facing(view.to_camera(vertices), vertex_normals(view.to_camera(vertices), triangles))
    assert seen[cosine > 0.17].all()
    assert not seen[cosine < -0.17].any()


@pytest.mark.parametrize("slant", [0.0, 0.05, 0.15])
def test_a_slanted_plane_does_not_hide_itself(slant):
    """Up to 7.5 mm of depth per pixel: half a pixel off the centre is far more than the tolerance of 0.1 mm."""
    view = camera(focal_px=60.0)
    xy = torch.tensor([[-300, -250], [300, -250], [300, 250], [-300, 250]], dtype=torch.float64)
    plane = torch.cat([xy, 3000 + slant * xy[:, :1]], -1)
    triangles = torch.tensor([[0, 1, 2], [0, 2, 3]])
    corners = view.project_camera(plane)[None]
    fragments = rasterize(corners, triangles, view.size_px)
    u = torch.rand(2000, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 400 - 200
    points = torch.cat([u, 3000 + slant * u[:, :1]], -1)
    on = view.project_camera(points)[None]
    depth = fragments.depth_mm[0, on[0, :, 1].long(), on[0, :, 0].long()]
    if slant:
        assert (on[0, :, 2] > depth + 0.1).any()  # what one fixed tolerance would call hidden
    assert visible_points(on, fragments, corners, triangles, tolerance_mm=0.1).all()
    behind = view.project_camera(points * (1 + 20 / 3000))[None]  # 20 mm further along the ray
    assert not visible_points(behind, fragments, corners, triangles, tolerance_mm=0.1).any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_points_outside_behind_or_without_number(dtype):
    view = camera(dtype=dtype)
    corners = torch.tensor([[[0.0, 0, 500], [48, 0, 500], [0, 40, 500]]], dtype=dtype)
    triangles = torch.tensor([[0, 1, 2]])
    fragments = rasterize(corners, triangles, view.size_px)
    nan = float("nan")
    points = torch.tensor(
        [
            [
                [5, 5, 499],
                [5, 5, 502],
                [47, 39, 900],
                [-1, 5, 400],
                [5, 40, 400],
                [nan, 5, 400],
                [5, 5, nan],
                [5, 5, -3],
            ]
        ],
        dtype=dtype,
    )
    seen = visible_points(points, fragments, corners, triangles, tolerance_mm=1.0)
    assert seen.tolist() == [[True, False, True, False, False, False, False, False]]
    texels = visible_texels(points.transpose(1, 2).reshape(1, 3, 2, 4), fragments, corners, triangles)
    assert torch.equal(texels, seen.reshape(1, 2, 4))


def test_batch_is_a_loop():
    vertices, triangles = sphere()
    view = camera()
    points = torch.stack([view.project(vertices), view.project(vertices * 0.7 + 5)])
    whole = visible_vertices(points, triangles, view.size_px)
    for i in range(2):
        assert torch.equal(whole[i : i + 1], visible_vertices(points[i : i + 1], triangles, view.size_px))


def test_facing():
    points = torch.tensor([[0.0, 0, 500], [0, 0, 500], [300, 0, 400]])
    normals = normalize(torch.tensor([[0.0, 0, -1], [0, 0, 1], [4.0, 0, -3]]), dim=-1)
    torch.testing.assert_close(facing(points, normals), torch.tensor([1.0, -1, 0]), rtol=0, atol=1e-6)
