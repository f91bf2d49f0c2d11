"""The coarse stage on pictures of the bundled head whose code, camera and light are known."""

from dataclasses import replace

import pytest
import torch

from vultus.fit.photometric import PhotometricOptions, fit_light_and_albedo
from vultus.geometry.camera import Camera
from vultus.geometry.light import ambient_and_directional, shading
from vultus.geometry.mesh import vertex_normals
from vultus.geometry.rigid import pose_angles, rigid_transform, rotation_from_pose_angles
from vultus.geometry.view import View
from vultus.model.bundled import load
from vultus.render.shade import over, render, srgb_from_linear
from vultus.render.visible import facing
from vultus.stages.coarse import CoarseOptions, fit_coarse

SIZE = 360


@pytest.fixture(scope="module")
def scene():
    """A person half to the side, lamp from the right, landmarks where the table puts them (so without detector noise)."""
    model = load()
    generator = torch.Generator().manual_seed(3)
    code = model.mean_code()
    expression = code.expression.clone()
    expression[model.expression_names.index("mouthSmileLeft")] = 0.5
    expression[model.expression_names.index("mouthSmileRight")] = 0.5
    code = replace(
        code,
        identity=0.7 * torch.randn(len(code.identity), generator=generator),
        expression=expression,
        albedo=torch.tensor([0.6, 0.3, 0.2, -0.2]),
    )
    yaw, pitch = torch.tensor(18.0), torch.tensor(-4.0)
    rotation = rotation_from_pose_angles(yaw, pitch, torch.tensor(3.0))
    pose = rigid_transform(rotation, torch.tensor([5.0, 20.0, 800.0]))
    camera = Camera(torch.tensor(1000.0), torch.tensor([SIZE / 2, SIZE / 2]), (SIZE, SIZE), pose)
    light = ambient_and_directional(
        torch.full((3,), 0.6), torch.full((3,), 0.5), torch.tensor([0.6, -0.4, -1.0])
    )
    vertices = model.vertices(code)
    parts = torch.cat([model.part_triangles(name) for name in model.part_names if name != "lashes"])
    picture = render(vertices, parts, camera, light, albedo=model.vertex_albedo(code), samples=2)
    image = srgb_from_linear(over(picture, torch.full((1, 3, SIZE, SIZE), 0.3)).clamp(0, 1))[0]
    table = model.landmarks["mediapipe478"]
    points = camera.project(table.points(vertices, model.triangles, yaw, pitch))[:, :2]
    blank = replace(camera, T_camera_head=torch.eye(4))
    view = View(image, blank, points, "mediapipe478", picture[0, 3] > 0.5)
    return model, code, camera, light, view


def face_error_mm(model, first, second) -> float:
    face = model.regions["face"]
    return float((model.vertices(first) - model.vertices(second))[face].norm(dim=1).median())


def test_pose_expression_and_shape_are_recovered(scene):
    model, code, camera, _, view = scene
    posed, face, report = fit_coarse(view, model, CoarseOptions(focal_log_sigma=0.0))
    found, true = (pose_angles(c.T_camera_head[:3, :3]) for c in (posed.camera, camera))
    assert all(abs(float(a - b)) < 3.0 for a, b in zip(found, true))
    smile = model.expression_names.index("mouthSmileLeft")
    assert 0.2 < face.code.expression[smile] < 0.9
    # The prior keeps noise-free points at a distance; still the person is nearer than the mean head.
    assert face_error_mm(model, face.code, code) < face_error_mm(model, model.mean_code(), code)
    assert report.status == "ok"
    assert report.cost["reprojection"] < 0.03


def test_light_and_albedo_explain_the_picture(scene):
    model, code, camera, _, view = scene
    posed = replace(view, camera=camera)
    light, albedo, residual = fit_light_and_albedo(
        posed, model, replace(code, albedo=torch.zeros(4)), PhotometricOptions()
    )
    assert residual < 0.02  # linear RGB, of a face at about 0.3
    # A lamp at the image's right, and light skin: signs, because brightness of lamp and skin cannot be told apart.
    assert light[:, 3].mean() > 0.05
    assert albedo.shape == (4,)


def test_the_shading_of_a_lamp_is_found_in_full(scene):
    model, code, camera, true, view = scene
    posed = replace(view, camera=camera)
    light, _, _ = fit_light_and_albedo(posed, model, code, PhotometricOptions())
    position = camera.to_camera(model.vertices(code))
    normals = vertex_normals(position, model.triangles)
    seen = model.regions["face"] & (facing(position, normals) > 0.3)
    found, actual = (shading(normals[seen], x).mean(1).log() for x in (light, true))
    found, actual = found - found.mean(), actual - actual.mean()
    # How strong it is cannot be told from how light the skin is; how it varies over the face can. A strong prior takes three quarters of that away.
    assert 0.75 < float((found * actual).sum() / (actual * actual).sum()) < 1.15
    assert float((found - actual).norm() / actual.norm()) < 0.3


def test_half_a_face_is_enough(scene):
    model, code, camera, _, view = scene
    hidden = view.landmarks_px[:, 0] > SIZE / 2 + 10
    image = view.image.clone()
    image[:, :, SIZE // 2 + 10 :] = 0.1
    mask = view.skin_mask.clone()
    mask[:, SIZE // 2 + 10 :] = False
    unknown = view.landmarks_px.clone()
    unknown[hidden] = float("nan")  # a source that knows what it does not see
    half = replace(view, image=image, skin_mask=mask, landmarks_px=unknown)
    posed, face, _ = fit_coarse(half, model, CoarseOptions(focal_log_sigma=0.0))
    yaw = pose_angles(posed.camera.T_camera_head[:3, :3]).yaw_deg
    assert abs(float(yaw - pose_angles(camera.T_camera_head[:3, :3]).yaw_deg)) < 8
    assert torch.isfinite(face.code.identity).all()
    assert face_error_mm(model, face.code, code) < 1.5 * face_error_mm(model, model.mean_code(), code)


def test_no_visible_skin_still_gives_a_face(scene):
    model, _, _, _, view = scene
    dark = replace(view, image=torch.zeros_like(view.image), skin_mask=torch.zeros_like(view.skin_mask))
    _, face, _ = fit_coarse(dark, model, CoarseOptions())
    assert torch.isfinite(face.light).all()
    assert torch.isfinite(face.code.identity).all()
