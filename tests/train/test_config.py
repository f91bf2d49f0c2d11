"""Configs: strict, overridable, the same after a round trip; schedules by their formulas."""

import json
from dataclasses import replace
from itertools import pairwise

import pytest

from vultus.errors import BadFile, BadInput
from vultus.train.config import (
    AugmentConfig,
    ScheduleConfig,
    TrainConfig,
    bundled_configs,
    config_document,
    config_of,
    conflicts,
    read_config,
)
from vultus.train.schedule import average_decay, learning_rate


@pytest.fixture
def written(tmp_path):
    def write(text: str, name: str = "c.json"):
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return write


def test_a_config_survives_json():
    config = TrainConfig("toy", {"width": 3}, augment=None, steps=7, optimiser=replace(TrainConfig("x").optimiser, clip_norm=None))  # fmt: skip
    assert config_of(json.loads(json.dumps(config_document(config))), "here") == config
    assert conflicts(config_document(config), config_document(replace(config, keep=9, steps=8))) == []
    other = replace(config, batch=3, options={"width": 4}, augment=AugmentConfig())
    assert conflicts(config_document(config), config_document(other)) == ["augment", "batch", "options.width"]


def test_overrides_reach_into_sections(written):
    path = written('{"task": "toy", "schedule": {"rate": 1}}')
    config = read_config(path, ["schedule.kind=halved", "schedule.rate=3e-4", "augment.scale=[1, 1]", "options.width=8", "options.name=a b"])  # fmt: skip
    assert config.schedule == ScheduleConfig("halved", 3e-4) and config.augment.scale == (1.0, 1.0)
    assert config.options == {"width": 8, "name": "a b"}
    assert read_config(path, ["augment=null"]).augment is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"task": "toy", "bach": 3}', r"c\.json: unknown key bach; known here: task"),
        ('{"task": "toy", "schedule": {"rat": 3, "kinds": 1}}', "schedule: unknown keys kinds, rat"),
        ('{"batch": 3}', "key task missing"),
        ('{"task": "toy", "batch": 3.5}', "batch 3.5: a whole number"),
        ('{"task": "toy", "batch": true}', "batch True: a whole number"),
        ('{"task": "toy", "batch": "16"}', "batch '16'"),
        ('{"task": "toy", "batch": 0}', "batch 0: choose 1"),
        ('{"task": "toy", "schedule": {"kind": "step"}}', "'step': choose one of constant, halved, cosine"),
        ('{"task": "toy", "augment": {"scale": [1.2, 0.9]}}', "augment: scale"),
        ('{"task": "toy", "augment": {"scale": [1]}}', "a list of 2"),
        ('{"task": "toy", "optimiser": {"clip_norm": 0}}', "null for no clipping"),
        ('{"task": "toy", "optimiser": 3}', "a section"),
    ],
)
def test_what_is_wrong_is_named(written, text, says):
    with pytest.raises(BadInput, match=says):
        read_config(written(text))


def test_files_that_are_no_configs(written, tmp_path):
    for text in ("{", "[1]", "\x00"):
        with pytest.raises(BadFile, match="is not a config"):
            read_config(written(text))
    with pytest.raises(BadFile, match="cannot be read"):
        read_config(tmp_path / "nowhere.json")
    with pytest.raises(BadInput, match="write KEY=VALUE"):
        read_config(written('{"task": "toy"}'), ["batch"])
    with pytest.raises(BadInput, match="batch is a value"):
        read_config(written('{"task": "toy", "batch": 2}'), ["batch.size=3"])


def test_toml_says_the_same(written):
    pytest.importorskip("tomllib")
    path = written('task = "toy"\nbatch = 3\n[schedule]\nrate = 1e-4\n', "c.toml")
    assert read_config(path) == TrainConfig("toy", batch=3, schedule=ScheduleConfig(rate=1e-4))


def test_bundled_configs_are_valid():
    assert set(bundled_configs()) == {"better", "fast", "reference", "tiny"}
    paper = read_config("reference")
    assert paper.batch == 16 and paper.augment == AugmentConfig()
    assert paper.schedule == ScheduleConfig("halved", 1e-4, halve_every_epochs=5.0)


def test_schedules():
    halved = ScheduleConfig("halved", 1e-4, halve_every_epochs=5)
    assert [learning_rate(halved, s, 10, 999) for s in (0, 49, 50, 99, 100)] == [1e-4, 1e-4, 5e-5, 5e-5, 2.5e-5]  # fmt: skip
    assert learning_rate(ScheduleConfig("constant", 0.1), 10**6, 10, 20) == 0.1
    cosine = ScheduleConfig("cosine", 1.0, warmup_steps=10, final=0.1)
    rates = [learning_rate(cosine, s, 10, 110) for s in range(120)]
    assert rates[:10] == pytest.approx([(s + 1) / 10 for s in range(10)])
    assert rates[60] == pytest.approx(0.55) and rates[110] == pytest.approx(
        0.1
    )  # half way; and it stays there
    assert all(a >= b for a, b in pairwise(rates[10:]))
    assert average_decay(0.999, 0) == 0.1 and average_decay(0.999, 10**6) == 0.999
