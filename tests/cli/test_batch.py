"""What a batch does around the reconstruction: names, resuming, failures, exit status, machine-readable lines."""

import json

import pytest

from vultus.errors import BadFile, FaceNotFound


def test_every_face_gets_a_folder_and_a_line(vultus, stage, photos, tmp_path):
    stage.plan["party"] = 3
    run = vultus("reconstruct", *photos("anna.jpg", "party.jpg"), "-o", tmp_path / "out")
    assert run.status == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "anna",
        "party",
        "party-2",
        "party-3",
    ]
    for folder in (tmp_path / "out").iterdir():
        assert {"reconstruction.json", "face.obj", "face.glb", "texture.png", "overlay.png"} <= {
            path.name for path in folder.iterdir()
        }
    assert len(run.out.splitlines()) == 4
    assert "4 faces from 2 of 2 photos" in run.err


def test_options_reach_the_stage(vultus, stage, photos, tmp_path):
    run = vultus(
        "reconstruct", *photos("anna.jpg"), "-o", tmp_path / "out", "--model", "ict:/x", "--focal-mm35", "50", "--focal", "exif",
        "--faces", "2", "--texture-size", "2048", "--formats", "ply", "--level", "deformed", "--displacement-size", "256", "--init", "position",
    )  # fmt: skip
    assert run.status == 0, run.err
    assert stage.calls[0][1] == {
        "model": "ict:/x", "device": "cpu", "focal_px": None, "focal_mm35": 50.0, "focal": "exif", "faces": 2, "texture_size": 2048,
        "level": "deformed", "displacement_size": 256, "init": "position",
    }  # fmt: skip
    written = {path.name for path in (tmp_path / "out" / "anna").iterdir()}
    assert "face.ply" in written
    assert not written & {"face.obj", "face.glb", "overlay.png"}


def test_one_failure_stops_nobody_and_is_listed_last(vultus, stage, photos, tmp_path):
    made = photos("a.jpg", "b.jpg", "c.jpg", "d.jpg")
    stage.plan |= {"a": FaceNotFound("no face\nfound; crop closer"), "b": 0, "c": ZeroDivisionError("oh")}
    run = vultus("reconstruct", *made, "-o", tmp_path / "out")
    assert run.status == 2
    assert stage.photos == ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["d"]
    lines = run.err.splitlines()
    assert lines[-4] == "1 face from 1 of 4 photos, 3 failed"
    assert lines[-3] == f"{made[0]}: failed: no face found; crop closer"
    assert lines[-2].startswith(f"{made[1]}: failed: no face found;")
    assert lines[-1].startswith(f"{made[2]}: failed: unexpected ZeroDivisionError: oh; please report")
    assert "Traceback" not in run.err + run.out


def test_the_photo_is_named_once(vultus, stage, photos, tmp_path):
    made = photos("a.jpg")
    stage.plan["a"] = BadFile(f"{made[0]}: damaged; get it again")
    run = vultus("reconstruct", *made, "-o", tmp_path / "out")
    assert run.err.splitlines()[-1] == f"{made[0]}: failed: damaged; get it again"


def test_debug_shows_where(vultus, stage, photos, tmp_path):
    stage.plan["a"] = ZeroDivisionError("oh")
    run = vultus("reconstruct", *photos("a.jpg"), "-o", tmp_path / "out", "--debug")
    assert run.status == 2
    assert "Traceback" in run.err


def test_a_batch_resumes(vultus, stage, photos, tmp_path):
    made = photos("a.jpg", "b.jpg")
    stage.plan["b"] = FaceNotFound("no face")
    assert vultus("reconstruct", *made, "-o", tmp_path / "out").status == 2
    stage.plan.clear()
    stage.calls.clear()
    run = vultus("reconstruct", *made, "-o", tmp_path / "out")
    assert run.status == 0
    assert stage.photos == ["b.jpg"]
    assert "skipped" in run.out
    run = vultus("reconstruct", *made, "-o", tmp_path / "out", "--overwrite")
    assert stage.photos == ["b.jpg", "a.jpg", "b.jpg"]
    assert "skipped" not in run.out


def test_a_photo_of_which_only_later_faces_were_saved_is_done_again(
    vultus, stage, photos, tmp_path, monkeypatch
):
    """The first face is written last, so that a run killed between two faces is not taken for a finished one."""
    from vultus.model.result import Reconstruction

    made = photos("a.jpg")
    stage.plan["a"] = 2
    save, num_saved = Reconstruction.save, 0

    def save_once(self, directory, **options):
        nonlocal num_saved
        num_saved += 1
        if num_saved == 2:
            raise KeyboardInterrupt
        return save(self, directory, **options)

    monkeypatch.setattr(Reconstruction, "save", save_once)
    run = vultus("reconstruct", *made, "-o", tmp_path / "out")
    assert run.status == 130
    assert "interrupted" in run.err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a-2"]
    monkeypatch.setattr(Reconstruction, "save", save)
    assert vultus("reconstruct", *made, "-o", tmp_path / "out").status == 0
    assert len(stage.calls) == 2


def test_a_missing_format_is_made_and_the_others_stay(vultus, stage, photos, tmp_path):
    made = photos("a.jpg")
    assert vultus("reconstruct", *made, "-o", tmp_path / "out", "--formats", "obj").status == 0
    assert vultus("reconstruct", *made, "-o", tmp_path / "out", "--formats", "ply").status == 0
    assert len(stage.calls) == 2
    assert (tmp_path / "out/a/face.obj").exists()
    assert (tmp_path / "out/a/face.ply").exists()
    assert vultus("reconstruct", *made, "-o", tmp_path / "out", "--formats", "obj", "ply").status == 0
    assert len(stage.calls) == 2


def test_another_photo_of_the_same_name_is_not_taken_for_finished(vultus, stage, photos, tmp_path):
    first, second = photos("a/x.jpg", "b/x.jpg")
    assert vultus("reconstruct", first, "-o", tmp_path / "out").status == 0
    run = vultus("reconstruct", second, "-o", tmp_path / "out")
    assert run.status == 2
    assert "another photo" in run.err
    assert len(stage.calls) == 1
    assert vultus("reconstruct", second, "-o", tmp_path / "out", "--overwrite").status == 0


def test_second_faces_do_not_replace_another_photo(vultus, stage, photos, tmp_path):
    first, second = photos("anna-2.jpg", "anna.jpg")
    assert vultus("reconstruct", first, "-o", tmp_path / "out").status == 0
    stage.plan["anna"] = 2
    run = vultus("reconstruct", second, "-o", tmp_path / "out")
    assert run.status == 2
    assert "anna-2" in run.err
    assert not (tmp_path / "out" / "anna").exists()


def test_overwriting_removes_faces_that_are_no_longer_found(vultus, stage, photos, tmp_path):
    made = photos("a.jpg")
    stage.plan["a"] = 3
    vultus("reconstruct", *made, "-o", tmp_path / "out")
    stage.plan["a"] = 1
    vultus("reconstruct", *made, "-o", tmp_path / "out", "--overwrite")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a"]


def test_json_lines_and_nothing_else(vultus, stage, photos, tmp_path):
    made = photos("a.jpg", "b.jpg", "c.jpg")
    vultus("reconstruct", made[0], "-o", tmp_path / "out")
    stage.plan |= {"b": FaceNotFound("no face"), "c": 2}
    run = vultus("reconstruct", *made, tmp_path / "nowhere", "-o", tmp_path / "out", "--json")
    assert run.status == 2
    records = [json.loads(line) for line in run.out.splitlines()]
    assert [(record["status"], len(record["faces"])) for record in records[:3]] == [
        ("skipped", 1),
        ("failed", 0),
        ("done", 2),
    ]
    assert records[1]["error"] == "no face"
    assert records[2]["faces"][1]["directory"] == str(tmp_path / "out" / "c-2")
    assert records[2]["faces"][0]["status"] == "ok"
    assert set(records[2]["faces"][0]["timings_s"])


def test_what_others_print_does_not_reach_standard_output(vultus, stage, photos, tmp_path, monkeypatch):
    import sys

    made = photos("a.jpg")
    inner = sys.modules["vultus.stages.reconstruct"].reconstruct_all

    def noisy(photo, **options):
        print("a library says hello")
        return inner(photo, **options)

    monkeypatch.setattr(sys.modules["vultus.stages.reconstruct"], "reconstruct_all", noisy)
    run = vultus("reconstruct", *made, "-o", tmp_path / "out", "--json")
    assert len(run.out.splitlines()) == 1
    assert "hello" in run.err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--jobs", "0"), "--jobs 0"),
        (("--texture-size", "7"), "--texture-size 7"),
        (("--focal-px", "-1"), "--focal-px -1"),
        (("--focal-px", "nan"), "--focal-px nan"),
        (("--focal-px", "900", "--focal-mm35", "50"), "twice"),
        (("--faces", "0"), "--faces 0"),
        (("--device", "warp9"), "--device warp9"),
        (("--device", "cuda:77"), "--device cuda:77"),
    ],
)
def test_bad_options_are_one_line(vultus, stage, photos, tmp_path, arguments, expected):
    run = vultus("reconstruct", *photos("a.jpg"), "-o", tmp_path / "out", *arguments)
    assert run.status == 2
    assert len(run.err.splitlines()) == 1
    assert expected in run.err
    assert not stage.calls


@pytest.mark.parametrize(
    "arguments", [("--faces", "most"), ("--formats", "fbx"), ("--bogus",), ("--jobs", "many")]
)
def test_wrong_usage_ends_with_status_2(vultus, photos, tmp_path, arguments):
    run = vultus("reconstruct", *photos("a.jpg"), "-o", tmp_path / "out", *arguments)
    assert run.status == 2
    assert run.out == ""


def test_no_photos(vultus, tmp_path):
    run = vultus("reconstruct", "-o", tmp_path / "out")
    assert run.status == 2
    assert "no photos" in run.err


def test_output_folder_that_is_a_file_or_cannot_be_made(vultus, stage, photos, tmp_path):
    file = tmp_path / "file"
    file.write_text("here first")
    for out in (file, file / "below"):
        run = vultus("reconstruct", *photos("a.jpg"), "-o", out)
        assert run.status == 2
        assert str(out) in run.err
        assert len(run.err.splitlines()) == 1
    assert not stage.calls


def test_output_folder_without_permission(vultus, stage, photos, tmp_path, monkeypatch):
    monkeypatch.setattr("vultus.cli.photo_run.os.access", lambda path, mode: False)
    run = vultus("reconstruct", *photos("a.jpg"), "-o", tmp_path / "out")
    assert run.status == 2
    assert "may not write" in run.err


def test_disk_full_leaves_nothing_that_looks_finished(vultus, stage, photos, tmp_path, monkeypatch):
    import errno

    def full(*_arguments, **_options):
        raise OSError(errno.ENOSPC, "No space left on device")

    made = photos("a.jpg")
    monkeypatch.setattr("vultus.io.result.write_glb", full)
    run = vultus("reconstruct", *made, "-o", tmp_path / "out")
    assert run.status == 2
    assert "No space left" in run.err
    assert list((tmp_path / "out").iterdir()) == []
    monkeypatch.undo()
