"""Several photos of one head, end to end: drawn from the bundled head with known cameras."""

import json
from dataclasses import replace

import jsonschema
import numpy as np
import pytest
import torch

import vultus
from vultus.detect.protocol import DetectedFace, FaceBox, Landmarks
from vultus.errors import BadInput
from vultus.fit.landmark_basis import landmark_basis
from vultus.fit.projected_terms import detector_offset_px
from vultus.geometry.camera import Camera
from vultus.geometry.light import ambient_and_directional
from vultus.geometry.rigid import pose_angles, rigid_transform, rotation_from_pose_angles
from vultus.io.document import SCHEMA_PATH
from vultus.model.bundled import load
from vultus.render.shade import over, render, srgb_from_linear
from vultus.viewer.fused_sheet import fused_sheet

pytestmark = pytest.mark.slow
SIZE, FOCAL, DISTANCE = 480, 900.0, 800.0
SMALL = {"texture_size": 128, "displacement_size": 64}


class KnownFaces:
    """A detector that looks up whose picture it is given: landmarks without noise, found by a picture's sum."""

    def __init__(self):
        self.points = {}

    def add(self, image, points):
        self.points[round(float(image.double().sum()), 3)] = points

    def detect(self, image):
        points = self.points.get(round(float(image.double().sum()), 3))
        if points is None:
            return ()
        low, high = points.amin(0).tolist(), points.amax(0).tolist()
        return (DetectedFace(FaceBox(*low, *high, 0.9, 0.0), Landmarks(points, points[:, 0] * 0, 0.9)),)


def photographed(model, code, yaw_deg, lamp, detector):
    """A picture of a code with its camera; the detector learns where its points are."""
    rotation = rotation_from_pose_angles(torch.tensor(yaw_deg), torch.tensor(0.0), torch.tensor(0.0))
    pose = rigid_transform(rotation, torch.tensor([0.0, 10.0, DISTANCE]))
    camera = Camera(torch.tensor(FOCAL), torch.full((2,), SIZE / 2), (SIZE, SIZE), pose)
    light = ambient_and_directional(torch.full((3,), 0.5), torch.full((3,), 0.5), torch.tensor(lamp))
    vertices = model.vertices(code)
    drawn = render(vertices, model.triangles, camera, light, albedo=model.vertex_albedo(code))
    image = srgb_from_linear(over(drawn, torch.tensor([0.1, 0.2, 0.4])).clamp(0, 1))[0]
    image = (image * 255).round() / 255
    angles = pose_angles(rotation)
    surface = model.landmarks["mediapipe478"].points(
        vertices, model.triangles, angles.yaw_deg, angles.pitch_deg
    )
    # As the calibrated detector sees them: with its bias, and with its share of what makes this person different.
    aside = detector_offset_px(model, landmark_basis(model, "mediapipe478"), camera, code)
    detector.add(image, camera.project(surface)[:, :2] + torch.from_numpy(aside).float())
    return image, camera


def as_document(cameras):
    entries = {}
    for i, camera in enumerate(cameras):
        K = [[FOCAL, 0, SIZE / 2], [0, FOCAL, SIZE / 2], [0, 0, 1]]
        pose = camera.T_camera_head.double().numpy()
        entries[f"photo {i}"] = {"K": K, "R": pose[:3, :3].tolist(), "t": pose[:3, 3].tolist()}
    return {"unit": "mm", "cameras": entries}


@pytest.fixture(scope="module")
def scene():
    model, detector = load(), KnownFaces()
    generator = torch.Generator().manual_seed(3)
    code = model.mean_code()
    code = replace(code, identity=0.7 * torch.randn(len(code.identity), generator=generator))
    smile = code.expression.clone()
    for side in ("Left", "Right"):
        smile[model.expression_names.index(f"mouthSmile{side}")] = 0.6
    shots = [
        photographed(model, code, -35.0, (0.5, -0.5, -1.0), detector),
        photographed(model, replace(code, expression=smile), 0.0, (0.0, -0.5, -1.0), detector),
        photographed(model, code, 35.0, (-0.7, 0.0, -1.0), detector),
    ]
    return model, detector, code, [image for image, _ in shots], [camera for _, camera in shots]


@pytest.fixture(scope="module")
def fused(scene):
    _, detector, _, images, _ = scene
    steps = []
    nobody = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0))
    found = vultus.fuse(
        [*images, nobody, images[0]], detector=detector, focal_px=FOCAL, progress=steps.append, **SMALL
    )
    return found, steps


def test_photos_that_do_not_count_are_named(fused):
    found, steps = fused
    assert found.left_out["photo 3"] == "no face found"
    twins = {"photo 0", "photo 4"}
    (doubled,) = twins & set(found.left_out)
    assert found.left_out[doubled] == f"the same photo as {(twins - {doubled}).pop()}"
    assert len(found.views) == 3
    assert "shape" in steps


def test_one_identity_and_every_photos_own_expression(scene, fused):
    model, _, code, _, _ = scene
    found, _ = fused
    first, second, third = (view.face.coarse.code for view in found.views)
    assert torch.equal(first.identity, second.identity)
    assert torch.equal(first.identity, third.identity)
    smile = model.expression_names.index("mouthSmileLeft")
    assert float(second.expression[smile]) > 0.3
    assert float(found.head.coarse.code.expression.abs().max()) == 0
    face = model.regions["face"]
    # Points without noise, but a prior made for points with it: near half of the way from the mean.
    neutral = replace(code, expression=torch.zeros_like(code.expression))
    truth, mean = model.vertices(neutral)[face], model.mean_mm[face]
    ours = found.mesh.vertices[face]
    centred = lambda points: points - points.mean(0)  # noqa: E731
    error, start = (float((centred(x) - centred(truth)).norm(dim=1).median()) for x in (ours, mean))
    assert error < 0.7 * start  # 0.57 here


def test_the_frontal_photo_is_the_reference_and_all_share_the_texture(fused):
    found, _ = fused
    assert found.views[found.reference].name == "photo 1"
    assert sum(view.weight for view in found.views) == pytest.approx(1, abs=1e-4)
    assert min(view.weight for view in found.views) > 0.05
    yaws = [float(pose_angles(view.camera.T_camera_head[:3, :3]).yaw_deg) for view in found.views]
    np.testing.assert_allclose(yaws, [-35, 0, 35], atol=4)


def test_saved_like_one_photo_with_a_fusion_block(fused, tmp_path):
    found, _ = fused
    found.save(tmp_path / "out", overlay=fused_sheet(found, 64))
    document = json.loads((tmp_path / "out/reconstruction.json").read_text())
    jsonschema.validate(document, json.loads(SCHEMA_PATH.read_text()))
    assert document["fusion"]["reference"] == "photo 1"
    assert document["fusion"]["left_out"] == found.left_out
    again = vultus.load(tmp_path / "out")
    torch.testing.assert_close(again.mesh.vertices, found.mesh.vertices, atol=1e-4, rtol=0)
    assert (tmp_path / "out/face.glb").stat().st_size > 10000


def test_known_cameras_agree_on_where_the_head_is(scene):
    model, detector, code, _, _ = scene
    shots = [photographed(model, code, yaw, (0.0, 0.0, -1.0), detector) for yaw in (-30.0, 10.0, 40.0)]
    images, cameras = zip(*shots)
    found = vultus.fuse(
        list(images), cameras=as_document(cameras), detector=detector, level="deformed", texture_size=0
    )
    assert found.T_world_head is not None
    for view, camera in zip(found.views, cameras):
        scaled = camera.T_camera_head @ found.T_world_head  # the cameras' world is the head's own frame
        rotation = scaled[:3, :3] / scaled[:3, :3].det() ** (1 / 3)
        torch.testing.assert_close(view.camera.T_camera_head[:3, :3], rotation, atol=1e-3, rtol=0)
        assert float(view.camera.focal_px) == pytest.approx(FOCAL, rel=1e-3)
    scale = float(found.T_world_head[:3, :3].det() ** (1 / 3))
    assert scale == pytest.approx(1, abs=0.05)


def test_profiles_without_overlap_still_work(scene):
    model, detector, code, _, _ = scene
    images = [photographed(model, code, yaw, (0.0, 0.0, -1.0), detector)[0] for yaw in (-75.0, 75.0)]
    found = vultus.fuse(images, detector=detector, focal_px=FOCAL, keep_all=True, expression=1, **SMALL)
    assert len(found.views) == 2
    assert found.expression == "photo 1"
    assert bool(torch.isfinite(found.mesh.vertices).all())
    assert min(view.weight for view in found.views) > 0.2


def test_bad_input_says_what_to_do(scene):
    _, detector, _, images, cameras = scene
    with pytest.raises(BadInput, match="reconstruct"):
        vultus.fuse(images[:1], detector=detector)
    with pytest.raises(BadInput, match="sharpest"):
        vultus.fuse(images * 7, detector=detector)
    blank = [torch.zeros(3, 50, 50), torch.ones(3, 40, 40)]
    with pytest.raises(BadInput, match="no face found"):
        vultus.fuse(blank, detector=detector)
    with pytest.raises(BadInput, match="the same photo"):
        vultus.fuse([images[0], images[0]], detector=detector)
    with pytest.raises(BadInput, match="photo 2"):
        vultus.fuse(images, cameras=as_document(cameras[:2]), detector=detector)
    small = as_document(cameras)
    small["cameras"]["photo 0"]["size"] = [100, 50]
    with pytest.raises(BadInput, match="100 x 50"):
        vultus.fuse(images, cameras=small, detector=detector)
    outside = as_document(cameras)
    outside["cameras"]["photo 1"]["K"][0][2] = 4000.0
    with pytest.raises(BadInput, match="optical axis"):
        vultus.fuse(images, cameras=outside, detector=detector)
    with pytest.raises(BadInput, match="photo 0"):
        vultus.fuse(images, detector=detector, expression="anna.jpg")


@pytest.mark.shared
def test_a_stranger_is_named(shared_data):
    photos = shared_data / "photos"
    stranger = photos / "studio/neutral_front/001_03.jpg"
    found = vultus.fuse(
        [*sorted((photos / "lisa").glob("*.jpg"))[:3], stranger], level="coarse", texture_size=0
    )
    assert list(found.left_out) == ["001_03.jpg"]
    assert "another person" in found.left_out["001_03.jpg"]
