"""``vultus fuse``: what reaches the library, what is printed, what is refused."""

import json
import sys
from dataclasses import replace
from types import ModuleType

import pytest
import torch
from synthetic_model import synthetic_reconstruction

from vultus.errors import BadInput
from vultus.model.result import FusedReconstruction, FusedView


@pytest.fixture
def stage(monkeypatch):
    """Stands for the fusion: remembers what it was asked."""
    calls = []

    def fuse(photos, **options):
        calls.append((photos, options))
        if len(calls) == 1 and "strangers" in str(photos[0]):
            raise BadInput("only a.jpg is left of 2, and fuse needs 2 (b.jpg: seems to show another person)")
        head = synthetic_reconstruction(texture_size=16)
        views = tuple(
            FusedView(photo.name, head.view, head.camera, head.geometry, 0.01, 0.5) for photo in photos
        )
        provenance = {**head.provenance, "model": head.model.name}
        return FusedReconstruction(
            replace(head, provenance=provenance), views, 0, "neutral", {"odd.jpg": "no face found"}
        )

    module = ModuleType("vultus.stages.fuse")
    module.fuse = fuse  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vultus.stages.fuse", module)
    monkeypatch.setattr("vultus.cli.fuse._sheet", lambda _: torch.zeros(3, 8, 8))
    return calls


def test_writes_one_folder_and_names_what_is_left_out(vultus, stage, photos, tmp_path):
    a, b = photos("a.jpg", "b.jpg")
    run = vultus("fuse", a, b, "-o", tmp_path / "out", "--formats", "obj", "overlay", "--texture-size", "64")
    assert run.status == 0, run.err
    assert "2 photos: ok" in run.out
    assert "left out: odd.jpg: no face found" in run.out
    document = json.loads((tmp_path / "out/reconstruction.json").read_text())
    assert [view["photo"] for view in document["fusion"]["views"]] == ["a.jpg", "b.jpg"]
    assert (tmp_path / "out/overlay.png").exists()
    assert stage[0][1]["texture_size"] == 64


def test_finished_results_are_skipped_and_others_are_safe(vultus, stage, photos, tmp_path):
    a, b, c = photos("a.jpg", "b.jpg", "c.jpg")
    options = ("-o", tmp_path / "out", "--formats", "obj")
    assert vultus("fuse", a, b, *options).status == 0
    again = vultus("fuse", a, b, *options)
    assert again.status == 0
    assert "skipped" in again.out
    other = vultus("fuse", a, c, *options)
    assert other.status == 2
    assert "already holds another result" in other.err
    assert vultus("fuse", a, c, *options, "--overwrite").status == 0
    assert len(stage) == 2


def test_json_is_one_line(vultus, stage, photos, tmp_path):
    run = vultus("fuse", *photos("a.jpg", "b.jpg"), "-o", tmp_path / "out", "--json", "--formats", "obj")
    found = json.loads(run.out)
    assert found["photos"] == ["a.jpg", "b.jpg"]
    assert found["left_out"] == {"odd.jpg": "no face found"}


def test_bad_input_ends_with_two(vultus, stage, photos, tmp_path):
    out = ("-o", tmp_path / "out")
    (alone,) = photos("a.jpg")
    one = vultus("fuse", alone, *out)
    assert (one.status, "2 to 20" in one.err) == (2, True)
    twice = vultus("fuse", alone, alone, *out)
    assert twice.status == 2
    assert vultus("fuse", alone, tmp_path / "none.jpg", *out).status == 2
    two = photos("strangers/a.jpg", "strangers/b.jpg")
    strangers = vultus("fuse", *two, *out)
    assert strangers.status == 2
    assert "another person" in strangers.err
    assert not (tmp_path / "out").exists()
    assert vultus("fuse", *two, *out, "--texture-size", "3").status == 2


def test_help_teaches(vultus):
    run = vultus("fuse", "--help")
    assert run.status == 0
    assert "vultus fuse rig/*.jpg -o anna --cameras cameras.json" in run.out
    assert "--keep-all" in run.out
