"""Landmark tables of models that name one vertex per landmark."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ...errors import WeightsMismatch
from ..landmarks import LandmarkTable


def vertex_table(
    name: str, vertex_ids: Tensor, triangles: Tensor, spread_mm: Tensor | float = 2.0
) -> LandmarkTable:
    """The table of a model that names one vertex "l" per landmark, whatever the pose.

    Args:
        name: of the scheme. vertex_ids: "l". triangles: "f 3" of the model.
        spread_mm: "l" or one for all; nobody has measured it.

    Raises:
        WeightsMismatch: a vertex is in no triangle.
    """
    used, first = np.unique(triangles.numpy(), return_index=True)  # of the flattened triangles
    place = np.searchsorted(used, vertex_ids.numpy()).clip(max=len(used) - 1)
    lost = np.flatnonzero(used[place] != vertex_ids.numpy())
    if len(lost):
        raise WeightsMismatch(
            f"landmark {lost[0]} of {name} is at vertex {vertex_ids[lost[0]]}, which is in no triangle"
        )
    triangle_ids, corner = (torch.from_numpy(part) for part in divmod(first[place], 3))
    return LandmarkTable(
        name=name,
        yaw_deg=torch.zeros(1),
        pitch_deg=torch.zeros(1),
        triangle_ids=triangle_ids[None, None],
        barycentric=torch.nn.functional.one_hot(corner, 3).float()[None, None],
        spread_mm=torch.as_tensor(spread_mm).float().expand(1, 1, len(vertex_ids)).clone(),
    )
