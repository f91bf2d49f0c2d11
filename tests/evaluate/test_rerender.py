"""A face that explains its photo perfectly scores perfectly, and levels are told apart by what they change."""

from dataclasses import replace

import pytest
import torch

from vultus.evaluate.image_metrics import psnr_db
from vultus.evaluate.rerender import landmark_residual_px, rerender, rerender_psnr
from vultus.evaluate.scan_levels import level_error, level_surface
from vultus.geometry.camera import Camera
from vultus.geometry.light import ambient_and_directional
from vultus.geometry.rigid import rigid_transform, rotation_from_pose_angles
from vultus.geometry.view import View
from vultus.model.bundled import load
from vultus.model.deformation import face_vertices
from vultus.model.face import CoarseFace, DeformedFace, DetailedFace, TexturedFace
from vultus.stages.ablate import ABLATIONS, chosen_ablations

SIZE = 128
LIGHT = ambient_and_directional(torch.full((3,), 0.4), torch.full((3,), 0.5), torch.tensor([0.5, -0.5, -1.0]))


@pytest.fixture(scope="module")
def model():
    return load()


@pytest.fixture(scope="module")
def drawn(model):
    """A face with a bump and a crease, and the photo that it makes."""
    rotation = rotation_from_pose_angles(torch.tensor(12.0), torch.tensor(3.0), torch.zeros(()))
    pose = rigid_transform(rotation, torch.tensor([0.0, 20.0, 800.0]))
    coarse = CoarseFace(model.mean_code(), pose, LIGHT)
    deformation, displacement = torch.zeros(3, 64, 64), torch.zeros(128, 128)
    deformation[2, 20:40, 30:50] = 2.0
    displacement[60:64, 20:110] = -0.5
    face = DetailedFace(DeformedFace(coarse, deformation), displacement)
    camera = Camera(torch.tensor(400.0), torch.tensor([64.0, 64.0]), (SIZE, SIZE), pose)
    nobody = View(
        torch.zeros(3, SIZE, SIZE), camera, torch.zeros(0, 2), "mediapipe478", torch.ones(SIZE, SIZE).bool()
    )
    image, mask = rerender(nobody, model, face, "model")
    table = model.landmarks["mediapipe478"]
    points = table.points(face_vertices(model, face), model.triangles, torch.tensor(12.0), torch.tensor(3.0))
    return replace(nobody, image=image, skin_mask=mask, landmarks_px=camera.project(points)[:, :2]), face


def test_a_perfect_face_is_perfect_and_lower_levels_are_not(model, drawn):
    view, face = drawn
    assert rerender_psnr(view, model, face, "model") == 100.0
    levels = [rerender_psnr(view, model, level, "model") for level in (face.coarse, face.deformed)]
    assert levels[0] < levels[1] < 60
    assert landmark_residual_px(view, model, face_vertices(model, face)) < 1e-3
    shifted = face_vertices(model, face) + torch.tensor([2.0, 0, 0])
    # 2 mm at about 800 mm and 400 px, seen 12 degrees from the side.
    assert landmark_residual_px(view, model, shifted) == pytest.approx(1.0, abs=0.1)


def test_a_texture_is_drawn_as_it_is(model, drawn):
    view, face = drawn
    grey = torch.full((3, 64, 64), 0.5)
    painted = TexturedFace(face, {"skin": grey}, torch.ones(64, 64), None)
    image, mask = rerender(view, model, painted, "texture")
    torch.testing.assert_close(image[:, mask], torch.full_like(image[:, mask], 0.5), atol=1e-5, rtol=0)
    lit, _ = rerender(view, model, painted, "relit")
    assert float(lit[:, mask].std()) > 0.02
    # Light and albedo are known up to a factor: a darker albedo of the same look is lit to the same picture, as bright as the photo.
    darker, _ = rerender(view, model, replace(painted, albedo=0.5 * grey), "relit")
    torch.testing.assert_close(darker, lit, atol=1e-4, rtol=0)
    assert float(lit[:, mask].mean()) == pytest.approx(float(view.image[:, mask].mean()), rel=0.1)


def test_psnr_by_hand():
    image, other, mask = (
        torch.zeros(3, 2, 2),
        torch.zeros(3, 2, 2),
        torch.tensor([[True, False], [False, False]]),
    )
    other[:, 0, 0] = 0.1
    assert psnr_db(image, other, mask) == pytest.approx(20.0)
    assert psnr_db(image, other, ~mask) == 100.0
    assert psnr_db(image, other, mask & False) != psnr_db(image, other, mask & False)


def test_level_errors_of_a_face_against_itself(model, drawn):
    _, face = drawn
    surface = level_surface(model, face)
    ids = surface.triangles[: int(surface.on_face.sum()) : 5, 0]
    same = level_error(surface, surface.vertices[ids], surface.normals[ids])
    assert same.median_mm < 1e-6 and same.mean_angle_deg < 0.1
    smooth = level_error(
        level_surface(model, face.deformed, 128), surface.vertices[ids], surface.normals[ids]
    )
    assert 0.4 < smooth.distances_mm.max() < 0.55  # the crease is half a millimetre deep
    coarse = level_error(level_surface(model, face.coarse, 128), surface.vertices[ids], surface.normals[ids])
    assert 1.5 < coarse.distances_mm.max() < 2.1  # the bump is 2 mm
    assert coarse.mean_angle_deg > 1


def test_ablations_are_chosen_by_name():
    assert list(chosen_ablations(())) == list(ABLATIONS)
    assert list(chosen_ablations(["full", "coarse"])) == ["coarse", "full"]
    with pytest.raises(Exception, match="no ablation wrinkles"):
        chosen_ablations(["wrinkles"])
    assert len({hash(ablation) for ablation in ABLATIONS.values()}) == len(ABLATIONS)
