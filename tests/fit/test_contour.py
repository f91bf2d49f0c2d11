import math

import numpy as np
import pytest
import torch
from synthetic_model import synthetic_model

from vultus.fit.contour import (
    Rim,
    contour_cost_1d,
    contour_cost_2d,
    outline_region,
    outline_vertices,
    rim_distance,
    row_extent,
)
from vultus.fit.outline import Outline


def disc(radius: float, centre=(60.0, 50.0), size=(120, 100)) -> torch.Tensor:
    y, x = torch.meshgrid(torch.arange(size[1]) + 0.5, torch.arange(size[0]) + 0.5, indexing="ij")
    return (x - centre[0]) ** 2 + (y - centre[1]) ** 2 < radius**2


def circle(radius: float, count: int, dtype=torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    """Points and outward normals."""
    angle = torch.arange(count, dtype=dtype) * (2 * math.pi / count)
    normals = torch.stack([angle.cos(), angle.sin()], 1)
    return torch.tensor([60.0, 50.0], dtype=dtype) + radius * normals, normals


def outline(radius: float, count: int = 300, one_sided: bool = False, weight: float = 1.0) -> Outline:
    points, normals = circle(radius, count)
    return Outline(points, normals, torch.full((count,), weight), torch.full((count,), one_sided), 0.5)


def rim(radius: float, count: int = 40) -> tuple[torch.Tensor, Rim]:
    points, normals = circle(radius, count)
    return points, Rim(torch.arange(count), normals)


def published(points: np.ndarray, mask: np.ndarray) -> float:
    """Written as the paper's code does it, vertex by vertex."""
    height, width = mask.shape
    total = 0.0
    for x, y in points:
        row = mask[min(max(math.floor(y), 0), height - 1)]
        left, right = 0, width - 1
        if row.any():
            left, right = int(np.flatnonzero(row)[0]) + 1, int(np.flatnonzero(row)[-1])
        a, b = left - x, right - x
        s = np.sign(a * b) * min(abs(a), abs(b)) / width
        total += abs(max(s + 0.01, 0) - 0.01)
    return total / len(points)


def test_row_wise_cost_is_the_published_one():
    mask = disc(30)
    points = torch.rand(300, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    points = points * torch.tensor([150.0, 130.0]) - 15
    assert contour_cost_1d(points, row_extent(mask)).item() == pytest.approx(
        published(points.numpy(), mask.numpy())
    )


def test_row_wise_cost_pulls_in_and_out_and_leaves_the_rest():
    rows = row_extent(disc(30))
    points = torch.tensor(
        [[95.0, 50.5], [25.0, 50.5], [88.5, 50.5], [60.0, 50.5], [60.0, 5.0]], requires_grad=True
    )
    contour_cost_1d(points, rows).backward()
    right, left, rim_side, middle, above = points.grad[:, 0].sign().tolist()
    assert (right, left) == (1, -1)  # outside: descent goes inwards
    assert rim_side == -1  # just inside: descent goes out to the border
    assert middle == 0 and above == 0 and (points.grad[:, 1] == 0).all()


def test_row_wise_cost_in_the_width_of_the_published_crop():
    rows, points = row_extent(disc(30)), torch.tensor([[95.0, 50.5]])
    assert contour_cost_1d(points, rows, 240.0) < contour_cost_1d(points, rows)


def test_two_dimensional_cost_on_circles():
    """A rim 6 px outside of an outline, at half a millimetre a pixel, is 3 mm away all round: 9 / (1 + 9 / 4)."""
    points, around = rim(36)
    distance, weight = rim_distance(points, around, outline(30))
    torch.testing.assert_close(distance, torch.full_like(distance, 3.0), atol=0.01, rtol=0)
    assert (weight == 1).all()
    assert contour_cost_2d(points, around, outline(30)).item() == pytest.approx(9 / (1 + 9 / 4), abs=0.02)
    assert contour_cost_2d(points, around, outline(36)).item() == pytest.approx(0, abs=1e-6)


def test_descent_meets_the_outline_whose_doubtful_parts_lie():
    points, around = rim(37)
    truth = outline(30)
    wrong = torch.arange(300) < 60
    lying = Outline(
        truth.points_px + 8 * wrong[:, None] * truth.normals,
        truth.normals,
        torch.where(wrong, 0.02, 1.0),
        truth.one_sided,
        0.5,
    )
    offset = torch.zeros(3, dtype=torch.float64, requires_grad=True)  # shift and growth
    optimiser = torch.optim.Adam([offset], lr=0.2)
    for _ in range(150):
        optimiser.zero_grad()
        contour_cost_2d(points + offset[:2] + offset[2] * around.normals, around, lying).backward()
        optimiser.step()
    x, y, growth = offset.tolist()
    assert abs(x) < 0.3 and abs(y) < 0.3 and abs(growth + 7) < 0.3


def test_hair_lets_the_face_go_on_but_not_end_before_it():
    for radius, pulled in ((36, False), (26, True)):
        points, around = rim(radius)
        points.requires_grad_()
        contour_cost_2d(points, around, outline(30, one_sided=True)).backward()
        outwards = (points.grad * around.normals).sum(1)
        assert ((outwards < 0) if pulled else (outwards == 0)).all()


def test_rims_that_look_the_other_way_or_lie_elsewhere_are_left_alone():
    points, around = rim(30)
    turned = Rim(around.ids, -around.normals)
    _, weight = rim_distance(points + 3, turned, outline(30, count=12))
    assert (weight == 0).all() or rim_distance(points, turned, outline(30))[0].abs().min() > 20
    half = outline(30)
    right = half.normals[:, 0] > 0
    half = Outline(half.points_px[right], half.normals[right], half.weight[right], half.one_sided[right], 0.5)
    _, weight = rim_distance(points, around, half)
    assert (weight[around.normals[:, 0] < -0.7] == 0).all() and (
        weight[around.normals[:, 0] > 0.2] == 1
    ).all()


def test_gradients_by_finite_differences():
    points, around = rim(33.3, 11)
    points = points + torch.randn(
        points.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2)
    )
    rows = row_extent(disc(30))
    inside = points.clone().requires_grad_()
    torch.autograd.gradcheck(lambda x: contour_cost_2d(x, around, outline(30)), inside)
    torch.autograd.gradcheck(lambda x: contour_cost_1d(x, rows), inside)


def test_nothing_to_compare():
    points, around = rim(30)
    empty = Outline(
        torch.zeros(0, 2), torch.zeros(0, 2), torch.zeros(0), torch.zeros(0, dtype=torch.bool), 0.5
    )
    nobody = Rim(torch.zeros(0, dtype=torch.int64), torch.zeros(0, 2))
    points.requires_grad_()
    (contour_cost_2d(points, around, empty) + contour_cost_2d(points, nobody, outline(30))).backward()
    assert (points.grad == 0).all()
    assert (contour_cost_1d(points, row_extent(torch.zeros(100, 120)))).isfinite()


def sphere_px(radius: float, centre, rings=40, sectors=60) -> tuple[torch.Tensor, torch.Tensor]:
    """A sphere in the camera frame, in pixels of a far camera."""
    polar = torch.linspace(0, math.pi, rings + 1)[1:-1]
    turn = torch.arange(sectors) * (2 * math.pi / sectors)
    p, t = torch.meshgrid(polar, turn, indexing="ij")
    unit = torch.stack([p.sin() * t.sin(), p.cos(), p.sin() * t.cos()], -1).reshape(-1, 3)
    quads = [
        (r * sectors + s, r * sectors + (s + 1) % sectors) for r in range(rings - 2) for s in range(sectors)
    ]
    triangles = [t for a, b in quads for t in ((a, b, a + sectors), (b, b + sectors, a + sectors))]
    faces = torch.tensor(triangles)
    along = torch.linalg.cross(unit[faces[0, 1]] - unit[faces[0, 0]], unit[faces[0, 2]] - unit[faces[0, 0]])
    faces = faces if along @ unit[faces[0, 0]] > 0 else faces[:, [0, 2, 1]]
    return unit * radius + torch.tensor(centre), faces


def test_rim_of_a_sphere_and_what_hides_it():
    far, faces = sphere_px(20.0, (50.0, 50.0, 500.0))
    alone = outline_vertices(far, faces)
    offset = far[alone.ids, :2] - 50
    assert len(alone.ids) > 50
    assert (offset.norm(dim=1) - 20).abs().max() < 0.3
    assert ((offset / 20) * alone.normals).sum(1).min() > 0.95
    near, _ = sphere_px(20.0, (66.0, 50.0, 300.0))
    both = outline_vertices(torch.cat([far, near]), torch.cat([faces, faces + len(far)]))
    seen = both.ids[both.ids < len(far)]
    assert (
        0 < len(seen) < len(alone.ids)
        and ((far[seen, :2] - torch.tensor([66.0, 50.0])).norm(dim=1) > 18).all()
    )
    region = far[:, 0] < 50
    assert (far[outline_vertices(far, faces, region).ids, 0] < 50).all()


def test_region_of_a_model():
    model = synthetic_model()
    region = outline_region(model)
    assert region.shape == (len(model.mean_mm),) and region.dtype == torch.bool
