"""Vertex attributes at pixels, differentiable in the attributes and in where the vertices are."""

from __future__ import annotations

from torch import Tensor

from ..errors import BadInput
from .raster import Fragments, check_mesh, find_backend


def interpolate(
    fragments: Fragments, vertices_px: Tensor, triangles: Tensor, attributes: Tensor, *, backend: str = "auto"
) -> Tensor:
    """Evaluate vertex attributes, perspective-correctly, at every pixel centre.

    With p the pixel centre, d_i = (corner i) - p, e_0 = d_1 x d_2 (cyclic) and u_i = e_i / z_i, the weights are b_i = u_i / sum(u).
    They are computed anew from ``vertices_px``, so gradients reach x, y, z and the attributes everywhere inside the visible
    surface. There is none where the surface ends: an occlusion boundary does not move with the vertices.
    Interpolating z as an attribute gives a differentiable depth.

    Args:
        fragments: which triangle each pixel sees, from :func:`~vultus.render.raster.rasterize`.
        vertices_px: "b v 3", what was rasterised (or a slight move of it).
        triangles: "f 3" int64.
        attributes: "b v c" or "v c" (shared by the batch), same type as the vertices.
        backend: as in :func:`~vultus.render.raster.rasterize`.

    Returns:
        "b c h w", zero where nothing is seen.

    Raises:
        BadInput: shapes or types do not belong together.
    """
    check_mesh(vertices_px, triangles)
    batch, num_vertices, _ = vertices_px.shape
    if attributes.ndim == 2:
        attributes = attributes.expand(batch, *attributes.shape)
    if (
        attributes.ndim != 3
        or attributes.shape[:2] != (batch, num_vertices)
        or attributes.dtype != vertices_px.dtype
    ):
        raise BadInput(
            f"attributes must be {vertices_px.dtype} of shape ({batch}, {num_vertices}, c), got {attributes.dtype} {tuple(attributes.shape)}"
        )
    ids = fragments.triangle_ids
    if ids.shape[0] != batch:
        raise BadInput(f"fragments hold {ids.shape[0]} images, vertices {batch}: rasterise the same batch")
    return find_backend(backend, vertices_px.device).interpolate(ids, vertices_px, triangles, attributes)
