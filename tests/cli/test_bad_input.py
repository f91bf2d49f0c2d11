"""Everything that people throw at it, through the real reconstruction: one batch, then a look at each outcome."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from bad_photos import FAILS, FORMATS, SCENES, WORKS, face_of

import vultus as package
from vultus.geometry.rigid import pose_angles, rotation_from_pose_angles

pytestmark = pytest.mark.slow
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}  # others run beside it
QUICK = ("--formats", "obj", "--texture-size", "128", "--displacement-size", "64")
# For what is over once the photo is read, or does not depend on what is in it.
COARSE = ("--formats", "obj", "--texture-size", "0", "--level", "coarse")


@dataclass(frozen=True)
class Batch:
    """One command line, or several that are looked at together."""

    out: Path
    status: int
    stderr: str
    photos: dict[str, dict]

    def document(self, name: str) -> dict:
        path = Path(self.photos[name]["faces"][0]["directory"]) / "reconstruction.json"
        return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("bad")
    for name, make in WORKS.items():
        make(folder / name)
    for name, (make, _) in FAILS.items():
        make(folder / name)
    return folder


@pytest.fixture(scope="module")
def failing(folder) -> Batch:
    """Scenes and failures in one command, in another process as a user would."""
    return reconstructed(folder, [*SCENES, *FAILS], "--jobs", 2, *QUICK)


@pytest.fixture(scope="module")
def batch(folder, failing) -> Batch:
    """All photos. Those that differ only in how their pixels are stored go no further than they differ."""
    formats = reconstructed(folder, [*FORMATS], *COARSE)
    assert formats.status == 0, formats.stderr
    return replace(failing, photos=failing.photos | formats.photos)


def reconstructed(folder: Path, names: list[str], *options: object) -> Batch:
    photos = [folder / name for name in names]
    result = run("reconstruct", *photos, "-o", folder / "out", "--json", *options)
    records = [json.loads(line) for line in result.stdout.splitlines()]
    by_name = {Path(record["photo"]).name: record for record in records}
    return Batch(folder / "out", result.returncode, result.stderr, by_name)


def run(*arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run(command(*arguments), capture_output=True, text=True, env=ONE_THREAD, check=False)


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "vultus", *map(str, arguments)]


def test_the_batch_tells_of_failures_and_goes_on(failing):
    assert failing.status == 2
    assert set(failing.photos) == {*SCENES, *FAILS}
    assert "Traceback" not in failing.stderr
    assert f"{len(FAILS)} failed" in failing.stderr


@pytest.mark.parametrize("name", WORKS)
def test_works(batch, name):
    record = batch.photos[name]
    assert record["status"] == "done", record
    assert len(record["faces"]) == (2 if name == "two_faces.png" else 1)
    for face in record["faces"]:
        assert package.load(face["directory"]).mesh.vertices.isfinite().all()


@pytest.mark.parametrize("name", FAILS)
def test_fails_in_one_line_that_names_the_file_and_a_remedy(batch, name):
    record = batch.photos[name]
    assert record["status"] == "failed", record
    assert FAILS[name][1] in record["error"]
    assert "unexpected" not in record["error"]
    assert ";" in record["error"]  # what; what to do
    lines = [line for line in batch.stderr.splitlines() if name in line]
    assert len(lines) == 1
    assert not (batch.out / Path(name).stem).exists()


def test_a_tiny_face_carries_a_warning(batch):
    (face,) = batch.photos["face_of_40_px.png"]["faces"]
    assert any("px" in advice for advice in face["advice"])


def test_the_largest_of_two_faces_comes_first(batch):
    first, second = (package.load(face["directory"]) for face in batch.photos["two_faces.png"]["faces"])
    width = [
        float(face.view.landmarks_px[:, 0].max() - face.view.landmarks_px[:, 0].min())
        for face in (first, second)
    ]
    assert width[0] > 1.2 * width[1]
    assert first.view.landmarks_px[:, 0].mean() < second.view.landmarks_px[:, 0].mean()


@pytest.mark.parametrize(
    ("name", "turned_deg"),
    [("exif_rotated.jpg", 0), ("grey.png", 0), ("on_its_side.png", 90), ("upside_down.png", 180)],
)
def test_turning_the_photo_turns_the_pose(batch, name, turned_deg):
    """The photo turned counter-clockwise by 90 degrees: the same pose, rolled."""
    plain, other = (batch.document(which)["pose_deg"] for which in ("plain.jpg", name))
    turn, before, after = (
        rotation_from_pose_angles(*(torch.tensor(float(angle)) for angle in angles))
        for angles in (
            (0, 0, turned_deg),
            (plain["yaw"], plain["pitch"], plain["roll"]),
            (other["yaw"], other["pitch"], other["roll"]),
        )
    )
    frontal = rotation_from_pose_angles(*torch.zeros(3))
    difference = after @ (turn @ frontal.T @ before).T
    angle_deg = torch.rad2deg(torch.arccos(((difference.diagonal().sum() - 1) / 2).clamp(-1, 1)))
    assert angle_deg < 6
    assert pose_angles(before).yaw_deg.abs() < 45


def test_a_profile_works_or_is_told(batch, tmp_path):
    """There is no profile among the sample photos, so the reconstructed head itself is photographed from the side."""
    from vultus.geometry.camera import Camera
    from vultus.geometry.rigid import rigid_transform
    from vultus.io.images import write_png
    from vultus.render.shade import over, render, srgb_from_linear

    face = package.load(batch.photos["plain.jpg"]["faces"][0]["directory"])
    rotation = rotation_from_pose_angles(torch.tensor(90.0), torch.tensor(0.0), torch.tensor(0.0))
    pose = rigid_transform(rotation, torch.tensor([0.0, 0.0, 700.0]))
    camera = Camera(torch.tensor(1000.0), torch.tensor([256.0, 256.0]), (512, 512), pose)
    albedo = face.model.vertex_albedo(face.coarse.code)
    drawn = render(
        face.mesh.vertices, face.model.triangles, camera, face.coarse.light, albedo=albedo, samples=2
    )
    write_png(tmp_path / "profile.png", srgb_from_linear(over(drawn, torch.full((3,), 0.1)))[0].clamp(0, 1))
    result = run("reconstruct", tmp_path / "profile.png", "-o", tmp_path / "out", "--json", *QUICK)
    record = json.loads(result.stdout)
    assert "Traceback" not in result.stderr
    if record["status"] == "failed":
        assert result.returncode == 2
        assert "no face" in record["error"]
    else:
        assert result.returncode == 0
        assert record["faces"][0]["status"] == "ok" or record["faces"][0]["advice"]


def test_two_runs_on_the_same_folder(tmp_path):
    for name, size in (("a.png", 111), ("b.png", 90)):
        face_of(size).save(tmp_path / name)
    arguments = command(
        "reconstruct", tmp_path / "a.png", tmp_path / "b.png", "-o", tmp_path / "out", *COARSE
    )
    processes = [
        subprocess.Popen(arguments, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=ONE_THREAD)
        for _ in range(2)
    ]
    for process in processes:
        _, stderr = process.communicate(timeout=240)
        assert process.returncode == 0, stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a", "b"]
    for name in "ab":
        assert package.load(tmp_path / "out" / name).mesh.vertices.isfinite().all()


def test_a_corrupted_licensed_model(tmp_path):
    face_of(111).save(tmp_path / "a.png")
    (tmp_path / "ict.npz").write_bytes(b"PK\x03\x04 this is no model")
    (tmp_path / "generic_neutral_mesh.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nf 1/1 2/1 3/1\n")
    (tmp_path / "vertex_indices.json").write_text(json.dumps({"idx_to_landmark_verts": list(range(68))}))
    result = run(
        "reconstruct", tmp_path / "a.png", "-o", tmp_path / "out", "--model", f"ict:{tmp_path / 'ict.npz'}"
    )
    assert_one_line(result, "ict.npz")


@pytest.mark.parametrize(
    ("module", "name"), [("vultus.model.bundled", "HEAD"), ("vultus.model.bundled", "LANDMARKS")]
)
def test_a_corrupted_bundled_file(tmp_path, module, name):
    """As after a disk error or a broken installation: replaced in the child process, not in the package."""
    face_of(111).save(tmp_path / "a.png")
    (tmp_path / "broken.npz").write_bytes(b"\x00" * 1000)
    code = (
        f"import sys, pathlib, {module} as module; module.{name} = pathlib.Path(sys.argv.pop(1));"
        "from vultus.cli.main import main; sys.exit(main())"
    )
    arguments = ["reconstruct", tmp_path / "a.png", "-o", tmp_path / "out", *QUICK]
    result = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "broken.npz", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert_one_line(result, "broken.npz")


def assert_one_line(result: subprocess.CompletedProcess, named: str) -> None:
    assert result.returncode == 2
    failures = [line for line in result.stderr.splitlines() if "failed:" in line]
    assert len(failures) == 1
    assert named in failures[0]
    assert "Traceback" not in result.stderr
    assert "unexpected" not in failures[0]


def test_nan_in_an_array():
    image = torch.rand(3, 64, 64)
    image[0, 3, 4] = torch.nan
    with pytest.raises(package.VultusError, match="NaN"):
        package.reconstruct(image)
