"""The position map as a task: truth and picture agree, errors are what they say, and a small network learns it."""

import numpy as np
import pytest
import torch
from train.drawn_samples import drawn_samples

from vultus.errors import BadInput
from vultus.geometry.position_map import SPAN, in_pixels, normalised, sample_map
from vultus.model import bundled
from vultus.train.config import AugmentConfig, TrainConfig, read_config
from vultus.train.loop import train
from vultus.train.position_measure import map_errors, summarise
from vultus.train.position_task import PositionOptions, PositionTask, make_position_task
from vultus.train.task import collate
from vultus.train.tasks import make_task

SMALL = PositionOptions("light", 64, 32)


class InMemory:
    """Samples as a source."""

    digest = "memory"

    def __init__(self, samples):
        self.samples, self.count = samples, len(samples)

    def read(self, *, seed, epoch, shuffle, start, world, rank):
        order = (
            np.random.default_rng([seed, epoch]).permutation(self.count) if shuffle else np.arange(self.count)
        )
        return (self.samples[i] for i in order[start + rank :: world])


@pytest.fixture(scope="module")
def samples():
    return drawn_samples(8)


def dots(example, model, texels=32):
    """How well the colours of the picture tell the places that the map says: correlation over the model's vertices."""
    uv = model.chart.uv
    inside = torch.isfinite(uv[:, 0])
    places = sample_map(in_pixels(example["position"], 64), uv[inside])
    x, y = places[:, :2].long().T
    seen = (x >= 0) & (x < 64) & (y >= 0) & (y < 64)
    colours = example["image"][:, y[seen], x[seen]]
    return [float(np.corrcoef(colours[k], model.mean_mm[inside][seen][:, k])[0, 1]) for k in range(2)]


@pytest.mark.parametrize("mirror", [0.0, 1.0])
def test_picture_and_map_move_together(samples, mirror):
    model = bundled.load()
    augment = AugmentConfig(colour=(1.0, 1.0), occluders=0.0, mirror=mirror)
    task = PositionTask(SMALL, augment)
    frontal = min(samples, key=lambda s: abs(float(task.example(s, None)["yaw_deg"])))
    plain = task.example(frontal, None)
    x, y = dots(plain, model)
    assert x > 0.9 and y > 0.9
    for seed in range(5):
        moved = task.example(frontal, np.random.default_rng(seed))
        x, y = dots(moved, model)
        assert (
            x < -0.8 if mirror else x > 0.8
        ) and y > 0.8  # the chart's left is the mirrored picture's right
        assert not torch.equal(moved["position"], plain["position"])
        again = task.example(frontal, np.random.default_rng(seed))
        assert all(torch.equal(moved[k], again[k]) for k in ("image", "position"))
        assert float(moved["yaw_deg"]) == (-1 if mirror else 1) * float(plain["yaw_deg"])


def test_errors_by_hand():
    uv = torch.rand(40, 2, generator=torch.Generator().manual_seed(0))
    rows, columns = torch.meshgrid(torch.arange(32) + 0.5, torch.arange(32) + 0.5, indexing="ij")
    truth_px = torch.stack([columns, rows, 0 * rows])[None] * 2  # a plane, 64 px wide
    shifted = truth_px + torch.tensor([3.0, 4.0, 9.0])[:, None, None]
    found = map_errors(normalised(shifted, 64), normalised(truth_px, 64), uv, uv[:7], 64)
    for name, some in (("nme68", uv), ("dense", uv[:7])):
        width, height = (64 * (some.amax(0) - some.amin(0))).tolist()
        expected = pytest.approx(100 * 5 / (width * height) ** 0.5, rel=1e-5)
        assert (
            float(found[name]) == expected and float(found[name + "_3d"]) == expected
        )  # depth's zero does not count
    tilted = truth_px + 0.1 * truth_px[:, :1] * torch.tensor([0.0, 0, 1])[:, None, None]
    found = map_errors(normalised(tilted, 64), normalised(truth_px, 64), uv, uv, 64)
    assert float(found["nme68"]) < 1e-4 < 0.1 < float(found["nme68_3d"])


def test_summary_by_yaw():
    errors = {
        "nme68": np.array([1.0, 3, 5, 9]),
        "dense": np.ones(4),
        "yaw_deg": np.array([0.0, -30, 45, -61]),
    }
    found = summarise(errors)
    assert found["nme68"] == 4.5 and found["dense"] == 1
    assert [found[f"nme68_yaw_{b}"] for b in ("0-30", "30-60", "60-90")] == [2, 5, 9]
    assert found["nme68_yaw_mean"] == pytest.approx(16 / 3)
    few = summarise({k: v[:2] for k, v in errors.items()})
    assert "nme68_yaw_mean" not in few and "nme68_yaw_30-60" not in few


def test_perfect_is_zero_and_the_baseline_is_the_mean(samples):
    task = PositionTask(SMALL)
    batch = collate([task.example(sample, None) for sample in samples])
    assert batch["position"].shape == (8, 3, 32, 32) and batch["image"].shape == (8, 3, 64, 64)
    perfect = task.measure({"position": batch["position"]}, batch)
    assert all(float(value.abs().max()) == 0 for name, value in perfect.items() if name != "yaw_deg")
    loss, parts = task.loss({"position": batch["position"]}, batch)
    assert float(loss) < 1e-9 and set(parts) == {"position"}
    mean = task.baseline(task.example(sample, None) for sample in samples)(batch)
    torch.testing.assert_close(mean["position"][3], batch["position"].mean(0))
    assert float(task.measure(mean, batch)["nme68"].mean()) > 3
    with pytest.raises(BadInput, match="no sample of the training set"):
        task.baseline([])


def test_the_picture_shows_dots_where_the_truth_is(samples):
    task = PositionTask(SMALL)
    batch = collate([task.example(sample, None) for sample in samples[:2]])
    picture = task.picture({"position": batch["position"]}, batch)
    assert picture.shape == (3, 128, 192)
    crop, ours, true = picture[:, :64].split(64, 2)
    changed = (ours != crop).any(0)
    assert 100 < int(changed.sum()) < 64 * 64 and torch.equal(changed, (true != crop).any(0))
    one_place = normalised(torch.tensor([10.2, 50.7, 0.0])[:, None, None].expand(2, 3, 32, 32), 64)
    row, column = (
        (task.picture({"position": one_place}, batch)[:, :64, 64:128] != crop).any(0).nonzero()[0].tolist()
    )
    assert (row, column) == (50, 10)
    beyond = task.picture({"position": batch["position"] + 2.0}, batch)  # nothing of it is in the crop
    assert torch.equal(beyond[:, :64, 64:128], crop)


@pytest.mark.long
@pytest.mark.slow
def test_one_batch_overfits(samples, tmp_path):
    config = read_config("tiny", ["steps=45", "average=0"])
    source = InMemory(samples)
    reports = list(train(config, make_task(config), source, source, tmp_path, device="cpu"))
    assert reports[-1].metrics["loss"] < 0.25 * reports[1].metrics["loss"]
    found = reports[-1].validation
    assert found["nme68"] < 0.7 * found["baseline_nme68"]
    assert (tmp_path / "pictures" / "step-000000045.png").is_file()


def test_options_are_checked():
    with pytest.raises(BadInput, match="options: unknown key width"):
        make_position_task(TrainConfig("position", {"width": 3}))
    with pytest.raises(BadInput, match="multiple of 32"):
        make_position_task(TrainConfig("position", {"crop_px": 100}))
    with pytest.raises(BadInput, match="task 'map'"):
        make_task(TrainConfig("map"))
    for name in ("reference", "better", "fast", "tiny"):
        make_task(read_config(name))
    network = PositionTask(SMALL).network()
    assert network(torch.zeros(1, 3, 64, 64)).shape == (1, 3, 32, 32) and SPAN == 1.5
