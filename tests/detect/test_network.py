"""The networks against MediaPipe 0.10.14's own output on two cuts of skimage's astronaut (public domain)."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from skimage import data

from vultus.detect.mesh import ASSETS, AttentionMesh, find_points, mirror_indices
from vultus.detect.network import Network, Operation, load_network, save_network
from vultus.errors import AssetMissing, BadFile

REFERENCE = np.load(Path(__file__).parent / "data" / "astronaut_mediapipe.npz")


@pytest.fixture(scope="module")
def astronaut() -> torch.Tensor:
    return torch.from_numpy(data.astronaut()).permute(2, 0, 1).float() / 255


@pytest.fixture(scope="module")
def mesh() -> AttentionMesh:
    return AttentionMesh()


def test_attention_mesh_equals_mediapipe(astronaut, mesh):
    points, presence = mesh(astronaut[None, :, 0:192, 130:322])
    expected = torch.from_numpy(REFERENCE["points_px"])
    assert (
        points[0] - expected
    ).abs().max() < 1e-3  # pixels; MediaPipe runs the same weights in another order
    assert presence[0] > 0.999


def test_coarse_points_are_the_mesh_before_refinement(astronaut, mesh):
    crop = astronaut[None, :, 0:192, 130:322]
    coarse, (full, _) = mesh.coarse(crop), mesh(crop)
    refined = torch.cat([mesh._lips, mesh._left_eye, mesh._right_eye])
    untouched = torch.tensor(sorted(set(range(468)) - set(refined.tolist())))
    assert torch.allclose(coarse[:, untouched], full[:, untouched], atol=1e-4)
    assert (coarse[:, refined] - full[:, refined]).abs().max() > 0.5


def test_a_batch_is_its_members_one_by_one(astronaut, mesh):
    crops = torch.stack(
        [astronaut[:, 0:192, 130:322], astronaut[:, 10:202, 120:312], torch.rand(3, 192, 192)]
    )
    together, presence = mesh(crops)
    for k, crop in enumerate(crops):
        alone, alone_presence = mesh(crop[None])
        assert torch.allclose(together[k], alone[0], atol=2e-3)
        assert torch.allclose(presence[k], alone_presence[0], atol=1e-4)


def test_mirroring_the_crop_mirrors_the_points(astronaut, mesh):
    crop = astronaut[:, 0:192, 130:322]
    points, score = find_points(mesh, crop)
    mirrored, _ = find_points(mesh, crop.flip(-1))
    mirrored = mirrored[mirror_indices()]
    assert torch.allclose(points[:, 0], 192 - mirrored[:, 0], atol=1e-2)
    assert torch.allclose(points[:, 1:], mirrored[:, 1:], atol=1e-2)
    assert score > 0.6
    _, lying = find_points(mesh, crop.rot90(1, (1, 2)))
    assert lying < 0.5 * score


def test_person_segmentation_equals_mediapipe(astronaut):
    (probability,) = load_network(ASSETS / "selfie_segmentation.safetensors")(
        astronaut[None, :, 0:256, 96:352]
    )
    assert probability.shape == (1, 1, 256, 256)
    assert np.abs(probability[0, 0, 8::16, 8::16].numpy() - REFERENCE["person"]).max() < 1e-4


def run(kind: str, *inputs: torch.Tensor, **options) -> torch.Tensor:
    names = tuple(f"in{k}" for k in range(len(inputs)))
    network = Network(
        "in0", (1, 1), ("out",), (Operation(kind, names, "out", options),), dict(zip(names[1:], inputs[1:]))
    )
    return network(inputs[0])[0]


@pytest.mark.parametrize(("side", "stride"), [(8, 1), (8, 2), (7, 2), (9, 3)])
def test_same_padding_is_tensorflows(side, stride):
    """TensorFlow centres the window grid, the odd pixel after; checked with a loop over output pixels."""
    x, weight, bias = torch.rand(1, 2, side, side), torch.rand(3, 2, 3, 3), torch.rand(3)
    y = run("conv2d", x, weight, bias, stride=[stride, stride], padding="same", groups=1, activation="relu")
    count = -(-side // stride)
    total = max((count - 1) * stride + 3 - side, 0)
    padded = F.pad(x, (total // 2, total - total // 2, total // 2, total - total // 2))
    assert y.shape[-2:] == (count, count)
    for i in range(count):
        for j in range(count):
            patch = padded[0, :, i * stride : i * stride + 3, j * stride : j * stride + 3]
            assert torch.allclose(y[0, :, i, j], (weight * patch).sum((1, 2, 3)) + bias, atol=1e-5)


def test_pointwise_shortcut_is_a_convolution():
    x, weight, bias = torch.rand(2, 5, 4, 3), torch.randn(7, 5, 1, 1), torch.rand(7)
    y = run("conv2d", x, weight, bias, stride=[1, 1], padding="same", groups=1, activation="")
    assert torch.allclose(y, F.conv2d(x, weight, bias), atol=1e-5)


def test_resize_modes():
    x = torch.rand(1, 2, 5, 6)
    for mode, corners in (("half_pixel", False), ("corners", True)):
        expected = F.interpolate(x, (9, 11), mode="bilinear", align_corners=corners)
        assert torch.allclose(run("resize", x, size=[9, 11], mode=mode), expected, atol=1e-5)
    legacy = run("resize", x, size=[10, 12], mode="legacy")
    assert torch.allclose(legacy[..., ::2, ::2], x, atol=1e-6)
    assert torch.allclose(legacy[..., 1:-1:2, ::2], (x[..., 1:, :] + x[..., :-1, :]) / 2, atol=1e-6)


def test_window_around_landmarks_holds_them():
    """The window's corners, brought to the map, surround the landmarks by half their extent on both sides together."""
    points = torch.rand(2, 20, 3) * 10 + 15
    matrix = run(
        "landmarks_to_matrix", points, subset_idxs=list(range(20)), left_rotation_idx=0, right_rotation_idx=1,
        target_rotation_radians=0.0, output_height=16, output_width=16, scale_x=1.5, scale_y=1.5,
    )  # fmt: skip
    back = torch.linalg.inv(matrix[:, [0, 1, 3]][:, :, [0, 1, 3]])
    inside = (back @ F.pad(points[..., :2], (0, 1), value=1.0).transpose(1, 2))[:, :2]
    margin = 16 * 0.5 / 1.5 / 2
    assert torch.allclose(inside.amin(2), torch.full((2, 2), margin), atol=1e-3)
    assert torch.allclose(inside.amax(2), torch.full((2, 2), 16 - margin), atol=1e-3)
    assert torch.allclose(inside[:, 1, 0], inside[:, 1, 1], atol=1e-3)  # the two landmarks lie level


def test_sample_window_identity_and_border():
    x = torch.rand(1, 2, 6, 6)
    shift = torch.eye(4)[None]
    assert torch.allclose(run("sample_window", x, shift, output_height=6, output_width=6), x, atol=1e-6)
    shift = shift.clone()
    shift[0, 0, 3] = 2.0
    moved = run("sample_window", x, shift, output_height=6, output_width=6)
    assert torch.allclose(moved[..., :4], x[..., 2:], atol=1e-6) and (moved[..., 4:] == 0).all()


def test_a_saved_network_comes_back(tmp_path):
    weight = torch.randn(3, 2, 3, 3).half().float()
    options = {"stride": [2, 2], "padding": "same", "groups": 1, "activation": ""}
    network = Network(
        "x",
        (8, 8),
        ("y",),
        (Operation("conv2d", ("x", "w", "b"), "y", options),),
        {"w": weight, "b": torch.zeros(3)},
    )
    save_network(network, tmp_path / "n.safetensors")
    back = load_network(tmp_path / "n.safetensors")
    x = torch.rand(1, 2, 8, 8)
    assert torch.equal(network(x)[0], back(x)[0]) and back.input_size_px == (8, 8)


def test_missing_and_damaged_files(tmp_path):
    with pytest.raises(AssetMissing, match="missing"):
        load_network(tmp_path / "none.safetensors")
    content = (ASSETS / "selfie_segmentation.safetensors").read_bytes()
    for damaged in (content[:1000], b"", b"\x00" * 64):
        (tmp_path / "bad.safetensors").write_bytes(damaged)
        with pytest.raises(BadFile, match="damaged"):
            load_network(tmp_path / "bad.safetensors")
