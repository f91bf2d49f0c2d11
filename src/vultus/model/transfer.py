"""Give another model what the bundled head has: face chart, regions, landmark tables, albedo, texture atlas.

Everything is a question of closest points between the model's mean and the bundled head bent onto it
(:mod:`vultus.model.registered`), among triangles that face the same way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from ..geometry.closest import ClosestPoints, TriangleTree
from ..geometry.mesh import triangle_normals, vertex_normals
from . import bundled
from .landmarks import LandmarkTable
from .morphable import FaceChart, MorphableModel
from .rechart import clean_chart, close_holes
from .registered import registered_template

MAX_DISTANCE_MM = 5.0  # farther from the bundled head a vertex is no part of the face chart
MAX_ANGLE_DEG = 75.0
OUTSIDE_FACE = ("ears", "scalp", "neck", "inner_mouth", "eye_sockets")


@dataclass(frozen=True)
class Transfer:
    """The bundled head and another model's mean, in correspondence.

    Attributes:
        template: the bundled model. moved: its vertices "v 3" on the other model's mean.
        mean_mm: "w 3" the other model's mean. triangles: "f 3" all of its triangles.
        part_of_triangle: "f"; part_names: as in :class:`MorphableModel`.
        surface_ids: "s" which triangles are the visible skin (no inside of the mouth, no sockets).
    """

    template: MorphableModel
    moved: np.ndarray
    mean_mm: np.ndarray
    triangles: np.ndarray
    part_of_triangle: np.ndarray
    part_names: Sequence[str]
    surface_ids: np.ndarray

    @classmethod
    def between(
        cls, model: MorphableModel, ibug68: np.ndarray, surface_ids: np.ndarray | None = None
    ) -> Transfer:
        """Register the bundled head to the model's mean, or recall it.

        Args:
            model: its mean, triangles and parts are used.
            ibug68: "68" its vertices at the iBUG-68 points.
            surface_ids: see the attribute; all skin when omitted.
        """
        mean_mm, triangles = model.mean_mm.double().numpy(), model.triangles.numpy()
        if surface_ids is None:
            surface_ids = np.flatnonzero(model.part_of_triangle.numpy() == 0)
        moved = registered_template(mean_mm, triangles[surface_ids], ibug68)
        part = model.part_of_triangle.numpy()
        return cls(bundled.load(), moved, mean_mm, triangles, part, model.part_names, surface_ids)

    def chart(self) -> FaceChart:
        """The face chart for the other model's vertices.

        Its square is not filled to the edge: triangles that straddle the edge are left out.
        """
        chart = self.template.chart
        assert chart is not None  # the bundled head has one
        skin = self.template.triangles[self.template.part_of_triangle == 0].numpy()
        if (
            "eye_left" in self.part_names
        ):  # lids are rims on both: what lies behind the template's is no place for theirs
            skin = skin[~self.template.regions["eye_sockets"].numpy()[skin].any(1)]
        every = np.concatenate([skin, self._eye_membranes(chart)])
        key = lambda triangles: {tuple(corners) for corners in np.sort(triangles, 1).tolist()}  # noqa: E731
        inside = key(chart.triangles.numpy())
        in_chart = np.array([tuple(corners) in inside for corners in np.sort(every, 1).tolist()])
        ids, normals = self._vertices(self.surface_ids)
        found = TriangleTree(self.moved, every).query(self.mean_mm[ids], normals, MAX_ANGLE_DEG)
        good = (found.triangle_ids >= 0) & in_chart[found.triangle_ids] & (found.distances < MAX_DISTANCE_MM)
        uv = np.full((len(self.mean_mm), 2), np.nan)
        uv[ids[good]] = _mix(chart.uv.double().numpy(), every, found)[good]
        # In float32, so that no rounding can flip what was checked.
        uv, kept, _ = clean_chart(uv.astype(np.float32), self.triangles[self.surface_ids])
        kept, membranes = close_holes(uv, kept)
        uv[np.setdiff1d(np.arange(len(uv)), kept)] = np.nan
        return FaceChart(
            _tensor(uv.astype(np.float32)),
            _tensor(np.concatenate([kept, membranes])),
            _tensor(np.arange(len(kept) + len(membranes)) >= len(kept)),
        )

    def regions(self, chart: FaceChart) -> dict[str, Tensor]:
        """Region masks "w"; ``face`` is what the chart covers, as on the bundled head."""
        ids, found = self._on_template_skin
        skin = self.template.part_triangles("skin").numpy()
        regions = {}
        for name, mask in self.template.regions.items():
            chosen = np.zeros(len(self.mean_mm), bool)
            chosen[ids] = _mix(mask.double().numpy()[:, None], skin, found)[:, 0] > 0.5
            regions[name] = _tensor(chosen)
        face = ~chart.uv.isnan().any(1)
        return {name: mask & ~face if name in OUTSIDE_FACE else mask for name, mask in regions.items()} | {
            "face": face
        }

    def landmarks(self) -> Mapping[str, LandmarkTable]:
        """The bundled head's landmark tables on the other model's triangles, part for part (skin where it lacks the part)."""
        tables = {}
        normals = triangle_normals(torch.from_numpy(self.moved), self.template.triangles).numpy()
        normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-30)
        for name, table in self.template.landmarks.items():
            their_ids = table.triangle_ids.flatten().numpy()
            corners = self.moved[self.template.triangles.numpy()[their_ids]]
            points = (corners * table.barycentric.reshape(-1, 3, 1).double().numpy()).sum(1)
            part = self.template.part_of_triangle.numpy()[their_ids]
            ids, weight = np.zeros(len(points), np.int64), np.zeros((len(points), 3))
            for i in np.unique(part):
                own = self._own_triangles(self.template.part_names[i])
                chosen = part == i
                found = _closest(
                    TriangleTree(self.mean_mm, self.triangles[own]),
                    points[chosen],
                    normals[their_ids[chosen]],
                )
                ids[chosen], weight[chosen] = own[found.triangle_ids], found.barycentric
            shape = table.triangle_ids.shape
            tables[name] = replace(
                table,
                triangle_ids=_tensor(ids.reshape(shape)),
                barycentric=_tensor(weight.reshape(*shape, 3).astype(np.float32)),
            )
        return tables

    def albedo(self) -> tuple[Tensor, Tensor]:
        """Mean "w 3" and axes "a w 3" of the bundled head's albedo, part for part; a part that it lacks takes its teeth's mean."""
        source = torch.cat([self.template.albedo_mean[None], self.template.albedo]).double().numpy()
        axes = source.transpose(1, 0, 2).reshape(source.shape[1], -1)
        carried = np.zeros((len(self.mean_mm), axes.shape[1]))
        for i, name in enumerate(self.part_names):
            own = np.flatnonzero(self.part_of_triangle == i)
            ids, normals = self._vertices(own)
            theirs = self.template.part_triangles(
                name if name in self.template.part_names else "teeth"
            ).numpy()
            if name == "skin":
                ids, found = self._on_template_skin
            else:
                found = _closest(TriangleTree(self.moved, theirs), self._fitted(ids, theirs), normals)
            carried[ids] = _mix(axes, theirs, found)
        mean, *rest = carried.reshape(len(carried), -1, 3).transpose(1, 0, 2).astype(np.float32)
        return _tensor(mean), _tensor(np.stack(rest))

    def atlas(self) -> Tensor:
        """The bundled head's skin atlas "w 2" (one texture point per skin vertex), zero elsewhere: for models without their own."""
        topology, skin = self.template.topology, self.template.part_of_triangle == 0
        assert topology.uv is not None and topology.uv_triangles is not None
        uv = np.zeros((len(self.moved), 2))
        uv[topology.triangles[skin].numpy()] = topology.uv[topology.uv_triangles[skin]].double().numpy()
        ids, found = self._on_template_skin
        atlas = np.zeros((len(self.mean_mm), 2), np.float32)
        atlas[ids] = _mix(uv, self.template.part_triangles("skin").numpy(), found)
        return _tensor(atlas)

    def _eye_membranes(self, chart: FaceChart) -> np.ndarray:
        """Membranes "m 3" of the bundled head that a model with one surface over face and eyes can correspond to: none if its
        eyes are parts of their own. Lips are closed in both, so there the membrane has no area.
        """
        if "eye_left" in self.part_names:
            return np.zeros((0, 3), np.int64)
        membranes = chart.triangles[chart.is_membrane]
        eyes = self.template.regions["eyes"][membranes].all(1)
        return membranes[eyes].numpy()

    @cached_property
    def _on_template_skin(self) -> tuple[np.ndarray, ClosestPoints]:
        ids, normals = self._vertices(np.flatnonzero(self.part_of_triangle == 0))
        tree = TriangleTree(self.moved, self.template.part_triangles("skin").numpy())
        return ids, _closest(tree, self.mean_mm[ids], normals)

    def _vertices(self, triangle_ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The vertices "n" of some triangles, and their normals "n 3" on these."""
        chosen = self.triangles[triangle_ids]
        ids = np.unique(chosen)
        normals = vertex_normals(torch.from_numpy(self.mean_mm), torch.from_numpy(chosen)).numpy()
        return ids, normals[ids]

    def _own_triangles(self, part: str) -> np.ndarray:
        """Which triangles hold landmarks of one of the bundled head's parts."""
        if part in self.part_names and part != "skin":
            return np.flatnonzero(self.part_of_triangle == list(self.part_names).index(part))
        return self.surface_ids

    def _fitted(self, ids: np.ndarray, theirs: np.ndarray) -> np.ndarray:
        """Points of a part, shifted and sized onto the bundled head's part: eyeballs and teeth correspond as wholes."""
        own, other = self.mean_mm[ids], self.moved[np.unique(theirs)]
        size = [np.linalg.norm(points - points.mean(0), axis=1).mean() for points in (own, other)]
        return (own - own.mean(0)) * size[1] / max(size[0], 1e-9) + other.mean(0)


def _closest(tree: TriangleTree, points: np.ndarray, normals: np.ndarray) -> ClosestPoints:
    """Closest points that face the same way; of any direction where there is none."""
    facing, nearest = tree.query(points, normals, MAX_ANGLE_DEG), tree.query(points)
    # A match far behind a near surface is worse than a wrong direction.
    poor = (facing.triangle_ids < 0) | (facing.distances > nearest.distances + 2 * MAX_DISTANCE_MM)
    return ClosestPoints(
        *(np.where(poor.reshape(-1, *[1] * (b.ndim - 1)), b, a) for a, b in zip(facing, nearest))
    )


def _mix(values: np.ndarray, triangles: np.ndarray, found: ClosestPoints) -> np.ndarray:
    """Vertex values "v c" at the found places "n c"."""
    return (values[triangles[found.triangle_ids]] * found.barycentric[:, :, None]).sum(1)


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))
