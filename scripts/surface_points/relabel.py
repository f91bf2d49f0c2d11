"""Labels without the errors of the fits that the skins come from.

A photo lies a little wrong on the head that was fitted to it: its nose is a millimetre beside the mesh's nose, in every picture in which some
head wears this skin. Over many pictures of one skin with many identities, the mean difference between label and network is that error; it is
taken off the labels, and training goes on. (Expectation and maximisation, the skin's offsets being what is hidden.)
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from draw import NUM_POINTS, skins_of
from measure import TOP_AND_CHIN
from network import read_heads

from vultus.detect.network import Network

HEIGHT_MM = 145.0  # from forehead to chin
MAX_YAW_DEG, PRIOR_PICTURES, BATCH = 35.0, 3.0, 50


def skin_offsets(paths: Sequence[Path], num_skins: int, network: Network) -> np.ndarray:
    """Mean label minus network per skin (s, l, 2), millimetres in the crop's axes, drawn to zero where there are few pictures."""
    total, count = np.zeros((num_skins, NUM_POINTS, 2)), np.zeros(num_skins)
    for path in paths:
        shard = np.load(path)
        images = torch.from_numpy(shard["image"])
        found = torch.cat(
            [read_heads(network(part.permute(0, 3, 1, 2).float() / 255))[0] for part in images.split(BATCH)]
        )
        gap = (_drawn_points(shard) - found.numpy()) * _mm_per_px(_drawn_points(shard))
        skins = skins_of(int(path.stem), len(images), num_skins)
        for skin, row, yaw in zip(skins, gap, shard["yaw_deg"]):
            if abs(yaw) < MAX_YAW_DEG:
                total[skin] += np.clip(row, -8, 8)
                count[skin] += 1
    common = total.sum(0) / count.sum()  # what the network does not know yet is no skin's error
    return (total - count[:, None, None] * common) / (count[:, None, None] + PRIOR_PICTURES)


def relabel(path: Path, offsets_mm: np.ndarray) -> None:
    """Rewrite a shard's points; the drawn ones stay beside them."""
    shard = dict(np.load(path))
    drawn = _drawn_points(shard)
    skins = skins_of(int(path.stem), len(drawn), len(offsets_mm))
    turned = offsets_mm[skins].copy()
    turned[..., 0] *= np.cos(np.radians(shard["yaw_deg"]))[:, None]
    shard |= {"drawn": drawn, "points": (drawn - turned / _mm_per_px(drawn)).astype(np.float32)}
    partial = path.with_suffix(".part.npz")
    np.savez(partial, **shard)
    partial.replace(path)


def _drawn_points(shard) -> np.ndarray:
    return shard["drawn"] if "drawn" in shard else shard["points"]


def _mm_per_px(points: np.ndarray) -> np.ndarray:
    height = np.linalg.norm(points[:, TOP_AND_CHIN[0]] - points[:, TOP_AND_CHIN[1]], axis=1)
    return (HEIGHT_MM / np.maximum(height, 1))[:, None, None]
