"""Openings: a head with known lids and lips is photographed, and another head's eyes and mouth are opened as wide."""

from dataclasses import replace

import pytest
import torch

from vultus.fit.opening_width import DETECTED, fit_openings, model_rims
from vultus.geometry.camera import Camera
from vultus.geometry.rigid import rigid_transform, rotation_from_pose_angles
from vultus.geometry.view import View
from vultus.model.bundled import load


@pytest.fixture(scope="module")
def model():
    return load()


def code_with(model, **weights):
    code = model.mean_code()
    expression = code.expression.clone()
    for name, weight in weights.items():
        expression[model.expression_names.index(name)] = weight
    return replace(code, expression=expression)


def photo_of(model, code, yaw_deg=0.0):
    """A view whose landmarks lie on the rims of a head's openings."""
    rotation = rotation_from_pose_angles(*torch.tensor([yaw_deg, 5.0, 8.0]))
    pose = rigid_transform(rotation, torch.tensor([0.0, 0.0, 700.0]))
    camera = Camera(torch.tensor(1400.0), torch.tensor([256.0, 256.0]), (512, 512), pose)
    vertices = model.vertices(code)
    points = torch.zeros(478, 2)
    for name, (upper, lower) in model_rims(model).items():
        for ids, rim in ((DETECTED[name].upper, upper), (DETECTED[name].lower, lower)):
            chosen = rim[torch.linspace(0, len(rim) - 1, len(ids)).round().long()]
            points[list(ids)] = camera.project(vertices[chosen])[:, :2]
    return View(torch.zeros(3, 512, 512), camera, points, "mediapipe478", torch.ones(512, 512) > 0)


def heights_mm(model, code):
    """How open each eye and the mouth are in the middle."""
    vertices = model.vertices(code)
    found = {}
    for name, (upper, lower) in model_rims(model).items():
        middle = vertices[upper, 0].mean()
        top, bottom = (ids[(vertices[ids, 0] - middle).abs().argmin()] for ids in (upper, lower))
        found[name] = float(vertices[top, 1] - vertices[bottom, 1])
    return found


@pytest.mark.parametrize("yaw_deg", [0.0, 25.0])
def test_eyes_and_mouth_become_as_open_as_in_the_photo(model, yaw_deg):
    wanted = code_with(model, jawOpen=0.3, eyeBlinkLeft=0.35, eyeBlinkRight=0.2)
    view = photo_of(model, wanted, yaw_deg)
    start = model.mean_code()
    found = fit_openings(view, model, start)
    want, before, after = (heights_mm(model, code) for code in (wanted, start, found))
    for name in want:
        assert abs(before[name] - want[name]) > 1.5
        assert abs(after[name] - want[name]) < 0.2 * abs(before[name] - want[name]), name
    assert found.expression.min() >= 0 and found.expression.max() <= 1


def test_closed_lips_close_and_the_rest_of_the_face_stays(model):
    wanted, start = (
        model.mean_code(),
        code_with(model, mouthUpperUpLeft=0.3, mouthUpperUpRight=0.3, browInnerUp=0.4),
    )
    found = fit_openings(photo_of(model, wanted), model, start)
    assert heights_mm(model, start)["mouth"] - heights_mm(model, wanted)["mouth"] > 1.2
    assert abs(heights_mm(model, found)["mouth"] - heights_mm(model, wanted)["mouth"]) < 0.25
    moved = (model.vertices(found) - model.vertices(start)).norm(dim=1)
    assert moved[model.regions["brows"]].max() < 0.3 and moved[model.regions["chin"]].max() < 1.5


def test_nothing_changes_where_openings_fit_or_are_unknown(model):
    code = code_with(model, jawOpen=0.2, mouthSmileLeft=0.5)
    view = photo_of(model, code)
    # Landmarks are but nine points of a curved rim.
    moved = model.vertices(fit_openings(view, model, code)) - model.vertices(code)
    assert moved.norm(dim=1).max() < 0.7
    other = replace(view, landmarks_px=torch.zeros(68, 2), landmark_scheme="ibug68")
    assert fit_openings(other, model, model.mean_code()).expression.abs().sum() == 0
    assert fit_openings(view, replace(model, chart=None), model.mean_code()).expression.abs().sum() == 0


def test_an_eye_seen_along_its_length_says_nothing(model):
    wanted = code_with(model, eyeBlinkLeft=0.4, eyeBlinkRight=0.4)
    found = fit_openings(photo_of(model, wanted, yaw_deg=75.0), model, model.mean_code())
    weights = dict(zip(model.expression_names, found.expression.tolist()))
    assert min(weights["eyeBlinkLeft"], weights["eyeBlinkRight"]) < 0.05
