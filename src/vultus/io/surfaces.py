"""Cutting a head into drawable parts: split at texture seams, with normals and with every expression as a sparse change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ..geometry.mesh import triangle_normals
from ..model.face import FaceCode
from ..model.morphable import MorphableModel

SMALLEST_MOVE_MM = 0.01
"""Vertices that an expression moves less than this count as untouched: far below what any viewer shows."""
_SMALLEST_TURN = 1e-3  # the same for normals: 0.06 degrees


@dataclass(frozen=True)
class Morph:
    """One expression on one part, as a change of the neutral shape at full weight.

    Attributes:
        name: of the expression. weight: what it is set to.
        vertex_ids: "n" int64, ascending: which vertices of the part change.
        delta_mm: "n 3". delta_normal: "n 3", to the unit normal.
    """

    name: str
    weight: float
    vertex_ids: Tensor
    delta_mm: Tensor
    delta_normal: Tensor


@dataclass(frozen=True)
class Surface:
    """One part of a head, neutral, in the form that graphics hardware wants: one texture coordinate per vertex.

    Attributes:
        name: of the part.
        vertices_mm: "v 3" head frame. normals: "v 3" unit. triangles: "f 3" int64.
        uv: "v 2", or None. colours: "v 3" linear RGB in [0, 1].
        morphs: the expressions; those that leave the part alone have no vertices.
        texture: an encoded PNG or JPEG, or None: then ``colours`` say how it looks.
        normal_texture: an encoded tangent-space normal map, or None. tangents: "v 4" for it, None without.
    """

    name: str
    vertices_mm: Tensor
    normals: Tensor
    triangles: Tensor
    uv: Tensor | None
    colours: Tensor
    morphs: tuple[Morph, ...]
    texture: bytes | None
    normal_texture: bytes | None = None
    tangents: Tensor | None = None


def head_surfaces(
    model: MorphableModel,
    code: FaceCode,
    textures: Mapping[str, bytes],
    *,
    offsets_mm: Tensor | None = None,
    normal_textures: Mapping[str, bytes] | None = None,
) -> tuple[Surface, ...]:
    """The parts of a head with its expressions, in the order of ``model.part_names``; parts without triangles are left out.

    Args:
        model: the face model.
        code: identity and albedo shape and colour the neutral head; the expression becomes the weights of the morphs.
        textures: part name -> encoded image; parts without one get vertex colours.
        offsets_mm: "v 3", how this person differs from what the code says, whatever the expression.
        normal_textures: part name -> encoded tangent-space normal map.
    """
    neutral = model.vertices(FaceCode(code.identity, torch.zeros_like(code.expression), code.albedo))
    if offsets_mm is not None:
        neutral = neutral + offsets_mm
    faces = triangle_normals(neutral, model.triangles)
    normal_sums = _scatter(torch.zeros_like(neutral), model.triangles, faces)
    normals = _unit(normal_sums)
    albedo = model.vertex_albedo(code)
    changes = [
        _change(neutral, model.triangles, faces, normal_sums, normals, delta) for delta in model.expression_mm
    ]
    rows = [_rows(ids, len(neutral)) for ids, _, _ in changes]
    topology, surfaces = model.topology, []
    for index, part in enumerate(model.part_names):
        in_part = model.part_of_triangle == index
        if not in_part.any():
            continue
        triangles = topology.triangles[in_part]
        uv_triangles = triangles if topology.uv_triangles is None else topology.uv_triangles[in_part]
        vertex_ids, uv_ids, split = split_at_seams(triangles, uv_triangles)
        morphs = tuple(
            _morph(name, weight, change, row[vertex_ids])
            for name, weight, change, row in zip(
                model.expression_names, code.expression.tolist(), changes, rows
            )
        )
        uv = None if topology.uv is None else topology.uv[uv_ids]
        bumps = (normal_textures or {}).get(part) if uv is not None else None
        surfaces.append(
            Surface(
                part,
                neutral[vertex_ids],
                normals[vertex_ids],
                split,
                uv,
                albedo[vertex_ids],
                morphs,
                textures.get(part),
                bumps,
                None
                if bumps is None or uv is None
                else tangents(neutral[vertex_ids], normals[vertex_ids], uv, split),
            )
        )
    return tuple(surfaces)


def split_at_seams(triangles: Tensor, uv_triangles: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Give every pair of a vertex and a texture coordinate a vertex of its own.

    Args:
        triangles: "f 3" vertex indices. uv_triangles: "f 3" indices into the texture coordinates.

    Returns:
        For each new vertex "n" the old vertex and the texture coordinate, ordered by old vertex; and the triangles "f 3".
    """
    span = int(uv_triangles.max()) + 1
    pairs, split = torch.unique(triangles * span + uv_triangles, return_inverse=True)
    return pairs // span, pairs % span, split


def tangents(vertices: Tensor, normals: Tensor, uv: Tensor, triangles: Tensor) -> Tensor:
    """Unit directions of growing u in the surface and their handedness "v 4", as glTF wants them.

    The fourth number is 1 where the image lies on the surface unmirrored, so that cross(normal, tangent) times it points up in the image.
    """
    a, b, c = (vertices[triangles[:, i]] for i in range(3))
    p, q, r = (uv[triangles[:, i]] for i in range(3))
    (du1, dv1), (du2, dv2) = (q - p).unbind(-1), (r - p).unbind(-1)
    determinant = du1 * dv2 - du2 * dv1
    along_u = ((b - a) * dv2[:, None] - (c - a) * dv1[:, None]) * determinant.sign()[:, None]
    area = torch.linalg.cross(b - a, c - a).norm(dim=-1, keepdim=True)
    weighted = normalize(along_u, dim=-1, eps=1e-20) * area
    total = _scatter(torch.zeros_like(vertices), triangles, weighted)
    # v runs downwards: an unmirrored image has a negative determinant on a surface seen from outside.
    turn = _scatter(torch.zeros_like(vertices[:, :1]), triangles, -determinant[:, None])
    flat = total - (total * normals).sum(-1, keepdim=True) * normals
    fallback = torch.linalg.cross(normals, normals.new_tensor([0.0, 1.0, 0.0]).expand_as(normals))
    fallback = torch.where(
        fallback.norm(dim=-1, keepdim=True) > 0.1, fallback, normals.new_tensor([1.0, 0.0, 0.0])
    )
    fallback = fallback - (fallback * normals).sum(-1, keepdim=True) * normals
    flat = torch.where(flat.norm(dim=-1, keepdim=True) > 1e-9, flat, fallback)
    unit = normalize(flat.double(), dim=-1, eps=1e-20).float()
    return torch.cat([unit, torch.where(turn < 0, -1.0, 1.0)], -1)


_Change = tuple[Tensor, Tensor, Tensor]  # vertex ids "n", delta_mm "n 3", delta_normal "n 3"


def _change(
    vertices: Tensor, triangles: Tensor, faces: Tensor, normal_sums: Tensor, normals: Tensor, delta_mm: Tensor
) -> _Change:
    """What an expression does to positions and normals; only triangles that it touches are looked at."""
    moved = delta_mm.abs().amax(-1) >= SMALLEST_MOVE_MM
    touched = moved[triangles].any(-1).nonzero().squeeze(-1)
    near, corners = torch.unique(triangles[touched], return_inverse=True)
    turned = triangle_normals(vertices[near] + delta_mm[near], corners) - faces[touched]
    delta_normal = _unit(_scatter(normal_sums[near], corners, turned)) - normals[near]
    changed = moved[near] | (delta_normal.abs().amax(-1) >= _SMALLEST_TURN)
    ids = near[changed]
    return ids, delta_mm[ids], delta_normal[changed]


def _rows(ids: Tensor, num_vertices: int) -> Tensor:
    """The inverse of a list of vertices: for each vertex its place in ``ids``, or -1."""
    rows = torch.full((num_vertices,), -1, dtype=torch.int64, device=ids.device)
    rows[ids] = torch.arange(len(ids), device=ids.device)
    return rows


def _morph(name: str, weight: float, change: _Change, rows: Tensor) -> Morph:
    """A change on one part, whose vertices are these rows of it (-1: unchanged)."""
    _, delta_mm, delta_normal = change
    inside = (rows >= 0).nonzero().squeeze(-1)
    return Morph(name, weight, inside, delta_mm[rows[inside]], delta_normal[rows[inside]])


def _scatter(total: Tensor, triangles: Tensor, per_face: Tensor) -> Tensor:
    for i in range(3):
        total = total.index_add(0, triangles[:, i], per_face)
    return total


def _unit(vectors: Tensor) -> Tensor:
    """Unit vectors "n 3"; z for a zero one (a vertex of degenerate triangles only), because a normal must have length one."""
    unit = normalize(vectors.double(), dim=-1, eps=1e-20).float()
    return torch.where((unit**2).sum(-1, keepdim=True) < 0.5, unit.new_tensor([0.0, 0.0, 1.0]), unit)
