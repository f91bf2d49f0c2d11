"""A run between two steps: networks, optimiser, place in the data, and how that becomes a checkpoint and comes back."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ..errors import BadFile, BadInput
from ..io.files import atomic_file
from ..nets.weights_file import load_strictly
from .checkpoint import BEST, FOLDER, Checkpoint, describe, latest, read_checkpoint, save
from .checkpoint import write_checkpoint as write
from .config import TrainConfig, config_document, config_of, conflicts
from .optimiser import Average, make_optimiser
from .processes import Processes
from .stream import Reading, Source
from .task import Task

CONFIG = "config.json"


@dataclass
class Run:
    """Everything that changes while a run goes on, and nothing else does.

    Attributes:
        model: the network itself; network: the same as all processes see it. average, optimiser: of it.
        steps_per_epoch, total_steps: how long an epoch and the run are.
        step: steps done. sums, count: of the metrics since the last line of the log.
        best, best_step: of the validation score. validation: the last numbers.
        resumed: whether it goes on from a checkpoint.
    """

    config: TrainConfig
    task: Task
    source: Source
    processes: Processes
    out: Path
    steps_per_epoch: int
    total_steps: int
    model: nn.Module
    network: nn.Module
    average: Average
    optimiser: torch.optim.Optimizer
    step: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    count: int = 0
    best: float | None = None
    best_step: int = 0
    validation: dict[str, float] = field(default_factory=dict)
    resumed: bool = False

    @property
    def epoch(self) -> int:
        """The epoch of the next step."""
        return self.step // self.steps_per_epoch

    def reading(self) -> Reading:
        """The samples from the next step on."""
        slots = self.steps_per_epoch * self.config.batch
        start = self.step % self.steps_per_epoch * self.config.batch
        p = self.processes
        return Reading(
            self.source, self.task, self.config.seed, slots, self.epoch, start, world=p.world, rank=p.rank
        )

    def checkpoint(self) -> Checkpoint:
        """The state as a value."""
        return Checkpoint(
            config=config_document(self.config), data=self.source.digest, step=self.step, epoch=self.epoch,
            start=self.step % self.steps_per_epoch * self.config.batch, network=self.model.state_dict(),
            average=self.average.network.state_dict(), optimiser=self.optimiser.state_dict(), sums=dict(self.sums),
            count=self.count, best=self.best, best_step=self.best_step, validation=dict(self.validation),
        )  # fmt: skip

    def save(self, *, best: bool = False) -> Path | None:
        """Write the checkpoint (process 0), as the newest or as the best; returns where."""
        if not self.processes.writes:
            return None
        if not best:
            return save(self.out, self.checkpoint(), self.config.keep)
        write(self.out / FOLDER / BEST, self.checkpoint())
        return self.out / FOLDER / BEST

    def restore(self, saved: Checkpoint, path: Path) -> None:
        """Take over a state.

        Raises:
            BadInput: it is of another config or other data. WeightsMismatch: of another network.
        """
        own = config_document(self.config)
        if names := conflicts(saved.config, own):
            raise BadInput(
                f"{path}: was trained with another {', '.join(names)}; use the same config, or another -o"
            )
        if saved.data != self.source.digest:
            raise BadInput(f"{path}: was trained on other data ({saved.data}, here {self.source.digest}); use the same data, or another -o")  # fmt: skip
        ours = f"{self.task.name} {self.config.options}"
        load_strictly(self.model, saved.network, ours, describe(saved))
        load_strictly(self.average.network, saved.average, ours, describe(saved))
        self.optimiser.load_state_dict(saved.optimiser)
        self.step, self.sums, self.count = saved.step, dict(saved.sums), saved.count
        self.best, self.best_step, self.validation = saved.best, saved.best_step, dict(saved.validation)
        self.resumed = True


def open_run(config: TrainConfig, task: Task, source: Source, processes: Processes, out: Path) -> Run:
    """A new run, or the one in ``out`` where it stopped.

    Raises:
        BadInput: too few samples for a batch, a batch that does not divide among the processes, another run in ``out``.
        BadFile: ``out`` cannot be written, or its checkpoint not read.
    """
    if config.batch % processes.world:
        raise BadInput(
            f"batch {config.batch}: does not divide among {processes.world} processes; choose a multiple"
        )
    steps_per_epoch = source.count // config.batch
    if not steps_per_epoch:
        raise BadInput(f"batch {config.batch}: the training set has only {source.count} samples; choose a smaller batch")  # fmt: skip
    total = config.steps or max(1, round(config.epochs * steps_per_epoch))
    newest = processes.share(str(latest(out) or ""))
    if processes.writes:
        _claim(out, config, bool(newest))
    with seeded(config.seed, 0, 0, processes.device):
        model = task.network()
    model.to(processes.device)
    if config.channels_last:
        model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    average = Average(model, config.average)
    network = processes.parallel(model).train()
    run = Run(
        config, task, source, processes, out, steps_per_epoch, total, model, network, average,
        make_optimiser(model, config.optimiser),
    )  # fmt: skip
    if newest:
        run.restore(read_checkpoint(Path(newest)), Path(newest))
    return run


@contextlib.contextmanager
def seeded(seed: int, step: int, rank: int, device: torch.device) -> Iterator[None]:
    """Inside, torch's chance depends on these numbers alone; outside it is what it was."""
    gpus = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=gpus):
        torch.manual_seed(
            int(np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint64)[0] >> 1)
        )
        yield


def _claim(out: Path, config: TrainConfig, resumed: bool) -> None:
    """Make the folder and write the config into it; a folder with something else in it is left alone."""
    path = out / CONFIG
    try:
        if not resumed and out.exists() and not _is_ours(out, path):
            raise BadInput(f"{out}: holds something else than a run of vultus train; choose another -o")
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadFile(f"{out}: cannot be made ({error.strerror}); choose another -o") from error
    if resumed:
        return  # what is in place was claimed by a run whose config is checked when its checkpoint is read
    with atomic_file(path) as partial:
        partial.write_text(json.dumps(config_document(config), indent=1) + "\n", encoding="utf-8")


def _is_ours(out: Path, path: Path) -> bool:
    """Whether a folder is empty or that of a run which has not come to its first checkpoint."""
    if not out.is_dir():
        return False
    if not any(out.iterdir()):
        return True
    try:
        config_of(json.loads(path.read_text(encoding="utf-8")), str(path))
    except (OSError, ValueError, BadInput):
        return False
    return True
