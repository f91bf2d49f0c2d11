"""Whether the fit of a photo is good enough to learn from: what is measured of it, and the thresholds."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..geometry.rigid import pose_angles
from ..model.result import Reconstruction
from ..render.raster import rasterize
from .person import fixed_of

_LONGEST_PX = 256  # on which coverage is counted


@dataclass(frozen=True)
class Measures:
    """What is known about the quality of one fit.

    Attributes:
        status: of the fit's own report. advice: the same, in words.
        landmark_residual: median distance between detected and fitted landmarks, in eye distances (:func:`~vultus.stages.coarse.landmark_report`).
        photometric_residual: of :func:`~vultus.fit.photometric.fit_light_and_albedo`: relative to the colours, over the skin mask.
        coverage: share of the face's visible pixels (the model's, drawn) that the skin mask marks as bare.
        face_px: height of the drawn face in the photo. yaw_deg, pitch_deg: of the pose.
    """

    status: str
    advice: str
    landmark_residual: float
    photometric_residual: float
    coverage: float
    face_px: float
    yaw_deg: float
    pitch_deg: float


@dataclass(frozen=True)
class Gates:
    """Thresholds, as in :class:`~vultus.data.fitted_photos.FitOptions`."""

    max_landmark_residual: float
    max_photometric_residual: float
    min_coverage: float
    min_face_px: float
    max_yaw_deg: float


def measure(found: Reconstruction) -> Measures:
    """The measures of a fit of level ``deformed``; a cost that was not determined counts as infinite."""
    coverage, face_px = face_coverage(found)
    angles = pose_angles(found.camera.T_camera_head[:3, :3])
    cost = {name: float(value) for name, value in found.report.cost.items()}
    finite = lambda name: cost[name] if cost.get(name, float("nan")) < 1e6 else 1e6  # noqa: E731  (JSON has no infinity)
    return Measures(
        found.report.status, "; ".join(found.report.advice), finite("reprojection"), finite("photometric_residual"),
        coverage, face_px, float(angles.yaw_deg), float(angles.pitch_deg),
    )  # fmt: skip


def reasons(measures: Measures, gates: Gates) -> tuple[str, ...]:
    """Why a fit is left out, in a few words each; empty when it is kept."""
    failed = []
    if measures.status != "ok":
        failed.append(f"fit {measures.status}" + (f" ({measures.advice})" if measures.advice else ""))
    if measures.face_px < gates.min_face_px:
        failed.append(f"face {measures.face_px:.0f} px high, want {gates.min_face_px:.0f}")
    if abs(measures.yaw_deg) > gates.max_yaw_deg:
        failed.append(f"turned by {abs(measures.yaw_deg):.0f} deg, at most {gates.max_yaw_deg:.0f}")
    if measures.landmark_residual > gates.max_landmark_residual:
        failed.append(
            f"landmarks off by {measures.landmark_residual:.3f}, at most {gates.max_landmark_residual:g}"
        )
    if measures.photometric_residual > gates.max_photometric_residual:
        failed.append(f"colours off by {measures.photometric_residual:.3f}, at most {gates.max_photometric_residual:g}")  # fmt: skip
    if measures.coverage < gates.min_coverage:
        failed.append(
            f"{100 * measures.coverage:.0f} % of the face is bare, want {100 * gates.min_coverage:.0f} %"
        )
    return tuple(failed)


def face_coverage(found: Reconstruction) -> tuple[float, float]:
    """Share of the drawn face that the skin mask marks, in [0, 1], and the drawn face's height in pixels of the photo.

    Lips count as face, eyes and the inside of the mouth do not. What lies outside the photo counts as covered.
    """
    model, camera = found.model, found.camera
    vertices = found.mesh.vertices
    shown = torch.cat([model.part_triangles(name) for name in model.part_names if name != "lashes"])
    is_face = fixed_of(model).is_face
    is_face = torch.cat([is_face[model.part_of_triangle == i] for i, name in enumerate(model.part_names) if name != "lashes"])  # fmt: skip
    points = camera.project(vertices)
    corners = points[shown[is_face].flatten().unique(), :2]
    low, high = corners.min(0).values, corners.max(0).values
    height_px = float((high - low)[1])
    scale = _LONGEST_PX / max(float((high - low).max()), 1.0)
    window = torch.cat([(points[:, :2] - low) * scale, points[:, 2:]], 1)
    size = tuple(max(1, int(side)) for side in ((high - low) * scale).ceil().tolist())
    drawn = rasterize(window[None], shown, (size[0], size[1]))
    rows, columns = (drawn.mask[0] & is_face[drawn.triangle_ids[0].clamp_min(0)]).nonzero(as_tuple=True)
    if not len(rows):
        return 0.0, height_px
    x = ((columns + 0.5) / scale + low[0]).floor().long()
    y = ((rows + 0.5) / scale + low[1]).floor().long()
    mask = found.view.skin_mask
    inside = (x >= 0) & (x < mask.shape[1]) & (y >= 0) & (y < mask.shape[0])
    bare = mask[y.clamp(0, mask.shape[0] - 1), x.clamp(0, mask.shape[1] - 1)] & inside
    return float(bare.float().mean()), height_px
