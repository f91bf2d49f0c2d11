"""ICT-FaceKit, on the real files where they are at hand."""

import json
import shutil

import numpy as np
import pytest
import torch

from vultus.errors import AssetMissing, BadFile, WeightsMismatch
from vultus.geometry.closest import TriangleTree
from vultus.model import bundled
from vultus.model.catalog import load_model
from vultus.model.formats import ict as ict_format
from vultus.model.rechart import border_loops, signed_area
from vultus.model.registered import registered_template


@pytest.fixture(scope="module")
def folder(shared_data):
    return shared_data / "ict"


@pytest.fixture(scope="module")
def ict(folder):
    return load_model(f"ict:{folder}")


@pytest.mark.shared
def test_frame_units_and_parts(ict):
    eyes = [ict.mean_mm[torch.unique(ict.part_triangles(name))].mean(0) for name in ("eye_left", "eye_right")]
    torch.testing.assert_close((eyes[0] + eyes[1]) / 2, torch.zeros(3), atol=1e-3, rtol=0)
    assert 55 < (eyes[0] - eyes[1])[0] < 70  # the left one at +x, millimetres
    assert ict.part_names[0] == "skin"
    assert len(ict.mean_mm) == 26719  # ICT's own vertex numbers
    assert ict.triangles.max() < 24591  # no translucent shells
    assert ict.identity_mm.shape[0] == 100
    nose = ict.mean_mm[ict.landmarks["ibug68"].triangle_ids.new_tensor(1140)]
    assert nose[2] > 0
    uv, skin = ict.topology.uv, ict.part_of_triangle == 0
    assert uv.min() >= 0
    assert uv.max() <= 1
    face = ict.topology.uv_triangles[skin & (ict.triangles < 9409).all(1)]
    assert (
        uv[face][..., 0] <= 0.5
    ).float().mean() > 0.999  # the face's tile, beside the one of the back of the head


@pytest.mark.shared
def test_expressions_have_arkit_names_and_do_what_they_say(ict):
    names = set(ict.expression_names)
    arkit = set(bundled.load().expression_names)
    assert arkit - names == {"browInnerUp", "cheekPuff", "tongueOut"}
    assert names - arkit == {
        f"{stem}{side}"
        for stem in ("browInnerUp", "cheekPuff", "cheekRaiser", "pupilDilate")
        for side in ("Left", "Right")
    }
    code = ict.mean_code()
    for name, mover in (("eyeBlinkLeft", "eyes"), ("jawOpen", "chin"), ("mouthSmileRight", "mouth")):
        code.expression.zero_()
        code.expression[ict.expression_names.index(name)] = 1
        moved = (ict.vertices(code) - ict.mean_mm).norm(dim=1)[:9409]  # of the face
        assert moved.max() > 3
        assert ict.regions[mover][moved.argmax()], name
        if name != "jawOpen":
            assert ict.mean_mm[moved.argmax(), 0] * (1 if name.endswith("Left") else -1) > 5


@pytest.mark.shared
def test_chart_is_bijective(ict):
    uv, triangles = ict.chart.uv.numpy(), ict.chart.triangles.numpy()
    assert (signed_area(uv, triangles) > 0).all()
    loops = border_loops(triangles)
    assert len(loops) == 1
    # No flips and one border: bijective if the triangles cover what the border encloses, once.
    border = uv[loops[0]].astype(np.float64)
    after = np.roll(border, -1, 0)
    enclosed = abs((border[:, 0] * after[:, 1] - border[:, 1] * after[:, 0]).sum()) / 2
    assert signed_area(uv.astype(np.float64), triangles).sum() / 2 == pytest.approx(enclosed, abs=1e-6)
    assert enclosed > 0.95
    assert len(border_loops(triangles[~ict.chart.is_membrane.numpy()])) == 4  # eyes and mouth


@pytest.mark.shared
def test_registration_lies_on_the_surface(ict, folder):
    template = bundled.load()
    ibug68 = np.array(json.loads((folder / "vertex_indices.json").read_text())["idx_to_landmark_verts"])
    visible = ict.triangles[(ict.triangles < 11248).all(1)].numpy()
    mean = ict.mean_mm.double().numpy()
    moved = registered_template(mean, visible, ibug68)
    distance = TriangleTree(mean, visible).query(moved[template.regions["face"].numpy()]).distances
    assert np.median(distance) < 0.1
    assert np.percentile(distance, 95) < 0.5
    # The back of the head comes along as well.
    assert (
        np.median(TriangleTree(mean, visible).query(moved[template.regions["scalp"].numpy()]).distances) < 0.2
    )


@pytest.mark.shared
def test_landmarks_regions_and_albedo(ict, folder):
    ibug68 = json.loads((folder / "vertex_indices.json").read_text())["idx_to_landmark_verts"]
    zero = torch.tensor(0.0)
    points = ict.landmarks["ibug68"].points(ict.mean_mm, ict.triangles, zero, zero)
    error = (points - ict.mean_mm[ibug68])[17:].norm(dim=1)
    assert error.median() < 4  # where a detector puts them is not exactly where ICT does
    for name, table in bundled.load().landmarks.items():
        assert ict.landmarks[name].triangle_ids.shape == table.triangle_ids.shape
        assert ict.part_of_triangle[ict.landmarks[name].triangle_ids].max() <= 2
    total = sum(ict.regions[name].int() for name in ("face", "ears", "scalp", "neck"))
    visible = torch.unique(ict.triangles[(ict.triangles < 11248).all(1)])
    assert total.max() == 1
    assert (total[visible] == 1).float().mean() > 0.92  # the others lie on the chart's edge
    skin, eye = (ict.albedo_mean[torch.unique(ict.part_triangles(name))] for name in ("skin", "eye_left"))
    assert eye.mean() > skin.mean()
    assert ict.albedo.shape[0] == bundled.load().albedo.shape[0]


@pytest.mark.shared
def test_mirror(ict):
    identity = torch.arange(len(ict.mean_mm))
    assert (ict.mirror[ict.mirror] == identity).float().mean() > 0.95
    torch.testing.assert_close(
        ict.mean_mm[ict.mirror] * torch.tensor([-1.0, 1, 1]), ict.mean_mm, atol=1.0, rtol=0
    )


def write_head(path, vertices, faces: str) -> None:
    path.write_text("".join(f"v {x:.6f} {y:.6f} {z:.6f}\n" for x, y, z in vertices.tolist()) + faces)


@pytest.mark.shared
def test_layout_of_the_repository(ict, folder, tmp_path):
    """One file per mode, each a whole head: the same modes as the packed file."""
    with np.load(folder / "ict_shape.npz") as packed:
        neutral = packed["neutral"].astype(float)
        heads = {f"identity{i:03d}": neutral + packed["identity"][i] for i in range(2)}
        heads |= {
            "jawOpen": neutral + packed["expression"][list(packed["expression_names"]).index("jawOpen")]
        }
        heads |= {"cheekRaiser_L": neutral}
    for name in ("generic_neutral_mesh.obj", "vertex_indices.json"):
        shutil.copy(folder / name, tmp_path / name)
    for name, vertices in heads.items():
        write_head(tmp_path / f"{name}.obj", vertices, "f 1 2 3\n")
    with pytest.raises(AssetMissing, match=r"browDown_L\.obj"):
        ict_format.load(tmp_path)
    indices = json.loads((folder / "vertex_indices.json").read_text()) | {"expressions": ["jawOpen"]}
    (tmp_path / "vertex_indices.json").chmod(0o644)
    (tmp_path / "vertex_indices.json").write_text(json.dumps(indices))
    model = ict_format.load(tmp_path)
    assert model.expression_names == ("cheekRaiserLeft", "jawOpen")
    torch.testing.assert_close(model.identity_mm, ict.identity_mm[:2], atol=1e-4, rtol=0)
    torch.testing.assert_close(
        model.expression_mm[1], ict.expression_mm[ict.expression_names.index("jawOpen")], atol=1e-4, rtol=0
    )
    write_head(tmp_path / "identity001.obj", neutral[:-1], "f 1 2 3\n")
    with pytest.raises(WeightsMismatch, match=r"identity001\.obj"):
        ict_format.load(tmp_path)


TRIANGLE = "v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"


@pytest.fixture
def small(tmp_path):
    """A folder with the right names and a single triangle."""
    (tmp_path / "generic_neutral_mesh.obj").write_text(TRIANGLE)
    (tmp_path / "vertex_indices.json").write_text(json.dumps({"idx_to_landmark_verts": [0] * 68}))
    shapes = {"neutral": np.zeros((3, 3)), "identity": np.zeros((1, 3, 3)), "expression": np.zeros((1, 3, 3))}
    np.savez(tmp_path / "ict_shape.npz", **shapes, expression_names=["jawOpen"])
    return tmp_path


def test_another_mesh_is_refused(small):
    with pytest.raises(WeightsMismatch, match="26719"):
        ict_format.load(small)
    np.savez(small / "ict_shape.npz", neutral=np.zeros((3, 3)), identity=np.zeros((1, 4, 3)), expression=np.zeros((1, 3, 3)), expression_names=["a"])  # fmt: skip
    with pytest.raises(WeightsMismatch, match="do not fit"):
        ict_format.load(small / "ict_shape.npz")


@pytest.mark.parametrize("name", ["generic_neutral_mesh.obj", "vertex_indices.json", "ict_shape.npz"])
def test_missing_files_are_named(small, name):
    (small / name).unlink()
    with pytest.raises(AssetMissing, match=name) as caught:
        ict_format.load(small)
    assert "github.com/ICT-VGL/ICT-FaceKit" in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"", b"no such thing", b"v 0 0 0\nf 1 2 3\n", b'{"idx_to_landmark_verts": [1, 2]}']
)
@pytest.mark.parametrize("name", ["generic_neutral_mesh.obj", "vertex_indices.json", "ict_shape.npz"])
def test_damaged_files_are_named(small, name, content):
    (small / name).write_bytes(content)
    with pytest.raises(BadFile, match=name):
        ict_format.load(small)


def test_missing_model_says_where_to_get_it(monkeypatch):
    monkeypatch.delenv("VULTUS_ICT", raising=False)
    with pytest.raises(AssetMissing, match="ICT-VGL/ICT-FaceKit"):
        load_model("ict")


def test_names():
    assert ict_format.arkit_name("browDown_L") == "browDownLeft"
    assert ict_format.arkit_name("PupilDilate_R") == "pupilDilateRight"
    assert ict_format.arkit_name("jawLeft") == "jawLeft"
