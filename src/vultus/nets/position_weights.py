"""Trained weights of position networks: from a file, or the ones that ship with vultus, to a network that can be asked."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import AssetMissing, BadInput, WeightsMismatch
from ..geometry.position_map import CROP_FACTOR
from .position import PositionConfig, network_of
from .weights_file import load_strictly, read_export

DEFAULT_WEIGHTS = Path(__file__).with_name("assets") / "position_light.safetensors"
TASK = "position"
"""What `vultus train` calls such networks."""


@dataclass(frozen=True, eq=False)
class PositionWeights:
    """A trained network, in evaluation mode.

    Attributes:
        network: crops "b 3 c c" in [0, 1] -> normalised maps "b 3 s s". config: which one.
        crop_factor: side of the crops that it was trained on, over the mean of width and height of the 68 points' box.
        card: what the file says of its origin: recipe, data, licences, step, metrics.
        path: the file.
    """

    network: nn.Module
    config: PositionConfig
    crop_factor: float
    card: dict[str, Any]
    path: Path


def position_weights(path: str | Path | None = None) -> PositionWeights:
    """The network in a file that `vultus train --export` wrote; the last few are kept until their files change.

    Args:
        path: None for the one that ships with vultus.

    Raises:
        AssetMissing: there is no such file. BadFile: it is damaged, or no export. WeightsMismatch: it holds another network; names both.
    """
    file = DEFAULT_WEIGHTS if path is None else Path(path)
    if not file.is_file():
        what = (
            "the weights of dense alignment are not installed" if path is None else "no such file of weights"
        )
        raise AssetMissing(f"{file}: {what}; train some (vultus train better --data SHARDS -o RUN --export FILE) and give them with --weights FILE")  # fmt: skip
    facts = file.stat()
    return _read(file.resolve(), facts.st_mtime_ns, facts.st_size)


@lru_cache(maxsize=4)
def _read(path: Path, _changed_ns: int, _size: int) -> PositionWeights:
    found = read_export(path)
    theirs = f"{found.task} {found.options}"
    if found.task != TASK:
        raise WeightsMismatch(
            f"{path}: holds weights of {theirs}, not of a {TASK} network; give another file"
        )
    known = {field.name for field in fields(PositionConfig)}
    try:
        config = PositionConfig(**{name: value for name, value in found.options.items() if name in known})
    except (BadInput, TypeError) as error:
        raise WeightsMismatch(f"{path}: holds weights of {theirs}, which this vultus has no network for ({error}); use the vultus that trained it") from error  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        network = network_of(config)
    load_strictly(network, found.state, str(config), f"{theirs} ({path})")
    factor = float(found.options.get("crop_factor", CROP_FACTOR))
    return PositionWeights(network.eval(), config, factor, found.card, path)
