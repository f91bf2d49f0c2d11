"""How far a position map is from the true one, as the PRNet paper counts: in per cent of the face's box, by yaw."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..evaluate.nme import BINS, yaw_bin
from ..geometry.position_map import in_pixels, sample_map

SCORE = "nme68"
"""The number that says which checkpoint is best."""
YAW = "yaw_deg"


def map_errors(output: Tensor, truth: Tensor, landmarks_uv: Tensor, vertices_uv: Tensor, crop_px: int) -> dict[str, Tensor]:  # fmt: skip
    """Errors of each sample "b" in per cent.

    - ``nme68``, ``nme68_3d``: mean distance of the 68 points of the two maps over sqrt(width * height) of the true ones' box;
    - ``dense``, ``dense_3d``: the same of all model vertices inside the chart, over the box of all of them.

    The 3D ones compare z from the mean over the points at hand, in both maps: where the zero of a depth is says nothing about a shape.

    Args:
        output, truth: normalised maps "b 3 s s". landmarks_uv: "68 2", vertices_uv: "n 2", both in the chart.
    """
    predicted, true = (in_pixels(values.double().contiguous(), crop_px) for values in (output, truth))
    found: dict[str, Tensor] = {}
    for name, uv in (("nme68", landmarks_uv), ("dense", vertices_uv)):
        theirs = sample_map(true, uv)
        low, high = theirs[..., :2].amin(1), theirs[..., :2].amax(1)
        size = (high - low).prod(-1).sqrt()
        xy, z = (sample_map(predicted, uv) - theirs).split([2, 1], -1)
        shape = torch.cat([xy, z - z.mean(1, keepdim=True)], -1)
        found[name] = 100 * xy.norm(dim=-1).mean(-1) / size
        found[f"{name}_3d"] = 100 * shape.norm(dim=-1).mean(-1) / size
    return found


def summarise(values: Mapping[str, NDArray[np.float64]]) -> dict[str, float]:
    """Means over all samples, and of ``nme68`` by yaw: each bin that has samples, and the unweighted mean of the bins where all have."""
    found = {name: float(some.mean()) for name, some in values.items() if name != YAW}
    bins = np.array([yaw_bin(yaw) for yaw in values[YAW]])
    for name in BINS:
        if (bins == name).any():
            found[f"{SCORE}_yaw_{name}"] = float(values[SCORE][bins == name].mean())
    parts = [found[f"{SCORE}_yaw_{name}"] for name in BINS if f"{SCORE}_yaw_{name}" in found]
    if len(parts) == len(BINS):
        found[f"{SCORE}_yaw_mean"] = float(np.mean(parts))
    return found
