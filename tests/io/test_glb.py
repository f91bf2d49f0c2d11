"""The GLB against the Khronos validator, and against a reader of its own that shares no code with the package."""

import json
import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from synthetic_model import ARKIT_NAMES, PARTS, synthetic_model, synthetic_reconstruction

from vultus.errors import BadFile
from vultus.geometry.mesh import triangle_normals, vertex_normals
from vultus.io.glb import write_glb
from vultus.io.glb_reader import read_glb
from vultus.io.result import save
from vultus.io.surfaces import SMALLEST_MOVE_MM, head_surfaces, split_at_seams
from vultus.model.deformation import deformation_offsets
from vultus.model.face import FaceCode

VALIDATOR = Path(__file__).parents[1] / "gltf_validator"
DTYPES = {5121: "u1", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}


class NaiveGlb:
    """Reads what the specification says, one accessor at a time."""

    def __init__(self, path: Path) -> None:
        data = path.read_bytes()
        magic, version, length = struct.unpack("<4sII", data[:12])
        assert (magic, version, length) == (b"glTF", 2, len(data))
        size, kind = struct.unpack("<I4s", data[12:20])
        assert kind == b"JSON"
        self.json = json.loads(data[20 : 20 + size])
        assert data[24 + size : 28 + size] == b"BIN\0"
        self.blob = data[28 + size :]

    def bytes_of(self, view: int) -> bytes:
        entry = self.json["bufferViews"][view]
        start = entry.get("byteOffset", 0)
        return self.blob[start : start + entry["byteLength"]]

    def accessor(self, index: int) -> np.ndarray:
        entry = self.json["accessors"][index]
        width, dtype = WIDTHS[entry["type"]], DTYPES[entry["componentType"]]
        values = np.zeros((entry["count"], width), dtype)
        if "bufferView" in entry:
            values = np.frombuffer(self.bytes_of(entry["bufferView"]), dtype).reshape(-1, width).copy()
        if "sparse" in entry:
            sparse = entry["sparse"]
            rows = np.frombuffer(
                self.bytes_of(sparse["indices"]["bufferView"]), DTYPES[sparse["indices"]["componentType"]]
            )
            changed = np.frombuffer(self.bytes_of(sparse["values"]["bufferView"]), dtype).reshape(-1, width)
            assert len(rows) == len(changed) == sparse["count"] and (np.diff(rows.astype(int)) > 0).all()
            values[rows] = changed
        if "min" in entry:
            np.testing.assert_array_equal(values.min(0), np.array(entry["min"], dtype))
            np.testing.assert_array_equal(values.max(0), np.array(entry["max"], dtype))
        return values

    def mesh(self, name: str) -> dict:
        return next(mesh for mesh in self.json["meshes"] if mesh["name"] == name)


@pytest.fixture(scope="module")
def result():
    return synthetic_reconstruction()


@pytest.fixture(scope="module")
def path(result, tmp_path_factory) -> Path:
    return save(result, tmp_path_factory.mktemp("glb") / "person", formats=["glb"]) / "face.glb"


def validate(path: Path) -> dict:
    if shutil.which("node") is None or not (VALIDATOR / "node_modules" / "gltf-validator").is_dir():
        pytest.skip("the Khronos glTF validator is not installed: npm ci --prefix tests/gltf_validator")
    command = ["node", str(VALIDATOR / "validate.mjs"), str(path)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, timeout=60).stdout)


def complaints(report: dict) -> list[dict]:
    """All but the remark that texture coordinates are not used yet: they stay for people who paint a texture."""
    return [
        m
        for m in report["issues"]["messages"]
        if not (m["code"] == "UNUSED_OBJECT" and "TEXCOORD_0" in m["pointer"])
    ]


def test_khronos_validator_finds_nothing(path):
    report = validate(path)
    assert complaints(report) == []
    assert (
        report["info"]["version"] == "2.0"
        and report["info"]["hasMorphTargets"]
        and report["info"]["hasTextures"]
    )


def test_khronos_validator_finds_nothing_without_textures(tmp_path):
    folder = save(synthetic_reconstruction(textured=False), tmp_path / "person", formats=["glb"])
    report = validate(folder / "face.glb")
    assert complaints(report) == [] and not report["info"]["hasTextures"]


def test_khronos_validator_finds_damage(path, tmp_path):
    # Proof that the tests above can fail: a normal that is not of length one.
    glb = NaiveGlb(path)
    data = bytearray(path.read_bytes())
    view = glb.json["bufferViews"][
        glb.json["accessors"][glb.mesh("skin")["primitives"][0]["attributes"]["NORMAL"]]["bufferView"]
    ]
    start = len(data) - len(glb.blob) + view["byteOffset"]
    data[start : start + 12] = struct.pack("<3f", 3, 0, 0)
    (tmp_path / "damaged.glb").write_bytes(data)
    assert validate(tmp_path / "damaged.glb")["issues"]["numErrors"] > 0


def test_parts_are_named_nodes_under_one_root(path):
    document = NaiveGlb(path).json
    assert [mesh["name"] for mesh in document["meshes"]] == list(PARTS)
    (root,) = document["scenes"][document["scene"]]["nodes"]
    assert [document["nodes"][child]["name"] for child in document["nodes"][root]["children"]] == list(PARTS)
    skin = document["materials"][document["meshes"][0]["primitives"][0]["material"]]
    assert skin["doubleSided"] and skin["pbrMetallicRoughness"]["metallicFactor"] == 0
    assert document["asset"]["generator"].startswith("vultus ")
    assert document["asset"]["extras"]["vultus"]["photo"] == "person.jpg"  # the name, not the folder
    assert "extensionsUsed" not in document or document["extensionsUsed"] == []


def test_geometry_is_the_neutral_head_in_metres(path, result):
    glb, model = NaiveGlb(path), result.model
    code = result.coarse.code
    neutral = model.vertices(FaceCode(code.identity, 0 * code.expression, code.albedo))
    neutral = neutral + deformation_offsets(model, result.geometry.deformed.deformation_mm)
    for part in PARTS:
        primitive = glb.mesh(part)["primitives"][0]
        points = glb.accessor(primitive["attributes"]["POSITION"])[
            glb.accessor(primitive["indices"]).reshape(-1, 3)
        ]
        # The same triangles in the same order with the same winding, corner by corner.
        np.testing.assert_allclose(
            points.reshape(-1, 3, 3), neutral[model.part_triangles(part)].numpy() / 1000, atol=1e-7
        )
        in_part = model.part_of_triangle == model.part_names.index(part)
        uv = glb.accessor(primitive["attributes"]["TEXCOORD_0"])[
            glb.accessor(primitive["indices"]).reshape(-1)
        ]
        np.testing.assert_array_equal(
            uv.reshape(-1, 3, 2), model.topology.uv[model.topology.uv_triangles[in_part]].numpy()
        )
        normals = glb.accessor(primitive["attributes"]["NORMAL"])[
            glb.accessor(primitive["indices"]).reshape(-1, 3)
        ]
        expected = vertex_normals(neutral, model.triangles)[model.part_triangles(part)]
        np.testing.assert_allclose(normals.reshape(-1, 3, 3), expected.numpy(), atol=1e-5)


def test_every_expression_is_a_named_target(path, result):
    glb, model = NaiveGlb(path), result.model
    for part in PARTS:
        mesh = glb.mesh(part)
        names = mesh.get("extras", {}).get("targetNames", [])
        primitive = mesh["primitives"][0]
        assert len(names) == len(primitive.get("targets", [])) == len(mesh.get("weights", []))
        if part == "skin":
            assert tuple(names) == ARKIT_NAMES
        corners = glb.accessor(primitive["indices"]).reshape(-1)
        triangles = model.part_triangles(part).flatten()
        for i, name in enumerate(ARKIT_NAMES):
            delta = model.expression_mm[i][triangles].numpy() / 1000
            if name not in names:
                assert np.abs(delta).max() < SMALLEST_MOVE_MM / 1000, (part, name)
                continue
            k = names.index(name)
            moved = glb.accessor(primitive["targets"][k]["POSITION"])[corners]
            np.testing.assert_allclose(moved, delta, atol=SMALLEST_MOVE_MM / 1000)
            assert mesh["weights"][k] == pytest.approx(float(result.coarse.code.expression[i]))


def test_morphed_normals_are_those_of_the_morphed_surface(path, result):
    glb, model = NaiveGlb(path), result.model
    code = result.coarse.code
    primitive = glb.mesh("skin")["primitives"][0]
    corners = glb.accessor(primitive["indices"]).reshape(-1)
    for name in ("jawOpen", "mouthSmileLeft", "browInnerUp"):
        k = ARKIT_NAMES.index(name)
        expression = torch.nn.functional.one_hot(torch.tensor(k), len(ARKIT_NAMES)).float()
        vertices = model.vertices(FaceCode(code.identity, expression, code.albedo))
        vertices = vertices + deformation_offsets(model, result.geometry.deformed.deformation_mm)
        expected = vertex_normals(vertices, model.triangles)[model.part_triangles("skin").flatten()]
        base = glb.accessor(primitive["attributes"]["NORMAL"])
        shown = (base + glb.accessor(primitive["targets"][k]["NORMAL"]))[corners]
        assert np.abs(base[corners] - expected.numpy()).max() > 0.05  # otherwise this test would show nothing
        np.testing.assert_allclose(shown, expected.numpy(), atol=2e-3)


def test_read_as_a_viewer_shows_it_it_is_the_photo_s_expression(path, result):
    mesh = read_glb(path)
    shown = mesh.vertices[mesh.topology.triangles]
    expected = result.mesh.vertices[torch.cat([result.model.part_triangles(part) for part in PARTS])]
    # Many expressions at once, each of which may drop moves of less than SMALLEST_MOVE_MM.
    torch.testing.assert_close(shown, expected, atol=0.1, rtol=0)
    areas = [
        triangle_normals(*pair).norm(dim=-1).sum() / 2 for pair in ((mesh.vertices, mesh.topology.triangles),)
    ]
    area = triangle_normals(result.mesh.vertices, result.model.triangles).norm(dim=-1).sum() / 2
    torch.testing.assert_close(areas[0], area, rtol=1e-3, atol=0)


def test_the_textures_are_inside(path, result):
    glb = NaiveGlb(path)
    files = {"skin": "albedo.png", "skin_normal": "normal.png"}
    for image in glb.json["images"]:
        name = files.get(image["name"], f"texture_{image['name']}.png")
        assert glb.bytes_of(image["bufferView"]) == (path.parent / name).read_bytes()
    assert len(glb.json["images"]) == len(result.face.texture) + 1
    material = glb.json["materials"][0]
    assert 0.5 <= material["pbrMetallicRoughness"]["roughnessFactor"] <= 0.6
    bumps = glb.json["textures"][material["normalTexture"]["index"]]
    assert glb.json["images"][bumps["source"]]["name"] == "skin_normal"
    # A part without a texture shows its albedo: linear, as COLOR_0 is.
    tongue = glb.mesh("tongue")["primitives"][0]
    colours = glb.accessor(tongue["attributes"]["COLOR_0"])[glb.accessor(tongue["indices"]).reshape(-1)]
    albedo = result.model.vertex_albedo(result.coarse.code)[result.model.part_triangles("tongue").flatten()]
    np.testing.assert_allclose(colours, albedo.numpy(), atol=1e-6)


def test_baked_shows_the_light_of_the_photo(result, tmp_path):
    folder = save(result, tmp_path / "person", formats=["glb"], baked=True)
    glb = NaiveGlb(folder / "face.glb")
    skin = next(image for image in glb.json["images"] if image["name"] == "skin")
    assert glb.bytes_of(skin["bufferView"]) == (folder / "texture.png").read_bytes()
    assert complaints(validate(folder / "face.glb")) == []


def test_tangents_point_along_the_texture(path, result):
    """For every triangle: the mean tangent is the direction in which u grows, and cross(normal, tangent) is up in the image."""
    glb = NaiveGlb(path)
    primitive = glb.mesh("skin")["primitives"][0]
    read = lambda name: glb.accessor(primitive["attributes"][name]).astype(float)  # noqa: E731
    points, normals, tangents, uv = (read(name) for name in ("POSITION", "NORMAL", "TANGENT", "TEXCOORD_0"))
    np.testing.assert_allclose(np.linalg.norm(tangents[:, :3], axis=1), 1, atol=1e-5)
    np.testing.assert_allclose((tangents[:, :3] * normals).sum(1), 0, atol=1e-5)
    assert set(np.unique(tangents[:, 3])) <= {-1.0, 1.0}
    corners = glb.accessor(primitive["indices"]).reshape(-1, 3)
    edges = points[corners[:, 1:]] - points[corners[:, :1]]
    steps = uv[corners[:, 1:]] - uv[corners[:, :1]]
    steps[..., 1] *= -1  # up in the image
    by_uv = np.linalg.solve(steps, edges)  # rows: derivative by u, derivative upwards
    mean = lambda values: values[corners].mean(1)  # noqa: E731
    up = np.cross(normals, tangents[:, :3]) * tangents[:, 3:]
    for row, direction in ((0, tangents[:, :3]), (1, up)):
        cosine = (by_uv[:, row] * mean(direction)).sum(1) / np.linalg.norm(by_uv[:, row], axis=1)
        assert np.median(cosine) > 0.98
        assert (cosine > 0).mean() > 0.99


def test_sparse_targets_keep_the_file_small(path, result):
    dense = len(ARKIT_NAMES) * 2 * 12 * result.model.topology.num_vertices
    glb = NaiveGlb(path)
    images = sum(len(glb.bytes_of(image["bufferView"])) for image in glb.json["images"])
    assert len(glb.blob) - images < 0.4 * dense


def test_a_mesh_beyond_16_bit_indices(tmp_path):
    surface = head_surfaces(synthetic_model(), synthetic_model().mean_code(), {})[0]
    count = 70_000
    repeat = torch.arange(count) % len(surface.vertices_mm)
    changes = {
        "vertices_mm": surface.vertices_mm[repeat],
        "normals": surface.normals[repeat],
        "uv": surface.uv[repeat],
    }
    big = type(surface)(
        **{
            **surface.__dict__,
            **changes,
            "colours": surface.colours[repeat],
            "morphs": (),
            "triangles": surface.triangles + 69_000,
        }
    )
    write_glb(tmp_path / "big.glb", [big])
    assert read_glb(tmp_path / "big.glb").topology.triangles.max() > 65_535
    assert complaints(validate(tmp_path / "big.glb")) == []


def test_split_at_seams_gives_every_corner_its_pair():
    triangles = torch.tensor([[0, 1, 2], [2, 1, 3]])
    uv_triangles = torch.tensor([[0, 1, 2], [4, 1, 3]])
    vertex_ids, uv_ids, split = split_at_seams(triangles, uv_triangles)
    assert torch.equal(vertex_ids[split], triangles) and torch.equal(uv_ids[split], uv_triangles)
    assert len(vertex_ids) == 5  # vertex 2 twice


def test_other_programs_write_nodes_with_transforms(tmp_path):
    # One triangle, turned by 90 degrees about z, mirrored in x by scale, moved; u16 indices.
    points = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], "<f4").tobytes()
    blob = points + np.array([0, 1, 2, 0], "<u2").tobytes()
    half = 0.5**0.5
    document = {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [
            {"children": [1], "translation": [0, 0, 2]},
            {"mesh": 0, "rotation": [0, 0, half, half], "scale": [-1, 1, 1]},
        ],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1}]}],
        "accessors": [
            {"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3"},
            {"bufferView": 1, "componentType": 5123, "count": 3, "type": "SCALAR"},
        ],
        "bufferViews": [{"buffer": 0, "byteLength": 36}, {"buffer": 0, "byteOffset": 36, "byteLength": 6}],
        "buffers": [{"byteLength": len(blob)}],
    }

    def pack(document: dict) -> bytes:
        text = json.dumps(document).encode()
        text += b" " * (-len(text) % 4)
        chunks = (
            struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(blob), b"BIN\0") + blob
        )
        return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks

    (tmp_path / "a.glb").write_bytes(pack(document))
    mesh = read_glb(tmp_path / "a.glb")
    expected = torch.tensor([[0.0, 0, 2000], [0, -1000, 2000], [-1000, 0, 2000]])
    torch.testing.assert_close(mesh.vertices, expected, atol=1e-3, rtol=0)
    assert mesh.topology.triangles.tolist() == [[2, 1, 0]]  # the mirror turned the winding
    (tmp_path / "b.glb").write_bytes(pack({**document, "extensionsRequired": ["KHR_draco_mesh_compression"]}))
    with pytest.raises(BadFile, match="KHR_draco_mesh_compression"):
        read_glb(tmp_path / "b.glb")
