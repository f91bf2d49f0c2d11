"""Meshes of other systems: their unit, handedness and the order of their landmarks are doubted."""

import json

import numpy as np
import pytest
import torch

from vultus.errors import BadFile, BadInput
from vultus.evaluate.benchmark import FaceMesh
from vultus.evaluate.face_file import checked_face, read_face
from vultus.evaluate.regions import mean_face
from vultus.geometry.mesh import Mesh, Topology
from vultus.io.obj import write_obj
from vultus.io.ply import write_ply


def write_face(path, vertices, triangles=None):
    triangles = mean_face().triangles if triangles is None else triangles
    mesh = Mesh(torch.from_numpy(vertices).float(), Topology(torch.from_numpy(triangles), len(vertices)))
    (write_obj if path.suffix == ".obj" else write_ply)(path, mesh)
    return path


@pytest.mark.parametrize("name", ["face.npy", "face_landmarks.txt", "face.json", "face.ljson", "face.pp"])
def test_landmarks_beside_a_mesh_are_found(tmp_path, name):
    mean = mean_face()
    write_face(tmp_path / "face.obj", mean.vertices)
    seven = mean.seven.tolist()
    file = tmp_path / name
    if name.endswith(".npy"):
        np.save(file, mean.seven)
    elif name.endswith(".txt"):
        np.savetxt(file, mean.seven)
    elif name.endswith(".json"):
        file.write_text(json.dumps({"unit": "mm", "points": seven}))
    elif name.endswith(".ljson"):
        file.write_text(json.dumps({"groups": {"LJSON": {"landmarks": {"points": seven}}}, "version": 2}))
    else:
        rows = "".join(
            f'<point x="{x}" y="{y}" z="{z}" name="{i}" active="1"/>' for i, (x, y, z) in enumerate(seven)
        )
        file.write_text(f"<!DOCTYPE PickedPoints><PickedPoints>{rows}</PickedPoints>")  # fmt: skip
    np.testing.assert_allclose(read_face(tmp_path / "face.obj").seven, mean.seven, atol=1e-4)


def test_vertex_numbers_serve_a_whole_folder(tmp_path):
    mean = mean_face()
    ids = [int(np.linalg.norm(mean.vertices - p, axis=1).argmin()) for p in mean.seven]
    write_face(tmp_path / "a.ply", mean.vertices)
    (tmp_path / "landmark_ids.txt").write_text(" ".join(map(str, ids)))
    np.testing.assert_allclose(read_face(tmp_path / "a.ply").seven, mean.vertices[ids], atol=1e-4)
    (tmp_path / "landmark_ids.txt").write_text("1 2 3")
    with pytest.raises(BadFile, match=r"landmark_ids\.txt: 3 numbers"):
        read_face(tmp_path / "a.ply")


def test_a_mesh_without_landmarks_has_none(tmp_path):
    assert read_face(write_face(tmp_path / "a.ply", mean_face().vertices)).landmarks is None


def test_metres_are_noticed_and_taken_when_said(tmp_path):
    mean = mean_face()
    path = write_face(tmp_path / "a.ply", mean.vertices / 1000)
    np.savetxt(tmp_path / "a.txt", mean.landmarks / 1000)
    with pytest.raises(BadInput, match=r"a\.ply.*--unit m "):
        read_face(path)
    np.testing.assert_allclose(read_face(path, unit="m").vertices, mean.vertices, atol=1e-3)
    np.testing.assert_allclose(read_face(path, unit="none").vertices, mean.vertices / 1000, atol=1e-6)


def test_a_mirrored_mesh_is_noticed_and_taken_when_said(tmp_path):
    mean, flip = mean_face(), np.array([1, -1, 1.0])
    path = write_face(tmp_path / "a.ply", mean.vertices * flip)
    np.savetxt(tmp_path / "a.txt", mean.landmarks * flip)
    with pytest.raises(BadInput, match="left-handed"):
        read_face(path)
    straight = read_face(path, mirrored=True)
    assert outwards(straight) > 0


def test_triangles_wound_the_other_way_are_turned():
    mean = mean_face()
    face = checked_face(FaceMesh(mean.vertices, mean.triangles[:, ::-1].copy(), mean.landmarks))
    assert outwards(face) > 0


def outwards(face: FaceMesh) -> float:
    """Six times the signed volume: positive for triangles that are counter-clockwise from outside."""
    a, b, c = (face.vertices[face.triangles[:, i]] - face.vertices.mean(0) for i in range(3))
    return float((np.cross(a, b) * c).sum())


@pytest.mark.parametrize(
    ("order", "says"),
    [((3, 2, 1, 0, 4, 6, 5), "left and right exchanged"), ((4, 0, 1, 2, 3, 5, 6), "fit no face")],
)
def test_landmarks_in_another_order_are_noticed(order, says):
    mean = mean_face()
    with pytest.raises(BadInput, match=says):
        checked_face(FaceMesh(mean.vertices, mean.triangles, mean.seven[list(order)]))


def test_other_bad_meshes_end_in_one_line_that_names_them(tmp_path):
    with pytest.raises(BadFile, match="meshes are read from"):
        read_face(tmp_path / "a.stl")
    (tmp_path / "points.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\n")
    with pytest.raises(BadFile, match=r"points\.obj"):
        read_face(tmp_path / "points.obj")
    nan = write_face(tmp_path / "nan.ply", np.full((3, 3), np.nan), np.array([[0, 1, 2]]))
    with pytest.raises(BadInput, match=r"nan\.ply.*finite"):
        read_face(nan)
    holes = mean_face().vertices.copy()
    holes[5] = np.nan
    assert np.isfinite(read_face(write_face(tmp_path / "hole.ply", holes)).vertices).all()
