"""``vultus train`` on the command line: to the end, interrupted, and wrong."""

import importlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from train.drawn_samples import drawn_set

from vultus.cli import train as command
from vultus.train.checkpoint import FOLDER, latest, read_checkpoint
from vultus.train.export import load_export
from vultus.train.loop import Report
from vultus.train.position_task import PositionOptions, PositionTask

TESTS = Path(__file__).parents[1]
FEW = ("--set", "batch=4", "--set", "log_every=1", "--set", "options.crop_px=32", "--set", "options.map_size=16", "--device", "cpu")  # fmt: skip


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    commands = importlib.import_module("vultus.cli.main")._COMMANDS
    monkeypatch.setitem(commands, "train", (command.Train, command.DESCRIPTION))


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets")
    return drawn_set(folder / "people", 12), drawn_set(folder / "others", 4, "b")


def test_a_run_ends_with_weights_that_load(vultus, sets, tmp_path):
    data, others = sets
    arguments = ("train", "tiny", "--data", data, "--validation", others, "-o", tmp_path / "run", *FEW, "--set", "steps=4")  # fmt: skip
    run = vultus(*arguments, "--export", tmp_path / "net.safetensors")
    assert run.status == 0, run.err
    assert re.search(r"step 4: nme68 [\d.]+ \([\d.]+\)", run.out) and "weights of step 4" in run.out
    assert {"config.json", "metrics.csv", "validation.csv", "pictures", FOLDER} == {p.name for p in (tmp_path / "run").iterdir()}  # fmt: skip
    options = {"variant": "light", "crop_px": 32, "map_size": 16}
    network = load_export(tmp_path / "net.safetensors", PositionTask(PositionOptions(**options)), options)
    assert network(torch.zeros(1, 3, 32, 32)).shape == (1, 3, 16, 16)
    again = vultus(*arguments)  # nothing left to do
    assert again.status == 0 and "trained ->" in again.out
    other = vultus(*arguments, "--set", "batch=2")
    assert other.status == 2 and "another batch" in other.err and other.err.count("\n") == 1


@pytest.mark.long
def test_a_damaged_shard_is_said_and_skipped_or_ends_the_run(vultus, tmp_path):
    data = drawn_set(tmp_path / "set", 12, per_shard=4)
    shard = data / "shard-000001.tar"
    shard.write_bytes(shard.read_bytes()[:5000])
    run = vultus("train", "tiny", "--data", data, "-o", tmp_path / "skip", *FEW, "--set", "steps=3", "--set", "batch=6")  # fmt: skip
    assert run.status == 0 and "vultus: skipped" in run.err and "shard-000001.tar" in run.err
    run = vultus("train", "tiny", "--data", data, "-o", tmp_path / "stop", *FEW, "--set", "steps=3", "--set", "broken=stop")  # fmt: skip
    assert run.status == 2 and "shard-000001.tar" in run.err and "broken=skip" in run.err


def test_wrong_use_ends_in_one_line(vultus, sets, tmp_path):
    data, _ = sets
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").write_text("x")
    good = ("--data", data, "-o", tmp_path / "run")
    for wrong, says in (
        (("nowhere.json", *good), "nowhere.json: cannot be read"),
        (("tiny", *good, "--set", "bach=3"), "unknown key bach"),
        (("tiny", *good, "--set", "task=map"), "task 'map'"),
        (("tiny", *good, "--set", "options.variant=big"), "big"),
        (("tiny", *good, "--weights", 1, 2), "2 numbers for 1"),
        (("tiny", *good, "--validation", data), "sets of other people"),
        (("tiny", *good, "--device", "abacus"), "--device abacus"),
        (("tiny", *good, "--set", "batch=99"), "has only 12 samples"),
        (("tiny", "--data", tmp_path, "-o", tmp_path / "run"), "manifest.json"),
        (("tiny", "--data", data, "-o", tmp_path / "full"), "something else"),
    ):
        run = vultus("train", *wrong)
        assert run.status == 2 and says in run.err and run.err.count("\n") == 1, (wrong, run.err)
        assert not (tmp_path / "run").exists()
    assert "reference" in vultus("train", "--help").out


_SCRIPT = """
import importlib, sys
from vultus.cli import train
main = importlib.import_module("vultus.cli.main")
main._COMMANDS["train"] = (train.Train, train.DESCRIPTION)
import torch
torch.set_num_threads(1)
sys.exit(main.main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_told_to_stop_it_leaves_a_checkpoint(sets, tmp_path):
    arguments = ["train", "tiny", "--data", str(sets[0]), "-o", str(tmp_path / "run"), *FEW, "--set", "steps=100000", "--set", "checkpoint_every=100000"]  # fmt: skip
    paths = os.pathsep.join([str(TESTS), str(TESTS.parent / "src")])
    process = subprocess.Popen([sys.executable, "-c", _SCRIPT, *arguments], stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"})  # fmt: skip
    metrics = tmp_path / "run" / "metrics.csv"
    while not metrics.is_file() and process.poll() is None:  # it has begun
        time.sleep(0.05)
    process.terminate()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143 and "a checkpoint is written" in err
    found = latest(tmp_path / "run")
    assert found is not None and read_checkpoint(found).step >= 1


@pytest.fixture
def heard():
    """A shell starts background jobs with interrupts ignored, and tests inherit that."""
    inherited = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, inherited)


def test_ctrl_c_is_noted_once(vultus, sets, tmp_path, monkeypatch, heard):
    before = signal.getsignal(signal.SIGINT)
    with command._told() as told:
        os.kill(os.getpid(), signal.SIGINT)
        assert told == [signal.SIGINT]
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before

    def interrupted(*arguments, stop, **options):
        os.kill(os.getpid(), signal.SIGINT)
        assert stop()
        yield Report(3, 9, ended="stopped")

    monkeypatch.setattr("vultus.train.loop.train", interrupted)
    run = vultus("train", "tiny", "--data", sets[0], "-o", tmp_path / "run")
    assert run.status == 130 and "goes on from there" in run.err
