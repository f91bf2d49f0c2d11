import numba
import pytest
import torch
from shapes import soup

from vultus.errors import BadInput
from vultus.render.interpolate import interpolate
from vultus.render.raster import Fragments, rasterize

BACKENDS = ["numba", "torch"]


def scene(dtype=torch.float64, batch=2, channels=4, seed=11, num_triangles=25, size=(12, 9)):
    vertices, triangles = soup(num_triangles, size, seed, dtype, batch)
    # Corners shared by several triangles, so that gradients have something to add up.
    triangles = torch.cat([triangles, triangles.roll(1, 0)[:, [2, 0, 1]].clone()])
    triangles[num_triangles:, 0] = (triangles[num_triangles:, 0] + 4) % vertices.shape[1]
    attributes = torch.randn(
        batch, vertices.shape[1], channels, generator=torch.Generator().manual_seed(seed)
    ).to(dtype)
    return vertices, triangles, attributes, rasterize(vertices, triangles, size)


@pytest.mark.parametrize("backend", BACKENDS)
def test_agrees_with_the_fragments(backend):
    vertices, triangles, attributes, fragments = scene()
    image = interpolate(fragments, vertices, triangles, attributes, backend=backend)
    for b in range(2):
        corners = attributes[b][triangles[fragments.triangle_ids[b].clamp_min(0).long()]]  # h w 3 c
        expected = (fragments.barycentric[b].permute(1, 2, 0)[..., None] * corners).sum(2).permute(2, 0, 1)
        torch.testing.assert_close(image[b], expected, rtol=1e-9, atol=1e-9)
    assert (image * ~fragments.mask[:, None] == 0).all()
    depth = interpolate(fragments, vertices, triangles, vertices[..., 2:], backend=backend)[:, 0]
    torch.testing.assert_close(depth[fragments.mask], fragments.depth_mm[fragments.mask], rtol=1e-9, atol=0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_gradients_to_vertices_and_attributes(backend):
    vertices, triangles, attributes, fragments = scene(num_triangles=12, size=(6, 5), channels=2)

    def image(v, a):
        return interpolate(fragments, v, triangles, a, backend=backend)

    inputs = (vertices.requires_grad_(), attributes.requires_grad_())
    assert torch.autograd.gradcheck(image, inputs, eps=1e-6, atol=1e-6, rtol=1e-5, nondet_tol=0.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_backends_agree_with_gradients(dtype):
    vertices, triangles, attributes, fragments = scene(dtype, num_triangles=60, size=(40, 33))
    results = []
    for backend in BACKENDS:
        v, a = vertices.clone().requires_grad_(), attributes.clone().requires_grad_()
        image = interpolate(fragments, v, triangles, a, backend=backend)
        upstream = torch.rand(image.shape, generator=torch.Generator().manual_seed(0)).to(dtype)
        image.backward(upstream)
        results.append((image.detach(), v.grad, a.grad))
    # Sums of up to 1,300 pixels: float32 keeps about 1e-7 * sqrt(1300) of the largest term.
    tolerance = 1e-9 if dtype == torch.float64 else 1e-5
    for fast, readable in zip(*results, strict=True):
        assert (fast - readable).abs().max() <= tolerance * readable.abs().max()


def test_threads_do_not_change_a_bit():
    vertices, triangles, attributes, fragments = scene(torch.float32, num_triangles=60, size=(40, 33))
    before, results = numba.get_num_threads(), []
    try:
        for threads in (1, min(2, numba.config.NUMBA_NUM_THREADS)):
            numba.set_num_threads(threads)
            v, a = vertices.clone().requires_grad_(), attributes.clone().requires_grad_()
            image = interpolate(fragments, v, triangles, a, backend="numba")
            (image**2).sum().backward()
            results.append((image.detach(), v.grad, a.grad))
    finally:
        numba.set_num_threads(before)
    assert all(torch.equal(one, two) for one, two in zip(*results, strict=True))


@pytest.mark.parametrize("backend", BACKENDS)
def test_shared_attributes_collect_the_gradients_of_the_batch(backend):
    vertices, triangles, attributes, fragments = scene()
    shared = attributes[0].clone().requires_grad_()
    interpolate(fragments, vertices, triangles, shared, backend=backend).square().sum().backward()
    total = torch.zeros_like(shared)
    for b in range(2):
        alone = attributes[0].clone().requires_grad_()
        part = Fragments(
            fragments.triangle_ids[b : b + 1], fragments.barycentric[b : b + 1], fragments.depth_mm[b : b + 1]
        )
        interpolate(part, vertices[b : b + 1], triangles, alone, backend=backend).square().sum().backward()
        total += alone.grad
    torch.testing.assert_close(shared.grad, total, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("backend", BACKENDS)
def test_affine_functions_survive_texture_space(backend):
    vertices, triangles, _, _ = scene(batch=1)
    vertices[..., 2] = 1.5
    fragments = rasterize(vertices, triangles, (12, 9))
    values = vertices[..., :1] * 3 - vertices[..., 1:2] * 0.7 + 2
    image = interpolate(fragments, vertices, triangles, values, backend=backend)[0, 0]
    y, x = torch.meshgrid(torch.arange(9.0).double() + 0.5, torch.arange(12.0).double() + 0.5, indexing="ij")
    seen = fragments.mask[0]
    torch.testing.assert_close(image[seen], (3 * x - 0.7 * y + 2)[seen], rtol=0, atol=1e-9)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_triangle_that_collapsed_gives_no_nan(backend):
    vertices, triangles, attributes, fragments = scene()
    flat = torch.cat([torch.ones_like(vertices[..., :2]), vertices[..., 2:]], -1).requires_grad_()
    image = interpolate(fragments, flat, triangles, attributes, backend=backend)
    image.sum().backward()
    assert (image == 0).all()
    assert flat.grad.isfinite().all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_nothing_seen(backend):
    vertices = torch.zeros(1, 3, 3, requires_grad=True)
    triangles = torch.tensor([[0, 1, 2]])
    fragments = rasterize(vertices, triangles, (5, 4), backend=backend)
    attributes = torch.ones(3, 2, requires_grad=True)
    image = interpolate(fragments, vertices, triangles, attributes, backend=backend)
    image.sum().backward()
    assert image.shape == (1, 2, 4, 5)
    assert (image == 0).all()
    assert (attributes.grad == 0).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_wrong_input_is_refused(backend):
    vertices, triangles, attributes, fragments = scene()
    with pytest.raises(BadInput, match="attributes"):
        interpolate(fragments, vertices, triangles, attributes.float(), backend=backend)
    with pytest.raises(BadInput, match="attributes"):
        interpolate(fragments, vertices, triangles, attributes[:, 1:], backend=backend)
    with pytest.raises(BadInput, match="same batch"):
        interpolate(fragments, vertices[:1], triangles, attributes[:1], backend=backend)
    with pytest.raises(BadInput, match="another mesh"):
        interpolate(fragments, vertices, triangles + vertices.shape[1], attributes, backend=backend)
