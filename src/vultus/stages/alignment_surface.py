"""The face chart as a surface of its own: its vertices without the rest of the head, and where the named points lie in it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import BadInput
from ..geometry.mesh import Topology
from ..model.morphable import MorphableModel
from ..nets.position_readout import face_chart


@dataclass(frozen=True, eq=False)
class FaceSurface:
    """The part of a model that its chart covers, eyes and mouth closed by membranes.

    Attributes:
        model: the whole.
        vertex_ids: "n" int64, its vertices inside the chart, ascending.
        uv: "n 2" chart coordinates. mean_mm: "n 3" of the mean head, head frame.
        triangles: "f 3" int64, indices into these n. is_membrane: "f" bool.
        marks_uv: name of a landmark scheme -> "l 2"; NaN for points that are not on the face.
    """

    model: MorphableModel
    vertex_ids: Tensor
    uv: Tensor
    mean_mm: Tensor
    triangles: Tensor
    is_membrane: Tensor
    marks_uv: dict[str, Tensor]

    @property
    def topology(self) -> Topology:
        """The triangles, with chart coordinates as texture coordinates."""
        return Topology(self.triangles, len(self.uv), self.uv)

    def points_uv(self, scheme: str) -> Tensor:
        """Where the points of a landmark scheme lie in the chart: "l 2".

        Raises:
            BadInput: the model does not have it.
        """
        if scheme not in self.marks_uv:
            raise BadInput(f"the model {self.model.name} has no table of the points {scheme}: choose another --model")  # fmt: skip
        return self.marks_uv[scheme]


_kept: list[FaceSurface] = []
_MOST_KEPT = 4


def face_surface(model: MorphableModel) -> FaceSurface:
    """The surface of a model's chart; the last few are kept.

    Raises:
        BadInput: the model has no chart.
    """
    for found in _kept:
        if found.model is model:
            return found
    chart = face_chart(model)
    ids, triangles = torch.unique(chart.triangles, return_inverse=True)
    marks = {name: _frontal_uv(model, name) for name in model.landmarks}
    surface = FaceSurface(model, ids, chart.uv[ids], model.mean_mm[ids], triangles, chart.is_membrane, marks)
    _kept[:] = [surface, *_kept[: _MOST_KEPT - 1]]
    return surface


def _frontal_uv(model: MorphableModel, scheme: str) -> Tensor:
    """A scheme's points on a frontal head, as places in the chart: "l 2".

    The table's other poses follow a detector whose points slide over the skin, some of them off the chart.
    """
    zero = torch.zeros(())
    return model.landmarks[scheme].points(face_chart(model).uv, model.triangles, zero, zero)
