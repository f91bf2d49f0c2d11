"""The folder of an alignment: what is in it follows the schema, comes back, and is whole."""

import json

import jsonschema
import numpy as np
import pytest
import torch
from PIL import Image
from stages.aligned_heads import aligned, head

from vultus.errors import BadFile
from vultus.io.alignment import ALIGNMENT, ALIGNMENT_SCHEMA_PATH, read_alignment
from vultus.io.glb_reader import read_glb
from vultus.stages.save_alignment import save_alignment


@pytest.fixture(scope="module")
def schema() -> jsonschema.Draft202012Validator:
    content = json.loads(ALIGNMENT_SCHEMA_PATH.read_text())
    jsonschema.Draft202012Validator.check_schema(content)
    return jsonschema.Draft202012Validator(content)


@pytest.fixture
def saved(monkeypatch, tmp_path):
    face = aligned(monkeypatch, head(40, 5, 0), image=torch.rand(3, 512, 512))
    folder = save_alignment(face, tmp_path / "face", texture_size=64, overlay=torch.rand(3, 8, 8), provenance={"photo": "a.jpg"})  # fmt: skip
    return face, folder


def test_what_is_in_the_folder(saved, schema):
    face, folder = saved
    document = read_alignment(folder)
    assert document is not None
    schema.validate(document)
    names = {"alignment.json", "depth.png", "frontal.glb", "overlay.png", "texture.png"}
    assert {path.name for path in folder.iterdir()} == names == set(document["files"])
    torch.testing.assert_close(torch.tensor(document["landmarks_68_px"]), face.landmarks68_px)
    assert document["landmarks_68_visible"] == face.landmarks68_visible.tolist()
    assert document["points_478_px"][468:] == [None] * 10 and document["points_478_px"][0] is not None
    rotation = torch.tensor(document["pose"]["rotation_camera_head"])
    torch.testing.assert_close(rotation, face.pose.rotation_camera_head.float())
    assert document["pose"]["angles_deg"]["yaw"] == pytest.approx(float(face.pose.angles.yaw_deg), abs=1e-4)
    assert document["provenance"]["photo"] == "a.jpg" and document["provenance"]["model"] == "vultus"


def test_depth_and_texture_come_back(saved):
    face, folder = saved
    entry = read_alignment(folder)["depth"]
    grey = np.array(Image.open(folder / "depth.png")).astype(np.float64)
    true = face.depth_map()
    assert grey.shape == (512, 512) and np.array_equal(grey == 0, true.isnan().numpy())
    z = torch.from_numpy((grey - entry["zero"]) * entry["px_per_step"])
    seen = true.isfinite()
    assert (z - true)[seen].abs().max() <= entry["px_per_step"]
    rgba = np.array(Image.open(folder / "texture.png"))
    assert np.array_equal(rgba[..., 3] > 0, face.texture(64).visible.numpy())
    assert rgba[..., :3][rgba[..., 3] == 0].min() > 0  # no black for filters to mix in


def test_the_mesh_opens(saved):
    face, folder = saved
    mesh = read_glb(folder / "frontal.glb")
    low, high = face.frontal_mesh.vertices.amin(0), face.frontal_mesh.vertices.amax(0)
    extent = mesh.vertices.amax(0) - mesh.vertices.amin(0)
    ratio = extent / (high - low)
    assert float(ratio.max() / ratio.min()) == pytest.approx(1, abs=1e-3)


def test_what_is_not_whole_is_not_finished(saved, tmp_path):
    _, folder = saved
    assert read_alignment(tmp_path / "none") is None
    (folder / "depth.png").unlink()
    assert read_alignment(folder) is None
    (folder / "depth.png").write_bytes(b"x")
    assert read_alignment(folder) is not None
    (folder / ALIGNMENT).write_text("{")
    assert read_alignment(folder) is None


def test_folders_of_others_are_left_alone(saved, tmp_path):
    face, _ = saved
    other = tmp_path / "other"
    other.mkdir()
    (other / "diary.txt").write_text("dear")
    with pytest.raises(BadFile, match="other"):
        save_alignment(face, other, texture_size=0)
    assert [path.name for path in other.iterdir()] == ["diary.txt"]


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.update(schema_version=2),
        lambda d: d.pop("pose"),
        lambda d: d["landmarks_68_px"].pop(),
        lambda d: d.update(confidence=1.5),
        lambda d: d["points_478_px"].__setitem__(0, [1, 2]),
    ],
)
def test_the_schema_refuses_what_is_wrong(saved, schema, change):
    document = read_alignment(saved[1])
    change(document)
    assert not schema.is_valid(document)
