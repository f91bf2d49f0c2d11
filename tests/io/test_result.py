import dataclasses
import errno
import json
import os
from pathlib import Path

import jsonschema
import pygltflib as gltf
import pytest
import torch
from synthetic_model import ARKIT_NAMES, synthetic_model, synthetic_reconstruction

import vultus.io.result
from vultus.errors import BadFile, BadInput, WeightsMismatch
from vultus.geometry.rigid import pose_angles
from vultus.io.document import SCHEMA_PATH
from vultus.io.images import read_image, write_png
from vultus.io.obj import read_obj
from vultus.io.ply import read_ply
from vultus.io.result import check_formats, is_finished, load, save, vertex_colours
from vultus.model.face import TexturedFace
from vultus.model.result import Reconstruction
from vultus.render.shade import srgb_from_linear

ALWAYS = {"reconstruction.json", "texture_observed.png", "texture.png", "albedo.png", "normal.png"}
MAPS = {"deformation.npz", "displacement.png"}
ALWAYS |= MAPS
LEVELS = {"levels/coarse.obj", "levels/deformed.obj"}
ALWAYS |= {f"texture_{part}.png" for part in ("eye_left", "eye_right", "teeth")}


@pytest.fixture(scope="module")
def result() -> Reconstruction:
    return synthetic_reconstruction()


@pytest.fixture(scope="module")
def folder(result, tmp_path_factory) -> Path:
    """Saved once, with everything; tests only read it."""
    picture = torch.rand(3, 8, 16)
    formats = ["obj", "glb", "ply", "dense"]
    return save(result, tmp_path_factory.mktemp("out") / "person", formats=formats, overlay=picture)


@pytest.fixture
def schema() -> jsonschema.Draft202012Validator:
    content = json.loads(SCHEMA_PATH.read_text())
    jsonschema.Draft202012Validator.check_schema(content)
    return jsonschema.Draft202012Validator(content)


def files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def document(folder: Path) -> dict:
    return json.loads((folder / "reconstruction.json").read_text())


def rewrite(folder: Path, change) -> None:
    content = document(folder)
    change(content)
    (folder / "reconstruction.json").write_text(json.dumps(content))


def test_the_folder_holds_what_was_asked_for(folder, result, tmp_path):
    meshes = {"face.obj", "face.mtl", "face.glb", "face.ply", "dense.ply", "overlay.png"} | LEVELS
    assert files_in(folder) == ALWAYS | meshes == set(document(folder)["files"])
    plain = save(result, tmp_path / "plain", formats=["json"])
    assert files_in(plain) == ALWAYS
    bare = save(synthetic_reconstruction(textured=False), tmp_path / "bare", formats=())
    assert files_in(bare) == {"reconstruction.json"} | MAPS
    coarse = save(synthetic_reconstruction(level="coarse"), tmp_path / "coarse")
    assert not files_in(coarse) & (MAPS | LEVELS | {"normal.png", "dense.ply"})
    deformed = save(synthetic_reconstruction(level="deformed"), tmp_path / "deformed")
    assert files_in(deformed) & (MAPS | LEVELS) == {"deformation.npz"} | LEVELS


def test_the_document_follows_the_schema(folder, schema, tmp_path):
    schema.validate(document(folder))
    bare = synthetic_reconstruction(textured=False)
    other = dataclasses.replace(bare.view, landmark_scheme="mine", landmarks_px=torch.rand(5, 2))
    model = dataclasses.replace(bare.model, landmarks={})
    schema.validate(document(save(dataclasses.replace(bare, model=model, view=other), tmp_path / "bare")))


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.pop("camera"),
        lambda d: d.update(schema_version=2),
        lambda d: d["landmarks_68_px"].pop(),
        lambda d: d["camera"]["T_camera_head"][0].pop(),
        lambda d: d["code"]["expression"].update(jawOpen="wide"),
        lambda d: d.update(surprise=1),
    ],
)
def test_the_schema_refuses_what_is_wrong(folder, schema, change):
    content = document(folder)
    change(content)
    assert not schema.is_valid(content)


def test_the_document_says_what_the_result_says(folder, result):
    content = document(folder)
    angles = pose_angles(result.camera.T_camera_head[:3, :3])
    assert [content["pose_deg"][name] for name in ("yaw", "pitch", "roll")] == pytest.approx(
        [float(a) for a in angles]
    )
    points_mm = torch.tensor(content["landmarks_68_head_mm"])
    expected = result.model.landmarks["ibug68"].points(
        result.mesh.vertices, result.model.triangles, *angles[:2]
    )
    torch.testing.assert_close(points_mm, expected)
    torch.testing.assert_close(
        torch.tensor(content["landmarks_68_px"]), result.camera.project(points_mm)[:, :2]
    )
    assert list(content["code"]["expression"]) == list(ARKIT_NAMES)


def test_load_gives_back_everything(folder, result):
    again = load(folder, model=result.model)
    for field in ("identity", "expression", "albedo"):
        assert torch.equal(getattr(again.coarse.code, field), getattr(result.coarse.code, field))
    assert torch.equal(again.coarse.T_camera_head, result.coarse.T_camera_head)
    assert torch.equal(again.coarse.light, result.coarse.light)
    for field in ("focal_px", "principal_px", "T_camera_head"):
        assert torch.equal(getattr(again.camera, field), getattr(result.camera, field))
    assert again.camera.size_px == result.camera.size_px
    assert torch.equal(again.view.landmarks_px, result.view.landmarks_px)
    assert again.view.landmark_scheme == result.view.landmark_scheme
    assert isinstance(again.face, TexturedFace) and isinstance(result.face, TexturedFace)
    assert set(again.face.texture) == set(result.face.texture)
    for part, image in result.face.texture.items():
        torch.testing.assert_close(again.face.texture[part], image, atol=1e-6, rtol=0)
    torch.testing.assert_close(again.face.observed, result.face.observed, atol=1e-6, rtol=0)
    torch.testing.assert_close(again.face.albedo, result.face.albedo, atol=1e-6, rtol=0)
    assert torch.equal(again.geometry.deformed.deformation_mm, result.geometry.deformed.deformation_mm)
    assert torch.equal(again.geometry.displacement_mm, result.geometry.displacement_mm)
    assert again.report == result.report and again.timings_s == result.timings_s
    assert again.provenance == result.provenance
    assert again.view.image.shape == (3, 0, 0) and again.view.skin_mask.shape == (0, 0)
    assert torch.equal(again.mesh.vertices, result.mesh.vertices)


def test_what_was_loaded_can_be_saved_again(folder, result, tmp_path):
    formats = ["obj", "glb", "ply", "dense"]
    again = save(load(folder, model=result.model), tmp_path / "again", formats=formats)
    for name in ALWAYS | LEVELS | {"face.obj", "face.mtl", "face.glb", "face.ply", "dense.ply"}:
        if name not in ("reconstruction.json", "deformation.npz"):  # an npz tells the time
            assert (again / name).read_bytes() == (folder / name).read_bytes(), name
    ours, theirs = document(again), document(folder)
    assert ours.pop("files") == [name for name in theirs.pop("files") if name != "overlay.png"]
    assert ours == theirs


def test_untextured_and_own_landmarks_come_back(tmp_path):
    bare = synthetic_reconstruction(textured=False)
    other = dataclasses.replace(bare.view, landmark_scheme="mine", landmarks_px=torch.rand(5, 2) * 100)
    folder = save(dataclasses.replace(bare, view=other), tmp_path / "bare")
    again = load(folder, model=bare.model)
    assert not isinstance(again.face, TexturedFace)
    assert again.view.landmark_scheme == "mine" and torch.equal(again.view.landmarks_px, other.landmarks_px)
    assert (folder / "face.obj").read_text().count("usemtl") == 5 and "map_Kd" not in (
        folder / "face.mtl"
    ).read_text()


def test_the_model_is_found_by_its_name(folder, result, monkeypatch):
    asked = []
    monkeypatch.setattr(vultus.io.result, "load_model", lambda name: asked.append(name) or result.model)
    assert load(folder).model is result.model and asked == ["synthetic"]


def test_the_photo_is_read_only_when_asked_for(result, tmp_path):
    photo = tmp_path / "photo.png"
    write_png(photo, result.view.image)
    provenance = {**result.provenance, "photo": photo}  # a Path is fine
    folder = save(dataclasses.replace(result, provenance=provenance), tmp_path / "person", formats=())
    torch.testing.assert_close(
        load(folder, photo=True, model=result.model).view.image, result.view.image, atol=3e-3, rtol=0
    )
    moved = photo.rename(tmp_path / "moved.png")
    with pytest.raises(BadFile, match=r"photo\.png"):
        load(folder, photo=True, model=result.model)
    assert load(folder, photo=moved, model=result.model).view.image.shape == result.view.image.shape
    assert load(folder, model=result.model).view.image.numel() == 0
    write_png(moved, torch.zeros(3, 10, 10))
    with pytest.raises(BadFile, match="give that one"):
        load(folder, photo=moved, model=result.model)


def test_meshes_have_the_photo_s_expression_and_one_material_per_part(folder, result):
    for mesh in (read_obj(folder / "face.obj"), read_ply(folder / "face.ply")):
        torch.testing.assert_close(mesh.vertices, result.mesh.vertices, atol=1e-5, rtol=0)
        assert torch.equal(mesh.topology.triangles, result.model.triangles)
    materials = (folder / "face.mtl").read_text().split("newmtl ")[1:]
    assert [block.split()[0] for block in materials] == list(result.model.part_names)
    assert "map_Kd texture.png" in materials[0] and "map_Kd texture_teeth.png" in materials[3]
    assert "map_Kd" not in materials[4]  # the tongue has no texture


def test_a_texture_s_opacity_reaches_every_format_and_comes_back(result, tmp_path):
    hairs = torch.rand(4, 8, 8, generator=torch.Generator().manual_seed(1))
    texture = {**result.face.texture, "teeth": (hairs * 255).round() / 255}
    clear = dataclasses.replace(result, face=dataclasses.replace(result.face, texture=texture))
    folder = save(clear, tmp_path / "clear", formats=["obj", "glb", "ply"])
    again = load(folder, model=result.model)
    torch.testing.assert_close(again.face.texture["teeth"], texture["teeth"], atol=1e-6, rtol=0)
    materials = {m.name: m for m in gltf.GLTF2().load(str(folder / "face.glb")).materials}
    assert materials["teeth"].alphaMode == "BLEND" and materials["skin"].alphaMode == "OPAQUE"
    lines = (folder / "face.mtl").read_text().split("newmtl ")
    assert ["map_d" in block for block in lines if block.startswith("teeth")] == [True]
    assert "map_d" not in lines[1]


def test_vertex_colours_are_the_texture_s_and_else_the_albedo_s(result):
    flat = {part: torch.tensor([0.2, 0.4, 0.6])[:, None, None].expand(3, 4, 4) for part in ("skin", "teeth")}
    coloured = dataclasses.replace(result, face=dataclasses.replace(result.face, texture=flat))
    colours, albedo = (
        vertex_colours(coloured),
        srgb_from_linear(result.model.vertex_albedo(result.coarse.code)),
    )
    for part in result.model.part_names:
        ids = result.model.part_triangles(part).flatten()
        expected = torch.tensor([0.2, 0.4, 0.6]).expand(len(ids), 3) if part in flat else albedo[ids]
        torch.testing.assert_close(colours[ids], expected)


def test_saving_over_a_finished_result_replaces_it(result, tmp_path):
    folder = save(result, tmp_path / "person", formats=["obj", "ply"])
    (folder / "notes.txt").write_text("somebody's")
    save(result, folder, formats=["glb"])
    assert files_in(folder) == ALWAYS | {"face.glb", "notes.txt"}
    assert not (folder / "levels").exists()
    assert [entry.name for entry in tmp_path.iterdir()] == ["person"]


def test_a_folder_of_somebody_else_is_not_overwritten(result, tmp_path):
    (tmp_path / "texture.png").write_bytes(b"somebody's")
    with pytest.raises(BadFile, match="left alone"):
        save(result, tmp_path, formats=())
    assert (tmp_path / "texture.png").read_bytes() == b"somebody's"


@pytest.mark.parametrize("victim", ["texture.png", "face.obj", "face.mtl", "face.glb", "reconstruction.json"])
def test_disk_full_half_way_leaves_nothing_that_looks_finished(result, tmp_path, monkeypatch, victim):
    for method in ("write_bytes", "write_text"):
        original = getattr(Path, method)

        def full(path, data, *args, original=original, **kwargs):
            if victim in path.name:
                original(path, data[: len(data) // 2], *args, **kwargs)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return original(path, data, *args, **kwargs)

        monkeypatch.setattr(Path, method, full)
    with pytest.raises(BadFile) as caught:
        save(result, tmp_path / "person")
    assert "No space left" in str(caught.value) and str(tmp_path / "person") in str(caught.value)
    assert "partial" not in str(caught.value)
    assert not is_finished(tmp_path / "person") and list(tmp_path.iterdir()) == []


def test_what_is_finished(result, tmp_path):
    folder = save(result, tmp_path / "person", formats=["obj"])
    assert is_finished(folder) and is_finished(folder, ["obj"]) and is_finished(folder, ["json"])
    assert not is_finished(folder, ["glb"])
    (folder / "texture.png").write_bytes(b"edited by hand, still there")
    assert is_finished(folder)
    (folder / "face.obj").write_bytes(b"")  # what a power cut leaves
    assert not is_finished(folder)
    save(result, folder, formats=["obj"])
    (folder / "face.obj").unlink()
    assert not is_finished(folder)
    for content in ("", "{", "[]", "{}", '{"schema_version": 99, "files": []}', '{"schema_version": 1}'):
        (folder / "reconstruction.json").write_text(content)
        assert not is_finished(folder)
    assert not is_finished(tmp_path / "nothing") and not is_finished(tmp_path)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda d: d.update(schema_version=99), BadFile, "schema version 99"),
        (lambda d: d.pop("light"), BadFile, "is damaged"),
        (lambda d: d.update(camera=[]), BadFile, "is damaged"),
        (lambda d: d["camera"].update(T_camera_head=[[1, 2], [3, 4]]), BadFile, "is damaged"),
        (lambda d: d.update(light=[["a"] * 9] * 3), BadFile, "is damaged"),
        (lambda d: d["textures"].update(skin="gone.png"), BadFile, "gone.png"),
        (
            lambda d: d["code"]["identity"].append(0.0),
            WeightsMismatch,
            "4 identity coefficients instead of 3",
        ),
        (lambda d: d["code"]["expression"].pop("jawOpen"), WeightsMismatch, "jawOpen"),
    ],
)
def test_a_damaged_result_is_named_in_one_line(result, tmp_path, change, error, message):
    folder = save(result, tmp_path / "person", formats=())
    rewrite(folder, change)
    with pytest.raises(error, match=message) as caught:
        load(folder, model=result.model)
    assert "\n" not in str(caught.value)


def test_no_result_at_all(tmp_path):
    with pytest.raises(BadFile, match="no finished result"):
        load(tmp_path)
    (tmp_path / "reconstruction.json").write_text('{"schema_ver')
    with pytest.raises(BadFile, match="is damaged"):
        load(tmp_path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_not_saved(result, tmp_path, value):
    code = dataclasses.replace(result.coarse.code, identity=torch.tensor([0.0, value, 0.0]))
    coarse = dataclasses.replace(result.coarse, code=code)
    with pytest.raises(BadInput, match="NaN or infinite"):
        save(dataclasses.replace(result, face=coarse), tmp_path / "person", formats=())
    wrinkled = dataclasses.replace(result.geometry, displacement_mm=torch.full((8, 8), value))
    with pytest.raises(BadInput, match="NaN or infinite"):
        save(dataclasses.replace(result, face=wrinkled), tmp_path / "person", formats=())
    with pytest.raises(BadInput, match="cannot be saved"):
        save(dataclasses.replace(result, timings_s={"fit": value}), tmp_path / "person", formats=())
    assert list(tmp_path.iterdir()) == []


def test_formats():
    assert check_formats(["glb", "obj", "glb", "json"]) == ("obj", "glb") and check_formats("ply") == ("ply",)
    with pytest.raises(BadInput, match="'stl'; choose from json, obj, glb, ply, dense"):
        check_formats(["obj", "stl"])


def test_saving_does_not_change_the_result(result, tmp_path):
    before = synthetic_reconstruction()
    save(result, tmp_path / "person", formats=["obj", "glb", "ply"])
    assert torch.equal(before.coarse.code.expression, result.coarse.code.expression)
    assert torch.equal(before.model.albedo_mean, synthetic_model().albedo_mean)
    for part in before.face.texture:
        assert torch.equal(before.face.texture[part], result.face.texture[part])


def test_levels_and_what_a_batch_counts_as_finished(folder, result, tmp_path):
    for name in ("coarse", "deformed", "detail"):
        again = save(synthetic_reconstruction(level=name), tmp_path / name)
        assert document(again)["level"] == name
        # Nothing dense is to be had below the detail level: asking for it again would never end.
        assert is_finished(again, ["obj", "glb", "dense"])
        loaded = load(again, model=result.model)
        assert type(loaded.geometry) is type(synthetic_reconstruction(level=name).geometry)
        torch.testing.assert_close(
            loaded.mesh.vertices, synthetic_reconstruction(level=name).mesh.vertices, atol=1e-4, rtol=0
        )
    assert not is_finished(save(result, tmp_path / "no_dense", formats=["obj"]), ["dense"])
    coarse = read_obj(folder / "levels" / "coarse.obj")
    torch.testing.assert_close(coarse.vertices, result.model.vertices(result.coarse.code), atol=1e-5, rtol=0)
    deformed = read_obj(folder / "levels" / "deformed.obj")
    torch.testing.assert_close(deformed.vertices, result.mesh.vertices, atol=1e-5, rtol=0)
    assert (coarse.vertices - deformed.vertices).abs().max() > 0.5


def test_a_result_from_before_the_levels_is_still_read(result, tmp_path):
    folder = save(synthetic_reconstruction(level="coarse"), tmp_path / "person", formats=())

    def forget(content):
        for name in ("level", "albedo", "normal", "deformation", "displacement"):
            del content[name]

    rewrite(folder, forget)
    assert load(folder, model=result.model).face.albedo is None


@pytest.mark.parametrize("file", ["deformation.npz", "displacement.png"])
def test_a_damaged_map_is_named(result, tmp_path, file):
    folder = save(result, tmp_path / "person", formats=())
    (folder / file).write_bytes(b"half a fi")
    with pytest.raises(BadFile, match=file):
        load(folder, model=result.model)


def test_the_overlay_is_written_as_given(folder):
    image, info = read_image(folder / "overlay.png")
    assert info.size_px == (16, 8) and image.shape == (3, 8, 16)
