"""``vultus register``, ``dataset`` and ``ablate`` on the command line: bad input ends in one line."""

import json

import numpy as np
import pytest
import torch

from vultus.geometry.mesh import Mesh, Topology
from vultus.io.ply import write_ply

TRIANGLE = torch.tensor([[0, 1, 2]])


def scan(path, vertices):
    write_ply(path, Mesh(torch.as_tensor(vertices).float(), Topology(TRIANGLE, len(vertices))))
    return path


@pytest.mark.parametrize(
    ("name", "make", "says"),
    [
        ("photo.jpg", lambda p: p.write_bytes(b"\xff\xd8\xff"), "meshes are read from"),
        ("missing.ply", lambda p: None, "cannot be read"),
        ("text.ply", lambda p: p.write_text("hello"), "not a readable PLY"),
        ("points.obj", lambda p: p.write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\n"), "points.obj"),
        ("nan.ply", lambda p: scan(p, [[np.nan] * 3] * 3), "finite"),
        ("metres.ply", lambda p: scan(p, [[0, 0, 0], [0.2, 0, 0], [0, 0.3, 0]]), "--unit m"),
    ],
)
def test_what_is_no_scan_is_said_in_one_line(vultus, tmp_path, name, make, says):
    make(tmp_path / name)
    run = vultus("register", tmp_path / name, "-o", tmp_path / "out")
    assert run.status == 2 and run.out == "" and says in run.err and run.err.count("\n") == 1
    assert "Traceback" not in run.err and not (tmp_path / "out").exists()


def test_landmarks_elsewhere_are_said_in_one_line(vultus, tmp_path):
    path = scan(tmp_path / "a.ply", [[0, 0, 0], [200.0, 0, 0], [0, 300, 0]])
    (tmp_path / "five.json").write_text(json.dumps([[0, 0, 0]] * 5))
    run = vultus("register", path, "-o", tmp_path / "out", "--landmarks", tmp_path / "five.json")
    assert run.status == 2 and "7 points" in run.err and run.err.count("\n") == 1
    (tmp_path / "same.json").write_text(json.dumps([[1, 2, 3]] * 7))
    run = vultus("register", path, "-o", tmp_path / "out", "--landmarks", tmp_path / "same.json")
    assert run.status == 2 and "one place" in run.err


def test_a_set_is_made_and_ablations_are_checked(vultus, tmp_path):
    small = ("--subjects", 1, "--expressions", 1, "--cameras", 1, "--size-px", 64)
    assert vultus("dataset", "capture", "-o", tmp_path / "set", *small).status == 0
    again = vultus("dataset", "capture", "-o", tmp_path / "set", *small)
    assert again.status == 0 and "0 captures made, 1 were there" in again.out
    assert vultus("dataset", "capture", "-o", tmp_path / "set", "--cameras", 12).status == 2
    run = vultus("ablate", tmp_path / "set", "--only", "wrinkles")
    assert run.status == 2 and "no ablation wrinkles" in run.err
    run = vultus("ablate", tmp_path / "nowhere.jpg")
    assert run.status == 2 and "nowhere.jpg" in run.err and "Traceback" not in run.err
