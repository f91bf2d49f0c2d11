"""``vultus evaluate`` on the command line: a table, files, what is kept, and bad input in one line."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from vultus.cli.scoring import __file__ as scoring_file
from vultus.evaluate.regions import mean_face
from vultus.geometry.mesh import Mesh, Topology
from vultus.io.ply import write_ply


def write_face(path, change=lambda points: points):
    """The mean head, changed, with its landmarks beside it."""
    mean = mean_face()
    path.parent.mkdir(parents=True, exist_ok=True)
    vertices = torch.from_numpy(change(mean.vertices)).float()
    write_ply(path, Mesh(vertices, Topology(torch.from_numpy(mean.triangles), len(vertices))))
    np.save(path.with_suffix(".npy"), change(mean.landmarks))
    return path


def larger(points):
    return 1.1 * points


@pytest.fixture
def scans(tmp_path, monkeypatch):
    """Two scans of the mean head, and predictions: one right, one too large."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("anna", "berta"):
        write_face(tmp_path / "scans" / f"{name}.ply")
    write_face(tmp_path / "theirs" / "anna.ply")
    write_face(tmp_path / "theirs" / "berta.ply", larger)
    return tmp_path


def test_meshes_of_another_system_against_a_folder_of_scans(vultus, scans):
    out = {name: scans / f"out.{name}" for name in ("json", "npz", "png")}
    run = vultus(
        "evaluate", "scan", scans / "scans", "--method", "files", "--files", scans / "theirs", "--no-corresponded",
        "--json", out["json"], "--dump", out["npz"], "--figure", out["png"],
    )  # fmt: skip
    assert run.status == 0 and "with scale: median" in run.out
    found = json.loads(out["json"].read_text())
    values = {item["key"]: item["values"] for item in found["items"]}
    assert values["anna"]["rigid_median_mm"] == pytest.approx(0, abs=1e-4)
    assert values["berta"]["similarity_median_mm"] == pytest.approx(0, abs=1e-3)
    assert values["berta"]["similarity_scale"] == pytest.approx(1 / 1.1, rel=1e-4)
    assert values["berta"]["rigid_median_mm"] > 1
    rows = {row["what"]: row for row in found["rows"]}
    assert rows["rigid: median"]["value"] == pytest.approx(values["berta"]["rigid_median_mm"] / 2, abs=1e-4)
    assert rows["rigid: median"]["low"] <= rows["rigid: median"]["value"] <= rows["rigid: median"]["high"]
    with np.load(out["npz"]) as dump:
        assert dump["berta|distance_mm"].ndim == 1
    assert out["png"].read_bytes().startswith(b"\x89PNG")


def test_a_path_is_a_method_and_one_scan_needs_no_folder(vultus, scans):
    run = vultus("evaluate", "scan", scans / "scans" / "anna.ply", "--method", scans / "theirs" / "berta.ply", "--no-corresponded")  # fmt: skip
    assert run.status == 0 and "rigid: median" in run.out


def test_what_is_finished_is_kept_until_a_file_changes(vultus, scans, monkeypatch):
    from vultus.cli import scoring

    done = []
    monkeypatch.setattr(scoring, "run_item", lambda b, m, item: done.append(item.key) or original(b, m, item))
    original = __import__("vultus.evaluate.benchmark", fromlist=["run_item"]).run_item
    command = ("evaluate", "scan", scans / "scans", "--method", scans / "theirs", "--no-corresponded")
    first = vultus(*command)
    assert done == ["anna", "berta"]
    assert vultus(*command).out == first.out and len(done) == 2
    write_face(scans / "theirs" / "anna.ply", larger)
    vultus(*command)
    assert done[2:] == ["anna"]
    vultus(*command, "--again")
    assert done[3:] == ["anna", "berta"]


def test_compiled_files_are_no_other_version():
    from vultus.cli.scoring import _code

    before = _code()
    cache = Path(scoring_file).parent / "__pycache__" / "left_by_a_test.nbi"
    cache.parent.mkdir(exist_ok=True)
    cache.write_bytes(b"numba writes such files while it runs")
    try:
        _code.cache_clear()
        assert _code() == before
    finally:
        cache.unlink()


def test_a_missing_prediction_is_said_and_the_rest_is_scored(vultus, scans):
    (scans / "theirs" / "anna.ply").unlink()
    (scans / "theirs" / "anna.npy").unlink()
    run = vultus("evaluate", "scan", scans / "scans", "--method", scans / "theirs", "--no-corresponded")
    assert run.status == 2 and "1 of 2 not scored" in run.out and "anna" in run.out


def test_our_own_methods_run(vultus, scans):
    run = vultus("evaluate", "scan", scans / "scans", "--method", "mean", "--no-corresponded", "--limit", 1)
    assert run.status == 0 and "with scale: median  " in run.out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["scan", "{scans}", "--method", "magic"], "there is no such method"),
        (["scan", "{scans}", "--method", "files"], "--files"),
        (["scan", "{scans}", "--method", "files", "--files", "{nowhere}"], "nowhere"),
        (["scan", "{scans}", "--method", "eos"], "--eos"),
        (["scan", "{scans}", "--limit", "0"], "--limit"),
        (["scan", "{scans}", "--photo", "a.jpg", "--method", "mean"], "--photo"),
        (["scan", "{nowhere}"], "nowhere"),
        (["now", "{scans}"], "NoW"),
        (["realy", "{scans}"], "REALY"),
        (["facescape", "{scans}"], "FaceScape"),
        (["florence", "{scans}"], "Florence"),
        (["esrc", "{scans}"], "Stirling"),
        (["aflw2000", "{scans}"], "AFLW2000"),
        (["aflw21", "{scans}"], "AFLW"),
        (["synthetic", "{scans}"], "vultus dataset synthetic"),
        (["photo", "{empty}"], "no photo"),
        (["consistency", "{empty}"], "photos"),
        (["scan", "{empty}"], "no mesh"),
        (["scan", "{scans}", "--method", "mean", "--figure", "{empty}/a.jpg"], ".png"),
    ],
)
def test_bad_input_is_one_line_that_says_what_to_do(vultus, scans, arguments, says):
    (scans / "empty").mkdir()
    places = {name: scans / name for name in ("scans", "empty", "nowhere")}
    run = vultus("evaluate", *(argument.format(**places) for argument in arguments))
    assert run.status == 2 and says in run.err and run.err.count("\n") == 1 and "Traceback" not in run.err


def test_help_says_what_there_is(vultus):
    run = vultus("evaluate")
    assert run.status == 0
    for name in ("scan", "now", "aflw2000", "consistency", "mediapipe", "--files"):
        assert name in run.out
