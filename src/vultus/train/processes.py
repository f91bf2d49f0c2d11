"""The processes of one run, as ``torchrun`` starts them, and what they say to each other; alone, nothing is said."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ..errors import BadInput


@dataclass(frozen=True)
class Processes:
    """This process among those of the run.

    Attributes:
        rank: its number, 0 writes files. world: how many there are. device: what this one computes on.
    """

    rank: int
    world: int
    device: torch.device

    @property
    def writes(self) -> bool:
        """Whether this process writes files and reports."""
        return self.rank == 0

    def parallel(self, network: nn.Module) -> nn.Module:
        """The network, such that gradients are means over all processes."""
        if self.world == 1:
            return network
        if (
            self.device.type == "cuda"
        ):  # there is no such thing on a CPU: there each process normalises by its own share of the batch
            network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
        ids = [self.device] if self.device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(network, device_ids=ids)

    def mean(self, values: Tensor) -> Tensor:
        """Mean over the processes."""
        if self.world == 1:
            return values
        total = values.clone()
        dist.all_reduce(total)
        return total / self.world

    def gather(self, value: Any) -> list[Any]:
        """What every process says, in their order."""
        if self.world == 1:
            return [value]
        said: list[Any] = [None] * self.world
        dist.all_gather_object(said, value)
        return said

    def share(self, value: Any) -> Any:
        """What process 0 says."""
        if self.world == 1:
            return value
        said = [value]
        dist.broadcast_object_list(said, src=0)
        return said[0]


@contextlib.contextmanager
def open_processes(device: str = "auto") -> Iterator[Processes]:
    """Join the others that ``torchrun`` started (RANK, WORLD_SIZE, LOCAL_RANK), or be alone.

    Args:
        device: auto: the GPU of this process where there is one, else the CPU; or a name as torch knows them.

    Raises:
        BadInput: there is no such device.
    """
    world, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    chosen = choose_device(device, int(os.environ.get("LOCAL_RANK", "0")))
    if world == 1:
        yield Processes(0, 1, chosen)
        return
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield Processes(rank, world, chosen)
        dist.barrier()  # who leaves first takes its connections with it, and the others abort
    finally:
        dist.destroy_process_group()


def choose_device(name: str, local_rank: int = 0) -> torch.device:
    """The device of a process.

    Raises:
        BadInput: there is no such device.
    """
    if name == "auto":
        return torch.device("cuda", local_rank) if torch.cuda.is_available() else torch.device("cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise BadInput(
            f"--device {name}: there is no such device here; use auto, cpu, or cuda with a GPU"
        ) from error
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", local_rank)
    return device
