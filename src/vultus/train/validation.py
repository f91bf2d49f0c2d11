"""How good a network is on people that it was not trained on, with the answer that needs no picture beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ..errors import BadFile
from .processes import Processes
from .stream import Reading, Slot, Source, take
from .task import Batch, Example, Outputs, Task, collate, to_device

_BASELINE_SAMPLES = 512
BASELINE = "baseline_"


def validation_reading(
    source: Source, task: Task, processes: Processes, samples: int | None = None
) -> Reading:
    """The set in its own order, without augmentation: at most so many samples."""
    slots = source.count if samples is None else min(samples, source.count)
    return Reading(source, task, 0, slots, endless=False, world=processes.world, rank=processes.rank)


def make_baseline(source: Source, task: Task, processes: Processes) -> Callable[[Batch], Outputs]:
    """The task's baseline, from the first samples of the training set in its own order; the same in all processes and every time."""
    alone = Processes(0, 1, processes.device)
    reading = validation_reading(source, task, alone, _BASELINE_SAMPLES)
    return task.baseline(slot.example for slot in reading if slot.example is not None)


@torch.no_grad()
def validate(
    task: Task,
    network: nn.Module,
    slots: Iterable[Slot],
    processes: Processes,
    *,
    batch: int,
    channels_last: bool = False,
    baseline: Callable[[Batch], Outputs] | None = None,
) -> dict[str, float]:
    """Numbers of the whole set, the same in all processes: the task's summary, and that of the baseline under ``baseline_`` names.

    Args:
        network: in evaluation mode. slots: of this process, of a :func:`validation_reading`.

    Raises:
        BadFile: no sample of the set can be read.
    """
    values: dict[str, list[NDArray[np.float64]]] = {}
    for examples in _batches(slots, batch):
        at_hand = to_device(collate(examples), processes.device, channels_last)
        found = task.measure(task.outputs(network, at_hand), at_hand)
        if baseline is not None:
            without = task.measure(baseline(at_hand), at_hand)
            found |= {BASELINE + name: value for name, value in without.items()}
        for name, value in found.items():
            values.setdefault(name, []).append(value.double().cpu().numpy())
    joined = {name: np.concatenate(parts) for name, parts in values.items()}
    said = processes.gather(joined)
    names = next((list(part) for part in said if part), None)
    if names is None:
        raise BadFile("no sample of the validation set can be read: check the set that --validation names")
    whole = {name: np.concatenate([part[name] for part in said if part]) for name in names}
    ours = task.summary({name: value for name, value in whole.items() if not name.startswith(BASELINE)})
    theirs = {
        name.removeprefix(BASELINE): value for name, value in whole.items() if name.startswith(BASELINE)
    }
    return ours | {BASELINE + name: value for name, value in (task.summary(theirs) if theirs else {}).items()}


def first_examples(reading: Reading, number: int) -> list[Example]:
    """The first examples of a reading, for pictures."""
    found: list[Example] = []
    for slot in reading:
        if slot.example is not None:
            found.append(slot.example)
        if len(found) == number:
            break
    return found


def _batches(slots: Iterable[Slot], number: int) -> Iterator[list[Example]]:
    source = iter(slots)
    while group := take(source, number):
        examples = [slot.example for slot in group if slot.example is not None]
        if examples:
            yield examples
