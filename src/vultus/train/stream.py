"""Examples in an order that depends on the seed alone: not on how many processes read them, nor on where a run was interrupted.

An epoch is a row of slots. Slot i holds sample i of the epoch's order, augmented by a generator seeded with (seed, epoch, i). Process r of w has the
slots r, r + w, ...; reading worker k of n of those every n-th. A sample that cannot be read leaves its slot empty, so that nothing after it moves.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Protocol, cast

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from ..data.sample import Sample
from ..errors import BadFile, BadInput, VultusError
from .task import Example, Task


class Source(Protocol):
    """A set of samples; picklable."""

    @property
    def digest(self) -> str:
        """Of what is in it: a run goes on only with the same."""
        ...

    @property
    def count(self) -> int:
        """How many samples there are."""
        ...

    def read(
        self, *, seed: int, epoch: int, shuffle: bool, start: int, world: int, rank: int
    ) -> Iterator[Sample | VultusError]:
        """Samples ``start + rank``, ``start + rank + world``, ... of the epoch's order; an error in place of one that cannot be read."""
        ...


@dataclass(frozen=True)
class Slot:
    """A place in an epoch's order, and the example in it, or why there is none."""

    epoch: int
    index: int
    example: Example | None
    problem: str = ""


@dataclass(frozen=True)
class Reading:
    """What to read, and as whom.

    Attributes:
        slots: of an epoch, over all processes; an incomplete last batch is left out by making this smaller than the set.
        epoch, start: the first slot. endless: epoch after epoch, shuffled and augmented; else one epoch in the set's own order, as it is.
    """

    source: Source
    task: Task
    seed: int
    slots: int
    epoch: int = 0
    start: int = 0
    endless: bool = True
    world: int = 1
    rank: int = 0

    def __iter__(self) -> Iterator[Slot]:
        epoch, start = self.epoch, self.start
        while True:
            yield from self._read_epoch(epoch, start)
            if not self.endless:
                return
            epoch, start = epoch + 1, 0

    def _read_epoch(self, epoch: int, start: int) -> Iterator[Slot]:
        samples = self.source.read(
            seed=self.seed, epoch=epoch, shuffle=self.endless, start=start, world=self.world, rank=self.rank
        )
        for index in range(start + self.rank, self.slots, self.world):
            sample = next(samples, None)
            if sample is None:
                sample = BadFile(f"sample {index} of epoch {epoch}: the set ended before it; was it cut?")
            yield self._slot(epoch, index, sample)

    def _slot(self, epoch: int, index: int, sample: Sample | VultusError) -> Slot:
        if isinstance(sample, VultusError):
            return Slot(epoch, index, None, str(sample))
        rng = np.random.default_rng([self.seed, epoch, index]) if self.endless else None
        try:
            return Slot(epoch, index, self.task.example(sample, rng))
        except VultusError as error:
            return Slot(epoch, index, None, f"{sample.key}: {error}")


class _Share(IterableDataset["Slot | VultusError"]):
    """A reading, divided among the workers of a loader; an error that ends it comes last, because the loader would wrap it in a traceback."""

    def __init__(self, reading: Reading) -> None:
        self.reading = reading

    def __iter__(self) -> Iterator[Slot | VultusError]:
        worker = get_worker_info()
        mine = self.reading
        if worker is not None:
            n = worker.num_workers
            mine = replace(mine, world=mine.world * n, rank=mine.rank + mine.world * worker.id)
        try:
            yield from mine
        except VultusError as error:
            yield error


class Slots:
    """The slots of a reading in their order, once or, of one that is not endless, again and again.

    Args:
        workers: processes that read and augment, started at the first use; 0: this one. ahead: examples kept ready, over all workers.
    """

    def __init__(self, reading: Reading, workers: int, ahead: int) -> None:
        self._reading, self._shares = reading, None
        if workers:
            self._shares = DataLoader(
                _Share(reading),
                batch_size=None,
                num_workers=workers,
                multiprocessing_context="spawn",  # numba's threads do not survive a fork
                prefetch_factor=max(2, -(-ahead // workers)),
                persistent_workers=not reading.endless,
                worker_init_fn=_start_worker,
            )

    def __iter__(self) -> Iterator[Slot]:
        if self._shares is None:
            return iter(self._reading)
        return _in_turn(self._reading, iter(cast(Any, self._shares)))


def _in_turn(reading: Reading, shares: Iterator[Slot | VultusError]) -> Iterator[Slot]:
    """The loader hands out one slot of each worker in turn, which is their order, except where an epoch ends in the middle of a turn."""
    waiting: dict[tuple[int, int], Slot] = {}
    epoch, start = reading.epoch, reading.start
    while True:
        for index in range(start + reading.rank, reading.slots, reading.world):
            while (epoch, index) not in waiting:
                slot = _next(shares)
                waiting[slot.epoch, slot.index] = slot
            yield waiting.pop((epoch, index))
        if not reading.endless:
            return
        epoch, start = epoch + 1, 0


def _next(shares: Iterator[Slot | VultusError]) -> Slot:
    try:
        found = next(shares)
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise BadInput("a process that reads samples died, perhaps for want of memory; set workers to fewer, or to 0") from error  # fmt: skip
    if isinstance(found, VultusError):
        raise found
    return found


def take(slots: Iterator[Slot], number: int) -> list[Slot]:
    """The next so many slots, or what is left."""
    return list(islice(slots, number))


def _start_worker(_worker: int) -> None:
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C goes to all; the process that trains decides when reading ends
    torch.set_num_threads(1)
    import numba  # after torch, as vultus does

    numba.set_num_threads(1)
