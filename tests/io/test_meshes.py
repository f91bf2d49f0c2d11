import numpy as np
import pytest
import torch
from synthetic_model import synthetic_reconstruction

from vultus.errors import BadFile
from vultus.geometry.mesh import Mesh, Topology
from vultus.io.meshes import read_mesh
from vultus.io.obj import Material, read_obj, write_obj
from vultus.io.ply import read_ply, write_ply


@pytest.fixture(scope="module")
def mesh() -> Mesh:
    return synthetic_reconstruction().mesh


def test_obj_comes_back_vertex_by_vertex_with_winding_and_uv(tmp_path, mesh):
    write_obj(tmp_path / "a.obj", mesh)
    again = read_mesh(tmp_path / "a.obj")
    torch.testing.assert_close(again.vertices, mesh.vertices, atol=1e-5, rtol=0)
    assert torch.equal(again.topology.triangles, mesh.topology.triangles)
    assert torch.equal(again.topology.uv_triangles, mesh.topology.uv_triangles)
    torch.testing.assert_close(again.topology.uv, mesh.topology.uv, atol=1e-6, rtol=0)
    assert not (tmp_path / "a.mtl").exists()


def test_obj_materials_group_the_triangles(tmp_path, mesh):
    ids = torch.arange(len(mesh.topology.triangles))
    materials = [
        Material("skin", ids[:100], (1, 0, 0), "texture.png"),
        Material("teeth", ids[100:], (0.25, 0.5, 1)),
    ]
    write_obj(tmp_path / "a.obj", mesh, materials)
    lines = (tmp_path / "a.obj").read_text().splitlines()
    assert "mtllib a.mtl" in lines
    skin, teeth = lines.index("usemtl skin"), lines.index("usemtl teeth")
    assert sum(line.startswith("f ") for line in lines[skin:teeth]) == 100
    assert sum(line.startswith("f ") for line in lines[teeth:]) == len(ids) - 100
    blocks = (tmp_path / "a.mtl").read_text().split("newmtl ")[1:]
    assert "map_Kd texture.png" in blocks[0] and "Kd 1 1 1" in blocks[0]
    assert "map_Kd" not in blocks[1] and "Kd 0.2500 0.5000 1.0000" in blocks[1]


def test_obj_of_other_programs(tmp_path):
    text = "o thing\nv 0 0 0 0.5 0.5 0.5\nv 1 0 0\nv 1 1 0\nv 0 1 0\nvt 0.25 1\nvn 0 0 1\n"
    text += "s off\nf 1/1/1 2/1/1 3/1/1 4/1/1\nf -4//1 -3//1 \\\n-2//1\n"
    (tmp_path / "a.obj").write_text(text)
    mesh = read_obj(tmp_path / "a.obj")
    assert mesh.vertices.tolist() == [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]]
    assert mesh.topology.triangles.tolist() == [[0, 1, 2], [0, 2, 3], [0, 1, 2]]
    assert mesh.topology.uv is None  # one face has no texture coordinates


def test_ply_comes_back_and_colours_are_bytes(tmp_path, mesh):
    colours = torch.rand(len(mesh.vertices), 3)
    write_ply(tmp_path / "a.ply", mesh, colours)
    again = read_mesh(tmp_path / "a.ply")
    assert torch.equal(again.vertices, mesh.vertices)
    assert torch.equal(again.topology.triangles, mesh.topology.triangles)
    data = (tmp_path / "a.ply").read_bytes()
    body = data[data.index(b"end_header\n") + 11 :]
    row = np.frombuffer(body, [("p", "<f4", 6), ("c", "u1", 3)], len(mesh.vertices))
    np.testing.assert_allclose(row["c"] / 255, colours, atol=0.5 / 255 + 1e-6)


@pytest.mark.parametrize("kind", ["ascii", "binary_little_endian", "binary_big_endian"])
@pytest.mark.parametrize("second", [[0, 2, 3], [0, 1, 2, 3]], ids=["triangles", "mixed"])
def test_ply_of_other_programs(tmp_path, kind, second):
    header = f"ply\nformat {kind} 1.0\ncomment by hand\nelement vertex 4\nproperty double x\nproperty double y\nproperty uchar q\n"
    header += "property double z\nelement face 2\nproperty list uchar uint vertex_index\nproperty short flag\nend_header\n"
    points = [(0, 0, 7, 0), (1, 0, 7, 0), (1, 1, 7, 2.5), (0, 1, 7, 0)]
    faces = [[0, 1, 2], second]
    if kind == "ascii":
        rows = [" ".join(map(str, p)) for p in points]
        rows += [f"{len(face)} {' '.join(map(str, face))} 5" for face in faces]
        body = "\n".join(rows).encode()
    else:
        end = "<" if "little" in kind else ">"
        body = b"".join(
            np.array(p[:2], end + "f8").tobytes() + bytes([p[2]]) + np.array(p[3], end + "f8").tobytes()
            for p in points
        )
        body += b"".join(
            bytes([len(f)]) + np.array(f, end + "u4").tobytes() + np.array(5, end + "i2").tobytes()
            for f in faces
        )
    (tmp_path / "a.ply").write_bytes(header.encode() + body)
    mesh = read_ply(tmp_path / "a.ply")
    assert mesh.vertices.tolist() == [[0, 0, 0], [1, 0, 0], [1, 1, 2.5], [0, 1, 0]]
    expected = [[0, 1, 2], [0, 2, 3]] if len(second) == 3 else [[0, 1, 2], [0, 1, 2], [0, 2, 3]]
    assert mesh.topology.triangles.tolist() == expected


BROKEN = {
    "empty.obj": b"",
    "words.obj": b"v one two three\nf 1 2 3\n",
    "short.obj": b"v 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n",
    "beyond.obj": b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 9\n",
    "zero.obj": b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 0 1 -9\n",
    "points.obj": b"v 0 0 0\n",
    "picture.obj": bytes(range(256)) * 9,
    "empty.ply": b"",
    "header.ply": b"ply\nformat ascii 1.0\nelement vertex 3\n",
    "short.ply": b"ply\nformat ascii 1.0\nelement vertex 3\nproperty float x\nproperty float y\nproperty float z\nend_header\n0 0",
    "binary.ply": b"ply\nformat binary_little_endian 1.0\nelement vertex 3\nproperty float x\nproperty float y\nproperty float z\nend_header\n0",
    "text.ply": b"ply\nformat runes 1.0\nend_header\n",
    "empty.glb": b"",
    "text.glb": b"hello, this is not a model at all",
    "short.glb": b"glTF\x02\0\0\0\xff\xff\0\0\x10\0\0\0JSON{}",
    "thing.stl": b"solid",
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_named_in_one_line(tmp_path, name):
    (tmp_path / name).write_bytes(BROKEN[name])
    with pytest.raises(BadFile) as caught:
        read_mesh(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", ["obj", "ply", "glb"])
def test_a_missing_file_is_named(tmp_path, suffix):
    with pytest.raises(BadFile, match=f"nothing.{suffix}: cannot be read"):
        read_mesh(tmp_path / f"nothing.{suffix}")


def test_an_unwritable_place_is_named(tmp_path):
    mesh = Mesh(torch.eye(3), Topology(torch.tensor([[0, 1, 2]]), 3))
    for write, name in ((write_obj, "a.obj"), (write_ply, "a.ply")):
        with pytest.raises(BadFile, match="no-such-folder"):
            write(tmp_path / "no-such-folder" / name, mesh)
