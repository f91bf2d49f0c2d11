"""The one training loop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from ..errors import BadFile, BadInput
from ..io.images import write_png
from .config import TrainConfig
from .logs import Logs
from .optimiser import clip_gradients, take_step
from .processes import Processes, open_processes
from .run import Run, open_run, seeded
from .schedule import learning_rate
from .stream import Slot, Slots, Source, take
from .task import Batch, Example, Outputs, Task, collate, to_device
from .validation import first_examples, make_baseline, validate, validation_reading

PICTURES = "pictures"
_SHOWN = 4
_KEYS_NAMED = 64


@dataclass(frozen=True)
class Report:
    """What happened in a step.

    Attributes:
        step, total_steps: done, and of how many. metrics: of this step, means over all processes.
        validation: where the network was measured. notes: lines for people: samples that were skipped, what is not installed.
        checkpoint: where one was written (process 0). ended: why no step follows, empty while one does.
        writes: whether this process is the one that speaks for all.
    """

    step: int
    total_steps: int
    metrics: dict[str, float] = field(default_factory=dict)
    validation: dict[str, float] | None = None
    notes: tuple[str, ...] = ()
    checkpoint: Path | None = None
    ended: Literal["", "finished", "stopped"] = ""
    writes: bool = True


def train(
    config: TrainConfig,
    task: Task,
    training: Source,
    validation: Source | None,
    out: str | Path,
    *,
    device: str = "auto",
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Report]:
    """Train until done or told to stop; a folder with an unfinished run goes on where that one stopped, to the same end.

    Args:
        validation: samples of other people; None: nothing is measured, and there is no best checkpoint.
        out: folder for checkpoints, tables and pictures.
        device: as :func:`.processes.open_processes` takes it.
        stop: asked after every step; true: a checkpoint is written and the run ends.

    Yields:
        A report before the first step and after every one; the last one says why it ended.

    Raises:
        BadInput: config, data and folder do not go together, or the loss is no number: the message names the samples.
        BadFile: a file cannot be read or written.
    """
    with open_processes(device) as processes:
        run = open_run(config, task, training, processes, Path(out))
        logs = Logs(run.out, run.step, config.tensorboard) if processes.writes else None
        watch = _Watch(run, validation)
        try:
            notes = (logs.note,) if logs and logs.note else ()
            done = run.step >= run.total_steps
            yield Report(run.step, run.total_steps, notes=notes, ended="finished" if done else "", writes=processes.writes)  # fmt: skip
            if not done:
                yield from _steps(run, logs, watch, stop)
        finally:
            if logs:
                logs.close()


def _steps(run: Run, logs: Logs | None, watch: _Watch, stop: Callable[[], bool]) -> Iterator[Report]:
    config, processes = run.config, run.processes
    share = config.batch // processes.world
    slots = iter(Slots(run.reading(), config.workers, 2 * share))
    since = time.monotonic()
    while run.step < run.total_steps:
        examples, notes = _examples(take(slots, share), config.broken)
        metrics, told = _one_step(run, examples, stop())
        for name, value in metrics.items():
            run.sums[name] = run.sums.get(name, 0.0) + value
        run.step, run.count = run.step + 1, run.count + 1
        last = run.step == run.total_steps
        if run.step % config.log_every == 0 or last:
            seconds, since = time.monotonic() - since, time.monotonic()
            _log(run, logs, seconds)
        found = None
        if (
            run.step % config.validate_every == 0 or last
        ):  # also when told to stop: the run would not come back to this step
            found = watch.measure(logs)
        if processes.writes and (run.step % config.picture_every == 0 or last):
            watch.draw()
        written = run.save() if told or last or run.step % config.checkpoint_every == 0 else None
        ended = "finished" if last else "stopped" if told else ""
        yield Report(run.step, run.total_steps, metrics, found, notes, written, ended, processes.writes)
        if ended:
            return


def _examples(slots: list[Slot], broken: Literal["skip", "stop"]) -> tuple[list[Example], tuple[str, ...]]:
    """The examples of a batch, and a line about each that is missing."""
    problems = tuple(slot.problem for slot in slots if slot.example is None)
    if problems and broken == "stop":
        raise BadFile(f"{problems[0]} (broken=skip in the config goes on without it)")
    examples = [slot.example for slot in slots if slot.example is not None]
    if not examples:
        raise BadFile(f"no sample of a whole batch can be read, the first because: {problems[0]}")
    return examples, tuple(f"skipped: {problem}" for problem in problems)


def _one_step(run: Run, examples: list[Example], stop: bool) -> tuple[dict[str, float], bool]:
    """One step of the optimiser; returns its numbers, means over all processes, and whether one of them was told to stop.

    Raises:
        BadInput: a loss or gradient is no finite number; the weights are as before the step.
    """
    config, processes = run.config, run.processes
    batch = to_device(collate(examples), processes.device, config.channels_last)
    half = config.precision == "bf16"
    with seeded(config.seed, run.step + 1, processes.rank, processes.device):
        with torch.autocast(processes.device.type, torch.bfloat16, enabled=half):
            outputs = run.task.outputs(run.network, batch)
        with torch.autocast(processes.device.type, enabled=False):
            outputs = {name: value.float() for name, value in outputs.items()} if half else outputs
            loss, parts = run.task.loss(outputs, batch)
        loss.backward()
    norm = clip_gradients(run.model, config.optimiser.clip_norm)
    rate = learning_rate(config.schedule, run.step, run.steps_per_epoch, run.total_steps)
    names = ["loss", *parts, "gradient_norm"]
    told = torch.full_like(norm, float(stop))
    values = torch.stack([v.detach().to(norm) for v in (loss, *parts.values(), norm, told)])
    numbers = processes.mean(
        values
    ).tolist()  # waits for the device: the update must not be made with what is no number
    if not all(map(math.isfinite, numbers)):
        _refuse(run, batch, float(loss.detach()), float(norm))
    take_step(run.optimiser, rate)
    run.average.update(run.model, run.step)
    return {**dict(zip(names, numbers)), "rate": rate}, numbers[-1] > 0


def _refuse(run: Run, batch: Batch, loss: float, norm: float) -> None:
    """End a run whose loss or gradient is not finite."""
    found = run.processes.gather((math.isfinite(loss) and math.isfinite(norm), loss, norm, batch["key"]))
    _, loss, norm, _ = next((f for f in found if not f[0]), found[0])
    keys = [key for fine, _, _, some in found if not fine for key in some]
    more = f" and {len(keys) - _KEYS_NAMED} more" if len(keys) > _KEYS_NAMED else ""
    raise BadInput(
        f"step {run.step + 1}: loss {loss:g}, gradient {norm:g}; the samples were {', '.join(keys[:_KEYS_NAMED])}{more}; "
        "look at these, or lower schedule.rate; the checkpoints before it are kept"
    )


def _log(run: Run, logs: Logs | None, seconds: float) -> None:
    """A line of the table with means since the last one."""
    row = {"epoch": run.step / run.steps_per_epoch}
    row |= {name: total / run.count for name, total in run.sums.items()}
    if logs:
        row["samples_per_s"] = run.count * run.config.batch / max(seconds, 1e-9)
        logs.add(logs.metrics, run.step, row)
    run.sums, run.count = {}, 0


class _Watch:
    """The validation of a run, its best checkpoint and its pictures; what they need is made when it is first needed."""

    def __init__(self, run: Run, source: Source | None) -> None:
        self.run, self.source = run, source
        self._baseline: Callable[[Batch], Outputs] | None = None
        self._slots: Slots | None = None
        self._shown: Batch | None = None

    def measure(self, logs: Logs | None) -> dict[str, float] | None:
        """Measure the averaged network; keep its checkpoint if it is the best."""
        run = self.run
        if self.source is None:
            return None
        if self._baseline is None:
            self._baseline = make_baseline(run.source, run.task, run.processes)
        if self._slots is None:
            self._slots = Slots(self._reading(run.processes), run.config.workers, 2 * run.config.batch)
        found = validate(
            run.task, self._network(), self._slots, run.processes, batch=run.config.batch,
            channels_last=run.config.channels_last, baseline=self._baseline,
        )  # fmt: skip
        run.validation = found
        if logs:
            logs.add(logs.validation, run.step, found)
        score = found.get(run.task.score, math.nan)
        if math.isfinite(score) and (run.best is None or score < run.best):
            run.best, run.best_step = score, run.step
            run.save(best=True)
        return found

    def draw(self) -> None:
        """Write a picture of the first samples of the validation set, or of the training set without one."""
        run = self.run
        if self._shown is None:
            alone = Processes(0, 1, run.processes.device)
            examples = first_examples(self._reading(alone), _SHOWN)
            self._shown = to_device(collate(examples), alone.device, run.config.channels_last)
        folder = run.out / PICTURES
        folder.mkdir(exist_ok=True)
        with torch.no_grad():
            picture = run.task.picture(run.task.outputs(self._network(), self._shown), self._shown)
        write_png(folder / f"step-{run.step:09d}.png", picture)

    def _network(self) -> nn.Module:
        return self.run.average.network

    def _reading(self, processes: Processes):
        source = self.source or self.run.source
        return validation_reading(source, self.run.task, processes, self.run.config.validation_samples)
