"""What a run leaves on disk: checkpoints, tables, exported weights; and disks that are full."""

import csv
import errno
import json
import resource
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from train.toy_task import ToySource, ToyTask, toy_config, toy_samples

from vultus.errors import BadFile, WeightsMismatch
from vultus.nets.weights_file import load_strictly
from vultus.train.checkpoint import (
    FOLDER,
    LATEST,
    Checkpoint,
    best_or_latest,
    latest,
    read_checkpoint,
    save,
)
from vultus.train.export import export, load_export, read_export, without_folders
from vultus.train.logs import Logs, Table
from vultus.train.loop import train


def checkpoint(step: int = 3, width: int = 16) -> Checkpoint:
    torch.manual_seed(step)
    network = ToyTask(width=width).network()
    state = network.state_dict()
    return Checkpoint({"task": "toy", "options": {"width": width}}, "abc", step, 0, 0, state, state, {}, {}, 0, 1.5, 2, {"error": 0.25})  # fmt: skip


def test_the_newest_is_found_and_old_ones_go(tmp_path):
    assert latest(tmp_path) is None
    for step in (1, 20, 300):
        save(tmp_path, checkpoint(step), keep=2)
    assert sorted(p.name for p in (tmp_path / FOLDER).iterdir()) == [LATEST, "step-000000020.pt", "step-000000300.pt"]  # fmt: skip
    assert read_checkpoint(latest(tmp_path)).step == 300 and best_or_latest(tmp_path) == latest(tmp_path)
    (tmp_path / FOLDER / LATEST).write_text("step-000000999.pt")  # points nowhere
    assert latest(tmp_path).name == "step-000000300.pt"
    with pytest.raises(BadFile, match="has no checkpoint"):
        best_or_latest(tmp_path / "none")


def test_damaged_checkpoints_are_named(tmp_path):
    path = save(tmp_path, checkpoint(), keep=2)
    whole = path.read_bytes()
    for content in (b"", whole[:-100], whole[: len(whole) // 2], b"x" * 500):
        path.write_bytes(content)
        with pytest.raises(BadFile, match=r"step-000000003\.pt: is not a checkpoint"):
            read_checkpoint(path)
    torch.save({"something": 1}, path)
    with pytest.raises(BadFile, match="of this version"):
        read_checkpoint(path)


def test_weights_of_another_network_are_refused():
    network, narrow = ToyTask(width=16).network(), ToyTask(width=8).network()
    with pytest.raises(WeightsMismatch, match=r"weights of theirs do not fit ours: 0\.weight is \[8, 3, 3, 3\], not \[16, 3, 3, 3\] and"):  # fmt: skip
        load_strictly(network, narrow.state_dict(), "ours", "theirs")
    state = network.state_dict()
    with pytest.raises(WeightsMismatch, match=r"0\.bias is missing"):
        load_strictly(network, {k: v for k, v in state.items() if k != "0.bias"}, "a", "b")
    with pytest.raises(WeightsMismatch, match="extra is unknown"):
        load_strictly(network, state | {"extra": torch.zeros(1)}, "a", "b")


def test_exported_weights_come_back_with_their_card(tmp_path):
    path, saved = tmp_path / "net.safetensors", checkpoint()
    export(path, saved, {"licences": {"toy": "CC0"}})
    with safe_open(str(path), "pt") as file:
        card = json.loads(file.metadata()["card"])
        assert file.get_tensor("0.weight").dtype == torch.float16 and file.get_tensor("1.running_var").dtype == torch.float32  # fmt: skip
    assert card == {"recipe": saved.config, "data": "abc", "step": 3, "metrics": {"error": 0.25}, "licences": {"toy": "CC0"}}  # fmt: skip
    state = torch.get_rng_state()
    network = load_export(path, ToyTask(), {"width": 16})
    assert torch.equal(state, torch.get_rng_state()) and not network.training
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, saved.average[name], rtol=2**-11, atol=1e-7)
    with pytest.raises(WeightsMismatch, match=r"toy \{'width': 16\}.*do not fit toy \{'width': 8\}"):
        load_export(path, ToyTask(width=8), {"width": 8})
    with pytest.raises(WeightsMismatch, match="not of other"):
        load_export(path, ToyTask(name="other"), {})
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(BadFile, match="cannot be read as safetensors"):
        read_export(path)
    huge = replace(saved, average={"w": torch.full((2, 2), 1e6)})
    with pytest.raises(BadFile, match="float16 cannot hold"):
        export(tmp_path / "huge.safetensors", huge)
    assert not (tmp_path / "huge.safetensors").exists()


def test_cards_do_not_tell_where_files_lay():
    config = {
        "task": "position",
        "options": {"start": "/home/anna/runs/one.safetensors", "crop_px": 192},
        "steps": None,
    }
    assert without_folders(config) == {
        "task": "position",
        "options": {"start": "one.safetensors", "crop_px": 192},
        "steps": None,
    }
    assert without_folders("C:\\anna\\one.safetensors") == "one.safetensors"


def test_tables_are_cut_where_a_run_goes_on(tmp_path):
    path = tmp_path / "m.csv"
    table = Table(path, 0)
    for step in (5, 10, 15):
        table.append(step, {"loss": 1 / step, "b": step})
    with path.open("a") as file:
        file.write("20,0.1")  # cut by a crash
    table = Table(path, 10)
    table.append(15, {"b": 7.0, "loss": float("nan"), "new": 1.0})
    with path.open(newline="") as file:
        found = list(csv.reader(file))
    assert found == [["step", "loss", "b"], ["5", "0.2", "5"], ["10", "0.1", "10"], ["15", "nan", "7"]]
    Table(path, 0)
    assert not path.exists()


def test_tensorboard_is_optional(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    logs = Logs(tmp_path, 0, tensorboard=True)
    assert "not installed" in logs.note
    logs.add(logs.metrics, 1, {"loss": 1.0})
    logs.close()
    assert Logs(tmp_path, 1, tensorboard=False).note == ""


def test_a_full_disk_ends_in_one_line_and_what_was_there_stays(tmp_path):
    source = ToySource(toy_samples(8))
    list(train(toy_config(steps=5), ToyTask(), source, None, tmp_path, device="cpu"))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))  # a checkpoint is larger
    try:
        with pytest.raises(BadFile, match=r"step-000000006\.pt: cannot be written .*; ") as caught:
            list(train(toy_config(steps=6), ToyTask(), source, None, tmp_path, device="cpu"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "\n" not in str(caught.value)
    assert [p.name for p in sorted((tmp_path / FOLDER).iterdir())] == [LATEST, "step-000000005.pt"]
    assert read_checkpoint(latest(tmp_path)).step == 5
    assert list(train(toy_config(steps=6), ToyTask(), source, None, tmp_path, device="cpu"))[-1].step == 6


def test_a_full_disk_under_a_table_is_said_too(tmp_path, monkeypatch):
    table = Table(tmp_path / "m.csv", 0)

    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(
        BadFile, match=r"m\.csv: cannot be written \(No space left on device\); free some space"
    ):
        table.append(1, {"loss": 1.0})
