import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from skimage import data

from vultus.detect import default_detector, task_detector
from vultus.detect.crop import Window, crop, window_around
from vultus.detect.mesh import mirror_indices
from vultus.errors import BadFile, BadInput


@pytest.fixture(scope="module")
def astronaut() -> torch.Tensor:
    return torch.from_numpy(data.astronaut()).permute(2, 0, 1).float() / 255


@pytest.fixture(scope="module")
def upright(astronaut):
    (face,) = default_detector().detect(astronaut)
    return face


def interocular_px(points: torch.Tensor) -> float:
    return float((points[468] - points[473]).norm())


def error(points: torch.Tensor, expected: torch.Tensor) -> float:
    """Mean distance as a fraction of the distance between the irises."""
    return float((points - expected).norm(dim=1).mean()) / interocular_px(expected)


def test_a_face_and_where_its_parts_are(upright):
    box, points = upright.box, upright.landmarks.points_px
    assert upright.landmarks.kind == "mediapipe478" and points.shape == (478, 2)
    assert upright.landmarks.depth_px.shape == (478,)
    assert upright.landmarks.score > 0.9 and box.score > 0.9 and abs(box.roll_deg) < 10
    assert box.left_px < points[1, 0] < box.right_px and box.top_px < points[1, 1] < box.bottom_px
    # irises as clicked by hand in the picture enlarged five times; the nose tip is nearer than the ears
    assert (points[468] - torch.tensor([203.3, 101.0])).norm() < 1.5
    assert (points[473] - torch.tensor([246.8, 103.3])).norm() < 1.5
    assert upright.landmarks.depth_px[1] < upright.landmarks.depth_px[[234, 454]].min() - 20


@pytest.mark.parametrize("quarter_turns", [1, 2, 3])
def test_turned_photos(astronaut, upright, quarter_turns):
    (face,) = default_detector().detect(torch.rot90(astronaut, quarter_turns, (1, 2)))
    x, y = face.landmarks.points_px.T
    back = {1: (512 - y, x), 2: (512 - x, 512 - y), 3: (y, 512 - x)}[quarter_turns]
    assert error(torch.stack(back, 1), upright.landmarks.points_px) < 0.02
    turned = math.remainder(face.box.roll_deg + 90 * quarter_turns - upright.box.roll_deg, 360)
    assert abs(turned) < 3


def test_a_rolled_face(astronaut, upright):
    window = Window((256.0, 256.0), 700.0, math.radians(50))
    (face,) = default_detector().detect(crop(astronaut, window, 400))
    assert error(window.to_image(face.landmarks.points_px, 400), upright.landmarks.points_px) < 0.03


def test_a_mirrored_photo_gives_mirrored_landmarks(astronaut, upright):
    (face,) = default_detector().detect(astronaut.flip(2))
    x, y = face.landmarks.points_px[mirror_indices()].T
    assert error(torch.stack([512 - x, y], 1), upright.landmarks.points_px) < 0.02


@pytest.mark.parametrize("face_px", [24, 40, 500])
def test_small_and_large_faces(astronaut, upright, face_px):
    side = round(512 * face_px / upright.box.size_px)
    image = F.interpolate(astronaut[None], (side, side), mode="bilinear", antialias=True)[0]
    (face,) = default_detector().detect(image)
    assert error(face.landmarks.points_px * (512 / side), upright.landmarks.points_px) < (
        0.08 if face_px < 30 else 0.05
    )


def test_a_face_that_fills_the_frame(astronaut, upright):
    (face,) = default_detector().detect(astronaut[:, 66:178, 178:270])
    points = face.landmarks.points_px + torch.tensor([178.0, 66.0])
    assert error(points, upright.landmarks.points_px) < 0.06


def test_half_a_face_is_kept(astronaut, upright):
    image = astronaut.clone()
    image[:, 138:] = 0.4  # everything below the nose
    (face,) = default_detector().detect(image)
    upper = upright.landmarks.points_px[:, 1] < 130
    distance = (face.landmarks.points_px - upright.landmarks.points_px)[upper].norm(dim=1).mean()
    assert distance < 0.15 * interocular_px(upright.landmarks.points_px)


def test_every_face_largest_first(astronaut):
    canvas = torch.full((3, 700, 1400), 0.5)
    canvas[:, :512, 100:612] = astronaut
    canvas[:, 0:700, 700:1400] = F.interpolate(astronaut[None], (700, 700), mode="bilinear")[0]
    canvas[:, 450:, :250] = F.interpolate(astronaut[None], (250, 250), mode="bilinear", antialias=True)[0]
    faces = default_detector().detect(canvas)
    assert len(faces) == 3
    areas = [face.box.area_px2 for face in faces]
    assert areas == sorted(areas, reverse=True)
    assert faces[0].landmarks.points_px[1, 0] > 900 and faces[2].landmarks.points_px[1, 0] < 150


@pytest.mark.parametrize("name", ["rocket", "cat"])
def test_no_face_where_there_is_none(name):
    pixels = getattr(data, name)()
    image = torch.from_numpy(np.ascontiguousarray(pixels)).float() / 255
    image = image.expand(3, -1, -1) if image.ndim == 2 else image.permute(2, 0, 1)
    assert default_detector().detect(image) == ()


@pytest.mark.parametrize("shape", [(3, 200, 300), (3, 1, 1), (3, 3, 1000)])
def test_black_and_odd_images_hold_nobody(shape):
    assert default_detector().detect(torch.zeros(shape)) == ()


def test_what_is_no_image(astronaut):
    for bad in (astronaut[:1], astronaut[None], astronaut[:, :0], torch.full((3, 50, 50), float("nan"))):
        with pytest.raises(BadInput):
            default_detector().detect(bad)


def test_window_round_trip_and_crop():
    window = Window((40.0, 30.0), 25.0, 0.4)
    points = torch.rand(7, 2) * 60
    assert torch.allclose(window.to_image(window.from_image(points, 192), 192), points, atol=1e-4)
    ramp = torch.stack(torch.meshgrid(torch.arange(80) + 0.5, torch.arange(90) + 0.5, indexing="ij")[::-1])
    image = torch.cat([ramp, torch.zeros(1, 80, 90)])  # every pixel holds its own (x, y)
    for side_px in (25.0, 41.0):
        window = Window((40.0, 35.0), side_px, 0.4)
        seen = crop(image, window, 16)
        centres = torch.stack(
            torch.meshgrid(torch.arange(16) + 0.5, torch.arange(16) + 0.5, indexing="ij")[::-1], -1
        )
        assert torch.allclose(seen[:2].permute(1, 2, 0), window.to_image(centres, 16), atol=0.02)


def test_window_around_is_upright_and_tight():
    points = torch.tensor([[0.0, 0.0], [10.0, 0.0], [10.0, 6.0], [0.0, 6.0]])
    tilted = Window((50.0, 60.0), 1.0, 0.7).to_image(points, 1)
    window = window_around(tilted, tilted[0], tilted[1], scale=1.5)
    assert window.roll_rad == pytest.approx(0.7, abs=1e-5) and window.side_px == pytest.approx(15, abs=1e-3)
    assert torch.allclose(window.from_image(tilted, 1).mean(0), torch.tensor([0.5, 0.5]), atol=1e-4)


def test_a_task_bundle_that_is_none(tmp_path):
    path = tmp_path / "face_landmarker.task"
    with pytest.raises(BadFile, match="bundle"):
        task_detector(path)
    path.write_bytes(b"not a zip")
    with pytest.raises(BadFile, match="bundle"):
        task_detector(path)


@pytest.mark.shared
def test_the_task_bundle_agrees_with_the_bundled_network(shared_data, astronaut, upright):
    pytest.importorskip("tflite")
    (face,) = task_detector(shared_data / "mediapipe" / "face_landmarker.task").detect(astronaut)
    assert face.landmarks.points_px.shape == (478, 2)
    assert error(face.landmarks.points_px, upright.landmarks.points_px) < 0.06


@pytest.mark.shared
def test_mirror_table_is_the_canonical_mesh(shared_data):
    lines = (shared_data / "mediapipe" / "canonical_face_model.obj").read_text().splitlines()
    vertices = torch.tensor(
        [[float(v) for v in line.split()[1:4]] for line in lines if line.startswith("v ")]
    )
    mirrored = vertices * torch.tensor([-1.0, 1.0, 1.0])
    assert torch.equal(vertices[mirror_indices()[:468]], mirrored)
    assert torch.equal(mirror_indices()[mirror_indices()], torch.arange(478))
