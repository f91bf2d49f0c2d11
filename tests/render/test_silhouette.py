import pytest
import torch
import torch.nn.functional as F
from shapes import soup, sphere

from vultus.errors import BadInput
from vultus.render.interpolate import interpolate
from vultus.render.raster import rasterize
from vultus.render.silhouette import edge_gradients, mesh_edges, silhouette_edges

BACKENDS = ["numba", "torch"]
SIZE = (64, 56)


def two_spheres():
    """A sphere, partly before another one: an outline against nothing, and one against a surface. Vertices "1 v 3", colours "v 2"."""
    near, triangles = sphere(12.0, 16, 24)
    far, _ = sphere(15.0, 16, 24)
    near = near + torch.tensor([25.3, 24.2, 60.0], dtype=torch.float64)
    far = far + torch.tensor([38.1, 30.7, 110.0], dtype=torch.float64)
    # The camera looks along +z with y down: mirrored, so turn the triangles round.
    triangles = torch.cat([triangles, triangles + len(near)])[:, [0, 2, 1]]
    vertices = torch.cat([near, far])
    first = (torch.arange(len(vertices)) < len(near)).double()
    colours = torch.stack([0.3 + 0.5 * first + 0.01 * vertices[:, 0], 1 - 0.02 * vertices[:, 1] * first], 1)
    return vertices[None], triangles, colours


def loss_weights(channels: int) -> torch.Tensor:
    """A smooth incoming gradient "1 c h w"."""
    y, x = torch.meshgrid(torch.arange(SIZE[1]).double(), torch.arange(SIZE[0]).double(), indexing="ij")
    return torch.stack(
        [torch.sin(0.11 * x + 0.07 * y + c) + 0.3 * torch.cos(0.2 * y - c) for c in range(channels)]
    )[None]


def antialiased_loss(vertices, triangles, colours, samples=12):
    """The same picture drawn ``samples`` times as large and averaged with a tent two pixels wide."""
    large = vertices * torch.tensor([samples, samples, 1.0])
    fragments = rasterize(large, triangles, (SIZE[0] * samples, SIZE[1] * samples))
    values = torch.cat([colours, torch.ones_like(colours[:, :1])], 1)
    image = interpolate(fragments, large, triangles, values)
    offset = (torch.arange(2 * samples).double() + 0.5) / samples - 1
    tent = (1 - offset.abs()) / samples
    kernel = (tent[:, None] * tent[None]).expand(3, 1, -1, -1)
    drawn = F.conv2d(image, kernel, stride=samples, padding=samples // 2, groups=3)
    return (drawn * loss_weights(3)).sum()


def gradient(vertices, triangles, colours, backend="numba"):
    moved = vertices.clone().requires_grad_()
    fragments = rasterize(vertices, triangles, SIZE)
    image = interpolate(fragments, moved, triangles, colours)
    image = torch.cat([image, fragments.mask[:, None].double()], 1)
    image = edge_gradients(image, moved, triangles, fragments, backend=backend)
    (image * loss_weights(3)).sum().backward()
    return moved.grad


def moves():
    """Ways to move both spheres, "v 3" each: along x, along y, the near one alone, growing, and a smooth bulge."""
    vertices, _, _ = two_spheres()
    xy = vertices[0] * torch.tensor([1.0, 1, 0])
    near = (torch.arange(len(xy)) < len(xy) // 2).double()[:, None]
    zero = torch.zeros_like(xy)
    to_x, to_y = (zero + torch.eye(3, dtype=torch.float64)[i] for i in (0, 1))
    grow = near * (xy - xy[: len(xy) // 2].mean(0)) / 12
    bulge = torch.stack([torch.sin(0.2 * xy[:, 1]), torch.cos(0.15 * xy[:, 0]), zero[:, 0]], 1)
    return [to_x, to_y, near * to_x, near * to_y, grow, bulge]


@pytest.mark.parametrize("number", range(6))
def test_against_finite_differences_of_an_antialiased_picture(number):
    """One reading per crossed row: with about 100 crossings, colour differences that vary by a few per cent, and a supersampled
    reference good to 1 / (12 * step) of a pixel, some 2 % of the gradient's own size are to be expected."""
    vertices, triangles, colours = two_spheres()
    move, step = moves()[number], 0.5
    ahead, behind = (antialiased_loss(vertices + sign * step * move, triangles, colours) for sign in (1, -1))
    expected = (ahead - behind) / (2 * step)
    found = gradient(vertices, triangles, colours)
    scale = (found[0].abs() * move.abs()).sum()
    assert abs((found[0] * move).sum() - expected) < 0.02 * scale


def test_without_it_the_outline_does_not_move():
    vertices, triangles, _ = two_spheres()
    moved = vertices.clone().requires_grad_()
    fragments = rasterize(vertices, triangles, SIZE)
    mask = fragments.mask[:, None].double()
    image = edge_gradients(mask, moved, triangles, fragments)
    assert torch.equal(image, mask)
    (image * loss_weights(3)[:, :1]).sum().backward()
    touched = moved.grad[0].abs().sum(-1) > 0
    assert 20 < touched.sum() < 0.35 * len(touched)  # the rims only
    assert (moved.grad[..., 2] == 0).all()


def test_a_square_moved_over_a_ramp_of_gradients():
    """By hand: a square's left and right edges under an incoming gradient g = x feel -g and +g per row."""
    corners = torch.tensor(
        [[4.2, 3.1, 5], [12.7, 3.1, 5], [12.7, 9.6, 5], [4.2, 9.6, 5]], dtype=torch.float64
    )
    triangles = torch.tensor([[0, 2, 1], [0, 3, 2]])
    vertices = corners[None].requires_grad_()
    fragments = rasterize(vertices.detach(), triangles, (16, 12))
    image = edge_gradients(fragments.mask[:, None].double(), vertices, triangles, fragments)
    x = torch.arange(16).double() + 0.5
    (image * x).sum().backward()
    left, right = vertices.grad[0, [0, 3], 0].sum(), vertices.grad[0, [1, 2], 0].sum()
    rows = 7  # centres from 3.5 to 9.5
    torch.testing.assert_close(torch.stack([left, right]), torch.tensor([-rows * 4.2, rows * 12.7]).double())


def test_backends_agree():
    vertices, triangles, colours = two_spheres()
    torch.testing.assert_close(
        *(gradient(vertices, triangles, colours, b) for b in BACKENDS), rtol=1e-9, atol=1e-12
    )
    for seed in range(3):
        wild, faces = soup(60, (20, 15), seed, torch.float64)
        fragments = rasterize(wild, faces, (20, 15))
        image = torch.rand(1, 2, 15, 20, dtype=torch.float64)
        grads = []
        for backend in BACKENDS:
            moved = wild.clone().requires_grad_()
            (edge_gradients(image, moved, faces, fragments, backend=backend) * image.flip(3)).sum().backward()
            grads.append(moved.grad)
        assert grads[0].abs().max() > 0
        torch.testing.assert_close(*grads, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
def test_batch_is_loop(backend):
    vertices, triangles = soup(30, (20, 15), 5, torch.float32, batch=3)
    image = torch.rand(3, 2, 15, 20)
    fragments = rasterize(vertices, triangles, (20, 15))
    together = vertices.clone().requires_grad_()
    (edge_gradients(image, together, triangles, fragments, backend=backend) ** 2).sum().backward()
    for b in range(3):
        alone = vertices[b : b + 1].clone().requires_grad_()
        part = rasterize(alone.detach(), triangles, (20, 15))
        (edge_gradients(image[b : b + 1], alone, triangles, part, backend=backend) ** 2).sum().backward()
        assert torch.equal(alone.grad[0], together.grad[b])


def test_silhouette_edges_of_a_sphere():
    vertices, triangles, _ = two_spheres()
    edges = mesh_edges(triangles)
    assert len(edges.ends) == 3 * len(triangles) // 2
    ids, side = silhouette_edges(vertices[0], triangles, edges)
    ends = edges.ends[ids]
    degree = torch.bincount(ends.flatten(), minlength=vertices.shape[1])
    assert set(degree.unique().tolist()) <= {0, 2, 4}  # closed loops
    centre = vertices[0, : vertices.shape[1] // 2, :2].mean(0)
    first = ends[:, 0] < vertices.shape[1] // 2
    start, end = vertices[0, ends[first, 0], :2], vertices[0, ends[first, 1], :2]
    to_centre = (end - start)[:, 0] * (centre - start)[:, 1] - (end - start)[:, 1] * (centre - start)[:, 0]
    assert torch.equal(to_centre.sign().long(), side[first])


def test_nothing_seen_and_degenerate():
    triangles = torch.tensor([[0, 1, 2]])
    for corner in (torch.zeros(1, 3, 3), torch.full((1, 3, 3), float("nan"))):
        vertices = corner.requires_grad_()
        fragments = rasterize(vertices.detach(), triangles, (5, 4))
        for backend in BACKENDS:
            edge_gradients(
                torch.ones(1, 1, 4, 5), vertices, triangles, fragments, backend=backend
            ).sum().backward()
            assert (vertices.grad == 0).all()


def test_bad_input():
    vertices, triangles, _ = two_spheres()
    fragments = rasterize(vertices, triangles, SIZE)
    with pytest.raises(BadInput, match="draw it from these fragments"):
        edge_gradients(torch.ones(1, 1, 5, 5, dtype=torch.float64), vertices, triangles, fragments)
    with pytest.raises(BadInput, match="backends"):
        edge_gradients(
            torch.ones(1, 1, 56, 64, dtype=torch.float64), vertices, triangles, fragments, backend="x"
        )
