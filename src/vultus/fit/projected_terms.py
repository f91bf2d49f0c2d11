"""What landmarks and outlines say about small offsets of a face's vertices: terms (:mod:`.linear_terms`) of projected points."""

from __future__ import annotations

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from ..geometry.camera import Camera
from ..model.face import FaceCode
from ..model.morphable import MorphableModel
from .contour import Rim, RowExtent, rim_distance
from .landmark_basis import LandmarkBasis, pose_angles_deg
from .linear_terms import LinearTerm, vertex_jacobian
from .outline import Outline


def landmark_term(
    model: MorphableModel,
    basis: LandmarkBasis,
    camera: Camera,
    vertices: Tensor,
    points_px: np.ndarray,
    trust: np.ndarray,
    *,
    noise_mm: float,
    correlation: float,
    outlier_sigma: float,
) -> LinearTerm:
    """Projected landmarks minus detected ones, both axes, in pixels; the detector's error modes are integrated out.

    Args:
        points_px: (l, 2), where the surface points should appear. trust: (l,). noise_mm, correlation, outlier_sigma: as in :class:`~vultus.fit.landmarks.LandmarkOptions`.
    """
    yaw, pitch, roll = pose_angles_deg(camera.T_camera_head[:3, :3].double().numpy())
    yaw_deg, pitch_deg = torch.tensor(yaw).float(), torch.tensor(pitch).float()
    ids, share = basis.table.vertex_weight(model.triangles, yaw_deg, pitch_deg)
    position = (vertices[ids] * share[..., None]).sum(1)
    projected, moved = _projection(camera, position)
    residual = projected - torch.from_numpy(points_px).to(projected)
    spread = basis.table.spread_at(yaw_deg, pitch_deg).double().numpy()
    px_per_mm = (camera.focal_px / camera.to_camera(position)[:, 2]).double().numpy()
    sigma_px = px_per_mm * np.sqrt(spread**2 + noise_mm**2)
    cosine, sine = np.cos(np.radians(roll)), np.sin(np.radians(roll))
    to_image = px_per_mm.mean() * np.array([[cosine, sine], [-sine, cosine]])
    modes = basis.error_modes(yaw) @ to_image.T  # m l 2
    normalised = (residual.double().numpy() ** 2).sum(1) / sigma_px**2 / 2
    weight = trust / (1 + normalised / outlier_sigma**2) ** 2 / correlation / sigma_px**2
    number = len(points_px)
    values = moved[:, :, None, :] * share[:, None, :, None]  # l 2 m 3
    rows = torch.arange(2 * number).view(number, 2, 1).expand(values.shape[:3])
    columns = ids[:, None].expand(values.shape[:3])
    jacobian = vertex_jacobian(
        rows.flatten(), columns.flatten(), values.flatten(0, 2), (2 * number, len(vertices))
    )
    return LinearTerm(
        residual.double().numpy().ravel(),
        jacobian,
        np.repeat(weight, 2),
        modes.transpose(1, 2, 0).reshape(2 * number, -1),
    )


def detector_offset_px(
    model: MorphableModel, basis: LandmarkBasis, camera: Camera, code: FaceCode
) -> np.ndarray:
    """Where the detector is expected to see the landmarks of a code, minus where the table's surface points are: (l, 2).

    A calibrated table may know that detections lie off the surface, or follow identity less than the surface does.
    """
    yaw, pitch, roll = pose_angles_deg(camera.T_camera_head[:3, :3].double().numpy())
    points = basis.table.points(
        model.vertices(code), model.triangles, torch.tensor(yaw).float(), torch.tensor(pitch).float()
    )
    mean, identity, expression, _ = basis.at(yaw, pitch)
    response = basis.response(yaw)
    shape = mean + np.tensordot(code.expression.double().numpy(), expression, 1)
    sigma = code.identity.double().numpy()
    if response is None:
        shape = shape + np.tensordot(sigma, identity, 1)
    expected, actual = (
        camera.project(values)[:, :2].double().numpy() for values in (torch.from_numpy(shape).float(), points)
    )
    if response is not None:
        cosine, sine = np.cos(np.radians(roll)), np.sin(np.radians(roll))
        px_per_mm = float(camera.focal_px / camera.to_camera(points)[:, 2].mean())
        expected = expected + np.tensordot(sigma, response, 1) @ (
            px_per_mm * np.array([[cosine, -sine], [sine, cosine]])
        )
    return expected - actual


def contour_term_2d(
    camera: Camera,
    vertices: Tensor,
    rim: Rim,
    outline: Outline,
    *,
    noise_mm: float,
    scale_mm: float,
    correlation_mm: float,
) -> LinearTerm:
    """Distance of the rim from the photo's outline along its normal, in mm (:func:`~vultus.fit.contour.rim_distance`)."""
    projected, moved = _projection(camera, vertices[rim.ids])
    points = torch.zeros(len(vertices), 2).index_copy(0, rim.ids, projected).requires_grad_()
    distance, weight = rim_distance(points, rim, outline)
    if not distance.requires_grad:
        return _nothing(len(vertices))
    (slope,) = torch.autograd.grad(distance.sum(), points)
    values = (slope[rim.ids][:, :, None] * moved).sum(1)
    jacobian = vertex_jacobian(torch.arange(len(rim.ids)), rim.ids, values, (len(rim.ids), len(vertices)))
    residual, weight = distance.detach().double().numpy(), weight.double().numpy()
    robust = 1 / (1 + residual**2 / scale_mm**2) ** 2
    apart_mm = _spacing(vertices[rim.ids])
    share = np.minimum(apart_mm / correlation_mm, 1)
    return LinearTerm(residual, jacobian, weight * robust * share / noise_mm**2, np.zeros((len(residual), 0)))


def contour_term_1d(
    camera: Camera,
    vertices: Tensor,
    rows: RowExtent,
    width_px: float,
    *,
    face: Tensor | None,
    noise_mm: float,
    correlation_mm: float,
) -> LinearTerm:
    """The published row-wise contour loss as residuals in mm: vertices outside of the mask, or within 1 % of its width inside.

    The published mask covers the face alone, hence only vertices of the face (``face`` "v" bool) are compared with ours.
    """
    projected, moved = _projection(camera, vertices)
    x, y = projected.unbind(1)
    row = y.floor().clamp(0, len(rows.left_px) - 1).long()
    left, right = rows.left_px[row] - x, rows.right_px[row] - x
    to_left = left.abs() < right.abs()
    signed = torch.sign(left * right) * torch.minimum(left.abs(), right.abs())
    counts = torch.ones_like(x, dtype=torch.bool) if face is None else face
    active = ((signed / width_px > -0.01) & counts).nonzero().squeeze(-1)
    if not len(active):
        return _nothing(len(vertices))
    mm_per_px = float(camera.T_camera_head[2, 3] / camera.focal_px)
    outwards = torch.where(to_left, -1.0, 1.0)[active, None] * mm_per_px
    jacobian = vertex_jacobian(
        torch.arange(len(active)), active, outwards * moved[active, 0], (len(active), len(vertices))
    )
    residual = mm_per_px * signed[active].double().numpy()
    share = np.minimum((_spacing(vertices[active]) / correlation_mm) ** 2, 1)
    absolute = noise_mm / np.maximum(
        np.abs(residual), noise_mm
    )  # the published loss grows with the distance, not its square
    return LinearTerm(residual, jacobian, absolute * share / noise_mm**2, np.zeros((len(residual), 0)))


def _projection(camera: Camera, points: Tensor) -> tuple[Tensor, Tensor]:
    """Points "n 3" of the head in the image "n 2", and the derivative "n 2 3"."""
    position = camera.to_camera(points)
    depth = position[:, 2]
    x, y = (camera.focal_px * position[:, i] / depth for i in (0, 1))
    zero, scale = torch.zeros_like(depth), camera.focal_px / depth
    by_camera = torch.stack(
        [torch.stack([scale, zero, -x / depth], 1), torch.stack([zero, scale, -y / depth], 1)], 1
    )
    return torch.stack([x, y], 1) + camera.principal_px, by_camera @ camera.T_camera_head[:3, :3]


def _spacing(points: Tensor) -> np.ndarray:
    """How much of a line each of its points (any order) stands for, in mm: half the way across its two nearest neighbours."""
    if len(points) < 3:
        return np.ones(len(points))
    nearest = torch.cdist(points, points).topk(3, largest=False).values
    return (nearest[:, 1:].sum(1) / 2).double().numpy()


def _nothing(num_vertices: int) -> LinearTerm:
    return LinearTerm(np.zeros(0), sparse.csr_matrix((0, 3 * num_vertices)), np.zeros(0), np.zeros((0, 0)))
