"""Checkpoints: everything a run needs to go on as if it had never stopped, whole or not at all."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import BadFile
from ..io.files import atomic_file

FOLDER, LATEST, BEST = "checkpoints", "latest", "best.pt"
_FORMAT = 1


@dataclass(frozen=True)
class Checkpoint:
    """The state after ``step`` steps.

    What is by chance in a step depends on seed, step and process alone, so no state of a random generator is in here.

    Attributes:
        config: of the run, as :func:`.config.config_document` gives it. data: digest of the training set's manifest.
        step: steps done. epoch, start: where in the data the next step begins: samples of the epoch used, over all processes.
        network, average, optimiser: their states. sums, count: of the metrics since the last line of the log.
        best: the best validation number so far, None before the first. best_step: when. validation: the last numbers.
        torch_version: that wrote it.
    """

    config: dict[str, Any]
    data: str
    step: int
    epoch: int
    start: int
    network: dict[str, Tensor]
    average: dict[str, Tensor]
    optimiser: dict[str, Any]
    sums: dict[str, float]
    count: int
    best: float | None
    best_step: int
    validation: dict[str, float]
    torch_version: str = str(torch.__version__)


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write one file that ``torch.load(weights_only=True)`` reads.

    Raises:
        BadFile: it cannot be written, e.g. because the disk is full; what was there before stays.
    """
    memory = io.BytesIO()  # torch turns a full disk into an error without a reason; the system's own has one
    torch.save({"format": _FORMAT, **_shallow(checkpoint)}, memory)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as partial, partial.open("wb") as file:
        file.write(memory.getbuffer())
        file.flush()
        os.fsync(file.fileno())


def read_checkpoint(path: Path) -> Checkpoint:
    """The checkpoint in a file, on the CPU.

    Raises:
        BadFile: it cannot be read, is damaged, or is something else.
    """
    try:
        document = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        reason = str(error).partition("\n")[0]
        raise BadFile(f"{path}: is not a checkpoint that can be read ({reason}); go on from an older one: delete this file") from error  # fmt: skip
    names = {f.name for f in fields(Checkpoint)}
    if not isinstance(document, dict) or document.pop("format", None) != _FORMAT or set(document) != names:
        raise BadFile(f"{path}: is not a checkpoint of this version of vultus; start again in another folder")
    return Checkpoint(**document)


def save(out: Path, checkpoint: Checkpoint, keep: int) -> Path:
    """Add a checkpoint to a run's folder, point ``latest`` at it, and delete all but the last ``keep``.

    Raises:
        BadFile: it cannot be written.
    """
    path = out / FOLDER / f"step-{checkpoint.step:09d}.pt"
    write_checkpoint(path, checkpoint)
    with atomic_file(out / FOLDER / LATEST) as partial:
        partial.write_text(path.name + "\n", encoding="utf-8")
    for old in _saved(out)[:-keep]:
        if old != path:
            with contextlib.suppress(OSError):
                old.unlink()
    return path


def latest(out: Path) -> Path | None:
    """The newest checkpoint of a run's folder: what ``latest`` names, else the one with the most steps; None without any."""
    with contextlib.suppress(OSError):
        named = out / FOLDER / (out / FOLDER / LATEST).read_text(encoding="utf-8").strip()
        if named.is_file():
            return named
    saved = _saved(out)
    return saved[-1] if saved else None


def best_or_latest(out: Path) -> Path:
    """The checkpoint of the best validation, or the newest of a run that was not validated.

    Raises:
        BadFile: there is none.
    """
    best = out / FOLDER / BEST
    found = best if best.is_file() else latest(out)
    if found is None:
        raise BadFile(f"{out}: has no checkpoint; train first, or give the folder of a run")
    return found


def _saved(out: Path) -> list[Path]:
    return sorted((out / FOLDER).glob("step-*.pt"))


def _shallow(checkpoint: Checkpoint) -> dict[str, Any]:
    return {f.name: getattr(checkpoint, f.name) for f in fields(checkpoint)}


def describe(checkpoint: Checkpoint) -> str:
    """For messages: the network's config in a line."""
    return f"{checkpoint.config.get('task')} {checkpoint.config.get('options')}"
