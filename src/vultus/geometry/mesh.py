"""Triangle meshes: topology, normals, areas and neighbourhoods."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Topology:
    """What does not change when the vertices move.

    Attributes:
        triangles: "f 3" int64 vertex indices, counter-clockwise seen from outside.
        num_vertices: how many vertices the indices refer to.
        uv: "t 2" texture coordinates (u right, v down, [0, 1]) or None.
        uv_triangles: "f 3" int64 indices into ``uv``; None when ``uv`` has one row per vertex.
    """

    triangles: Tensor
    num_vertices: int
    uv: Tensor | None = None
    uv_triangles: Tensor | None = None


@dataclass(frozen=True)
class Mesh:
    """Vertices "... v 3" in millimetres on a shared topology."""

    vertices: Tensor
    topology: Topology


def triangle_normals(vertices: Tensor, triangles: Tensor) -> Tensor:
    """Normals "... f 3" whose length is twice the triangle's area; zero for a degenerate one."""
    a, b, c = (vertices[..., triangles[:, i], :] for i in range(3))
    return torch.linalg.cross(b - a, c - a)


def vertex_normals(vertices: Tensor, triangles: Tensor) -> Tensor:
    """Unit normals "... v 3": the area-weighted mean over the adjacent triangles; zero where there is none."""
    faces = triangle_normals(vertices, triangles)
    total = torch.zeros_like(vertices)
    for i in range(3):
        total = total.index_add(-2, triangles[:, i], faces)
    return torch.nn.functional.normalize(total, dim=-1, eps=1e-20)


def edges(triangles: Tensor) -> Tensor:
    """The unique undirected edges "e 2" (smaller index first)."""
    pairs = torch.cat([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    return torch.unique(pairs.sort(dim=1).values, dim=0)


def surface_points(vertices: Tensor, triangles: Tensor, triangle_ids: Tensor, barycentric: Tensor) -> Tensor:
    """Points on the surface: "... v 3" vertices at "n" triangles and "n 3" barycentric weights -> "... n 3"."""
    corners = vertices[..., triangles[triangle_ids], :]
    return (corners * barycentric[..., None]).sum(-2)
