"""The face chart, the atlas and the regions of the bundled head."""

import numpy as np
import pytest
import torch

from vultus.geometry.mesh import edges
from vultus.model.catalog import load_model
from vultus.model.morphable import MorphableModel
from vultus.render.interpolate import interpolate
from vultus.render.raster import rasterize


@pytest.fixture(scope="module")
def model() -> MorphableModel:
    return load_model("vultus")


def signed_area(uv: torch.Tensor, triangles: torch.Tensor) -> torch.Tensor:
    """Twice the area, positive for clockwise in (u right, v down): triangles that face the viewer are negative."""
    a, b, c = (uv[triangles[:, i]] for i in range(3))
    first, second = b - a, c - a
    return first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]


def border(triangles: torch.Tensor) -> torch.Tensor:
    """Edges of one triangle only, as directed "e 2"."""
    directed = torch.cat([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    key = directed.min(1).values * 1_000_000 + directed.max(1).values
    _, inverse, count = torch.unique(key, return_inverse=True, return_counts=True)
    return directed[count[inverse] == 1]


def test_chart_is_a_disc_with_one_border(model):
    triangles = model.chart.triangles
    used = torch.unique(triangles)
    assert len(used) - len(edges(triangles)) + len(triangles) == 1  # Euler characteristic of a disc
    after = dict(border(triangles).tolist())
    start = here = next(iter(after))
    length = 1
    while (here := after[here]) != start:
        length += 1
    assert length == len(after)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_chart_is_bijective(model, dtype):
    """All triangles run the same way and cover the square exactly once, so no two overlap."""
    area = signed_area(model.chart.uv.to(dtype), model.chart.triangles)
    assert (area < 0).all()
    assert abs(-area.sum() / 2 - 1) < 1e-5


def test_chart_border_is_the_unit_square(model):
    uv = model.chart.uv[border(model.chart.triangles)[:, 0]]
    assert (((uv == 0) | (uv == 1)).any(1)).all()
    assert ((uv == 0) | (uv == 1)).all(1).sum() == 4  # one vertex at each corner
    finite = model.chart.uv[~model.chart.uv.isnan()]
    assert finite.min() == 0
    assert finite.max() == 1


def test_chart_knows_exactly_its_own_vertices(model):
    known = ~model.chart.uv.isnan().any(1)
    used = torch.zeros_like(known)
    used[model.chart.triangles] = True
    assert torch.equal(known, used)
    assert torch.equal(known, model.regions["face"])


def test_left_and_right_are_alike(model):
    uv, mirror = model.chart.uv, model.mirror
    known = ~uv.isnan().any(1)
    torch.testing.assert_close(
        uv[mirror][known], uv[known] * torch.tensor([-1, 1]) + torch.tensor([1, 0]), atol=1e-6, rtol=0
    )
    sets = [
        {tuple(sorted(t)) for t in triangles.tolist()}
        for triangles in (model.chart.triangles, mirror[model.chart.triangles])
    ]
    assert sets[0] == sets[1]
    for name, mask in model.regions.items():
        assert torch.equal(mask, mask[mirror]), name


def test_the_subject_left_is_on_the_right_and_up_is_up(model):
    known = ~model.chart.uv.isnan().any(1)
    both = torch.cat([model.chart.uv[known], model.mean_mm[known, :2]], 1).numpy()
    correlation = np.corrcoef(both.T)
    assert correlation[0, 2] > 0.95
    assert correlation[1, 3] < -0.95


def test_membranes_close_two_eyes_and_a_mouth(model):
    membranes = model.chart.triangles[model.chart.is_membrane]
    assert len(torch.unique(membranes)) - len(edges(membranes)) + len(membranes) == 3  # three discs
    model_edges = {tuple(edge) for edge in edges(model.triangles).tolist()}
    assert {tuple(sorted(edge)) for edge in border(membranes).tolist()} <= model_edges


def test_texels_are_finest_at_eyes_nose_and_mouth(model):
    chart = model.chart
    triangles = chart.triangles[~chart.is_membrane]
    corners = model.mean_mm[triangles].double()
    area_mm2 = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]).norm(dim=1)
    texel_mm = (area_mm2 / -signed_area(chart.uv.double(), triangles)).sqrt() / 1024
    size = {
        name: texel_mm[mask[triangles].all(1)].median().item()
        for name, mask in model.regions.items()
        if mask[triangles].all(1).any()
    }
    assert max(size["eyes"], size["lips"]) < 0.75 * size["cheeks"]
    assert size["nose"] < 0.85 * size["cheeks"]
    assert texel_mm.quantile(0.95) < 0.35


def test_vertex_to_map_and_back(model):
    """Positions drawn into the chart and read at the vertices are the vertices, up to a texel."""
    size = 512
    chart, positions = model.chart, model.mean_mm.float()
    known = ~chart.uv.isnan().any(1)
    at = torch.cat([torch.nan_to_num(chart.uv) * size, torch.full((len(chart.uv), 1), 10.0)], 1)[None].float()
    drawn = rasterize(at, chart.triangles, (size, size))
    assert drawn.mask.all()  # no texel is wasted
    values = interpolate(drawn, at, chart.triangles, positions)
    grid = (2 * chart.uv[known].float() - 1)[None, None]
    read = torch.nn.functional.grid_sample(values, grid, padding_mode="border", align_corners=False)[
        0, :, 0
    ].T
    error = (read - positions[known]).norm(dim=1)
    # Bilinear reading errs by the surface's bend across a texel (0.35 mm), and by up to a texel at the border.
    assert error.median() < 0.03
    assert error.max() < 1


def test_atlas_holds_the_chart_in_a_square_and_has_no_flipped_skin(model):
    skin = model.part_of_triangle == 0
    uv, corners = model.topology.uv, model.topology.uv_triangles[skin]
    assert (signed_area(uv, corners) < 0).all()
    assert uv.min() >= 0
    assert uv.max() <= 1
    atlas = torch.full((len(model.mean_mm), 2), torch.nan)
    atlas[model.triangles[skin].flatten()] = uv[corners.flatten()]
    assert torch.equal(
        atlas[model.triangles[skin]], uv[corners]
    )  # one texture point per skin vertex: no seam
    known = model.regions["face"]
    margin = atlas[known].min()
    assert 0.05 < margin < 0.2
    torch.testing.assert_close(
        atlas[known], margin + (1 - 2 * margin) * model.chart.uv[known], atol=2e-6, rtol=0
    )


def test_regions_cover_skin_and_face_once(model):
    total = lambda names: sum(model.regions[name].int() for name in names.split())  # noqa: E731
    skin = torch.zeros(len(model.mean_mm), dtype=torch.bool)
    skin[model.part_triangles("skin")] = True
    assert torch.equal(total("face ears scalp neck inner_mouth eye_sockets"), skin.int())
    assert torch.equal(total("nose mouth eyes forehead cheeks chin"), model.regions["face"].int())
    for inner, outer in (("lips", "mouth"), ("nostrils", "nose"), ("brows", "face")):
        assert model.regions[inner].any()
        assert not (model.regions[inner] & ~model.regions[outer]).any(), inner


def test_regions_lie_where_their_names_say(model):
    height = {name: model.mean_mm[mask, 1].median().item() for name, mask in model.regions.items()}
    order = [height[name] for name in ("forehead", "brows", "eyes", "nose", "lips", "chin", "neck")]
    assert order == sorted(order, reverse=True)
    assert model.mean_mm[model.regions["scalp"], 1].max() > model.mean_mm[model.regions["face"], 1].max()
    sideways = {name: model.mean_mm[mask, 0].abs() for name, mask in model.regions.items()}
    assert sideways["ears"].min() > sideways["eyes"].max()
