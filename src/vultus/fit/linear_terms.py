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

from ..geometry.light import shading
from ..geometry.mesh import triangle_normals
from ..model.face import CoarseFace
from ..model.morphable import MorphableModel
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

    def trusted(self, share: float) -> LinearTerm:
        """The same with a covariance 1 / share times as large."""
        return LinearTerm(self.residual, self.jacobian, self.weight * share, self.modes / share**0.5)

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
    area = vertex_area(vertices, model.part_triangles(model.part_names[0]))[samples.ids].double().numpy()
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
    return vertex_jacobian(torch.cat(rows), torch.cat(columns), torch.cat(values), (len(ids), len(vertices)))


def _smooth_functions(points: Tensor) -> np.ndarray:
    """Polynomials up to order two over the face (n, 5), without the constant, which light and albedo explain exactly."""
    x, y = (points[:, :2].double() - points[:, :2].double().mean(0)).numpy().T / 50.0
    return np.stack([x, y, x * y, x**2 - y**2, x**2 + y**2 - 1], 1)


def vertex_area(vertices: Tensor, triangles: Tensor) -> Tensor:
    """Square millimetres of surface that belong to each vertex, "v"."""
    third = triangle_normals(vertices, triangles).norm(dim=1) / 6
    area = torch.zeros(len(vertices))
    for i in range(3):
        area = area.index_add(0, triangles[:, i], third)
    return area


def vertex_jacobian(
    rows: Tensor, columns: Tensor, values: Tensor, shape: tuple[int, int]
) -> sparse.csr_matrix:
    """A (n, 3 v) matrix of the given shape (n, v) from entries "k 3" at (row, vertex)."""
    row, column = rows.numpy(), columns.numpy()
    parts = [
        sparse.csr_matrix((values[:, axis].double().numpy(), (row, column)), shape=shape) for axis in range(3)
    ]
    return sparse.csr_matrix(sparse.hstack(parts))
