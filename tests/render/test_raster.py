from fractions import Fraction

import numba
import pytest
import torch
from shapes import camera, soup, sphere

from vultus.errors import AssetMissing, BadInput
from vultus.render.raster import Fragments, rasterize, register_backend

BACKENDS = ["numba", "torch"]


def same(a: Fragments, b: Fragments, tolerance: float = 0.0):
    assert torch.equal(a.triangle_ids, b.triangle_ids)
    torch.testing.assert_close(a.barycentric, b.barycentric, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(a.depth_mm, b.depth_mm, rtol=tolerance, atol=tolerance)


def exact_cover(corners, x: int, y: int):
    """Naive oracle in rational numbers: strictly inside, outside, or None on an edge."""
    px, py = Fraction(2 * x + 1, 2), Fraction(2 * y + 1, 2)
    points = [(Fraction(float(c[0])) - px, Fraction(float(c[1])) - py) for c in corners]
    signs = []
    for i in range(3):
        (ax, ay), (bx, by) = points[i], points[(i + 1) % 3]
        signs.append(ax * by - ay * bx)
    if all(s > 0 for s in signs) or all(s < 0 for s in signs):
        return True
    return (
        None
        if any(s == 0 for s in signs) and (all(s >= 0 for s in signs) or all(s <= 0 for s in signs))
        else False
    )


@pytest.mark.parametrize("backend", BACKENDS)
def test_coverage_and_depth_order_match_exact_arithmetic(backend):
    size = (14, 11)
    vertices, triangles = soup(12, size, seed=3)
    fragments = rasterize(vertices, triangles, size, backend=backend)
    v = vertices[0]
    for y in range(size[1]):
        for x in range(size[0]):
            inside = [t for t in range(len(triangles)) if exact_cover(v[triangles[t]], x, y)]
            got = int(fragments.triangle_ids[0, y, x])
            if not inside:
                assert got == -1
                continue
            depths = []
            for t in inside:
                corner = v[triangles[t]].double()
                weights = torch.linalg.solve(
                    torch.cat([corner[:, :2].T, torch.ones(1, 3, dtype=torch.float64)]),
                    torch.tensor([x + 0.5, y + 0.5, 1.0], dtype=torch.float64),
                )
                depths.append(1 / float((weights / corner[:, 2]).sum()))
            nearest = min(range(len(inside)), key=depths.__getitem__)
            assert got == inside[nearest]
            assert float(fragments.depth_mm[0, y, x]) == pytest.approx(depths[nearest], rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("cull_back", [False, True])
def test_backends_agree(dtype, cull_back):
    size = (61, 47)
    vertices, triangles = soup(300, size, seed=1, dtype=dtype, batch=2)
    fast, readable = (rasterize(vertices, triangles, size, cull_back=cull_back, backend=b) for b in BACKENDS)
    # Ids are the same because every operation is; the weights differ in the order of three-term sums, then one rounding to the type.
    same(fast, readable, 1e-12 if dtype == torch.float64 else 2e-7)
    assert fast.mask.float().mean() > 0.9
    assert torch.isinf(fast.depth_mm[~fast.mask]).all()
    assert (fast.barycentric.sum(1)[fast.mask] - 1).abs().max() < 1e-6
    assert (fast.barycentric >= 0).all()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("jitter", [0.0, 0.5, 1e-6])
def test_neighbours_neither_overlap_nor_leave_holes(backend, jitter):
    """A plane cut into triangles whose corners and edges run through pixel centres: every pixel belongs to exactly one."""
    side, size = 9, (32, 32)
    u = torch.linspace(-4.5, 36.5, side)  # some corners on centres, all borders outside
    y, x = torch.meshgrid(u.round() + 0.5, u.round() + 0.5, indexing="ij")
    xy = torch.stack([x, y], -1) + jitter * torch.randn(
        side, side, 2, generator=torch.Generator().manual_seed(0)
    )
    vertices = torch.cat([xy, torch.full_like(xy[..., :1], 500)], -1).reshape(1, -1, 3)
    i = torch.arange(side * side).reshape(side, side)
    a, b, c, d = (p.reshape(-1) for p in (i[:-1, :-1], i[:-1, 1:], i[1:, :-1], i[1:, 1:]))
    triangles = torch.cat([torch.stack([a, c, b], 1), torch.stack([b, c, d], 1)])
    turned = triangles[::2, [0, 2, 1]]  # orientation must not matter
    triangles = torch.cat([turned, triangles[1::2]])
    cover = sum(rasterize(vertices, t[None], size, backend=backend).mask.int() for t in triangles)
    assert (cover == 1).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_depth_of_a_tilted_plane_is_where_the_ray_meets_it(backend):
    view = camera()
    normal, offset = (
        torch.tensor([0.3, -0.2, 1.0], dtype=torch.float64),
        480.0,
    )  # camera frame: normal . p = offset
    xy = torch.tensor([[-300, -250], [300, -250], [300, 250], [-300, 250]], dtype=torch.float64)
    corners = torch.cat([xy, ((offset - xy @ normal[:2]) / normal[2])[:, None]], -1)
    triangles = torch.tensor([[0, 1, 2], [0, 2, 3]])
    fragments = rasterize(view.project_camera(corners)[None], triangles, view.size_px, backend=backend)
    v, u = torch.meshgrid(torch.arange(40).double() + 0.5, torch.arange(48).double() + 0.5, indexing="ij")
    ray = torch.stack([(u - 24) / 130, (v - 20) / 130, torch.ones_like(u)], -1)
    assert fragments.mask.all()
    torch.testing.assert_close(fragments.depth_mm[0], offset / (ray @ normal), rtol=1e-12, atol=0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_drawing_in_texture_space_is_affine(backend):
    """Constant depth: depth exactly 1, and the weights solve p = sum(b_i v_i)."""
    vertices, triangles = soup(40, (64, 64), seed=5, dtype=torch.float64)
    vertices[..., 2] = 2.0
    fragments = rasterize(vertices, triangles, (64, 64), backend=backend)
    seen = fragments.mask
    assert (fragments.depth_mm[seen] == 2.0).all()
    corners = vertices[0][triangles[fragments.triangle_ids[seen].long()]]
    weights = fragments.barycentric.permute(0, 2, 3, 1)[seen]
    _, row, column = seen.nonzero(as_tuple=True)
    torch.testing.assert_close(
        (weights[..., None] * corners[..., :2]).sum(1),
        torch.stack([column, row], -1).double() + 0.5,
        rtol=0,
        atol=1e-9,
    )


@pytest.mark.parametrize("backend", BACKENDS)
def test_equal_depths_go_to_the_smaller_id(backend):
    vertices = torch.tensor([[[-5.0, -5, 400], [40, -5, 400], [-5, 40, 400]]])
    triangles = torch.tensor([[0, 1, 2], [1, 2, 0], [0, 2, 1]])
    ids = rasterize(vertices, triangles, (8, 8), backend=backend).triangle_ids
    assert (ids == 0).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_front_faces_run_counter_clockwise(backend):
    vertices, triangles = sphere()
    view = camera()
    points = view.project(vertices)[None]
    both = rasterize(points, triangles, view.size_px, backend=backend)
    front = rasterize(points, triangles, view.size_px, cull_back=True, backend=backend)
    same(both, front)
    inside_out = rasterize(points, triangles[:, [0, 2, 1]], view.size_px, cull_back=True, backend=backend)
    assert (inside_out.depth_mm > both.depth_mm)[both.mask].all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_batch_is_a_loop(backend):
    vertices, triangles = soup(50, (20, 30), seed=7, batch=3)
    whole = rasterize(vertices, triangles, (20, 30), backend=backend)
    for i in range(3):
        part = rasterize(vertices[i : i + 1], triangles, (20, 30), backend=backend)
        assert torch.equal(part.triangle_ids[0], whole.triangle_ids[i])
        assert torch.equal(part.barycentric[0], whole.barycentric[i])
        assert torch.equal(part.depth_mm[0], whole.depth_mm[i])


def test_threads_do_not_change_a_bit():
    vertices, triangles = soup(400, (70, 90), seed=9, batch=2)
    before = numba.get_num_threads()
    try:
        results = []
        for threads in (1, min(2, numba.config.NUMBA_NUM_THREADS)):
            numba.set_num_threads(threads)
            results.append(rasterize(vertices, triangles, (70, 90), backend="numba"))
    finally:
        numba.set_num_threads(before)
    same(*results)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_cannot_be_drawn_is_skipped(backend, dtype):
    nan, inf = float("nan"), float("inf")
    good = [[-50.0, -50, 900], [100, -50, 900], [-50, 100, 900]]
    bad = [
        [[2, 2, 500], [2, 2, 500], [2, 2, 500]],  # a point
        [[0, 0, 500], [4, 4, 500], [8, 8, 500]],  # a line
        [[nan, 0, 500], [9, 0, 500], [0, 9, 500]],
        [[0, 0, nan], [9, 0, 500], [0, 9, 500]],
        [[0, inf, 500], [9, 0, 500], [0, 9, 500]],
        [[0, 0, 500], [9, 0, -500], [0, 9, 500]],  # through the camera
        [[0, 0, 1], [9, 0, 500], [0, 9, 500]],  # at the near limit
        [[-9, -9, 500], [-2, -9, 500], [-9, -2, 500]],  # off screen
        [[900, 900, 500], [990, 900, 500], [900, 990, 500]],
        [[3.6, 3.6, 500], [3.9, 3.6, 500], [3.6, 3.9, 500]],  # between pixel centres
    ]
    vertices = torch.tensor([c for t in [*bad, good] for c in t], dtype=dtype)[None]
    triangles = torch.arange(3 * len(bad) + 3).reshape(-1, 3)
    fragments = rasterize(vertices, triangles, (8, 8), backend=backend)
    assert (fragments.triangle_ids == len(bad)).all()
    assert fragments.depth_mm.isfinite().all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_huge_triangle_covers_everything(backend):
    vertices = torch.tensor([[[-1e9, -1e9, 500], [1e9, -1e9, 500], [0, 1e12, 700]]])
    fragments = rasterize(vertices, torch.tensor([[0, 1, 2]]), (40, 30), backend=backend)
    assert fragments.mask.all()
    assert ((fragments.depth_mm >= 500) & (fragments.depth_mm <= 700)).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_nothing_to_draw(backend):
    none = torch.zeros(0, 3, dtype=torch.int64)
    for vertices in (torch.zeros(2, 0, 3), torch.zeros(2, 5, 3)):
        fragments = rasterize(vertices, none, (6, 4), backend=backend)
        assert fragments.triangle_ids.shape == (2, 4, 6)
        assert not fragments.mask.any()
    assert rasterize(torch.zeros(0, 3, 3), torch.tensor([[0, 1, 2]]), (6, 4), backend=backend).mask.shape == (
        0,
        4,
        6,
    )


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("index", [-1, 3])
def test_wrong_indices_are_refused(backend, index):
    with pytest.raises(BadInput, match="another mesh"):
        rasterize(torch.full((1, 3, 3), 5.0), torch.tensor([[0, 1, index]]), (4, 4), backend=backend)


def test_wrong_shapes_and_names_are_refused():
    vertices, triangles = torch.full((1, 3, 3), 5.0), torch.tensor([[0, 1, 2]])
    with pytest.raises(BadInput, match="vertices_px"):
        rasterize(vertices[0], triangles, (4, 4))
    with pytest.raises(BadInput, match="int64"):
        rasterize(vertices, triangles.int(), (4, 4))
    with pytest.raises(BadInput, match="size_px"):
        rasterize(vertices, triangles, (0, 4))
    with pytest.raises(BadInput, match="auto, numba, torch"):
        rasterize(vertices, triangles, (4, 4), backend="cuda-magic")
    with pytest.raises(AssetMissing, match="DRTK"):
        rasterize(vertices, triangles, (4, 4), backend="drtk")


def test_a_backend_can_be_plugged_in(monkeypatch):
    from vultus.render import _torch, raster

    monkeypatch.setattr(raster, "_BACKENDS", dict(raster._BACKENDS))
    register_backend("mine", lambda: _torch)
    vertices, triangles = soup(5, (8, 8), seed=2)
    same(
        rasterize(vertices, triangles, (8, 8), backend="mine"),
        rasterize(vertices, triangles, (8, 8), backend="torch"),
    )

    def load():
        raise ImportError("No module named 'warp'")

    register_backend("warp", load)
    with pytest.raises(AssetMissing, match="pip install warp-lang"):
        rasterize(vertices, triangles, (8, 8), backend="warp")


@pytest.mark.gpu
def test_gpu_sees_the_same():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    vertices, triangles = soup(300, (61, 47), seed=1)
    fast = rasterize(vertices, triangles, (61, 47))
    there = rasterize(vertices.cuda(), triangles.cuda(), (61, 47))
    assert torch.equal(fast.triangle_ids, there.triangle_ids.cpu())
