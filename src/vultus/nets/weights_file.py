"""Files of trained weights, as `vultus train --export` writes them (:mod:`vultus.train.export`): what is in one, and loading it strictly."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from ..errors import BadFile, WeightsMismatch

FORMAT = "vultus-network-1"
"""What the metadata of such a file call themselves."""


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
    if metadata.get("format") != FORMAT:
        raise BadFile(f"{path}: holds no network of vultus; give a file that `vultus train --export` wrote")
    try:
        options, card = json.loads(metadata["options"]), json.loads(metadata["card"])
        task = metadata["task"]
    except (KeyError, ValueError) as error:
        raise BadFile(f"{path}: does not say what it holds ({error!r}); get the file again") from error
    floats = {name: v.float() if v.is_floating_point() else v for name, v in state.items()}
    return Exported(task, options, card, floats)


def load_strictly(network: nn.Module, state: Mapping[str, Tensor], ours: str, theirs: str) -> None:
    """Load weights into a network of the same parts and shapes.

    Args:
        ours: what the network is. theirs: what the weights are of; both for the message.

    Raises:
        WeightsMismatch: a tensor too many, too few, or of another shape; names both and the first such tensor.
    """
    own = network.state_dict()
    wrong = [f"{n} is missing" for n in own if n not in state] + [
        f"{n} is unknown" for n in state if n not in own
    ]
    wrong += [
        f"{n} is {list(state[n].shape)}, not {list(own[n].shape)}"
        for n in own
        if n in state and state[n].shape != own[n].shape
    ]
    if wrong:
        more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise WeightsMismatch(f"weights of {theirs} do not fit {ours}: {wrong[0]}{more}; use the config that they were trained with")  # fmt: skip
    network.load_state_dict(state)
