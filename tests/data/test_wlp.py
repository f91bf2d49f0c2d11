"""300W-LP's files: the published formulas by hand, on a Basel-like model of a few vertices."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from vultus.data.wlp import image_vertices, model_landmarks, open_wlp, position_map, rotation_3ddfa
from vultus.data.wlp_model import load_basel
from vultus.errors import AssetMissing, BadFile, BadInput, WeightsMismatch

RNG = np.random.default_rng(4)
SIDE = 12  # the "face" is a grid of 144 vertices
NUMBER = SIDE * SIDE
WIDTH, HEIGHT = 60, 50
POSE = np.array([0.2, -0.7, 0.1, 31.0, 22.0, -3.0, 0.0002])


def grid_triangles():
    a = (np.arange(SIDE - 1)[:, None] * SIDE + np.arange(SIDE - 1)).ravel()
    return (
        np.concatenate([np.stack([a, a + SIDE, a + 1], 1), np.stack([a + 1, a + SIDE, a + SIDE + 1], 1)]) + 1
    )


@pytest.fixture(scope="module")
def parameters():
    v, u = np.meshgrid(np.linspace(0, 1, SIDE), np.linspace(0, 1, SIDE), indexing="ij")
    mean = np.stack([u - 0.5, v - 0.5, 0.3 * u * v], -1).reshape(-1, 1) * 1e5
    return {
        "shapeMU": mean,
        "shapePC": RNG.normal(0, 1, (3 * NUMBER, 199)),
        "expMU": RNG.normal(0, 100, (3 * NUMBER, 1)),
        "expPC": RNG.normal(0, 1, (3 * NUMBER, 29)),
        "tri": grid_triangles().T,
        "kpt_ind": RNG.permutation(NUMBER)[:68][None] + 1,
        "UV": np.stack([u, v], -1).reshape(-1, 2),
    }


def write_model(folder: Path, parameters) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    savemat(folder / "BFM.mat", {"model": {k: v for k, v in parameters.items() if k != "UV"}})
    savemat(folder / "BFM_UV.mat", {"UV": parameters["UV"]})
    return folder


@pytest.fixture(scope="module")
def basel(parameters, tmp_path_factory):
    return load_basel(write_model(tmp_path_factory.mktemp("basel"), parameters))


def write_photo(path: Path, **fields) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (WIDTH, HEIGHT)).save(path.with_suffix(".jpg"))
    savemat(path.with_suffix(".mat"), {"Pose_Para": POSE[None], **fields})


@pytest.fixture(scope="module")
def coefficients():
    return {"Shape_Para": RNG.normal(0, 100, (199, 1)), "Exp_Para": RNG.normal(0, 100, (29, 1))}


@pytest.fixture
def photos(tmp_path, coefficients):
    write_photo(tmp_path / "AFW" / "AFW_1_0", **coefficients, Illum_Para=np.arange(10.0)[None])
    marks = np.stack([np.arange(68.0), np.arange(68.0) + 5], 1)
    (tmp_path / "landmarks" / "AFW").mkdir(parents=True)
    savemat(tmp_path / "landmarks" / "AFW" / "AFW_1_0_pts.mat", {"pts_2d": marks + 1, "pts_3d": marks})
    write_photo(tmp_path / "image00002", pt3d_68=np.arange(204.0).reshape(3, 68))
    (tmp_path / "Code").mkdir()
    savemat(tmp_path / "Code" / "Model_Shape.mat", {"w": np.zeros(3)})
    return tmp_path


def by_hand(parameters, coefficients):
    """S = mu + shape + exp; V = f S R^T + t, one vertex and one factor at a time."""
    flat = parameters["shapeMU"] + parameters["expMU"] + parameters["shapePC"] @ coefficients["Shape_Para"]
    flat = (flat + parameters["expPC"] @ coefficients["Exp_Para"]).ravel()
    pitch, yaw, roll, *t, f = POSE
    placed = []
    for i in range(NUMBER):
        x, y, z = flat[3 * i : 3 * i + 3]
        x, y = np.cos(roll) * x + np.sin(roll) * y, -np.sin(roll) * x + np.cos(roll) * y
        x, z = np.cos(yaw) * x - np.sin(yaw) * z, np.sin(yaw) * x + np.cos(yaw) * z
        y, z = np.cos(pitch) * y + np.sin(pitch) * z, -np.sin(pitch) * y + np.cos(pitch) * z
        placed.append([f * x + t[0], f * y + t[1], f * z + t[2]])
    return np.array(placed)


def test_vertices_are_the_published_formulas(photos, basel, parameters, coefficients):
    face = next(face for face in open_wlp(photos) if face.key == "AFW/AFW_1_0")
    placed = by_hand(parameters, coefficients)
    # face3d: pixels counted from zero, ours have their centres at a half.
    expected = np.stack([placed[:, 0] + 0.5, HEIGHT - 1 - placed[:, 1] + 0.5, placed[:, 2]], 1)
    np.testing.assert_allclose(image_vertices(face, basel, "face3d"), expected, atol=1e-9)
    # 3DDFA: Matlab's pixels, counted from one.
    expected = np.stack([placed[:, 0] - 0.5, HEIGHT + 1 - placed[:, 1] - 0.5, placed[:, 2]], 1)
    np.testing.assert_allclose(image_vertices(face, basel), expected, atol=1e-9)
    np.testing.assert_allclose(model_landmarks(face, basel), expected[parameters["kpt_ind"].ravel() - 1], atol=1e-9)  # fmt: skip
    with pytest.raises(BadInput, match="3ddfa or face3d"):
        image_vertices(face, basel, "matlab")  # type: ignore[arg-type]


def test_poses_in_both_conventions(photos):
    face = next(open_wlp(photos))
    assert np.linalg.det(face.rotation) == pytest.approx(1) and face.rotation @ face.rotation.T == pytest.approx(np.eye(3))  # fmt: skip
    # Their positive yaw alone turns the nose (z) to the image's left (-x); ours to the right. Their positive pitch lifts it.
    assert rotation_3ddfa(0, 0.5, 0) @ [0, 0, 1] == pytest.approx([-np.sin(0.5), 0, np.cos(0.5)])
    assert rotation_3ddfa(0.5, 0, 0) @ [0, 0, 1] == pytest.approx([0, np.sin(0.5), np.cos(0.5)])
    for angles, ours in (
        ((0.3, 0, 0), (0, -0.3, 0)),
        ((0, 0.4, 0), (-0.4, 0, 0)),
        ((0, 0, 0.2), (0, 0, -0.2)),
    ):
        one = type(face)(
            **{**vars(face), "pitch_rad": angles[0], "yaw_rad": angles[1], "roll_rad": angles[2]}
        )
        assert [float(angle) for angle in one.pose] == pytest.approx(np.degrees(ours), abs=1e-9)


def test_what_a_folder_holds(photos, basel):
    first, second = open_wlp(photos)
    assert (first.key, second.key) == ("AFW/AFW_1_0", "image00002") and first.size_px == (WIDTH, HEIGHT)
    assert first.landmarks is not None and second.landmarks is not None
    assert first.landmarks.shape == (68, 2) and first.landmarks[3] == pytest.approx(
        [2.5, 7.5]
    )  # pts_3d, not pts_2d
    assert second.landmarks.shape == (68, 3) and second.landmarks[3] == pytest.approx([2.5, 70.5, 139.0])
    assert first.other["Illum_Para"].tolist() == list(range(10)) and second.other == {}
    assert first.scale == POSE[6] and first.translation_px.tolist() == POSE[3:6].tolist()
    with pytest.raises(BadInput, match=r"image00002.*no Shape_Para"):
        image_vertices(second, basel)


def test_position_maps_hold_the_vertices_where_the_chart_says(photos, basel):
    vertices = image_vertices(next(open_wlp(photos)), basel)
    size = 2 * (SIDE - 1) + 1  # every vertex falls on a pixel's centre, and one pixel lies between two
    drawn, inside = position_map(vertices, basel, size)
    # The map's corners lie on the chart's border, where the fill rule leaves two sides out.
    at_vertices = drawn[::-1][::2, ::2]
    covered = inside[::-1][::2, ::2]
    assert covered.sum() >= (SIDE - 1) ** 2
    np.testing.assert_allclose(at_vertices[covered], vertices.reshape(SIDE, SIDE, 3)[covered], atol=1e-3)
    with pytest.raises(BadInput, match="144"):
        position_map(vertices[:5], basel)


def test_the_three_files_give_the_same_model(parameters, basel, tmp_path, coefficients):
    trim = RNG.permutation(NUMBER + 30)[:NUMBER]
    rows = (3 * trim[:, None] + np.arange(3)).ravel()
    whole = {"shapeMU": np.zeros((3 * NUMBER + 90, 1)), "shapePC": np.zeros((3 * NUMBER + 90, 199))}
    uv = np.zeros((NUMBER + 30, 2))
    uv[trim] = parameters["UV"]
    for name, values in whole.items():
        values[rows] = parameters[name]
    savemat(tmp_path / "01_MorphableModel.mat", whole)
    with pytest.raises(AssetMissing, match=r"model_info.mat not there"):
        load_basel(tmp_path)
    savemat(tmp_path / "model_info.mat", {"trimIndex": trim[:, None] + 1, "tri": parameters["tri"], "keypoints": parameters["kpt_ind"]})  # fmt: skip
    with pytest.raises(AssetMissing, match=r"Model_Expression.mat not there.*29"):
        load_basel(tmp_path)
    savemat(tmp_path / "Model_Expression.mat", {"mu_exp": parameters["expMU"], "w_exp": parameters["expPC"]})
    savemat(tmp_path / "BFM_UV.mat", {"UV": uv})
    model = load_basel(tmp_path)
    code = coefficients["Shape_Para"].ravel(), coefficients["Exp_Para"].ravel()
    np.testing.assert_allclose(model.shape(*code), basel.shape(*code))
    assert model.uv is not None and model.keypoints is not None
    assert np.array_equal(model.uv, basel.uv) and np.array_equal(model.triangles, basel.triangles)
    assert np.array_equal(model.keypoints, basel.keypoints)


def test_files_that_are_wrong_say_so(tmp_path, parameters, basel, photos):
    with pytest.raises(AssetMissing, match=r"neither BFM.mat nor 01_MorphableModel.mat.*faces.dmi.unibas.ch"):
        load_basel(tmp_path)
    few = write_model(tmp_path / "few", parameters | {"expPC": parameters["expPC"][:, :10]})
    with pytest.raises(WeightsMismatch, match=r"expPC is \(432, 10\), expected \(432, 29\)"):
        load_basel(few)
    lacking = {name: value for name, value in parameters.items() if name != "expMU"}
    with pytest.raises(BadFile, match="lacks expMU"):
        load_basel(write_model(tmp_path / "lacking", lacking))
    bare = load_basel(write_model(tmp_path / "bare", {k: v for k, v in parameters.items() if k != "kpt_ind"}))
    (tmp_path / "bare" / "BFM_UV.mat").unlink()
    face = next(open_wlp(photos))
    with pytest.raises(BadInput, match="no keypoints"):
        model_landmarks(face, bare)
    with pytest.raises(BadInput, match=r"BFM_UV\.mat"):
        position_map(image_vertices(face, basel), load_basel(tmp_path / "bare"))
    with pytest.raises(BadFile, match=r"no such folder.*\*.jpg"):
        next(open_wlp(tmp_path / "nowhere"))
    write_photo(tmp_path / "set" / "image1", Shape_Para=np.zeros((10, 1)))
    with pytest.raises(BadFile, match=r"image1.mat: Shape_Para holds 10 numbers.*expected 199"):
        next(open_wlp(tmp_path / "set"))
    (tmp_path / "set" / "image1.mat").write_bytes(b"no matrix")
    with pytest.raises(BadFile, match=r"not a readable \.mat"):
        next(open_wlp(tmp_path / "set"))
    (tmp_path / "set" / "image1.mat").rename(tmp_path / "set" / "image2.mat")
    with pytest.raises(BadFile, match=r"no \.mat lies beside"):
        list(open_wlp(tmp_path / "set"))
