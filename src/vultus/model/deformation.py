"""From a deformation map over the face chart to all vertices of a head, and back.

Inside the chart a vertex takes the map's bilinear value. Around it the rest of the skin follows: the offsets go on biharmonically, so
that neither they nor their slope jump at the chart's border, and have died out 30 mm further along the skin. Lashes follow the rim of
their lid; eyeballs, teeth and tongue stay. All of this is linear in the map and the same for every face of a model: one sparse matrix.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from scipy import sparse
from scipy.sparse import csgraph
from scipy.sparse.linalg import lsqr, splu
from torch import Tensor

from ..errors import BadInput
from .face import CoarseFace, DetailedFace, Geometry
from .morphable import FaceChart, MorphableModel

REACH_MM = 30.0
"""How far beyond the chart's border the skin still moves."""
_TENSION_MM = 6.0  # of the extension: over longer ways stretching counts more than bending
_NET = 100.0  # stiffness of the skin inside mouth and eye sockets
_LASH_MM = 2.0  # width of the stretch of lid rim that a lash follows
_NEGLIGIBLE = (
    2e-4  # weights of the extension below this are dropped: together they move a vertex by less than 1 %
)


@dataclass(frozen=True)
class DeformationOperator:
    """What one texel of a deformation map does to each vertex.

    Attributes:
        size: m, texels per side of the map.
        matrix: (v, m * m) float32, rows of the map one after the other; the same for x, y and z.
        tensor: the same as a sparse "v m*m" tensor.
    """

    size: int
    matrix: sparse.csr_matrix
    tensor: Tensor = field(repr=False)

    def offsets_mm(self, deformation_mm: Tensor) -> Tensor:
        """Offsets "v 3" of all vertices for a map "3 m m"; differentiable in the map."""
        return torch.sparse.mm(self.tensor.to(deformation_mm), deformation_mm.flatten(1).T)

    def nearest_map(self, offsets_mm: Tensor, weight: Tensor, *, smoothness: float = 1e-3) -> Tensor:
        """The map "3 m m" whose offsets are nearest to given ones.

        Minimises sum_v weight_v |offset_v(map) - offset_v|^2 + smoothness * |grad map|^2; the second term decides where no vertex looks.

        Args:
            offsets_mm: "v 3". weight: "v", zero where the offset is not known.
        """
        root = np.sqrt(weight.double().numpy())
        along = sparse.csr_matrix(np.diff(np.eye(self.size), axis=0))
        one = sparse.identity(self.size)
        gradient = np.sqrt(smoothness) * sparse.vstack([sparse.kron(one, along), sparse.kron(along, one)])
        system = sparse.vstack([sparse.diags(root) @ self.matrix, gradient]).tocsr()  # type: ignore[operator]
        wanted = root[:, None] * offsets_mm.double().numpy()
        rows = [
            lsqr(system, np.concatenate([column, np.zeros(gradient.shape[0])]), atol=1e-8, btol=1e-8)[0]
            for column in wanted.T
        ]
        return torch.from_numpy(np.stack(rows).reshape(3, self.size, self.size)).to(offsets_mm)


def face_vertices(model: MorphableModel, face: Geometry) -> Tensor:
    """Vertices "v 3" of a face at its level, head frame, millimetres.

    A displacement acts on normals and on the dense mesh, not on these vertices.

    Raises:
        BadInput: a deformed face of a model without face chart.
    """
    if isinstance(face, CoarseFace):
        return model.vertices(face.code)
    deformed = face.deformed if isinstance(face, DetailedFace) else face
    return model.vertices(face.coarse.code) + deformation_offsets(model, deformed.deformation_mm)


def deformation_offsets(model: MorphableModel, deformation_mm: Tensor) -> Tensor:
    """What a deformation map "3 m m" adds to every vertex: "v 3"."""
    return deformation_operator(model, deformation_mm.shape[-1]).offsets_mm(deformation_mm)


_cache: dict[tuple[int, int], tuple[MorphableModel, DeformationOperator]] = {}
_follow_cache: dict[int, tuple[MorphableModel, sparse.csr_matrix]] = {}


def deformation_operator(model: MorphableModel, size: int) -> DeformationOperator:
    """The operator of a model and a map size; kept, because the extension takes half a second.

    Raises:
        BadInput: the model has no face chart.
    """
    key = (id(model), size)
    if key not in _cache or _cache[key][0] is not model:
        matrix = sparse.csr_matrix(_followers(model) @ _bilinear(_chart_of(model), size), dtype=np.float32)
        matrix.sum_duplicates()
        coo = matrix.tocoo()
        place = torch.from_numpy(np.stack([coo.row, coo.col]).astype(np.int64))
        tensor = torch.sparse_coo_tensor(place, torch.from_numpy(coo.data), coo.shape, check_invariants=True)
        tensor = tensor.coalesce()
        if len(_cache) > 12:
            _cache.clear()
        _cache[key] = (model, DeformationOperator(size, matrix, tensor))
    return _cache[key][1]


def _chart_of(model: MorphableModel) -> FaceChart:
    if model.chart is None:
        raise BadInput(
            f"model {model.name} has no face chart: it cannot be deformed by a map; use level coarse"
        )
    return model.chart


def _bilinear(chart: FaceChart, size: int) -> sparse.csr_matrix:
    """Interpolation (v, size^2) at the chart's vertices, texel centres at +0.5, constant beyond the outermost centres."""
    uv = chart.uv.double().numpy()
    ids = np.flatnonzero(np.isfinite(uv[:, 0]))
    place = np.clip(uv[ids] * size - 0.5, 0, size - 1)
    low = np.minimum(place.astype(int), size - 2)
    part = place - low
    rows, columns, weights = [], [], []
    for right in (0, 1):
        for down in (0, 1):
            share = np.abs(1 - right - part[:, 0]) * np.abs(1 - down - part[:, 1])
            rows.append(ids)
            columns.append((low[:, 1] + down) * size + low[:, 0] + right)
            weights.append(share)
    entries = (np.concatenate(weights), (np.concatenate(rows), np.concatenate(columns)))
    return sparse.csr_matrix(entries, shape=(len(uv), size * size))


def _followers(model: MorphableModel) -> sparse.csr_matrix:
    """What every vertex takes over from the vertices of the chart (v, v): themselves, the skin around them, the lashes."""
    if id(model) not in _follow_cache or _follow_cache[id(model)][0] is not model:
        inside = torch.isfinite(_chart_of(model).uv[:, 0]).numpy()
        own = sparse.diags(inside.astype(float))
        _follow_cache.clear()
        _follow_cache[id(model)] = (
            model,
            sparse.csr_matrix(own + _extension(model, inside) + _lashes(model, inside)),
        )
    return _follow_cache[id(model)][1]


def _extension(model: MorphableModel, inside: np.ndarray) -> sparse.csr_matrix:
    """Smooth continuation over the skin outside of the chart, zero where it is farther than REACH_MM away.

    Minimises bending plus a little stretching, x' (L M^-1 L + L / tension^2) x with the cotangent Laplacian L (Botsch and Kobbelt, "An
    intuitive framework for real-time freeform modeling", SIGGRAPH 2004), with the chart's vertices and those out of reach held fast.
    """
    vertices, triangles = model.mean_mm.double().numpy(), model.part_triangles(model.part_names[0]).numpy()
    num_vertices = len(vertices)
    pairs = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    length = np.linalg.norm(vertices[pairs[:, 0]] - vertices[pairs[:, 1]], axis=1) + 1e-9
    one_way = sparse.csr_matrix((length, pairs.T), shape=(num_vertices, num_vertices))
    graph = sparse.csr_matrix(one_way.maximum(one_way.T))
    distance = csgraph.dijkstra(
        graph, directed=False, indices=np.flatnonzero(inside), min_only=True, limit=REACH_MM
    )
    free = np.flatnonzero(np.isfinite(distance) & ~inside)
    if not len(free):
        return sparse.csr_matrix((num_vertices, num_vertices))
    hidden = np.zeros(num_vertices, bool)
    for name in ("inner_mouth", "eye_sockets"):
        if name in model.regions:
            hidden |= model.regions[name].numpy()
    laplacian, area = _cotangent_laplacian(vertices, triangles)
    energy = laplacian @ sparse.diags(~hidden / area) @ laplacian + laplacian / _TENSION_MM**2
    # Pockets are hidden, and folded so often that bending would overshoot there: they are stretched like a net.
    net = graph[hidden].tocoo()
    pull = sparse.coo_matrix(
        (_NET / net.data, (np.flatnonzero(hidden)[net.row], net.col)), shape=graph.shape
    ).tocsr()
    pull = pull + pull.T
    energy = sparse.csr_matrix(energy + sparse.diags(np.asarray(pull.sum(1)).ravel()) - pull)
    held = np.flatnonzero(inside & (np.asarray(np.abs(energy[free]).sum(0)).ravel() > 0))
    regular = energy[free][:, free] + 1e-9 * sparse.identity(len(free))
    weights = -splu(regular.tocsc()).solve(energy[free][:, held].toarray())
    weights[np.abs(weights) < _NEGLIGIBLE] = 0
    found = sparse.coo_matrix(weights)
    return sparse.csr_matrix(
        (found.data, (free[found.row], held[found.col])), shape=(num_vertices, num_vertices)
    )


def _lashes(model: MorphableModel, inside: np.ndarray) -> sparse.csr_matrix:
    """Lashes move with the stretch of lid rim beside them, root and tip alike."""
    num_vertices = len(model.mean_mm)
    none = sparse.csr_matrix((num_vertices, num_vertices))
    if "lashes" not in model.part_names:
        return none
    chart, vertices = _chart_of(model), model.mean_mm.double().numpy()
    rim = np.unique(chart.triangles[chart.is_membrane].numpy())
    rim = rim[inside[rim]]
    lash = np.setdiff1d(np.unique(model.part_triangles("lashes").numpy()), np.flatnonzero(inside))
    if not len(rim) or not len(lash):
        return none
    distance = np.linalg.norm(vertices[lash, None] - vertices[None, rim], axis=2)
    weight = np.exp(-0.5 * (distance**2 - distance.min(1, keepdims=True) ** 2) / _LASH_MM**2)
    weight[weight < 0.05] = 0
    found = sparse.coo_matrix(weight / weight.sum(1, keepdims=True))
    return sparse.csr_matrix((found.data, (lash[found.row], rim[found.col])), shape=none.shape)


def _cotangent_laplacian(vertices: np.ndarray, triangles: np.ndarray) -> tuple[sparse.csr_matrix, np.ndarray]:
    """Cotangent Laplacian (v, v), positive semi-definite, and barycentric vertex areas (v,)."""
    num_vertices = len(vertices)
    rows, columns, values = [], [], []
    area = np.zeros(num_vertices)
    for i in range(3):
        at, a, b = triangles[:, i], triangles[:, (i + 1) % 3], triangles[:, (i + 2) % 3]
        to_a, to_b = vertices[a] - vertices[at], vertices[b] - vertices[at]
        doubled = np.maximum(np.linalg.norm(np.cross(to_a, to_b), axis=1), 1e-9)
        half = 0.5 * np.clip((to_a * to_b).sum(1) / doubled, -20, 20)
        rows += [a, b, a, b]
        columns += [b, a, a, b]
        values += [-half, -half, half, half]
        np.add.at(area, at, doubled / 6)
    entries = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
    return sparse.csr_matrix(entries, shape=(num_vertices, num_vertices)), np.maximum(area, 1e-6)
