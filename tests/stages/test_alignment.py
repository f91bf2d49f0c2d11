"""What is read off a position map: everything a perfect map of a drawn head says is true of the head."""

from dataclasses import replace

import pytest
import torch
from stages.aligned_heads import aligned, chart_lattice_of, head

from vultus.errors import BadInput
from vultus.geometry.mesh import vertex_normals
from vultus.geometry.position_map import FaceCrop
from vultus.geometry.rigid import rotation_from_pose_angles
from vultus.model import bundled
from vultus.render.interpolate import interpolate
from vultus.render.raster import rasterize
from vultus.render.visible import visible_vertices
from vultus.stages.alignment import Alignment
from vultus.stages.plausible import agreement, plausibility

ZERO = torch.zeros(())
FAR = {"focal_px": 800_000.0, "seed": None}  # the mean head without perspective: its pose is what was put in


def true_points(of, scheme):
    model = bundled.load()
    marks = model.landmarks[scheme].points(of.vertices_mm, model.triangles, ZERO, ZERO)
    return of.camera.project(marks)[:, :2]


@pytest.mark.parametrize("angles", [(0, 0, 0), (35, 10, -15), (-70, 5, 20), (90, 0, 0), (10, -30, 40)])
def test_pose(monkeypatch, angles):
    pose = aligned(monkeypatch, head(*angles, **FAR)).pose
    true = rotation_from_pose_angles(*(torch.tensor(float(angle)) for angle in angles)).double()
    turned = pose.rotation_camera_head.double() @ true.T
    angle = torch.rad2deg(torch.acos(((turned.trace() - 1) / 2).clamp(-1, 1)))
    assert float(angle) < 0.1
    assert float(torch.linalg.det(pose.rotation_camera_head)) == pytest.approx(1, abs=1e-6)
    if abs(angles[0]) < 89:
        assert [float(found) for found in pose.angles] == pytest.approx(angles, abs=0.1)


@pytest.mark.parametrize("angles", [(0, 0, 0), (45, -10, 10), (-80, 0, 0)])
def test_points_are_where_the_model_has_them(monkeypatch, angles):
    of = head(*angles, focal_px=900.0)  # near: perspective is in the map
    face = aligned(monkeypatch, of)
    assert (face.landmarks68_px[:, :2] - true_points(of, "ibug68")).norm(dim=1).max() < 0.5
    found = face.points478_px
    assert (found[:468, :2] - true_points(of, "mediapipe478")[:468]).norm(dim=1).max() < 0.5
    assert bool(found[468:].isnan().all()) and not bool(face.points478_visible[468:].any())
    error = (face.vertices_px - of.points_px).norm(dim=1)
    assert error.mean() < 0.1 and error.max() < 1.0  # 128 texels for a face of 90 px: the map's own bound
    assert len(face.vertices_px) == len(face.surface.vertex_ids) == 7568


def test_visibility_is_that_of_the_whole_head(monkeypatch):
    model, of = bundled.load(), head(50, 5, 0, focal_px=800_000.0)
    face = aligned(monkeypatch, of)
    solid = model.part_of_triangle == model.part_names.index("skin")
    seen = of.camera.project(of.vertices_mm)[None].clone()
    seen[..., :2] = (seen[..., :2] - torch.tensor([140.0, 50.0])) * 5
    true = visible_vertices(seen, model.triangles[solid], (900, 900), tolerance_mm=0.5)[0]
    position = of.camera.to_camera(of.vertices_mm)
    true &= vertex_normals(position, model.triangles[solid])[:, 2] < 0
    true = true[face.surface.vertex_ids]
    assert (face.visible & true).sum() / true.sum() > 0.97
    assert (face.visible & true).sum() / face.visible.sum() > 0.95
    assert 0.5 < float(true.float().mean()) < 0.7  # the far half is hidden
    # Head turned to the subject's left: its left (the photo's right) jaw is hidden, its right one is not.
    assert bool(face.landmarks68_visible[1:7].all()) and not bool(face.landmarks68_visible[11:16].any())


def test_what_lies_outside_of_the_photo_is_not_seen(monkeypatch):
    face = aligned(monkeypatch, head(centre_px=(0.0, 256.0), **FAR))
    outside = face.vertices_px[:, 0] < 0
    assert 0.4 < outside.float().mean() < 0.6
    assert not bool(face.visible[outside].any()) and bool(face.visible[~outside].any())


def test_depth_is_that_of_the_surface(monkeypatch):
    of = head(30, 10, 5)
    face = aligned(monkeypatch, of)
    depth = face.depth_map()
    assert depth.shape == (512, 512)
    x, y, z = face.vertices_px[face.visible].T
    drawn = depth[y.long(), x.long()]
    known = drawn.isfinite()
    assert known.float().mean() > 0.97  # the outline's vertices may lie in pixels whose centre is outside
    assert (drawn - z)[known].abs().median() < 0.3  # half a pixel aside on a slope
    assert bool(depth[:5].isnan().all())  # beside the face
    nose, ear = face.landmarks68_px[30], face.landmarks68_px[2]
    assert nose[2] > ear[2] + 20  # towards the camera is positive
    crop = face.depth_map("crop")
    assert crop.shape == (256, 256)
    assert float(crop.nan_to_num().max() / depth.nan_to_num().max()) == pytest.approx(
        face.crop.scale, rel=0.02
    )
    # z of the map is zero on average over the chart, by definition.
    assert abs(float(chart_lattice_of().share @ face.vertices_px[:, 2])) < 0.2
    with pytest.raises(BadInput, match="choose photo or crop"):
        face.depth_map("screen")  # type: ignore[arg-type]


def test_the_frontal_mesh_is_the_head_without_its_pose(monkeypatch):
    of = head(40, -10, 15, focal_px=800_000.0)
    mesh = aligned(monkeypatch, of).frontal_mesh
    true = of.vertices_mm[chart_lattice_of().vertex_ids]
    # Up to the similarity between this head and the mean one, which the pose is measured against.
    size = (mesh.vertices.std(0).norm() / true.std(0).norm()).item()
    assert 0.9 < size < 1.1
    assert (mesh.vertices / size - mesh.vertices.mean(0) / size - (true - true.mean(0))).norm(
        dim=1
    ).median() < 3.0
    edges = mesh.topology.triangles[:, :2]
    ratio = (mesh.vertices[edges[:, 0]] - mesh.vertices[edges[:, 1]]).norm(dim=1) / (true[edges[:, 0]] - true[edges[:, 1]]).norm(dim=1)  # fmt: skip
    # A similarity: every direction is scaled alike. Edges are short against texels, hence the middle of them.
    assert ratio.median() == pytest.approx(size, rel=0.01)
    assert torch.quantile(ratio, 0.75) - torch.quantile(ratio, 0.25) < 0.06


def test_textures_take_no_pixel_from_what_is_hidden(monkeypatch):
    of = head(60, 0, 0)
    model = bundled.load()
    # A photo in which each pixel says which half of the face it shows: red the subject's left, green its right, blue beside it.
    face = aligned(monkeypatch, of)
    corners = of.camera.project(of.vertices_mm)[None]
    fragments = rasterize(corners, model.triangles, (512, 512))
    side = interpolate(fragments, corners, model.triangles, model.mean_mm[:, :1])[0, 0]
    photo = torch.stack([side > 0, side <= 0, torch.zeros_like(side)]).float() * fragments.mask
    photo[2][~fragments.mask[0]] = 1.0
    image, visible = face.texture(256, image=photo)
    assert image.shape == (3, 256, 256) and visible.shape == (256, 256)
    assert bool((image[:, ~visible] == 0).all())
    # u runs from the subject's right to its left. The hidden half's texels lie under the visible half's pixels: none of their green may arrive.
    left, right = visible[:, 140:], visible[:, :116]
    assert left.float().mean() < 0.35 and right.float().mean() > 0.8
    assert image[1, :, 140:][left].mean() < 0.05 and image[0, :, 140:][left].mean() > 0.85
    assert image[1, :, :116][right].mean() > 0.97


def test_the_texture_of_a_frontal_face_is_the_photo(monkeypatch):
    of = head(0, 0, 0)
    face = aligned(monkeypatch, of)
    y, x = torch.meshgrid(torch.arange(512) + 0.5, torch.arange(512) + 0.5, indexing="ij")
    photo = torch.stack([x / 512, y / 512, torch.full_like(x, 0.25)])  # colours say where they come from
    image, visible = replace(face, image=photo).texture(128)
    places = face.position_px[:2] / 512
    assert visible.float().mean() > 0.75
    assert (image[:2] - places)[:, visible].abs().max() < 1e-3
    half = replace(face, image=photo).texture(64)
    assert (half.image[:, ::8, ::8] - image[:, 1::16, 1::16]).abs().median() < 2e-3
    assert face.without_image().image is None


def test_hidden_halves_can_be_filled_from_the_other(monkeypatch):
    face = replace(aligned(monkeypatch, head(60, 0, 0)), image=torch.rand(3, 512, 512))
    image, visible = face.texture(128, fill="mirror")
    other = visible.flip(-1) & ~visible
    assert bool(other.any())
    torch.testing.assert_close(image[:, other], image.flip(-1)[:, other])
    assert bool((image.sum(0) > 0).all())  # and what neither side shows has its neighbours' colours


def test_textures_need_the_photo(monkeypatch):
    face = replace(aligned(monkeypatch, head()), image=None)
    with pytest.raises(BadInput, match="does not hold its photo"):
        face.texture(64)
    with pytest.raises(BadInput, match=r"is not the photo of 512 x 512 px"):
        face.texture(64, image=torch.zeros(3, 100, 512))
    with pytest.raises(BadInput, match="choose 1 or more"):
        replace(face, image=torch.zeros(3, 512, 512)).texture(0)


def test_plausible_is_what_is_a_face(monkeypatch):
    face = aligned(monkeypatch, head(30, 0, 0))
    surface, position = face.surface, face.position_px
    assert face.confidence == plausibility(surface, position) > 0.9
    assert plausibility(surface, 3 * position + 100) == pytest.approx(
        face.confidence, abs=1e-3
    )  # wherever, however large
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(position.shape, generator=generator)
    values = [plausibility(surface, position + sigma * noise) for sigma in (0.0, 2.0, 5.0, 20.0)]
    assert values == sorted(values, reverse=True) and values[-1] < 0.1
    flat = position.clone()
    flat[2] = 0
    assert plausibility(surface, flat) < 0.5
    mirrored = torch.stack([-position[0], position[1], position[2]])  # inside out
    assert plausibility(surface, mirrored) < 0.3
    for wrong in (torch.full_like(position, torch.nan), torch.zeros_like(position)):
        assert plausibility(surface, wrong) < 0.01
    assert agreement(position, position) == 1
    shifted = position + torch.tensor([0.04 * 90, 0, 0])[:, None, None]
    assert 0.7 < agreement(position, shifted) < 0.95 and agreement(position, position + 90) < 0.1


def test_a_model_without_chart_is_named():
    model = replace(bundled.load(), chart=None)
    face = aligned_without(model)
    with pytest.raises(BadInput, match="has no face chart"):
        _ = face.vertices_px


def aligned_without(model) -> Alignment:
    return Alignment(model, FaceCrop((10.0, 10.0), 20.0), torch.zeros(3, 8, 8), (20, 20))
