"""The morphable model: one frozen object that holds everything constant about a family of heads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..geometry.mesh import Mesh, Topology
from .face import FaceCode
from .landmarks import LandmarkTable


@dataclass(frozen=True)
class FaceChart:
    """The face as a disc in the unit square, eyes and mouth closed by membranes (docs/model.md).

    Attributes:
        uv: "v 2" chart coordinates (u right, v down) of every model vertex; NaN outside the chart.
        triangles: "f 3" int64, the model's triangles inside the chart plus the membranes that close eyes and mouth.
        is_membrane: "f" bool, which of them are membranes.
    """

    uv: Tensor
    triangles: Tensor
    is_membrane: Tensor

    @property
    def topology(self) -> Topology:
        """The chart's triangles with chart coordinates as texture coordinates: what draws attributes into maps."""
        return Topology(self.triangles, len(self.uv), torch.nan_to_num(self.uv))


@dataclass(frozen=True)
class MorphableModel:
    """Shape and albedo as linear functions of a :class:`FaceCode`.

    Blanz and Vetter, "A morphable model for the synthesis of 3D faces", SIGGRAPH 1999; expressions are additive deltas.

    Attributes:
        name: how users ask for it (``--model``).
        topology: triangles of all parts; ``uv`` is the texture atlas of this model.
        mean_mm: "v 3" head frame.
        identity_mm: "k v 3" per sigma. expression_mm: "e v 3" per unit of weight.
        expression_names: ARKit names where the model has them.
        expression_range: "e 2" lowest and highest sensible weight.
        expression_sigma: "e" typical size of each weight, for priors.
        albedo_mean: "v 3" linear-light RGB. albedo: "a v 3" per sigma.
        part_of_triangle: "f" int64, index into ``part_names`` (``skin`` first).
        part_names: e.g. skin, eye_left, eye_right, teeth, tongue, lashes.
        regions: name -> "v" bool: nose, mouth, forehead, cheeks, eyes, lips, ears, scalp, neck, face.
        chart: the face chart, or None for a model without one.
        landmarks: name -> table.
        mirror: "v" int64, the vertex on the other side, or None.
    """

    name: str
    topology: Topology
    mean_mm: Tensor
    identity_mm: Tensor
    expression_mm: Tensor
    expression_names: tuple[str, ...]
    expression_range: Tensor
    expression_sigma: Tensor
    albedo_mean: Tensor
    albedo: Tensor
    part_of_triangle: Tensor
    part_names: tuple[str, ...]
    regions: Mapping[str, Tensor]
    chart: FaceChart | None
    landmarks: Mapping[str, LandmarkTable]
    mirror: Tensor | None = None

    @property
    def triangles(self) -> Tensor:
        """All triangles "f 3"."""
        return self.topology.triangles

    def part_triangles(self, part: str) -> Tensor:
        """The triangles "f' 3" of one named part (indices into all vertices)."""
        return self.triangles[self.part_of_triangle == self.part_names.index(part)]

    def vertices(self, code: FaceCode) -> Tensor:
        """Vertices "... v 3" in the head frame, millimetres."""
        shape = code.identity @ self.identity_mm.flatten(1) + code.expression @ self.expression_mm.flatten(1)
        return self.mean_mm + shape.unflatten(-1, (-1, 3))

    def mesh(self, code: FaceCode) -> Mesh:
        """The head of a code as a mesh."""
        return Mesh(self.vertices(code), self.topology)

    def vertex_albedo(self, code: FaceCode) -> Tensor:
        """Linear-light reflectance "... v 3", clamped to [0, 1]."""
        return (self.albedo_mean + (code.albedo @ self.albedo.flatten(1)).unflatten(-1, (-1, 3))).clamp(0, 1)

    def mean_code(self, dtype: torch.dtype = torch.float32) -> FaceCode:
        """The code of the mean head with a neutral expression."""
        sizes = (len(self.identity_mm), len(self.expression_mm), len(self.albedo))
        return FaceCode(*(torch.zeros(size, dtype=dtype, device=self.mean_mm.device) for size in sizes))
