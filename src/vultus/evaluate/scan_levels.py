"""The levels of a face against a scan: distances and the angle between normals, over the part of the face that the chart covers.

Distances run from points of the scan to the mesh, as in :mod:`.scan`. Normals are compared at the same pairs of points: that of the scan
with the smooth normal of a coarse or deformed face, or with the detailed one of a face with displacement (as it is rendered).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..geometry.chart_map import detailed_normals, displaced, unit
from ..geometry.closest import TriangleTree
from ..geometry.mesh import vertex_normals
from ..model.deformation import face_vertices
from ..model.face import DetailedFace, Geometry
from ..model.morphable import MorphableModel
from ..render.bake import bake
from .scan import Alignment


@dataclass(frozen=True)
class Surface:
    """A surface with its own idea of normals.

    Attributes:
        vertices: (v, 3) mm. triangles: (f, 3). normals: (v, 3) unit.
        on_face: (f,) bool, triangles of the face chart; the others are the rest of the head.
    """

    vertices: NDArray[np.float64]
    triangles: NDArray[np.int64]
    normals: NDArray[np.float64]
    on_face: NDArray[np.bool_]


@dataclass(frozen=True)
class LevelError:
    """What of a scan a surface gets wrong, per scan point.

    Attributes:
        distances_mm: (n,). angles_deg: (n,), NaN where the closest point is not on the face.
    """

    distances_mm: NDArray[np.float64]
    angles_deg: NDArray[np.float64]

    @property
    def median_mm(self) -> float:
        """Median scan-to-mesh distance."""
        return float(np.median(self.distances_mm))

    @property
    def mean_angle_deg(self) -> float:
        """Mean angle between the scan's normals and the surface's."""
        return float(np.nanmean(self.angles_deg))


def level_surface(model: MorphableModel, face: Geometry, size: int = 512) -> Surface:
    """The skin of a face at its level: the chart as a grid of texels "size size", the rest of the outer skin as triangles.

    A displacement moves the grid and turns its normals as it does when the face is drawn.

    Args:
        size: texels per side; that of the displacement map, if there is one, goes over it.
    """
    assert model.chart is not None
    chart, vertices = model.chart, face_vertices(model, face)
    smooth = vertex_normals(vertices, model.triangles)
    displacement = face.displacement_mm if isinstance(face, DetailedFace) else vertices.new_zeros(size, size)
    drawn, covered = bake(
        torch.cat([vertices, smooth], -1),
        chart.topology,
        (~chart.is_membrane).nonzero().squeeze(-1),
        len(displacement),
    )
    position, normals = drawn[:3], unit(drawn[3:])
    if bool((displacement != 0).any()):
        turned = detailed_normals(position, normals, displacement)
        position, normals = displaced(position, normals, displacement), turned
    grid = _grid_triangles(covered)
    rest = _rest_of_skin(model)
    own = torch.cat([position, normals]).flatten(1).T
    return Surface(
        np.concatenate([own[:, :3].double().numpy(), vertices.double().numpy()]),
        np.concatenate([grid, rest + len(own)]),
        np.concatenate([own[:, 3:].double().numpy(), smooth.double().numpy()]),
        np.arange(len(grid) + len(rest)) < len(grid),
    )


def level_error(
    surface: Surface,
    scan_points: NDArray[np.float64],
    scan_normals: NDArray[np.float64],
    alignment: Alignment | None = None,
) -> LevelError:
    """Distances and angles at scan points (n, 3) with unit normals (n, 3).

    Args:
        alignment: from the surface's frame into the scan's (:func:`~vultus.evaluate.scan.align_to_scan`); None: they are the same.
    """
    alignment = alignment or Alignment(1.0, np.eye(3), np.zeros(3))
    found = TriangleTree(alignment.apply(surface.vertices), surface.triangles).query(scan_points)
    corners = surface.normals[surface.triangles[found.triangle_ids]]
    there = (corners * found.barycentric[..., None]).sum(1) @ alignment.rotation.T
    there /= np.maximum(np.linalg.norm(there, axis=1, keepdims=True), 1e-12)
    cosine = np.clip((there * scan_normals).sum(1), -1, 1)
    angle = np.where(surface.on_face[found.triangle_ids], np.degrees(np.arccos(cosine)), np.nan)
    return LevelError(found.distances, angle)


def point_normals(
    vertices: NDArray[np.floating],
    triangles: NDArray[np.integer],
    ids: NDArray[np.integer],
    points: NDArray[np.floating],
) -> NDArray[np.float64]:
    """Unit normals (n, 3) at points (n, 3) of given triangles (n,) of a scan, interpolated between those of its vertices."""
    normals = vertex_normals(
        torch.from_numpy(np.asarray(vertices, float)), torch.from_numpy(triangles)
    ).numpy()
    a, b, c = (np.asarray(vertices, float)[triangles[ids, i]] for i in range(3))
    ab, ac, ap = b - a, c - a, points - a
    d00, d01, d11 = (ab * ab).sum(1), (ab * ac).sum(1), (ac * ac).sum(1)
    d20, d21 = (ap * ab).sum(1), (ap * ac).sum(1)
    area = np.maximum(d00 * d11 - d01 * d01, 1e-30)
    v, w = (d11 * d20 - d01 * d21) / area, (d00 * d21 - d01 * d20) / area
    weight = np.stack([1 - v - w, v, w], 1)
    found = (normals[triangles[ids]] * weight[..., None]).sum(1)
    return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)


def _grid_triangles(covered: Tensor) -> NDArray[np.int64]:
    """Two triangles per four covered texels of "h w"."""
    height, width = covered.shape
    ids = torch.arange(height * width).reshape(height, width)
    quads = torch.stack([ids[:-1, :-1], ids[1:, :-1], ids[1:, 1:], ids[:-1, 1:]], -1).reshape(-1, 4)
    quads = quads[covered.flatten()[quads].all(1)]
    return torch.cat([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]).numpy()


def _rest_of_skin(model: MorphableModel) -> NDArray[np.int64]:
    """Triangles of the outer skin that do not lie in the chart; not the pockets of mouth and eyes."""
    assert model.chart is not None
    skin = model.part_triangles(model.part_names[0])
    hidden = torch.zeros(len(model.mean_mm), dtype=torch.bool)
    for name in ("inner_mouth", "eye_sockets"):
        if name in model.regions:
            hidden |= model.regions[name]
    inside = torch.isfinite(model.chart.uv[:, 0])
    return skin[~inside[skin].all(1) & ~hidden[skin].any(1)].numpy()
