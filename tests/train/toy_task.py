"""A task small enough to train in a second: where is the bright spot in an 8 x 8 picture? With noise, dropout and a norm, so that chance matters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import nn

from vultus.data.sample import Sample
from vultus.errors import BadFile
from vultus.train.config import OptimiserConfig, ScheduleConfig, TrainConfig

CONFIG = TrainConfig(
    "toy", seed=3, steps=24, batch=4, schedule=ScheduleConfig("cosine", 0.02, warmup_steps=2), optimiser=OptimiserConfig(decay=0.01),
    augment=None, average=0.9, log_every=5, validate_every=8, picture_every=12, checkpoint_every=6,
)  # fmt: skip


def toy_samples(count: int, seed: int = 0) -> list[Sample]:
    rng = np.random.default_rng(seed)
    samples = []
    for number in range(count):
        x, y = rng.integers(0, 8, 2)
        image = rng.integers(0, 60, (8, 8, 3)).astype(np.uint8)
        image[y, x] = 255
        landmarks = np.tile(np.array([x, y, 0], np.float32), (68, 1))
        empty = np.zeros((0, 3), np.float32)
        samples.append(
            Sample(f"s{number:03d}", "toy", image, np.zeros((8, 8), np.uint8), empty, 1.0, np.zeros(2, np.float32), np.eye(4, dtype=np.float32), landmarks)
        )  # fmt: skip
    return samples


@dataclass(frozen=True)
class ToySource:
    """Samples in memory; broken ones come as errors."""

    samples: list[Sample]
    broken: frozenset[int] = frozenset()
    cut: int | None = None
    digest: str = "toy"

    @property
    def count(self) -> int:
        return len(self.samples)

    def read(
        self, *, seed: int, epoch: int, shuffle: bool, start: int, world: int, rank: int
    ) -> Iterator[Sample | BadFile]:
        order = np.arange(self.count)
        if shuffle:
            order = np.random.default_rng([seed, epoch]).permutation(self.count)
        for place in order[: self.cut][start + rank :: world]:
            yield BadFile(f"s{place:03d}: torn") if int(place) in self.broken else self.samples[place]


@dataclass(frozen=True)
class ToyTask:
    dropout: float = 0.2
    norm: bool = True
    noise: float = 0.05
    width: int = 16
    poison: str = ""
    name: str = "toy"
    score: str = field(default="error")

    def network(self) -> nn.Module:
        norm = nn.BatchNorm2d(self.width) if self.norm else nn.Identity()
        return nn.Sequential(
            nn.Conv2d(3, self.width, 3, padding=1), norm, nn.ReLU(), nn.Flatten(), nn.Dropout(self.dropout), nn.Linear(64 * self.width, 2)
        )  # fmt: skip

    def example(self, sample: Sample, rng: np.random.Generator | None) -> dict:
        image = torch.from_numpy(sample.image.astype(np.float32) / 255).permute(2, 0, 1)
        if rng is not None:
            image = image + self.noise * torch.from_numpy(rng.standard_normal(image.shape).astype(np.float32))
        if sample.key == self.poison:
            image = image * float("nan")
        return {"key": sample.key, "image": image, "place": torch.from_numpy(sample.landmarks_px[0, :2] / 8)}

    def outputs(self, network: nn.Module, batch: dict) -> dict:
        return {"place": network(batch["image"])}

    def loss(self, outputs: dict, batch: dict) -> tuple:
        miss = outputs["place"] - batch["place"]
        return miss.square().mean(), {"bias": miss.mean()}

    def measure(self, outputs: dict, batch: dict) -> dict:
        return {"error": (outputs["place"] - batch["place"]).norm(dim=1)}

    def summary(self, values) -> dict[str, float]:
        return {"error": float(values["error"].mean())}

    def baseline(self, examples):
        mean = torch.stack([example["place"] for example in examples]).mean(0)
        return lambda batch: {"place": mean.expand(len(batch["key"]), 2)}

    def picture(self, outputs: dict, batch: dict) -> torch.Tensor:
        return torch.cat(list(batch["image"].clamp(0, 1)), 2)


def toy_config(**changes) -> TrainConfig:
    return replace(CONFIG, **changes)
