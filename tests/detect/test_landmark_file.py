import json

import numpy as np
import pytest
import torch

from vultus.detect.landmark_file import LandmarkFile, read_points
from vultus.errors import BadFile

IMAGE = torch.zeros(3, 100, 120)


def points(count: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(10, 90, (count, 2)).astype(np.float32)


def write(path, values: np.ndarray):
    rows = [" ".join(f"{v:.4f}" for v in row) for row in values]
    if path.suffix == ".npy":
        np.save(path, values)
    elif path.suffix == ".json":
        path.write_text(json.dumps({"points_px": values.tolist()}))
    elif path.suffix == ".pts":
        rows = [" ".join(f"{v:.4f}" for v in row) for row in values + 0.5]
        path.write_text("version: 1\nn_points: 68\n{\n" + "\n".join(rows) + "\n}\n")
    else:
        path.write_text("# x, y\n" + "\n".join(rows).replace(" ", ", "))
    return path


@pytest.mark.parametrize("suffix", [".npy", ".json", ".pts", ".txt", ".csv"])
@pytest.mark.parametrize("count", [68, 468, 478])
def test_formats(tmp_path, suffix, count):
    expected = points(count)
    (face,) = LandmarkFile(write(tmp_path / f"a{suffix}", expected)).detect(IMAGE)
    assert np.allclose(face.landmarks.points_px, expected, atol=1e-3)
    assert face.landmarks.kind == {68: "ibug68", 468: "mediapipe468", 478: "mediapipe478"}[count]
    assert face.landmarks.depth_px.abs().max() == 0 and face.landmarks.score == 1
    assert face.box.left_px == pytest.approx(expected[:, 0].min(), abs=1e-3)


def test_plain_json_list_and_depth(tmp_path):
    values = np.concatenate([points(68), np.ones((68, 1), np.float32)], 1)
    (tmp_path / "a.json").write_text(json.dumps(values.tolist()))
    (face,) = LandmarkFile(tmp_path / "a.json").detect(IMAGE)
    assert torch.equal(face.landmarks.depth_px, torch.ones(68))


def test_files_that_hold_no_landmarks(tmp_path):
    cases = {
        "count.npy": lambda p: np.save(p, points(67)),
        "shape.npy": lambda p: np.save(p, np.zeros(136)),
        "nan.npy": lambda p: np.save(p, np.full((68, 2), np.nan)),
        "objects.npy": lambda p: np.save(p, np.array([{}]), allow_pickle=True),
        "words.txt": lambda p: p.write_text("one two\n" * 68),
        "ragged.txt": lambda p: p.write_text("1 2\n3\n"),
        "empty.txt": lambda p: p.write_text(""),
        "broken.json": lambda p: p.write_text("[[1, 2], "),
        "other.json": lambda p: p.write_text('{"a": 1}'),
        "brace.pts": lambda p: p.write_text("1 2\n"),
        "binary.txt": lambda p: p.write_bytes(bytes(range(256))),
    }
    for name, make in cases.items():
        make(tmp_path / name)
        with pytest.raises(BadFile) as caught:
            read_points(tmp_path / name)
        assert name in str(caught.value) and "\n" not in str(caught.value) and "478" in str(caught.value)
    with pytest.raises(BadFile, match="no such file"):
        read_points(tmp_path / "none.txt")


def test_points_of_another_image(tmp_path):
    path = write(tmp_path / "a.npy", points(68) + 500)
    with pytest.raises(BadFile, match="outside"):
        LandmarkFile(path).detect(IMAGE)
