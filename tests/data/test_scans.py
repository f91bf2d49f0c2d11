"""From the generator to the loader and back, and what the loader says about damaged folders."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from vultus.data.capture import CaptureOptions, make_captures
from vultus.data.rig import EXPRESSIONS, expression_weights, rig_lamps
from vultus.data.scans import open_captures
from vultus.errors import BadFile, BadInput
from vultus.geometry.closest import closest_points
from vultus.geometry.units import in_millimetres
from vultus.io.images import write_png
from vultus.io.ply import write_ply
from vultus.io.points import read_points
from vultus.model.bundled import load
from vultus.model.deformation import face_vertices
from vultus.model.face import CoarseFace, DeformedFace, FaceCode

OPTIONS = CaptureOptions(subjects=1, expressions=2, cameras=2, lights=3, size_px=96)


@pytest.fixture(scope="module")
def model():
    return load()


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    place = tmp_path_factory.mktemp("captures") / "set"
    assert all(made for _, made in make_captures(model, place, OPTIONS))
    return place


def test_what_was_generated_is_loaded(model, folder):
    captures = list(open_captures(folder))
    assert [c.expression for c in captures] == ["1_neutral", "2_smile"]
    capture = captures[1]
    truth, landmarks, mesh = capture.truth(), capture.landmarks(), capture.mesh()
    assert [photo.light for photo in capture.photos] == ["all", "all"] and landmarks.shape == (68, 3)
    code = FaceCode(*(torch.from_numpy(truth[name]) for name in ("identity", "expression", "albedo")))
    face = DeformedFace(
        CoarseFace(code, torch.eye(4), torch.zeros(3, 9)), torch.from_numpy(truth["deformation_mm"])
    )
    pose = torch.from_numpy(truth["T_world_head"])
    world = (face_vertices(model, face) @ pose[:3, :3].T + pose[:3, 3]).double().numpy()
    inner = landmarks[17:]
    scan = mesh.vertices.double().numpy(), mesh.topology.triangles.numpy()
    skin = model.part_triangles("skin").numpy()
    assert np.median(closest_points(inner, world, skin).distances) < 0.01
    # The scan has wrinkles of up to 2 mm; most landmarks are not in one.
    assert np.median(closest_points(inner, *scan).distances) < 0.5
    assert not np.allclose(expression_weights(model, "2_smile"), 0)
    np.testing.assert_allclose(truth["expression"], expression_weights(model, "2_smile"))


def test_cameras_show_the_scan_where_the_picture_does(folder):
    """The silhouette of the projected scan is that of the picture: the backdrop is one colour."""
    for photo in next(iter(open_captures(folder))).photos:
        capture = next(iter(open_captures(folder)))
        image = photo.read()
        points = photo.camera.project(capture.mesh().vertices)[:, :2].floor().long()
        covered = torch.zeros(photo.camera.size_px[::-1], dtype=torch.bool)
        inside = (points >= 0).all(1) & (points < torch.tensor(photo.camera.size_px)).all(1)
        covered[points[inside, 1], points[inside, 0]] = True
        head = (image - image[:, :1, :1]).abs().amax(0) > 0.15
        assert float((covered & head).sum()) > 0.7 * float(covered.sum())


def test_what_is_finished_is_skipped_and_more_can_be_added(model, folder, tmp_path):
    again = tmp_path / "set"
    shutil.copytree(folder, again)
    before = (again / "001" / "2_smile" / "truth.npz").stat().st_mtime_ns
    shutil.rmtree(again / "001" / "1_neutral")
    assert [made for _, made in make_captures(model, again, OPTIONS)] == [True, False]
    assert (again / "001" / "2_smile" / "truth.npz").stat().st_mtime_ns == before
    for name in ("images/front.png", "cameras.json", "mesh.ply", "landmarks.json"):
        ours, theirs = (root / "001" / "1_neutral" / name for root in (again, folder))
        assert ours.read_bytes() == theirs.read_bytes(), name
    with pytest.raises(BadInput, match="size_px"):
        list(make_captures(model, again, replace(OPTIONS, size_px=128)))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "diary.txt").write_text("mine")
    with pytest.raises(BadInput, match="something else"):
        list(make_captures(model, tmp_path / "other", OPTIONS))


def facescape(folder, tmp_path):
    """The same capture as FaceScape would store it, in units of its own."""
    capture = next(iter(open_captures(folder)))
    place = tmp_path / "images" / "122" / "1_neutral"
    place.mkdir(parents=True)
    params = {}
    for i, photo in enumerate(capture.photos):
        write_png(place / f"{i}.png", photo.read())
        K = np.diag([float(photo.camera.focal_px)] * 2 + [1.0])
        K[:2, 2] = photo.camera.principal_px
        params |= {f"{i}_K": K.tolist(), f"{i}_Rt": (photo.camera.T_camera_head[:3] * torch.tensor([1, 1, 1, 0.1])).tolist(),
                   f"{i}_distortion": [0.1, 0, 0, 0, 0] if i else [0.0] * 5, f"{i}_width": photo.camera.size_px[0],
                   f"{i}_height": photo.camera.size_px[1], f"{i}_valid": True}  # fmt: skip
    params |= {"9_K": [[1]], "9_valid": False}
    (place / "params.json").write_text(json.dumps(params))
    mesh = capture.mesh()
    (tmp_path / "meshes" / "122").mkdir(parents=True)
    write_ply(tmp_path / "meshes" / "122" / "1_neutral.ply", replace(mesh, vertices=mesh.vertices / 10))
    return capture, place


def test_facescape_layout_means_the_same(folder, tmp_path):
    ours, _ = facescape(folder, tmp_path)
    (theirs,) = open_captures(tmp_path / "images", meshes=tmp_path / "meshes", unit="cm")
    assert (theirs.subject, theirs.expression, len(theirs.photos)) == ("122", "1_neutral", 2)
    torch.testing.assert_close(theirs.mesh().vertices, ours.mesh().vertices, atol=1e-3, rtol=1e-5)
    for a, b in zip(ours.photos, theirs.photos):
        torch.testing.assert_close(a.camera.T_camera_head, b.camera.T_camera_head, atol=1e-3, rtol=1e-5)
        torch.testing.assert_close(a.read(), b.read())
    assert theirs.photos[0].distortion is None and theirs.photos[1].distortion == (0.1, 0, 0, 0, 0)
    assert theirs.landmarks() is None and theirs.truth() is None


def test_damaged_folders_are_named(folder, tmp_path):
    with pytest.raises(BadFile, match="no such folder"):
        open_captures(tmp_path / "nowhere")
    with pytest.raises(BadFile, match="holds no captures"):
        open_captures(tmp_path)
    broken = tmp_path / "set"
    shutil.copytree(folder, broken)
    place = broken / "001" / "1_neutral"
    (place / "images" / "front.png").unlink()
    with pytest.raises(BadFile, match=r"front\.png"):
        list(open_captures(broken))
    (place / "cameras.json").write_text("{")
    with pytest.raises(BadFile, match=r"cameras\.json"):
        list(open_captures(broken))
    _, scape = facescape(folder, tmp_path)
    params = json.loads((scape / "params.json").read_text())
    del params["1_Rt"]
    (scape / "params.json").write_text(json.dumps(params))
    with pytest.raises(BadFile, match="view 1"):
        list(open_captures(tmp_path / "images"))


def test_options_out_of_range():
    for wrong in ({"subjects": 0}, {"expressions": 21}, {"cameras": 10}, {"lights": 0}, {"size_px": 8}):
        with pytest.raises(BadInput):
            CaptureOptions(**wrong)
    assert len(EXPRESSIONS) == 20
    torch.testing.assert_close(rig_lamps(8).norm(dim=1), torch.ones(8))


def test_units_and_landmark_files(tmp_path):
    cube = np.array([[0.0, 0, 0], [0.2, 0.25, 0.2]])
    np.testing.assert_allclose(in_millimetres(cube, "m")[1], [200, 250, 200])
    with pytest.raises(BadInput, match="--unit m"):
        in_millimetres(cube, "mm")
    with pytest.raises(BadInput, match="no finite"):
        in_millimetres(cube * np.nan, "mm")
    points = np.arange(21.0).reshape(7, 3)
    (tmp_path / "a.json").write_text(json.dumps({"landmarks": points.tolist()}))
    (tmp_path / "a.txt").write_text("# seven\n" + "\n".join("{} {} {}".format(*p) for p in points))
    for name in ("a.json", "a.txt"):
        np.testing.assert_array_equal(read_points(tmp_path / name), points)
    (tmp_path / "b.txt").write_text("1 2 nan\n" * 7)
    with pytest.raises(BadFile, match="NaN"):
        read_points(tmp_path / "b.txt")
    (tmp_path / "c.txt").write_text("1 2 3\n")
    with pytest.raises(BadFile, match="7 points"):
        read_points(tmp_path / "c.txt")
    with pytest.raises(BadFile, match="no such file"):
        read_points(tmp_path / "d.txt")
