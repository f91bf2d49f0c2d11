"""What the loop asks of a task: everything that is about faces and nothing that is about training."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..data.sample import Sample

Example = dict[str, Any]
"""One sample as a network sees it: name -> tensor without batch axis; "key" names the sample."""

Batch = dict[str, Any]
"""Examples together: name -> tensor "b ..."; "key" is the list of names."""

Outputs = dict[str, Tensor]
"""What a network says about a batch: name -> "b ..."."""


class Task(Protocol):
    """One kind of network and how it learns. Frozen and picklable: reading processes get a copy."""

    @property
    def name(self) -> str:
        """As the config calls it."""
        ...

    @property
    def score(self) -> str:
        """Which number of :meth:`summary` says how good a network is; lower is better."""
        ...

    def network(self) -> nn.Module:
        """A new network with random weights (of torch's global generator, which the loop seeds)."""
        ...

    def example(self, sample: Sample, rng: np.random.Generator | None) -> Example:
        """What training sees of a sample.

        Args:
            rng: for augmentation; None: without, as validation sees it.

        Raises:
            BadFile, BadInput: nothing can be learnt from this sample; it counts as one that cannot be read.
        """
        ...

    def outputs(self, network: nn.Module, batch: Batch) -> Outputs:
        """The network's answer; calls it exactly once."""
        ...

    def loss(self, outputs: Outputs, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss, a scalar, mean over the batch, and further scalars for the log."""
        ...

    def measure(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """Numbers "b" of each sample for validation."""
        ...

    def summary(self, values: Mapping[str, NDArray[np.float64]]) -> dict[str, float]:
        """Numbers of the whole set from those of its samples (n,); groups without samples are left out."""
        ...

    def baseline(self, examples: Iterable[Example]) -> Callable[[Batch], Outputs]:
        """The best answer that does not look at the picture, made from training examples: what a network must beat."""
        ...

    def picture(self, outputs: Outputs, batch: Batch) -> Tensor:
        """Some of the batch for people to look at, "3 h w" sRGB in [0, 1]: input, prediction, truth."""
        ...


def collate(examples: Sequence[Example]) -> Batch:
    """Examples as a batch."""
    first = examples[0]
    return {
        name: torch.stack([e[name] for e in examples])
        if isinstance(value, Tensor)
        else [e[name] for e in examples]
        for name, value in first.items()
    }


def to_device(batch: Batch, device: torch.device, channels_last: bool) -> Batch:
    """The batch where the network is; images and maps "b c h w" in the memory layout of its weights."""
    moved: Batch = {}
    for name, value in batch.items():
        if isinstance(value, Tensor):
            pinned = value.pin_memory() if device.type == "cuda" else value
            value = pinned.to(device, non_blocking=True)
            if channels_last and value.ndim == 4:
                value = value.contiguous(memory_format=torch.channels_last)
        moved[name] = value
    return moved
