"""Trained weights as one small file for others to use: half precision, with what they are and where they come from inside."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from ..errors import BadFile, WeightsMismatch
from ..io.files import atomic_file
from .checkpoint import Checkpoint, load_strictly
from .task import Task

_FORMAT = "vultus-network-1"


@dataclass(frozen=True)
class Exported:
    """What is in a file of weights.

    Attributes:
        task, options: which network. state: its tensors, float32 again.
        card: recipe (the whole config), data (digest of the manifest), licences, step, metrics, task facts.
    """

    task: str
    options: dict[str, Any]
    card: dict[str, Any]
    state: dict[str, Tensor]


def export(path: str | Path, checkpoint: Checkpoint, facts: dict[str, Any] | None = None) -> None:
    """Write the averaged weights of a checkpoint as safetensors: matrices and kernels in float16, vectors (norms, biases) in float32.

    Args:
        facts: more for the card, JSON values: licences of the data, what the task wants remembered.

    Raises:
        BadFile: the file cannot be written, or a weight is beyond float16.
    """
    path = Path(path)
    tensors = {name: _stored(name, value, path) for name, value in checkpoint.average.items()}
    card = {
        "recipe": checkpoint.config,
        "data": checkpoint.data,
        "step": checkpoint.step,
        "metrics": checkpoint.validation,
        **(facts or {}),
    }
    metadata = {
        "format": _FORMAT,
        "task": str(checkpoint.config["task"]),
        "options": json.dumps(checkpoint.config["options"], sort_keys=True),
        "card": json.dumps(card, sort_keys=True),
    }
    content = save(tensors, metadata)
    with atomic_file(path) as partial:
        partial.write_bytes(content)


def read_export(path: str | Path) -> Exported:
    """The weights in a file, and what it says about them.

    Raises:
        BadFile: it cannot be read, is damaged, or is not an export of vultus.
    """
    path = Path(path)
    try:
        with safe_open(str(path), "pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a mapping
    except (OSError, SafetensorError, struct.error, ValueError) as error:
        raise BadFile(f"{path}: cannot be read as safetensors ({error}); get the file again") from error
    if metadata.get("format") != _FORMAT:
        raise BadFile(f"{path}: holds no network of vultus; give a file that `vultus train --export` wrote")
    floats = {name: v.float() if v.is_floating_point() else v for name, v in state.items()}
    return Exported(metadata["task"], json.loads(metadata["options"]), json.loads(metadata["card"]), floats)


def load_export(path: str | Path, task: Task, options: dict[str, Any]) -> nn.Module:
    """The network of a task with a file's weights, in evaluation mode.

    Args:
        options: that the task was made from, for the message.

    Raises:
        BadFile: as :func:`read_export`. WeightsMismatch: the weights are of another network; names both.
    """
    found = read_export(path)
    ours, theirs = f"{task.name} {options}", f"{found.task} {found.options}"
    if found.task != task.name:
        raise WeightsMismatch(f"{path}: holds weights of {theirs}, not of {ours}; use the config that they were trained with")  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        network = task.network()
    load_strictly(network, found.state, ours, f"{theirs} ({path})")
    return network.eval()


def _stored(name: str, value: Tensor, path: Path) -> Tensor:
    value = value.detach().cpu().contiguous()
    if not value.is_floating_point():
        return value
    if value.ndim <= 1:
        return value.float()
    half = value.half()
    if not bool(torch.isfinite(half).all()):
        raise BadFile(f"{path}: not written, {name} has values that float16 cannot hold; train on, or lower schedule.rate")  # fmt: skip
    return half
