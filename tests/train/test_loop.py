"""The loop: it learns, it resumes bit for bit, it stops cleanly, and what goes wrong ends in one line."""

import csv
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from train.toy_task import ToySource, ToyTask, toy_config, toy_samples

from vultus.errors import BadFile, BadInput
from vultus.train.checkpoint import BEST, FOLDER, latest, read_checkpoint
from vultus.train.loop import PICTURES, train

TRAINING, OTHERS = ToySource(toy_samples(22)), ToySource(toy_samples(9, seed=1))
TESTS = Path(__file__).parents[1]


def run(out, config=None, training=TRAINING, validation=OTHERS, task=None, **options):
    return list(train(config or toy_config(), task or ToyTask(), training, validation, out, device="cpu", **options))  # fmt: skip


def stop_after(steps: int):
    asked = iter(range(1, steps + 100))
    return lambda: next(asked) >= steps


def assert_same_state(a: Path, b: Path, step: int = 24) -> None:
    one, other = (read_checkpoint(p / FOLDER / f"step-{step:09d}.pt") for p in (a, b))
    for name in ("network", "average"):
        mine, theirs = getattr(one, name), getattr(other, name)
        assert mine.keys() == theirs.keys() and all(torch.equal(mine[k], theirs[k]) for k in mine)
    for key, state in one.optimiser["state"].items():
        assert all(torch.equal(state[k], other.optimiser["state"][key][k]) for k in state)
    assert (one.sums, one.best, one.best_step, one.validation) == (other.sums, other.best, other.best_step, other.validation)  # fmt: skip


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return [{k: v for k, v in row.items() if k != "samples_per_s"} for row in csv.DictReader(file)]


def test_it_learns_and_beats_the_baseline(tmp_path):
    config = toy_config(steps=300, validate_every=100, checkpoint_every=100, keep=2)
    reports = run(tmp_path, config, ToySource(toy_samples(64)), task=ToyTask(dropout=0.0))
    found = reports[-1].validation
    assert reports[-1].ended == "finished" and len(reports) == 301
    assert found["error"] < 0.5 * found["baseline_error"]
    steps = sorted(path.name for path in (tmp_path / FOLDER).glob("step-*"))
    assert steps == ["step-000000200.pt", "step-000000300.pt"]  # the last two are kept
    best = read_checkpoint(tmp_path / FOLDER / BEST)
    errors = {row["step"]: float(row["error"]) for row in rows(tmp_path / "validation.csv")}
    assert best.best == pytest.approx(min(errors.values())) and errors[str(best.step)] == min(errors.values())


def test_one_batch_overfits(tmp_path):
    config = toy_config(steps=120, batch=4, validate_every=10**6, average=0.0)
    reports = run(tmp_path, config, ToySource(toy_samples(4)), None, ToyTask(dropout=0.0, noise=0.0))
    assert reports[-1].metrics["loss"] < 0.01 * reports[1].metrics["loss"]


@pytest.mark.parametrize("stops", [(9,), (5, 3)], ids=["once", "twice"])  # 5 steps are an epoch of 22 samples
def test_resumed_is_uninterrupted_bit_for_bit(tmp_path, stops):
    state = torch.get_rng_state()
    run(tmp_path / "whole")
    assert torch.equal(torch.get_rng_state(), state)  # the caller's chance is untouched
    for steps in stops:
        torch.rand(7)
        ended = run(tmp_path / "parts", stop=stop_after(steps))[-1]
        assert ended.ended == "stopped" and ended.checkpoint == latest(tmp_path / "parts")
    assert run(tmp_path / "parts")[0].step == sum(stops)
    assert_same_state(tmp_path / "whole", tmp_path / "parts")
    for name in ("metrics.csv", "validation.csv"):
        assert rows(tmp_path / "whole" / name) == rows(tmp_path / "parts" / name)
    assert [p.name for p in sorted((tmp_path / "parts" / PICTURES).iterdir())] == ["step-000000012.png", "step-000000024.png"]  # fmt: skip
    assert [r.ended for r in run(tmp_path / "parts")] == ["finished"]  # nothing is left to do


def test_a_crash_loses_only_what_came_after_the_checkpoint(tmp_path):
    run(tmp_path / "whole")
    steps = train(toy_config(), ToyTask(), TRAINING, OTHERS, tmp_path / "crashed", device="cpu")
    while next(steps).step < 17:
        pass
    steps.close()  # no checkpoint since step 12, but rows until 15
    with (tmp_path / "crashed" / "metrics.csv").open("a") as file:
        file.write("17,0.")  # half a line
    assert run(tmp_path / "crashed")[0].step == 12
    assert_same_state(tmp_path / "whole", tmp_path / "crashed")
    assert rows(tmp_path / "whole" / "metrics.csv") == rows(tmp_path / "crashed" / "metrics.csv")


@pytest.mark.slow
def test_reading_processes_change_nothing(tmp_path):
    broken = replace(TRAINING, broken=frozenset({3, 4}))
    config = toy_config(steps=12)
    run(tmp_path / "none", config, broken, None)
    run(tmp_path / "two", replace(config, workers=2), broken, None)
    assert_same_state(tmp_path / "none", tmp_path / "two", 12)


def test_broken_samples_are_skipped_and_said_or_end_the_run(tmp_path):
    broken = replace(TRAINING, broken=frozenset({3}), cut=21)
    notes = [note for report in run(tmp_path / "skip", training=broken) for note in report.notes]
    assert any("s003: torn" in note for note in notes) and run(tmp_path / "skip", training=broken)
    with pytest.raises(BadFile, match=r"s003: torn \(broken=skip"):
        run(tmp_path / "stop", toy_config(broken="stop"), replace(broken, cut=None))
    with pytest.raises(BadFile, match="no sample of a whole batch can be read"):
        run(tmp_path / "all", training=replace(TRAINING, broken=frozenset(range(22))))


def test_no_number_ends_the_run_before_the_weights_are_lost(tmp_path):
    task = ToyTask(poison="s007")
    with pytest.raises(BadInput, match=r"step \d+: loss nan.*s007"):
        run(tmp_path, toy_config(checkpoint_every=1), task=task)
    kept = latest(tmp_path)
    assert kept is None or all(torch.isfinite(v).all() for v in read_checkpoint(kept).network.values())


def test_another_config_or_other_data_do_not_go_on(tmp_path):
    run(tmp_path, stop=stop_after(2))
    with pytest.raises(BadInput, match=r"another batch, schedule\.rate"):
        run(tmp_path, toy_config(batch=2, schedule=replace(toy_config().schedule, rate=0.5)))
    with pytest.raises(BadInput, match="other data"):
        run(tmp_path, training=replace(TRAINING, digest="else"))
    assert run(tmp_path, toy_config(log_every=1, keep=1, steps=4))[-1].step == 4
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "a.txt").write_text("x")
    (tmp_path / "foreign" / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(BadInput, match="something else"):
        run(tmp_path / "foreign")
    with pytest.raises(BadInput, match="has only 22 samples"):
        run(tmp_path / "few", toy_config(batch=23))


def test_bfloat16_and_channels_last_train_too(tmp_path):
    config = toy_config(precision="bf16", channels_last=True, steps=40, optimiser=replace(toy_config().optimiser, kind="adam"))  # fmt: skip
    reports = run(tmp_path / "half", config)
    assert reports[-1].metrics["loss"] < reports[1].metrics["loss"]
    exact = run(tmp_path / "exact", replace(config, precision="fp32", steps=1))[1].metrics["loss"]
    assert 0 < abs(reports[1].metrics["loss"] - exact) < 0.02 * exact
    assert all(v.dtype != torch.bfloat16 for v in read_checkpoint(latest(tmp_path / "half")).network.values())


_SCRIPT = """
import sys
from pathlib import Path
import torch
from train.toy_task import ToySource, ToyTask, toy_config, toy_samples
from vultus.train.loop import train

torch.set_num_threads(1)
out, batch, steps = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
config = toy_config(batch=batch, steps=steps, checkpoint_every=10**6, validate_every=8)
task = ToyTask(dropout=0.0, norm=False)
for report in train(config, task, ToySource(toy_samples(22)), ToySource(toy_samples(9, seed=1)), out, device="cpu"):
    print(report.step, flush=True)
"""


def start(command: list[str], **options) -> subprocess.Popen:
    paths = os.pathsep.join([str(TESTS), str(TESTS.parent / "src")])
    return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)  # fmt: skip


@pytest.mark.slow
def test_two_processes_are_one_with_the_double_batch(tmp_path):
    (tmp_path / "script.py").write_text(_SCRIPT)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    two = start([*launch, str(tmp_path / "script.py"), str(tmp_path / "two"), "4", "24"])
    config = toy_config(batch=4, checkpoint_every=10**6)
    run(tmp_path / "one", config, task=ToyTask(dropout=0.0, norm=False))
    assert two.communicate(timeout=120) and two.returncode == 0
    one, other = (read_checkpoint(latest(tmp_path / name)) for name in ("one", "two"))
    for key, value in one.network.items():  # sums of gradients in another order
        torch.testing.assert_close(value, other.network[key], rtol=1e-4, atol=1e-5)
    assert one.validation == pytest.approx(other.validation, rel=1e-3)
    assert len(rows(tmp_path / "two" / "validation.csv")) == 3  # only one process writes
