"""The order of the samples of an epoch: a function of the seed and the epoch alone, known as a whole before anything is read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .manifest import Manifest

TOGETHER = 8
"""So many shards are mixed with each other."""


def order_of_epoch(manifests: Sequence[Manifest], weights: Sequence[float] | None, seed: int, epoch: int, shuffle: bool) -> NDArray[np.int64]:  # fmt: skip
    """Numbers of samples (all sets' shards one after the other) in the order of an epoch."""
    sizes = [[shard.samples for shard in manifest.shards] for manifest in manifests]
    totals = np.array([sum(size) for size in sizes])
    firsts, counts = np.cumsum(totals) - totals, samples_of_epoch(manifests, weights)
    parts = []
    for k, (size, total, count) in enumerate(zip(sizes, totals, counts)):
        begun, part = divmod(epoch * int(count), int(total))
        rounds = [_round(size, [seed, k, begun + i], shuffle) for i in range(-(-(part + int(count)) // int(total)))]  # fmt: skip
        parts.append(firsts[k] + np.concatenate([*rounds, np.zeros(0, np.int64)])[part : part + int(count)])
    whose = np.repeat(np.arange(len(parts)), counts)
    if shuffle:
        np.random.default_rng([seed, epoch, 86028157]).shuffle(whose)
    order = np.empty(len(whose), np.int64)
    for k, part in enumerate(parts):
        order[whose == k] = part
    return order


def samples_of_epoch(manifests: Sequence[Manifest], weights: Sequence[float] | None) -> NDArray[np.int64]:
    """Samples that each set gives to an epoch."""
    totals = np.array([manifest.samples for manifest in manifests], np.int64)
    if weights is None:
        return totals
    return np.rint(totals.sum() * np.array(weights) / sum(weights)).astype(np.int64)


def _round(sizes: Sequence[int], seeds: Sequence[int], shuffle: bool) -> NDArray[np.int64]:
    """Every sample of a set once. Shards are shuffled, and so are the samples of some shards together: few files are open at a time."""
    first = np.cumsum([0, *sizes])
    if not shuffle:
        return np.arange(int(first[-1]))
    rng = np.random.default_rng(seeds)
    shards, blocks = rng.permutation(len(sizes)), []
    for begin in range(0, len(shards), TOGETHER):
        block = np.concatenate(
            [np.arange(int(first[s]), int(first[s + 1])) for s in shards[begin : begin + TOGETHER]]
        )
        rng.shuffle(block)
        blocks.append(block)
    return np.concatenate(blocks)
