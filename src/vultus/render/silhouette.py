"""Gradients of occlusion boundaries: what :func:`~vultus.render.interpolate.interpolate` cannot give, because there an outline does not move.

An image with an edge at x_c between the colours I_left and I_right changes by (I_left - I_right) dx_c when the edge moves. Summed over the
rows that a silhouette edge crosses (columns, where it runs flatter than the diagonal) this is the boundary integral of the image's
derivative, with the colours and the incoming gradient read from the pixels on both sides, and dx_c carried to the edge's two ends.

Pidhorskyi, Simon, Schwartz et al., "Rasterized edge gradients: handling discontinuities differentiably", arXiv 2405.02508, find these
pairs of pixels from the image and guess the edge; here the mesh says exactly which edges are silhouettes and where they cross.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import BadInput
from .raster import NEAR_MM, Fragments, check_mesh


@dataclass(frozen=True)
class MeshEdges:
    """The edges of a mesh, found once per topology.

    Attributes:
        ends: "e 2" int64, the smaller vertex first.
        edge_of_side: "f 3" int64, the edge from each corner of each triangle to the next one.
    """

    ends: Tensor
    edge_of_side: Tensor


def mesh_edges(triangles: Tensor) -> MeshEdges:
    """Number the undirected edges of "f 3" triangles."""
    sides = torch.stack([triangles, triangles.roll(-1, 1)], -1)
    low, high = sides.amin(-1), sides.amax(-1)
    count = int(triangles.max()) + 1 if triangles.numel() else 1
    keys, inverse = torch.unique(low * count + high, return_inverse=True)
    return MeshEdges(torch.stack([keys // count, keys % count], -1), inverse.reshape(triangles.shape))


def silhouette_edges(vertices_px: Tensor, triangles: Tensor, edges: MeshEdges) -> tuple[Tensor, Tensor]:
    """Edges of one projected mesh "v 3" with all their triangles on one side: where a surface turns away, or ends.

    Returns:
        ids "s" into ``edges``, and the side "s" on which the triangles lie, as the sign of (end - start) x (corner - start).
    """
    a, b, c = (vertices_px[triangles[:, i], :2] for i in range(3))
    area = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]
    usable = vertices_px.isfinite().all(-1) & (vertices_px[:, 2] > NEAR_MM)
    drawn = usable[triangles].all(-1) & (area != 0)
    along = triangles < triangles.roll(-1, 1)  # sides that run as their edge does
    positive = (along == (area > 0)[:, None]) & drawn[:, None]
    negative = ~positive & drawn[:, None]
    right, left = (torch.zeros(len(edges.ends), dtype=torch.bool, device=area.device) for _ in range(2))
    right[edges.edge_of_side[positive]] = True
    left[edges.edge_of_side[negative]] = True
    ids = (right ^ left).nonzero().squeeze(-1)
    return ids, torch.where(right[ids], 1, -1)


def edge_gradients(
    image: Tensor,
    vertices_px: Tensor,
    triangles: Tensor,
    fragments: Fragments,
    *,
    edges: MeshEdges | None = None,
    backend: str = "auto",
) -> Tensor:
    """Return the image unchanged; backward, add what moving the outlines would do to it to the gradient of the vertices.

    Together with the gradient of the interpolation this is the whole derivative of an image whose pixels are averaged with a tent
    filter, two pixels wide. Works for any image made from the fragments: shaded, textured, depth, or the mere coverage
    ``fragments.mask[:, None].float()``. Gradients reach x and y only. Where surfaces cut through each other there is none.

    Args:
        image: "b c h w", drawn from ``fragments``; same type as the vertices.
        vertices_px: "b v 3", what was rasterised.
        triangles: "f 3" int64.
        fragments: from :func:`~vultus.render.raster.rasterize`.
        edges: :func:`mesh_edges` of the triangles, to save finding them anew.
        backend: "numba", "torch" or "auto" (numba on the CPU).

    Raises:
        BadInput: shapes or types do not belong together, or an unknown backend.
    """
    check_mesh(vertices_px, triangles)
    if backend not in ("auto", "numba", "torch"):
        raise BadInput(f"edge gradients have the backends auto, numba and torch, not {backend!r}")
    if (
        image.ndim != 4
        or image.dtype != vertices_px.dtype
        or (len(image), *image.shape[2:]) != (len(vertices_px), *fragments.depth_mm.shape[1:])
    ):
        raise BadInput(
            f"the image must be {vertices_px.dtype} of shape ({len(vertices_px)}, c, *{tuple(fragments.depth_mm.shape[1:])}), "
            f"got {image.dtype} {tuple(image.shape)}: draw it from these fragments"
        )
    edges = edges or mesh_edges(triangles)
    use_numba = image.device.type == "cpu" if backend == "auto" else backend == "numba"
    return _EdgeGradients.apply(image, vertices_px, triangles, fragments.depth_mm, edges, use_numba)  # type: ignore[no-any-return]


class _EdgeGradients(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        image: Tensor,
        vertices_px: Tensor,
        triangles: Tensor,
        depth: Tensor,
        edges: MeshEdges,
        use_numba: bool,
    ) -> Tensor:
        ctx.save_for_backward(image, vertices_px, triangles, depth, edges.ends, edges.edge_of_side)
        ctx.use_numba = use_numba
        return image.view_as(image)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, grad_image: Tensor
    ) -> tuple[Tensor, Tensor | None, None, None, None, None]:
        image, vertices_px, triangles, depth, ends, edge_of_side = ctx.saved_tensors
        if not ctx.needs_input_grad[1]:
            return grad_image, None, None, None, None, None
        total = torch.zeros_like(vertices_px, dtype=torch.float64)
        for b in range(len(image)):
            ids, side = silhouette_edges(vertices_px[b], triangles, MeshEdges(ends, edge_of_side))
            pull = _pull_numba if ctx.use_numba else pull_torch
            pull(image[b], grad_image[b], depth[b], vertices_px[b], ends[ids], side, total[b])
        return grad_image, total.to(vertices_px), None, None, None, None


def _pull_numba(
    image: Tensor, grad: Tensor, depth: Tensor, vertices: Tensor, ends: Tensor, side: Tensor, total: Tensor
) -> None:
    from ._kernels_edge import pull_edges

    arrays = [t.detach().contiguous().numpy() for t in (image, grad, depth, vertices, ends, side)]
    pull_edges(*arrays, total.numpy())


def pull_torch(
    image: Tensor, grad: Tensor, depth: Tensor, vertices: Tensor, ends: Tensor, side: Tensor, total: Tensor
) -> None:
    """Add the gradient of one image's silhouette edges to ``total`` "v 3": the readable twin of the numba kernel.

    Flat edges are handled as steep ones of the transposed picture; transposing mirrors, so their triangles change sides.
    """
    ends_xyz = vertices[ends].double()  # s 2 3
    run = (ends_xyz[:, 1, :2] - ends_xyz[:, 0, :2]).abs()
    for axis, chosen in ((0, run[:, 1] >= run[:, 0]), (1, run[:, 1] < run[:, 0])):
        seen = (image, grad, depth) if axis == 0 else (image.mT, grad.mT, depth.mT)
        order = [0, 1, 2] if axis == 0 else [1, 0, 2]
        inner_side = side[chosen] if axis == 0 else -side[chosen]
        pulled = _pull_steep(*seen, ends_xyz[chosen][..., order], inner_side)
        total.index_add_(0, ends[chosen].flatten(), pulled[..., order].flatten(0, 1).to(total))


def _pull_steep(image: Tensor, grad: Tensor, depth: Tensor, ends: Tensor, side: Tensor) -> Tensor:
    """Gradient "s 2 3" of the ends "s 2 3" of edges that cross rows."""
    height, width = depth.shape
    result = torch.zeros_like(ends)
    y = ends[..., 1]
    first = (y.amin(1) - 0.5).ceil().clamp(0, height).long()
    count = ((y.amax(1) - 0.5).ceil().clamp(0, height).long() - first).clamp_min(0)
    edge = torch.repeat_interleave(torch.arange(len(ends), device=ends.device), count)
    row = first[edge] + torch.arange(len(edge), device=ends.device) - (count.cumsum(0) - count)[edge]
    (ax, ay, az), (bx, by, bz) = ends[edge, 0].unbind(-1), ends[edge, 1].unbind(-1)
    share = (row + 0.5 - ay) / (by - ay)
    crossing = ax + share * (bx - ax)
    left = (crossing - 0.5).floor().long()
    inside = (left >= 0) & (left + 1 < width)
    edge, row, left, share, crossing = (t[inside] for t in (edge, row, left, share, crossing))
    edge_depth = 1 / ((1 - share) / az[inside] + share / bz[inside])
    inner_right = side[edge] * (ay - by)[inside] > 0
    inner, outer = left + inner_right, left + ~inner_right
    visible = (depth[row, inner] < depth[row, outer]) & (edge_depth < depth[row, outer])
    far = (crossing - 0.5 - left).to(grad)
    upstream = (1 - far) * grad[:, row, left] + far * grad[:, row, left + 1]
    force = ((image[:, row, left] - image[:, row, left + 1]) * upstream).sum(0).double() * visible
    slope = ((bx - ax) / (by - ay))[inside]
    for end, part in ((0, (1 - share) * force), (1, share * force)):
        result[:, end].index_add_(0, edge, torch.stack([part, -slope * part, torch.zeros_like(part)], -1))
    return result
