"""The detail stage on pictures of a head whose wrinkles are known (data/wrinkles.py), and of one that has none."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from synthetic_model import synthetic_model

from vultus.data.wrinkles import Lamp, photograph, wrinkle_map
from vultus.geometry.camera import Camera
from vultus.geometry.chart_map import detailed_normals, unit
from vultus.geometry.light import frontal_light
from vultus.geometry.mesh import vertex_normals
from vultus.geometry.rigid import rigid_transform, rotation_from_pose_angles
from vultus.geometry.view import View
from vultus.model.bundled import load
from vultus.model.deformation import face_vertices
from vultus.model.face import CoarseFace, DeformedFace, DetailedFace
from vultus.render.bake import bake
from vultus.stages.detail import fit_detail, freedom, wrinkles
from vultus.stages.photo_evidence import texels_of

SIZE = 384


@pytest.fixture(scope="module")
def model():
    return load()


def picture(model, strength, yaw_deg=8.0):
    """An 800 px picture of the mean head under two lamps, as a view with a perfect mask, and its wrinkles."""
    rotation = rotation_from_pose_angles(*torch.tensor([yaw_deg, 0.0, 0.0]))
    pose = rigid_transform(rotation, torch.tensor([0.0, -25.0, 900.0]))
    camera = Camera(torch.tensor(2700.0), torch.tensor([350.0, 400.0]), (700, 800), pose)
    code = model.mean_code()
    vertices, albedo = model.vertices(code), model.vertex_albedo(code)
    d = wrinkle_map(model, 768, 3, strength)
    lamps = [
        Lamp(torch.tensor([-0.8, -0.7, -0.8]), torch.full((3,), 0.5)),
        Lamp(torch.tensor([0.7, -0.2, -1.0]), torch.full((3,), 0.2)),
    ]
    image, cover = photograph(model, vertices, albedo, d, camera, torch.full((3,), 0.25), lamps, seed=1)
    view = View(image, camera, torch.zeros(68, 2), "ibug68", cover > 0.5)
    return view, DeformedFace(CoarseFace(code, pose, frontal_light()), torch.zeros(3, 8, 8)), d


@pytest.fixture(scope="module")
def old(model):
    return picture(model, 1.0)


@pytest.fixture(scope="module")
def found(model, old):
    return fit_detail(old[0], model, old[1], size=SIZE)


def normal_error_deg(model, view, vertices, known, estimate):
    """Mean angle to the true normals over the face that looks at the camera."""
    n = estimate.shape[0]
    known = F.interpolate(known[None, None], (n, n), mode="area")[0, 0]
    position = view.camera.to_camera(vertices)
    topology = model.chart.topology
    values = torch.cat([position, vertex_normals(position, model.triangles)], -1)
    drawn, covered = bake(values, topology, (~model.chart.is_membrane).nonzero().squeeze(-1), n)
    smooth = unit(drawn[3:])
    shown = covered & (smooth[2] < -0.4)
    truth = detailed_normals(drawn[:3], smooth, known)
    angle = torch.rad2deg((detailed_normals(drawn[:3], smooth, estimate) * truth).sum(0).clamp(-1, 1).acos())
    return float(angle[shown].mean())


def test_wrinkles_bring_the_normals_nearer_to_the_truth(model, old, found):
    view, face, known = old
    vertices = face_vertices(model, face)
    smooth = normal_error_deg(model, view, vertices, known, torch.zeros(SIZE, SIZE))
    assert normal_error_deg(model, view, vertices, known, found.displacement_mm) < 0.92 * smooth
    assert isinstance(found, DetailedFace) and found.deformed is face
    assert torch.equal(face_vertices(model, found), vertices)  # a displacement moves no vertex


def test_a_smooth_face_stays_smooth(model):
    """Moles, freckles, brows and noise, but no wrinkles: nothing is invented."""
    view, face, _ = picture(model, 0.0)
    d = fit_detail(view, model, face, size=SIZE).displacement_mm
    assert d.abs().median() < 0.003
    assert d.abs().quantile(0.95) < 0.03
    assert d.abs().max() < 0.4


def test_brows_lids_lips_and_nostrils_are_left_alone(model, found):
    for name in ("brows", "lips", "nostrils"):
        inside, _ = bake(
            model.regions[name].float()[:, None],
            model.chart.topology,
            torch.arange(len(model.chart.triangles)),
            SIZE,
        )
        assert found.displacement_mm[inside[0] > 0.5].abs().max() == 0, name
    edge = torch.ones(SIZE, SIZE, dtype=torch.bool)
    edge[2:-2, 2:-2] = False
    assert found.displacement_mm[edge].abs().max() < 0.01


def test_what_is_not_seen_gets_half_of_the_other_side_or_nothing(model):
    view, face, _ = picture(model, 1.0, yaw_deg=50.0)
    d = fit_detail(view, model, face, size=SIZE).displacement_mm
    seen = d[:, : SIZE // 2].abs()  # the subject's right side, towards the camera
    hidden = d[:, SIZE // 2 :].abs()
    assert seen.quantile(0.99) > 0.03
    assert hidden.max() <= 0.55 * seen.max()
    assert hidden.max() > 0.02


def test_no_skin_no_wrinkles(model, old):
    view, face, _ = old
    nothing = replace(view, skin_mask=torch.zeros_like(view.skin_mask))
    assert fit_detail(nothing, model, face, size=128).displacement_mm.abs().max() == 0
    away = replace(view.camera, T_camera_head=view.camera.T_camera_head.clone())
    away.T_camera_head[0, 3] = 5000.0
    assert fit_detail(replace(view, camera=away), model, face, size=128).displacement_mm.abs().max() == 0


def test_any_model(old):
    """Without a chart, brows, nostrils or mirror image."""
    model = synthetic_model()
    view = old[0]
    code = model.mean_code()
    for one in (replace(model, chart=None), replace(model, mirror=None)):
        d = wrinkles(view, one, one.vertices(code), one.vertex_albedo(code), frontal_light(), size=64)
        assert d.shape == (64, 64) and torch.isfinite(d).all()


def test_freedom_keeps_away_from_what_is_no_skin(model):
    skin = torch.ones(SIZE, SIZE, dtype=torch.bool)
    seen = torch.ones_like(skin)
    free = freedom(model, skin, seen)
    assert free.min() >= 0 and free.max() > 0.95
    skin[SIZE // 8 : SIZE // 4, : SIZE // 2] = False  # a lock of hair over the forehead
    less = freedom(model, skin, seen)
    assert (less <= free + 1e-6).all() and less[SIZE // 6, SIZE // 4] == 0
    assert texels_of(model, model.regions["face"], 64).any()
