"""Trained weights as one small file for others to use: half precision, with what they are and where they come from inside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from ..errors import BadFile, WeightsMismatch
from ..io.files import atomic_file
from ..nets.weights_file import FORMAT, Exported, load_strictly, read_export
from .checkpoint import Checkpoint
from .task import Task

__all__ = ["Exported", "export", "load_export", "read_export"]


def export(path: str | Path, checkpoint: Checkpoint, facts: dict[str, Any] | None = None) -> None:
    """Write the averaged weights of a checkpoint as safetensors: matrices and kernels in float16, vectors (norms, biases) in float32.

    Args:
        facts: more for the card, JSON values: licences of the data, what the task wants remembered.

    Raises:
        BadFile: the file cannot be written, or a weight is beyond float16.
    """
    path = Path(path)
    tensors = {name: _stored(name, value, path) for name, value in checkpoint.average.items()}
    config = without_folders(checkpoint.config)
    card = {
        "recipe": config,
        "data": checkpoint.data,
        "step": checkpoint.step,
        "metrics": checkpoint.validation,
        **(facts or {}),
    }
    metadata = {
        "format": FORMAT,
        "task": str(checkpoint.config["task"]),
        "options": json.dumps(config["options"], sort_keys=True),
        "card": json.dumps(card, sort_keys=True),
    }
    content = save(tensors, metadata)
    with atomic_file(path) as partial:
        partial.write_bytes(content)


def without_folders(value: Any) -> Any:
    """A config document with files told by their names: where they lay on somebody's disk is nobody's business."""
    if isinstance(value, dict):
        return {key: without_folders(item) for key, item in value.items()}
    return value.replace("\\", "/").rsplit("/", 1)[-1] if isinstance(value, str) else value


def load_export(path: str | Path, task: Task, options: dict[str, Any]) -> nn.Module:
    """The network of a task with a file's weights, in evaluation mode.

    Args:
        options: that the task was made from, for the message.

    Raises:
        BadFile: as :func:`~vultus.nets.weights_file.read_export`. WeightsMismatch: the weights are of another network; names both.
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
