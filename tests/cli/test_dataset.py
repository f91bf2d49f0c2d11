"""``vultus dataset`` on the command line."""

from dataclasses import replace

import pytest
import torch
from heads_in_photos import painted_fit

from vultus.data.photo_fit import PhotoFit, write_fit
from vultus.data.shards import read_samples
from vultus.errors import BadFile
from vultus.geometry.light import ambient_and_directional
from vultus.model.albedo_basis import read_albedo_basis
from vultus.model.bundled import load
from vultus.render.shade import srgb_from_linear


def test_heads_are_made_from_the_package_alone(vultus, tmp_path):
    small = ("--heads", 1, "--size-px", 128)
    run = vultus("dataset", "synthetic", "-o", tmp_path / "set", *small)
    assert run.status == 0 and "1 synthetic heads made, 0 were there" in run.out
    assert {
        "photo.png",
        "camera.json",
        "neutral.ply",
        "posed.ply",
        "landmarks.json",
        "mask.png",
        "truth.npz",
    } <= {path.name for path in (tmp_path / "set" / "001").iterdir()}
    assert "0 synthetic heads made, 1 were there" in vultus("dataset", "synthetic", "-o", tmp_path / "set", *small).out  # fmt: skip


def test_wrong_options_end_in_one_line(vultus, tmp_path):
    for wrong, says in (
        (("--heads", 0), "--heads 0"),
        (("--ict", tmp_path / "nowhere"), "no such folder"),
        (("--photos", tmp_path), "no pictures"),
        (("--photos", tmp_path / "nowhere"), "nowhere"),
    ):
        run = vultus("dataset", "synthetic", "-o", tmp_path / "set", *wrong)
        assert run.status == 2 and says in run.err and run.err.count("\n") == 1, run.err
        assert not (tmp_path / "set").exists()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a.txt").write_text("x")
    run = vultus("dataset", "synthetic", "-o", tmp_path / "full")
    assert run.status == 2 and "something else than a set of synthetic heads" in run.err
    assert "capture" in vultus("dataset", "--help").out


def test_samples_are_drawn_and_added_to(vultus, tmp_path):
    small = ("-o", tmp_path / "set", "--size-px", 64, "--skins", 1, "--per-shard", 2)
    run = vultus("dataset", "drawn", *small, "--samples", 3)
    assert run.status == 0 and "3 samples made, 0 were there" in run.out, run.err
    names = {path.name for path in (tmp_path / "set").iterdir()}
    assert names == {"manifest.json", "skins", "shard-000000.tar", "shard-000001.tar"}
    before = (tmp_path / "set" / "shard-000000.tar").read_bytes()
    run = vultus("dataset", "drawn", *small, "--samples", 5)
    assert run.status == 0 and "3 samples made, 2 were there" in run.out, run.err
    assert (tmp_path / "set" / "shard-000000.tar").read_bytes() == before
    run = vultus("dataset", "drawn", *small, "--samples", 5, "--seed", 1)
    assert run.status == 2 and "another seed" in run.err and run.err.count("\n") == 1
    stream = read_samples(tmp_path / "set", shuffle=False)
    assert [sample.key[-2:] for sample in stream] == ["00", "01", "02", "03", "04"] and not stream.problems


def test_drawing_ends_in_one_line_when_it_cannot(vultus, tmp_path, monkeypatch):
    for wrong, says in ((("--samples", 0), "--samples 0"), (("--jobs", 0), "--jobs 0"), (("--photos", tmp_path), "no pictures")):  # fmt: skip
        run = vultus("dataset", "drawn", "-o", tmp_path / "set", *wrong)
        assert run.status == 2 and says in run.err and run.err.count("\n") == 1, run.err

    def full(*_, **__):
        raise BadFile("a.npz: cannot be written (No space left on device); free some space")

    monkeypatch.setattr("vultus.data.drawn_samples.write_skin", full)
    run = vultus("dataset", "drawn", "-o", tmp_path / "set", "--samples", 2, "--skins", 1)
    assert run.status == 2 and "No space left" in run.err and run.err.count("\n") == 1


@pytest.mark.slow
def test_two_processes_make_what_one_makes(vultus, tmp_path):
    small = ("--samples", 4, "--size-px", 64, "--skins", 2, "--per-shard", 2)
    for name, jobs in (("one", 1), ("two", 2)):
        run = vultus("dataset", "drawn", "-o", tmp_path / name, *small, "-j", jobs)
        assert run.status == 0, run.err
    for shard in (tmp_path / "one").glob("*.tar"):
        assert shard.read_bytes() == (tmp_path / "two" / shard.name).read_bytes()
    assert (tmp_path / "one" / "manifest.json").read_text() == (
        tmp_path / "two" / "manifest.json"
    ).read_text()


def test_an_albedo_basis_is_learnt_from_fits(vultus, tmp_path):
    model = load()
    fits = []
    for name, redder in (("a", 0.0), ("b", 0.3)):
        folder = tmp_path / name
        folder.mkdir()
        colours = srgb_from_linear(model.albedo_mean * torch.tensor([1.0, 1 - redder, 1 - redder]))
        fit = painted_fit(model, yaw=0.0, key=name, colours=colours)
        light = ambient_and_directional(torch.ones(3), torch.zeros(3), torch.tensor([0.0, 0.0, -1.0]))
        write_fit(folder, PhotoFit(replace(fit.sample, light=light.numpy()), fit.person))
        fits.append(folder)
    out, small = tmp_path / "basis.npz", ("--components", 2, "--size-px", 32)
    run = vultus("dataset", "albedo", "-o", out, "--fits", *fits, *small)
    assert run.status == 0 and "2 textures made, 0 were there" in run.out and "2 components of 32 x 32" in run.out, run.err  # fmt: skip
    basis = read_albedo_basis(out)
    assert basis.card["photos"] == 2 and len(list((tmp_path / "basis-textures").glob("*.npz"))) == 2
    before = out.read_bytes()
    run = vultus("dataset", "albedo", "-o", out, "--fits", *fits, *small)
    assert run.status == 0 and "0 textures made, 2 were there" in run.out
    again = read_albedo_basis(out)
    assert torch.equal(again.components, basis.components) and out.stat().st_size == len(before)
    for wrong, says in (
        (("-o", out, "--fits", *fits, "--components", 2, "--size-px", 36), "another size_px"),
        (("-o", out, "--fits", *fits, "--components", 4, "--size-px", 32), "fewer --components"),
        (("-o", out, "--fits", tmp_path / "nowhere"), "no fits in it"),
        (("-o", tmp_path / "basis", "--fits", *fits), "call it something.npz"),
    ):
        run = vultus("dataset", "albedo", *wrong)
        assert run.status == 2 and says in run.err and run.err.count("\n") == 1, run.err
