import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from vultus.errors import BadFile, BadInput
from vultus.evaluate.benchmark import FaceMesh, Prediction, evaluation, run_item
from vultus.evaluate.facescape import open_facescape
from vultus.evaluate.facescape_cylinder import compare_on_cylinder, cylinder_map, face_normals
from vultus.evaluate.facescape_depth import PUPILS_MM, depth_shift, orthographic_depth, perspective_depth
from vultus.geometry.camera import Camera

ROW_MM, COLUMN = 300 / 255, 2 * np.pi / 255
UNIT_MM = 100.0
FOCAL = 1200.0


def sheet(u, v, place):
    """A surface over u (to the right, seen from outside) and v (up): (v, 3), (f, 3)."""
    uu, vv = (part.ravel() for part in np.meshgrid(u, v))
    i = np.arange(len(u) * len(v)).reshape(len(v), len(u))
    a, b, c, d = (part.ravel() for part in (i[:-1, :-1], i[:-1, 1:], i[1:, :-1], i[1:, 1:]))
    return np.stack(place(uu, vv), 1).astype(float), np.concatenate(
        [np.stack([a, b, c], 1), np.stack([b, d, c], 1)]
    )


def plane(z, half=40.0, turned=0.0, height=60.0):
    """Facing +z, turned about the vertical line in its middle; radians."""
    return sheet(
        np.linspace(-half, half, 9), np.linspace(-height, height, 7),
        lambda u, v: (u * np.cos(turned), v, z - u * np.sin(turned)),
    )  # fmt: skip


def head(half_deg=80.0):
    """A half head about the y axis, mm, facing +z: not symmetric, not developable."""

    def place(u, v):
        r = (
            75
            + 12 * np.exp(-((u - 0.05) ** 2 / 0.04 + (v + 5) ** 2 / 600))
            - (v / 25) ** 2
            + 2 * np.sin(3 * u + v / 20)
        )
        return r * np.sin(u), v, r * np.cos(u)

    return sheet(np.deg2rad(np.linspace(-half_deg, half_deg, 61)), np.linspace(-90, 90, 61), place)


def test_the_map_is_what_rays_hit_last():
    """Against every ray cast at every triangle (Moeller and Trumbore 1997); two shells, so that the outer one must win."""
    rng = np.random.default_rng(0)
    shells = [
        sheet(
            np.linspace(0, 2 * np.pi, 13),
            np.linspace(-70, 80, 7),
            lambda u, v, r=r: (r * np.sin(u), v, r * np.cos(u)),
        )
        for r in (50, 80)
    ]
    vertices = np.concatenate([v for v, _ in shells])
    vertices += rng.normal(size=vertices.shape) * 4
    triangles = np.concatenate([shells[0][1], shells[1][1] + len(shells[0][0])])
    found = cylinder_map(vertices, triangles)
    a, b, c = (vertices[triangles[:, i]] for i in range(3))
    for row, column in [
        (127, 127),
        (64, 0),
        (64, 255),
        (190, 1),
        (100, 254),
        (0, 10),
        *rng.integers(60, 190, (60, 2)).tolist(),
    ]:
        origin = np.array([0, 150 - row * ROW_MM, 0])
        ray = -np.array([np.sin(column * COLUMN), 0, np.cos(column * COLUMN)])
        p = np.cross(ray, c - a)
        det = ((b - a) * p).sum(1)
        u = ((origin - a) * p).sum(1) / det
        q = np.cross(origin - a, b - a)
        v, t = q @ ray / det, ((c - a) * q).sum(1) / det
        hit = (u >= 0) & (v >= 0) & (u + v <= 1) & (t > 0)
        expected = t[hit].max() if hit.any() else 0
        assert found.radius_mm[row, column] == pytest.approx(expected, abs=1e-9)
        assert (found.triangle_ids[row, column] >= 0) == hit.any()
        if hit.any():
            assert hit[found.triangle_ids[row, column]]


def test_equal_surfaces_have_no_error():
    found = compare_on_cylinder(*head(), *head())
    assert found.distances_mm.max() < 1e-9
    assert found.normal_rad == 0 and found.true_angle_deg == 0 and found.completeness == 1


def test_parallel_planes():
    """By hand: planes at z = 60 and 63. A ray at angle t meets them at x = 60 tan t and 63 tan t, so every vertex is 3 mm from the other plane,
    but for those of the further one beyond the nearer one's last column and row: there it is the distance to the border.
    """
    near, far = plane(60.0, half=500.0), plane(63.0, half=500.0, height=80.0)
    near = (near[0] * [40 / 500, 1, 1], near[1])
    found = compare_on_cylinder(*near, *far)
    columns = np.arange(
        int(np.ceil((np.pi - np.arctan(40 / 60)) / COLUMN)),
        int(np.floor((np.pi + np.arctan(40 / 60)) / COLUMN)) + 1,
    )
    tangent = np.tan(columns * COLUMN - np.pi)
    beyond = np.maximum(np.maximum(63 * tangent - 60 * tangent[-1], 60 * tangent[0] - 63 * tangent), 0)
    rows = int(np.floor((150 + 60) / ROW_MM)) - int(np.ceil((150 - 60) / ROW_MM)) + 1
    # A cell without its last corner is left out, and so are all with an empty corner; whole rows and columns stay.
    expected = rows * (3 * len(columns) + np.sqrt(9 + beyond**2).sum()) / (2 * rows * len(columns))
    assert found.distances_mm.mean() == pytest.approx(expected, abs=1e-9)
    assert found.normal_rad == pytest.approx(0, abs=1e-12)
    # The map of the smaller plane has these rows and columns, all of them in the other; the other way round the share is theirs in the larger.
    assert found.completeness == 1
    other = compare_on_cylinder(*far, *near)
    assert other.completeness == pytest.approx(
        rows * len(columns) / np.count_nonzero(cylinder_map(*far).radius_mm)
    )


def test_the_published_normal_error_and_the_true_angle():
    """By hand: normals (0, 0, 1) and (-sin, 0, cos) of 20 degrees; with one added (1, 1, 2) and (0.65798, 1, 1.93969)."""
    turn = np.deg2rad(20)
    found = compare_on_cylinder(*plane(60.0), *plane(60.0, half=60.0, turned=-turn))
    assert found.true_angle_deg == pytest.approx(20, abs=1e-9)
    one, two = np.array([1, 1, 2.0]), np.array([1 - np.sin(turn), 1, 1 + np.cos(turn)])
    expected = np.arccos(one @ two / np.linalg.norm(one) / np.linalg.norm(two))
    assert found.normal_rad == pytest.approx(expected, abs=1e-9)
    assert expected == pytest.approx(0.1283, abs=1e-4)
    np.testing.assert_allclose(
        face_normals(*plane(60.0, turned=-turn))[0], [-np.sin(turn), 0, np.cos(turn)], atol=1e-12
    )


def test_depth_maps_of_a_slanted_plane():
    """z = -2 + 0.3 x + 0.1 y seen orthographically: the depth at a pixel is that at its centre; in perspective 1/z is linear."""
    u = np.linspace(-0.6, 0.6, 4)
    vertices, triangles = sheet(u, u, lambda x, y: (x, y, -2 + 0.3 * x + 0.1 * y))
    depth = orthographic_depth(vertices, triangles)
    x = (np.arange(256) + 0.5) / 128 - 1
    expected = 2 - 0.3 * x[None, :] + 0.1 * x[:, None]
    inside = np.isfinite(depth)
    assert inside.sum() == 154**2  # centres within +-0.6 * 128 = 76.8 pixels of the middle
    np.testing.assert_allclose(depth[inside], expected[inside], atol=1e-6)
    assert not np.isfinite(orthographic_depth(vertices, triangles[:, ::-1].copy())).any()
    camera = np.array([[FOCAL, 0, 120.0], [0, FOCAL, 130], [0, 0, 1]])
    points = vertices * [100, -100, -500]
    depth = perspective_depth(points, triangles, camera)
    slope = np.array([1.5, -0.5])  # z = 1000 - 1.5 X + 0.5 Y in mm
    px = np.arange(256) + 0.5
    ray = np.stack(np.meshgrid((px - 120) / FOCAL, (px - 130) / FOCAL), -1)
    expected = 1000 / (1 + ray @ slope)
    inside = np.isfinite(depth)
    assert inside.sum() > 5000
    np.testing.assert_allclose(depth[inside], expected[inside], rtol=1e-6)


def test_the_shift_is_a_median():
    nan = np.nan
    assert (
        depth_shift(np.array([[5.0, 6, 9], [nan, 1, 2]]), np.array([[4.0, 4, 4], [1, nan, 2]])) == 1.5
    )  # of 1, 2, 5, 0
    with pytest.raises(BadInput, match="covers no pixel"):
        depth_shift(np.array([nan, 1.0]), np.array([1.0, nan]))


def write_obj(path, vertices, triangles):
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [f"v {x:.9f} {y:.9f} {z:.9f}" for x, y, z in vertices] + [
        f"f {a + 1} {b + 1} {c + 1}" for a, b, c in triangles
    ]
    path.write_text("\n".join(rows) + "\n")


def turn(yaw, down):
    """Head (y up, z out) into a camera with y up (down=1) or OpenCV's (down=-1)."""
    c, s = np.cos(yaw), np.sin(yaw)
    return np.diag([1.0, down, down]) @ np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def make_data(root, wild=("000", "150"), lab=("00_0_00", "00_2_09", "01_1_03")):
    vertices, triangles = head()
    (root / "code" / "predef").mkdir(parents=True)
    turns = np.array([turn(0.004 * (i % 100), 1) for i in range(400)])
    centres = np.array([[0.1, -0.05, -2.0]] * 400)
    for name in wild:
        # Head mm / 100 are the wild set's units.
        write_obj(
            root / f"data/wild_gt_mesh/{name}.obj",
            vertices / UNIT_MM @ turns[int(name)].T + centres[int(name)],
            triangles,
        )
    for name, values in (
        ("wild_rotations", turns), ("wild_head_centers", centres), ("wild_pupil_scales", np.full(400, UNIT_MM)),
        ("lab_rotations", [turn(0.05 * view, -1) for view in range(11)]),
        ("lab_head_centers", [[10.0, 5, depth] for depth in (900, 450, 225)]),
    ):  # fmt: skip
        np.save(root / "code" / "predef" / f"{name}.npy", np.array(values))
    (root / "data" / "lab_cam").mkdir(parents=True)
    for name in lab:
        subject, focal, view = name.split("_")
        write_obj(root / f"data/lab_gt_mesh/{subject}.obj", vertices / PUPILS_MM, triangles)
        pose = np.column_stack(
            [turn(0.05 * int(view), -1), np.array([10.0, 5, 900 / 2 ** int(focal)]) / PUPILS_MM]
        )
        intrinsics = [[FOCAL / 2 ** int(focal), 0, 128], [0, FOCAL / 2 ** int(focal), 128], [0, 0, 1]]
        (root / "data" / "lab_cam" / f"{name}.json").write_text(json.dumps([intrinsics, pose.tolist()]))
    return root


def in_frame(data, item):
    """The true face where a prediction from a file is expected."""
    vertices, triangles = head()
    if item.key.startswith("wild"):
        number = int(item.key[5:])
        return FaceMesh(
            vertices / UNIT_MM @ data.predefined["wild_rotations"][number].T
            + data.predefined["wild_head_centers"][number],
            triangles,
        )
    _, focal, view = item.key[4:].split("_")
    return FaceMesh(
        vertices @ data.predefined["lab_rotations"][int(view)].T
        + data.predefined["lab_head_centers"][int(focal)],
        triangles,
    )


def test_a_perfect_prediction_scores_zero_and_depth_does_not_count(tmp_path):
    data = open_facescape(make_data(tmp_path))
    assert [item.key for item in data.items] == [
        "wild/000",
        "wild/150",
        "lab/00_0_00",
        "lab/00_2_09",
        "lab/01_1_03",
    ]
    assert [item.person for item in data.items[2:]] == ["lab 00", "lab 00", "lab 01"]
    assert data.items[3].focal_px == 300

    def shifted(item):
        face = in_frame(data, item)
        if item.key.startswith("wild"):
            return Prediction(posed=FaceMesh(face.vertices + np.array([0, 0, 0.37]), face.triangles))
        return Prediction(posed=face)

    scores = [run_item(data, shifted, item) for item in data.items]
    for score in scores:
        assert not score.problem
        assert score.values["chamfer_mm"] < 1e-3  # the OBJ reader keeps float32
        assert score.values["normal_rad"] < 1e-4 and score.values["angle_deg"] < 0.02
        assert score.values["completeness"] > 0.999
    rows = {row.what: row for row in evaluation(data, "files", scores).rows}
    assert rows["Chamfer, wild"].count == 2 and rows["Chamfer, wild, 5-30 deg"].count == 1
    assert (
        rows["Chamfer, lab, 0 deg"].count == 1 and "Chamfer, lab, 60 deg" not in rows
    )  # view 9 is of the shortest lens alone
    assert rows["completeness, lab, f 300"].count == 1 and rows["completeness, lab"].better == "higher"


def test_sideways_counts_and_half_a_face_is_half_complete(tmp_path):
    data = open_facescape(make_data(tmp_path, wild=("000",), lab=()), sets=("wild",))
    item, face = data.items[0], in_frame(data, data.items[0])
    aside = data.score(
        item, Prediction(posed=FaceMesh(face.vertices + np.array([0.04, 0, 0]), face.triangles))
    )
    assert (
        0.5 < aside.values["chamfer_mm"] < 4
    )  # 4 mm along x, of which the normals of a half cylinder see up to all
    centre = face.vertices[face.triangles].mean(1)[:, 0] > face.vertices[:, 0].mean()
    half = data.score(item, Prediction(posed=FaceMesh(face.vertices, face.triangles[centre])))
    assert half.values["completeness"] == pytest.approx(0.5, abs=0.02)
    assert half.values["chamfer_mm"] < 1e-3


def our_camera(rotation, centre_mm, focal, size=512):
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, :3], pose[:3, 3] = torch.from_numpy(rotation), torch.tensor(centre_mm, dtype=torch.float64)
    return Camera(
        torch.tensor(focal, dtype=torch.float64),
        torch.tensor([size / 2, size / 2], dtype=torch.float64),
        (size, size),
        pose,
    )


def test_our_own_faces_come_through_their_camera(tmp_path):
    """In the head's frame with a camera of our convention; the wild set sees it from so far that perspective vanishes."""
    data = open_facescape(make_data(tmp_path, wild=("050",), lab=("00_1_04",)))
    mesh = FaceMesh(*head())
    wild, lab = data.items
    flip = np.diag([1.0, -1, -1])
    away = 1e6
    # One unit of the wild set is 100 mm and 128 of 256 pixels; the photo here is 512 wide.
    camera = our_camera(
        flip @ data.predefined["wild_rotations"][50], [10.0, 5.0, away], 2 * 128 * away / UNIT_MM
    )
    score = data.score(wild, Prediction(posed=mesh, camera=camera))
    assert score.values["chamfer_mm"] < 0.01 and score.values["completeness"] > 0.99
    rotation = data.predefined["lab_rotations"][4]
    camera = our_camera(rotation, [10.0, 5.0, 450.0], 2 * FOCAL / 2)
    assert data.score(lab, Prediction(posed=mesh, camera=camera)).values["chamfer_mm"] < 1e-3
    # A method that guessed a lens 1.4 times as long has the face further off, as large in the photo: forgiven but for perspective.
    longer = our_camera(rotation, [10.0, 5.0, 1.4 * 450], 1.4 * FOCAL)
    assert data.score(lab, Prediction(posed=mesh, camera=longer)).values["chamfer_mm"] < 2.0
    assert (
        data.score(lab, Prediction(posed=mesh, camera=replace(longer, focal_px=camera.focal_px))).values[
            "chamfer_mm"
        ]
        > 4
    )


def test_predictions_that_cannot_be_measured(tmp_path):
    data = open_facescape(make_data(tmp_path, wild=("000",), lab=()))
    item, face = data.items[0], in_frame(data, data.items[0])
    with pytest.raises(BadInput, match="posed"):
        data.score(item, Prediction(neutral=face))
    with pytest.raises(BadInput, match="covers no pixel"):
        data.score(item, Prediction(posed=FaceMesh(face.vertices + np.array([5, 0, 0]), face.triangles)))
    with pytest.raises(BadInput, match="back"):
        data.score(item, Prediction(posed=FaceMesh(face.vertices, face.triangles[:, ::-1].copy())))


def test_photos_are_found_by_name(tmp_path):
    make_data(tmp_path)
    for name in ("wild_images/000.png", "lab_img/00_0_00.jpg"):
        (tmp_path / "data" / name).parent.mkdir()
        (tmp_path / "data" / name).touch()
    photos = {item.key: item.photo for item in open_facescape(tmp_path).items}
    assert photos["wild/000"] == tmp_path / "data/wild_images/000.png" and photos["wild/150"] is None
    assert photos["lab/00_0_00"] == tmp_path / "data/lab_img/00_0_00.jpg"


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(
        BadFile, match=r"wild_gt_mesh/\*.obj.*lab_cam/\*.json.*github.com/zhuhao-nju/facescape"
    ):
        open_facescape(tmp_path)
    make_data(tmp_path)
    with pytest.raises(BadInput, match="wild and lab"):
        open_facescape(tmp_path, sets=("outdoor",))
    np.save(tmp_path / "code/predef/lab_rotations.npy", np.zeros((3, 3)))
    with pytest.raises(BadFile, match=r"lab_rotations.npy has shape \(3, 3\), expected \(11, 3, 3\)"):
        open_facescape(tmp_path)
    np.save(tmp_path / "code/predef/lab_rotations.npy", np.zeros((11, 4, 4)))
    with pytest.raises(BadFile, match=r"shape \(11, 4, 4\)"):
        open_facescape(tmp_path)
    assert len(open_facescape(tmp_path, sets=("wild",)).items) == 2
    np.save(tmp_path / "code/predef/lab_rotations.npy", np.zeros((11, 3, 3)))
    (tmp_path / "data/lab_cam/camera.json").touch()
    with pytest.raises(BadFile, match="not called SUBJECT_FOCAL_VIEW"):
        open_facescape(tmp_path, sets=("lab",))
    (tmp_path / "code/predef/wild_pupil_scales.npy").unlink()
    with pytest.raises(BadFile, match=r"wild_pupil_scales.npy not there"):
        open_facescape(tmp_path)
