"""`vultus align`: folders, resuming, failures, exit status; behind it the real detection, and a network that knows the truth."""

import json
import re

import pytest
import torch
from bad_photos import no_face, sample, two_faces
from stages.aligned_heads import all_knowing, head

from vultus.io.alignment import read_alignment
from vultus.stages import align as align_module


@pytest.fixture
def network(monkeypatch):
    """``runs`` lists the crops that were asked for."""
    scale = 360 / 512
    one = head(15, 0, 0, centre_px=(223.0, 108.0), face_px=100.0)
    other = head(-15, 0, 0, centre_px=(530 + 223 * scale, 100 + 108 * scale), face_px=70.0)
    aligner = all_knowing(monkeypatch, one, other)
    monkeypatch.setattr(align_module, "load_aligner", lambda *_a, **_k: aligner)
    # Drawn for real in tests/viewer; here it would be half of the time.
    monkeypatch.setattr(
        "vultus.viewer.alignment_picture.alignment_picture", lambda _face: torch.rand(3, 8, 8)
    )
    return aligner.run.crops  # type: ignore[attr-defined]


@pytest.fixture
def anna(tmp_path):
    path = tmp_path / "photos" / "anna.jpg"
    path.parent.mkdir()
    sample().save(path)
    return path


def test_a_folder_of_photos(vultus, network, anna, tmp_path, monkeypatch):
    two_faces(anna.parent / "party.png")
    no_face(anna.parent / "view.png")
    (anna.parent / "broken.jpg").write_bytes(anna.read_bytes()[:2000])
    out = tmp_path / "out"
    run = vultus("align", anna.parent, "-o", out, "--texture-size", "64")
    assert run.status == 2
    assert sorted(path.name for path in out.iterdir()) == ["anna", "party", "party-2"]
    files = {"alignment.json", "overlay.png", "depth.png", "frontal.glb", "texture.png"}
    assert all({path.name for path in folder.iterdir()} == files for folder in out.iterdir())
    assert len(run.out.splitlines()) == 3 and "Traceback" not in run.err
    lines = run.err.splitlines()
    assert lines[-3] == "3 faces from 2 of 4 photos, 2 failed"
    assert "broken.jpg: failed: damaged or cut short" in lines[-2]
    assert "view.png: failed: no face found; say where it is with a box (--box" in lines[-1]

    asked = len(network)
    again = vultus(
        "align", anna.parent / "anna.jpg", anna.parent / "party.png", "-o", out, "--texture-size", "64"
    )
    assert again.status == 0 and again.out.count("finished earlier, skipped") == 2
    assert len(network) == asked  # nothing was done again
    with monkeypatch.context() as other:  # any other file is another network
        other.setattr("vultus.nets.position_weights.DEFAULT_WEIGHTS", anna)
        assert vultus("align", anna, "-o", out, "--texture-size", "64").status == 0 and len(network) > asked
    (out / "anna" / "depth.png").unlink()  # as after a power cut
    again = vultus("align", anna, "-o", out, "--texture-size", "64")
    assert again.status == 0 and "skipped" not in again.out and len(network) > asked


def test_other_options_do_it_again_and_other_photos_are_not_replaced(vultus, network, anna, tmp_path):
    out = tmp_path / "out"
    assert vultus("align", anna, "-o", out, "--texture-size", "0").status == 0
    assert not (out / "anna" / "texture.png").exists()
    run = vultus("align", anna, "-o", out, "--texture-size", "64", "--json")
    assert json.loads(run.out)["status"] == "done" and (out / "anna" / "texture.png").exists()
    sample().rotate(2).save(anna)
    run = vultus("align", anna, "-o", out)
    assert run.status == 2 and "already holds the result of another photo" in run.err
    assert vultus("align", anna, "-o", out, "--overwrite", "--texture-size", "64").status == 0


def test_a_box_is_for_one_photo_and_nothing_is_detected(vultus, network, anna, tmp_path, monkeypatch):
    def forbidden(*_arguments, **_options):
        raise AssertionError

    monkeypatch.setattr(align_module, "find_boxes", forbidden)
    run = vultus("align", anna, "-o", tmp_path / "out", "--box", "180", "50", "270", "175", "--no-refine", "--texture-size", "0")  # fmt: skip
    assert run.status == 0, run.err
    assert len(network) == 1
    assert read_alignment(tmp_path / "out" / "anna")["provenance"]["options"]["box"] == [180, 50, 270, 175]
    run = vultus("align", anna, anna.parent / "b.jpg", "-o", tmp_path / "out", "--box", "1", "2", "3", "4")
    assert run.status == 2 and "--box with 2 photos" in run.err


def test_what_is_wrong_with_the_options_is_one_line(vultus, anna, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "vultus.nets.position_weights.DEFAULT_WEIGHTS", tmp_path / "position_light.safetensors"
    )
    for arguments, message in (
        ([anna], "the weights of dense alignment are not installed; train some"),
        ([anna, "--weights", tmp_path / "no.safetensors"], "--weights .*: no such file"),
        ([anna, "--weights", anna], r"anna\.jpg: cannot be read as safetensors"),
        ([anna, "--texture-size", "3"], "--texture-size 3: choose 0"),
        ([anna, "--jobs", "0"], "--jobs 0: use at least one"),
    ):
        run = vultus("align", *arguments, "-o", tmp_path / "out")
        assert run.status == 2 and len(run.err.strip().splitlines()) == 1
        assert re.search(message, run.err), run.err
