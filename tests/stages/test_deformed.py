"""The deformed level on pictures of the bundled head whose deformation is known."""

from dataclasses import replace

import pytest
import torch

from vultus.errors import BadInput
from vultus.fit.deformation import DeformationOptions
from vultus.fit.landmark_basis import landmark_basis
from vultus.fit.openings import damage_of
from vultus.fit.projected_terms import detector_offset_px
from vultus.fit.smoothness import chart_positions
from vultus.geometry.camera import Camera
from vultus.geometry.light import ambient_and_directional
from vultus.geometry.mesh import vertex_normals
from vultus.geometry.rigid import rigid_transform, rotation_from_pose_angles
from vultus.geometry.view import View
from vultus.model.bundled import load
from vultus.model.deformation import face_vertices
from vultus.model.face import CoarseFace, DeformedFace
from vultus.render.shade import over, render, srgb_from_linear
from vultus.stages.deformed import MAP_SIZE, DeformedOptions, fit_deformed
from vultus.stages.texture import texture

SIZE = 256
LIGHT = ambient_and_directional(torch.full((3,), 0.5), torch.full((3,), 0.6), torch.tensor([0.7, -0.5, -1.0]))
CASES = {"none": (), "cheek": (((38.0, -35.0, 25.0), (0.6, -0.2, 1.0)),), "jaw": (((45.0, -75.0, 0.0), (1.0, -0.5, 0.2)), ((-45.0, -75.0, 0.0), (-1.0, -0.5, 0.2)))}  # fmt: skip


@pytest.fixture(scope="module")
def model():
    return load()


def known_map(model, bumps, height_mm: float = 4.0) -> torch.Tensor:
    """A map "3 m m" with smooth bumps of 15 mm width at given places of the mean head."""
    position = chart_positions(model, model.mean_mm, MAP_SIZE)
    field = torch.zeros_like(position)
    for place, direction in bumps:
        distance = (position - torch.tensor(place)[:, None, None]).norm(dim=0)
        unit = torch.nn.functional.normalize(torch.tensor(direction), dim=0)
        field += height_mm * torch.exp(-((distance / 22.0) ** 2)) * unit[:, None, None]
    return field


def photograph(model, field, yaw_deg: float = 15.0) -> tuple[View, CoarseFace, DeformedFace]:
    """A picture of the deformed mean head, with landmarks where the detector would see them, and its face without and with deformation."""
    code = model.mean_code()
    yaw, pitch = torch.tensor(yaw_deg), torch.zeros(())
    pose = rigid_transform(rotation_from_pose_angles(yaw, pitch, pitch), torch.tensor([0.0, 15.0, 800.0]))
    camera = Camera(torch.tensor(900.0), torch.tensor([SIZE / 2, SIZE / 2]), (SIZE, SIZE), pose)
    coarse = CoarseFace(code, pose, LIGHT)
    known = DeformedFace(coarse, field)
    vertices = face_vertices(model, known)
    parts = torch.cat([model.part_triangles(name) for name in model.part_names if name != "lashes"])
    picture = render(vertices, parts, camera, LIGHT, albedo=model.vertex_albedo(code), samples=2)
    image = srgb_from_linear(over(picture, torch.full((3,), 0.05)).clamp(0, 1))[0]
    table = model.landmarks["mediapipe478"]
    points = camera.project(table.points(vertices, model.triangles, yaw, pitch))[:, :2]
    offset = detector_offset_px(model, landmark_basis(model, "mediapipe478"), camera, code)
    points = points + torch.from_numpy(offset).float()
    return View(image, camera, points, "mediapipe478", picture[0, 3] > 0.5), coarse, known


def errors(model, known, face, region) -> tuple[float, float]:
    """Mean distance in mm and mean angle between normals, in degrees, over the vertices of a region."""
    truth, found = face_vertices(model, known)[region], face_vertices(model, face)[region]
    normals = [vertex_normals(face_vertices(model, f), model.triangles)[region] for f in (known, face)]
    angle = torch.rad2deg((normals[0] * normals[1]).sum(-1).clamp(-1, 1).acos())
    # A part's shift along itself changes nothing that one can see: distances count along the normal.
    return float(((truth - found) * normals[0]).sum(-1).abs().mean()), float(angle.mean())


@pytest.mark.parametrize("name", ["cheek", "jaw"])
def test_a_known_deformation_is_found_for_the_most_part(model, name):
    field = known_map(model, CASES[name])
    view, coarse, known = photograph(model, field)
    face, report = fit_deformed(view, model, coarse)
    moved = face_vertices(model, known) - model.vertices(coarse.code)
    region = (moved.norm(dim=1) > 1.0) & model.regions["face"]
    before, after = (errors(model, known, f, region) for f in (coarse, face))
    # The prior's typical 1.5 mm draws 4 mm back, and the far side is turned away: most of it is what can be hoped for.
    assert after[0] < 0.75 * before[0], (before, after)
    assert after[1] < 0.85 * before[1], (before, after)
    assert report.status == "ok" and report.iterations == 6 and face.deformation_mm.shape == (3, 64, 64)


def test_what_needs_no_deformation_gets_hardly_any_and_stays_whole(model):
    view, coarse, _ = photograph(model, known_map(model, ()))
    face, report = fit_deformed(view, model, coarse)
    assert face.deformation_mm.norm(dim=0).mean() < 0.15
    damage = damage_of(model, model.vertices(coarse.code), face_vertices(model, face))
    assert damage.flipped_triangles == 0 and damage.lid_depth_mm < 0.1 and damage.lip_gap_mm < 0.1
    assert report.cost["flipped_triangles"] == 0


def test_code_shape_and_pose_stay_and_light_is_solved_again(model):
    view, coarse, _ = photograph(model, known_map(model, CASES["cheek"]))
    dim = replace(coarse, light=0.8 * coarse.light)
    face, _ = fit_deformed(view, model, dim)
    assert torch.equal(face.coarse.code.identity, coarse.code.identity)
    assert torch.equal(face.coarse.code.expression, coarse.code.expression)
    assert torch.equal(face.coarse.T_camera_head, coarse.T_camera_head)
    assert not torch.equal(face.coarse.light, dim.light)


def test_switches(model):
    view, coarse, _ = photograph(model, known_map(model, CASES["jaw"]))
    off, report = fit_deformed(view, model, coarse, DeformedOptions(deformation=False))
    assert off.deformation_mm.abs().max() == 0 and report.iterations == 0
    short = DeformationOptions(sizes=(16,), iterations=1)
    maps = {
        (contour, smoothness): fit_deformed(
            view, model, coarse, DeformedOptions(contour=contour, smoothness=smoothness, fit=short)
        )
        for contour, smoothness in (
            ("none", "laplacian"),
            ("1d", "laplacian"),
            ("2d", "laplacian"),
            ("none", "tv"),
        )
    }
    assert "contour" not in maps["none", "laplacian"][1].cost
    for one in (("1d", "laplacian"), ("2d", "laplacian"), ("none", "tv")):
        assert not torch.allclose(
            maps[one][0].deformation_mm, maps["none", "laplacian"][0].deformation_mm, atol=1e-3
        )
        assert maps[one][0].deformation_mm.isfinite().all()


def test_a_photo_that_says_nothing_leaves_a_whole_face(model):
    view, coarse, _ = photograph(model, known_map(model, ()))
    blank = replace(view, image=torch.zeros_like(view.image), skin_mask=torch.zeros_like(view.skin_mask))
    face, _ = fit_deformed(blank, model, coarse)
    assert face.deformation_mm.isfinite().all() and face.deformation_mm.norm(dim=0).max() < 3
    assert torch.equal(face.coarse.light, coarse.light)  # nothing to solve it from


def test_a_model_without_a_chart_cannot_be_deformed(model):
    view, coarse, _ = photograph(model, known_map(model, ()))
    with pytest.raises(BadInput, match="no face chart"):
        fit_deformed(view, replace(model, chart=None), coarse)


def test_textures_follow_the_deformation(model):
    """The same person, textured with the deformed shape: the texture shows what the undeformed one does, not a shifted one."""
    stripes = 0.5 + 0.3 * torch.sin(model.mean_mm / 4.0)
    field = known_map(model, CASES["cheek"], 6.0)
    view, coarse, known = photograph(model, field)
    parts = model.part_triangles("skin")

    def picture(face):
        drawn = render(face_vertices(model, face), parts, view.camera, albedo=stripes, samples=2)
        return replace(view, image=srgb_from_linear(over(drawn, torch.full((3,), 0.05)).clamp(0, 1))[0])

    truth = texture(picture(coarse), model, coarse, size=256)
    found = {
        how: texture(picture(known), model, known, size=256, realign=how) for how in ("on", "off", "flow")
    }
    moved = face_vertices(model, known) - model.vertices(coarse.code)
    bake_region = (moved.norm(dim=1) > 2.0).float()[:, None]
    from vultus.render.bake import bake

    skin = (model.part_of_triangle == 0).nonzero()[:, 0]
    there = bake(bake_region, model.topology, skin, 256)[0][0] > 0.5
    error = {}
    for how, face in found.items():
        seen = there & (face.observed > 0.9) & (truth.observed > 0.9)
        error[how] = float((face.texture["skin"] - truth.texture["skin"])[:, seen].abs().mean())
    assert error["on"] < 0.5 * error["off"] and error["flow"] < 0.6 * error["off"], error
    assert found["on"].coarse is coarse and found["on"].geometry is known
