"""A scanned head as a face of this package: code, deformation map and displacement map that reproduce its surface.

What the published method calls the ground truth of its 3D detail prior (Lei et al., CVPR 2023; docs/scans.md): the model's nearest head
(:mod:`.scan_code`), then its face bent onto the scan by non-rigid ICP and written as a deformation map, then what is left along the
normal as a displacement map. Every texel says whether the scan was seen there.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from ..errors import BadInput
from ..geometry.chart_map import displaced, unit
from ..geometry.closest import TriangleTree
from ..geometry.light import frontal_light
from ..geometry.mesh import vertex_normals
from ..geometry.register import RegisterOptions, border_triangles, register
from ..geometry.rigid import FRONTAL, Similarity, rigid_transform
from ..model.deformation import deformation_operator, face_vertices
from ..model.face import CoarseFace, DeformedFace, DetailedFace
from ..model.morphable import MorphableModel
from ..render.bake import bake, dilate
from .scan_code import (
    ScanCodeOptions,
    ScanLandmarks,
    face_surface,
    fit_code_to_scan,
    triangle_unit_normals,
    vertex_unit_normals,
)

MAP_SIZE = 64
_NEWTON_STEPS = 6
_HOLD = 0.2  # of a vertex's pull towards the scan, by which it is held to the coarse head where the scan shows no skin
_MET_MM = 0.05  # a ray met the scan when its end is this near


@dataclass(frozen=True)
class ScanOptions:
    """Knobs of :func:`register_scan`.

    Attributes:
        code: of the coarse fit. stiff: of the non-rigid ICP; its last stiffness is soft enough for what 64 texels can hold.
        smoothness: of the map where no vertex looks.
        size: texels per side of the displacement map. largest_mm: displacements beyond this are another surface (hair, the other lip).
        min_cosine: between the normals of template and scan, below which a point is not the same place.
        fade_mm: where the scan has a hole the displacement dies out over this distance.
        hair_mm: what lies this far above or below the nearest head of the model is hair, clothes or a hole rather than skin.
    """

    code: ScanCodeOptions = field(default_factory=ScanCodeOptions)
    stiff: RegisterOptions = field(
        default_factory=lambda: RegisterOptions(
            (100.0, 30.0, 10.0, 3.0, 1.0), 3, max_distance_mm=5.0, facing=True
        )
    )
    smoothness: float = 1e-2
    size: int = 512
    largest_mm: float = 2.5
    min_cosine: float = 0.5
    fade_mm: float = 3.0
    hair_mm: float = 4.0


@dataclass(frozen=True)
class RegisteredScan:
    """A scan explained.

    Attributes:
        face: code, deformation map "3 64 64", displacement map "s s", all in the head frame.
        known: "s s" bool, texels of the displacement that were read from the scan; elsewhere it fades to zero.
        head_from_scan: ``head = scale R scan + t``; the scan's own millimetres are those of the head divided by ``scale``.
    """

    face: DetailedFace
    known: Tensor
    head_from_scan: Similarity


def register_scan(
    model: MorphableModel,
    scan: NDArray[np.floating],
    scan_triangles: NDArray[np.integer],
    landmarks: ScanLandmarks,
    options: ScanOptions | None = None,
) -> RegisteredScan:
    """Lay the model on a scan: coarse code, deformation, displacement.

    Args:
        scan: "w 3" millimetres in any frame. scan_triangles: "g 3", counter-clockwise seen from outside.
        landmarks: of :func:`~vultus.fit.scan_code.scan_landmarks`.

    Raises:
        BadInput: nothing finite in it, no surface around the landmarks, a wrong unit, or a model without face chart.
    """
    options = options or ScanOptions()
    scan, scan_triangles = checked_scan(scan, scan_triangles)
    code, head = fit_code_to_scan(model, scan, scan_triangles, landmarks, options.code)
    target = head.apply(torch.from_numpy(scan)).numpy()
    pose = rigid_transform(FRONTAL, torch.tensor([0.0, 0.0, 600.0]))
    coarse = CoarseFace(code, pose, frontal_light())
    deformation = fit_scan_deformation(model, coarse, target, scan_triangles, options)
    deformed = DeformedFace(coarse, deformation)
    displacement, known = fit_scan_displacement(
        model, face_vertices(model, deformed), target, scan_triangles, options
    )
    return RegisteredScan(DetailedFace(deformed, displacement), known, head)


def checked_scan(
    scan: NDArray[np.floating], triangles: NDArray[np.integer]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """A scan's arrays with triangles that touch a point that is not finite left out.

    Raises:
        BadInput: no finite triangle is left, or an index is out of range.
    """
    scan, triangles = np.asarray(scan, np.float64), np.asarray(triangles, np.int64)
    if scan.ndim != 2 or scan.shape[1] != 3 or triangles.ndim != 2 or triangles.shape[1] != 3:
        raise BadInput(
            f"a scan is vertices (n, 3) and triangles (m, 3), not {scan.shape} and {triangles.shape}"
        )
    if len(triangles) and (triangles.min() < 0 or triangles.max() >= len(scan)):
        raise BadInput("the scan's triangles refer to vertices that are not there: export it again")
    finite: NDArray[np.bool_] = np.all(np.isfinite(scan), axis=1)
    triangles = triangles[np.all(finite[triangles], axis=1)]
    if not len(triangles):
        raise BadInput("the scan has no finite triangle: export it as a mesh, not as points")
    return np.where(finite[:, None], scan, 0.0), triangles


def fit_scan_deformation(
    model: MorphableModel,
    coarse: CoarseFace,
    target: NDArray[np.float64],
    target_triangles: NDArray[np.int64],
    options: ScanOptions,
) -> Tensor:
    """The deformation map "3 64 64" that bends a coarse face onto a scan in the head frame.

    The face's vertices go to the scan by non-rigid ICP; the map is the nearest one to their offsets in the least-squares sense.
    """
    assert model.chart is not None
    vertices = model.vertices(coarse.code).double().numpy()
    seen, _ = face_surface(model)
    inside = np.flatnonzero(torch.isfinite(model.chart.uv[:, 0]).numpy())
    # Membranes included: they hold the lids and the lips together where the scan has nothing.
    number = np.full(len(vertices), -1)
    number[inside] = np.arange(len(inside))
    triangles = number[model.chart.triangles.numpy()]
    weight = np.isin(inside, seen).astype(float)
    weight = np.where(_near_openings(model, inside), 0.3, 1.0) * weight
    likely = _likely_skin(vertices[inside], triangles, target, target_triangles, options.hair_mm)
    # Under hair the coarse head is the best guess; left free, the bending would go on there as steeply as it climbed the first strand.
    moved = register(
        vertices[inside],
        triangles,
        target,
        target_triangles,
        landmark_ids=np.arange(len(inside)),
        landmark_points=vertices[inside],
        landmark_weight=_HOLD * (1 - likely),
        weight=weight * likely,
        options=options.stiff,
    )
    offsets, trust = np.zeros_like(vertices), np.zeros(len(vertices))
    offsets[inside], trust[inside] = moved - vertices[inside], 1.0
    operator = deformation_operator(model, MAP_SIZE)
    return operator.nearest_map(
        torch.from_numpy(offsets).to(model.mean_mm), torch.from_numpy(trust), smoothness=options.smoothness
    )


def fit_scan_displacement(
    model: MorphableModel,
    vertices: Tensor,
    target: NDArray[np.float64],
    target_triangles: NDArray[np.int64],
    options: ScanOptions,
) -> tuple[Tensor, Tensor]:
    """The displacement map "s s" (mm) from a head "v 3" to a scan in the same frame, and where it is known "s s".

    Along each texel's normal the scan is met by Newton's method: the plane of the closest triangle is cut with the ray, and again from
    there. Where that does not end on the scan (holes, hair, folds) the map goes on from its surroundings and dies out.
    """
    assert model.chart is not None
    chart = model.chart
    ids = (~chart.is_membrane).nonzero().squeeze(-1)
    values = torch.cat([vertices, vertex_normals(vertices, model.triangles)], -1)
    drawn, covered = bake(values, chart.topology, ids, options.size)
    skin, _ = bake(_seen_skin(model), chart.topology, ids, options.size)
    active = (covered & (skin[0] > 0.5)).numpy()
    position = drawn[:3].double().permute(1, 2, 0).numpy()[active]
    normal = unit(drawn[3:6]).double().permute(1, 2, 0).numpy()[active]
    distance, met = meet_along(position, normal, target, target_triangles, options)
    known = torch.zeros(options.size, options.size, dtype=torch.bool)
    displacement = torch.zeros(options.size, options.size)
    known[torch.from_numpy(active)] = torch.from_numpy(met)
    displacement[torch.from_numpy(active)] = torch.from_numpy(np.where(met, distance, 0)).float()
    return _continued(
        displacement, known, displaced(drawn[:3], unit(drawn[3:6]), displacement), options
    ), known


def meet_along(
    position: NDArray[np.float64],
    normal: NDArray[np.float64],
    target: NDArray[np.float64],
    target_triangles: NDArray[np.int64],
    options: ScanOptions,
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """How far along unit normals (n, 3) points (n, 3) are from a surface: (n,) signed mm, and whether it was met (n,)."""
    tree = TriangleTree(target, target_triangles)
    planes = triangle_unit_normals(target, target_triangles)
    borders = border_triangles(target_triangles)
    distance = np.zeros(len(position))
    max_angle_deg = float(np.degrees(np.arccos(options.min_cosine)))
    for _ in range(_NEWTON_STEPS):
        here = position + distance[:, None] * normal
        found = tree.query(here, normal, max_angle_deg)
        plane = planes[found.triangle_ids]
        cosine = np.maximum((plane * normal).sum(1), options.min_cosine)
        step = np.nan_to_num(((found.points - here) * plane).sum(1) / cosine)
        distance = np.clip(distance + step, -1.5 * options.largest_mm, 1.5 * options.largest_mm)
    found = tree.query(position + distance[:, None] * normal, normal, max_angle_deg)
    met = (
        (found.triangle_ids >= 0)
        & (np.nan_to_num(found.distances, nan=np.inf) < _MET_MM)
        & (np.abs(distance) < options.largest_mm)
        & ~borders[found.triangle_ids]
    )
    return distance, met


def _likely_skin(
    vertices: NDArray[np.float64],
    triangles: NDArray[np.int64],
    target: NDArray[np.float64],
    target_triangles: NDArray[np.int64],
    hair_mm: float,
) -> NDArray[np.float64]:
    """How likely what a scan shows at vertices "v 3" of the coarse head is skin, (v,) in [0, 1]: near one, far nothing."""
    normals = vertex_unit_normals(vertices, triangles)
    found = TriangleTree(target, target_triangles).query(vertices, normals, 60.0)
    gap = np.nan_to_num(np.abs(((found.points - vertices) * normals).sum(1)), nan=1e3)
    return 1 / (1 + (gap / hair_mm) ** 8)


def _near_openings(model: MorphableModel, ids: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which vertices lie on the rims of eyes and mouth: scanners see lashes and wet surfaces there."""
    assert model.chart is not None
    rim = np.unique(model.chart.triangles[model.chart.is_membrane].numpy())
    return np.isin(ids, rim)


def _seen_skin(model: MorphableModel) -> Tensor:
    """ "v 1": 1 on vertices that a scanner sees."""
    seen, _ = face_surface(model)
    mask = torch.zeros(len(model.mean_mm), 1)
    mask[torch.from_numpy(seen)] = 1
    return mask


def _continued(displacement: Tensor, known: Tensor, position: Tensor, options: ScanOptions) -> Tensor:
    """The map with its unknown texels filled from around and faded out with the distance to what is known."""
    if not bool(known.any()) or bool(known.all()):
        return displacement
    texel_mm = float(
        torch.gradient(position, dim=2)[0].square().sum(0).sqrt()[known].median().clamp_min(1e-3)
    )
    away = torch.from_numpy(ndimage.distance_transform_edt(~known.numpy())).float() * texel_mm
    filled = dilate(displacement[None], known)[0]
    return torch.where(known, displacement, filled * torch.exp(-0.5 * (away / options.fade_mm) ** 2))
