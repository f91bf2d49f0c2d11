"""What a photo says about small offsets of a face's vertices: residuals and their derivatives, as sparse linear systems.

A term is residual + jacobian * offsets with independent noise, plus errors that many residuals share: their directions are known
("modes"), their sizes are not and get a unit prior. Integrated out, they take away what they could explain: a jaw line that the
detector puts too low as a whole, or a half of the face that is a little brighter than the light model says, moves nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from ..geometry.camera import Camera
from ..geometry.light import shading
from ..geometry.mesh import triangle_normals
from ..model.face import CoarseFace, FaceCode
from ..model.morphable import MorphableModel
from .contour import Rim, RowExtent, rim_distance
from .landmark_basis import LandmarkBasis
from .landmarks import pose_angles_deg
from .outline import Outline
from .photometric import SkinSamples

_BRIGHTNESS_FLOOR = 0.01


@dataclass(frozen=True)
class LinearTerm:
    """Residuals (n,) in units of any kind, and what they cost.

    Attributes:
        residual: (n,) at zero offset.
        jacobian: (n, 3 v), x of all vertices first, then y, then z; per mm.
        weight: (n,) precision of each residual, robust weights included.
        modes: (n, q) shared errors per standard deviation.
    """

    residual: np.ndarray
    jacobian: sparse.csr_matrix
    weight: np.ndarray
    modes: np.ndarray

    def precise(self, values: np.ndarray) -> np.ndarray:
        """The inverse covariance diag(1 / weight) + modes modes' applied to (n,), by Woodbury's identity."""
        weighted = self.weight * values
        if not self.modes.shape[1]:
            return weighted
        lifted = self.weight[:, None] * self.modes
        inner = np.eye(self.modes.shape[1]) + self.modes.T @ lifted
        return weighted - lifted @ np.linalg.solve(inner, lifted.T @ values)

    def energy(self) -> float:
        """Half of r' C^-1 r."""
        return 0.5 * float(self.residual @ self.precise(self.residual))


def photometric_term(
    model: MorphableModel,
    face: CoarseFace,
    vertices: Tensor,
    samples: SkinSamples,
    *,
    noise: float,
    outlier: float,
    correlation_mm: float,
    light_error: float,
) -> LinearTerm:
    """Brightness of visible skin against shading, relative: (expected - seen) / expected, as a function of the normals.

    Features that slide under a fixed surface would say more, but the albedo model knows none: spots would pull the skin along.

    Args:
        face: its albedo and light explain the photo. vertices: "v 3" at the current level. samples: of these vertices.
        noise: relative brightness error that is normal. outlier: multiples of it beyond which a sample loses its influence.
        correlation_mm: samples nearer than this err alike; the skin between them counts once.
        light_error: how much the light may be off, relative, as a smooth function over the face.
    """
    rotation = face.T_camera_head[:3, :3]
    normals = samples.normals.clone().requires_grad_()
    albedo = model.vertex_albedo(face.code)[samples.ids].clamp_min(0.01)
    expected = (albedo * shading(normals, face.light)).mean(1)
    (slope,) = torch.autograd.grad(expected.sum(), normals)
    brightness = expected.detach().clamp_min(0.0) + _BRIGHTNESS_FLOOR
    residual = ((expected.detach() - samples.colour.mean(1)) / brightness).double().numpy()
    turned = (slope / brightness[:, None]) @ rotation  # towards head-frame normals
    jacobian = normal_jacobian(vertices, model.part_triangles(model.part_names[0]), samples.ids, turned)
    squared = (residual / noise) ** 2
    robust = 1 / (1 + squared / outlier**2) ** 2
    area = _vertex_area(vertices, model.part_triangles(model.part_names[0]))[samples.ids].double().numpy()
    trust = samples.weight.double().numpy() * np.minimum(area / correlation_mm**2, 1)
    modes = light_error * _smooth_functions(vertices[samples.ids])
    return LinearTerm(residual, jacobian, trust * robust / noise**2, modes)


def normal_jacobian(vertices: Tensor, triangles: Tensor, ids: Tensor, slope: Tensor) -> sparse.csr_matrix:
    """Derivative (n, 3 v) of slope_i . normal(vertex_i) by all vertices.

    A vertex normal is N / |N| with N the sum of (b - a) x (c - a) over its triangles; with h = (slope - (slope . n) n) / |N|
    each triangle adds h x (c - b) at a, h x (a - c) at b and h x (b - a) at c.

    Args:
        vertices: "v 3". triangles: "f 3". ids: "n" vertices. slope: "n 3".
    """
    faces = triangle_normals(vertices, triangles)
    total = torch.zeros_like(vertices)
    for i in range(3):
        total = total.index_add(0, triangles[:, i], faces)
    length = total[ids].norm(dim=1, keepdim=True).clamp_min(1e-9)
    normal = total[ids] / length
    lever = (slope - (slope * normal).sum(1, keepdim=True) * normal) / length
    place = torch.full((len(vertices),), -1)
    place[ids] = torch.arange(len(ids))
    rows, columns, values = [], [], []
    for i in range(3):
        row = place[triangles[:, i]]
        mine = row >= 0
        row, corner = row[mine], triangles[mine]
        for j in range(3):
            after, before = vertices[corner[:, (j + 1) % 3]], vertices[corner[:, (j + 2) % 3]]
            values.append(torch.linalg.cross(lever[row], before - after))
            rows.append(row)
            columns.append(corner[:, j])
    return _stacked(torch.cat(rows), torch.cat(columns), torch.cat(values), (len(ids), len(vertices)))


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
    jacobian = _stacked(rows.flatten(), columns.flatten(), values.flatten(0, 2), (2 * number, len(vertices)))
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
    response = basis.response(yaw) if hasattr(basis, "response") else None
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
    jacobian = _stacked(torch.arange(len(rim.ids)), rim.ids, values, (len(rim.ids), len(vertices)))
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
    jacobian = _stacked(
        torch.arange(len(active)), active, outwards * moved[active, 0], (len(active), len(vertices))
    )
    residual = mm_per_px * signed[active].double().numpy()
    share = np.minimum(_spacing(vertices[active]) / correlation_mm, 1)
    return LinearTerm(residual, jacobian, share / noise_mm**2, np.zeros((len(residual), 0)))


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


def _smooth_functions(points: Tensor) -> np.ndarray:
    """Polynomials up to order two over the face (n, 5), without the constant, which light and albedo explain exactly."""
    x, y = (points[:, :2].double() - points[:, :2].double().mean(0)).numpy().T / 50.0
    return np.stack([x, y, x * y, x**2 - y**2, x**2 + y**2 - 1], 1)


def _vertex_area(vertices: Tensor, triangles: Tensor) -> Tensor:
    third = triangle_normals(vertices, triangles).norm(dim=1) / 6
    area = torch.zeros(len(vertices))
    for i in range(3):
        area = area.index_add(0, triangles[:, i], third)
    return area


def _spacing(points: Tensor) -> np.ndarray:
    """How much of a line each of its points (any order) stands for, in mm: half the way across its two nearest neighbours."""
    if len(points) < 3:
        return np.ones(len(points))
    nearest = torch.cdist(points, points).topk(3, largest=False).values
    return (nearest[:, 1:].sum(1) / 2).double().numpy()


def _nothing(num_vertices: int) -> LinearTerm:
    return LinearTerm(np.zeros(0), sparse.csr_matrix((0, 3 * num_vertices)), np.zeros(0), np.zeros((0, 0)))


def _stacked(rows: Tensor, columns: Tensor, values: Tensor, shape: tuple[int, int]) -> sparse.csr_matrix:
    """A (n, 3 v) matrix from entries "k 3" at (row, vertex)."""
    row, column = rows.numpy(), columns.numpy()
    parts = [
        sparse.csr_matrix((values[:, axis].double().numpy(), (row, column)), shape=shape) for axis in range(3)
    ]
    return sparse.csr_matrix(sparse.hstack(parts))
