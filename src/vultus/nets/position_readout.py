"""What a position map says about the face: vertices of the model, and its 68 points."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import BadInput
from ..geometry.position_map import sample_map
from ..model.morphable import FaceChart, MorphableModel


def vertices_from_map(model: MorphableModel, position: Tensor) -> Tensor:
    """A map "... 3 s s" at the model's vertices: "... v 3", NaN outside of the chart.

    Raises:
        BadInput: the model has no chart.
    """
    return sample_map(position, face_chart(model).uv)


def landmarks_from_map(model: MorphableModel, position: Tensor) -> Tensor:
    """iBUG's 68 points "... 68 3" of a map "... 3 s s".

    At the places of a frontal head, which stick to the surface as it turns: the table's other poses follow a detector that
    slides along the outline, off the chart.

    Raises:
        BadInput: the model has no chart, or no such table.
    """
    return _marks(model, vertices_from_map(model, position))


def landmarks_uv(model: MorphableModel) -> Tensor:
    """Where the 68 points lie in the chart: "68 2".

    Raises:
        BadInput: as :func:`landmarks_from_map`.
    """
    return _marks(model, face_chart(model).uv)


def face_chart(model: MorphableModel) -> FaceChart:
    """The model's chart.

    Raises:
        BadInput: it has none.
    """
    if model.chart is None:
        raise BadInput(
            f"the model {model.name} has no face chart: position maps need one, choose another --model"
        )
    return model.chart


def _marks(model: MorphableModel, values: Tensor) -> Tensor:
    if "ibug68" not in model.landmarks:
        raise BadInput(f"the model {model.name} has no table of iBUG's 68 points: choose another --model")
    zero = torch.zeros((), device=values.device)
    return model.landmarks["ibug68"].points(values, model.triangles, zero, zero)
