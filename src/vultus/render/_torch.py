"""The readable rasteriser: plain torch, any device. The oracle of the tests, and what runs on a GPU.

Every triangle lists the pixels of its bounding box; those inside compete by ``scatter_reduce(amin)`` on one integer that
holds the depth in its upper and the triangle id in its lower half. All tests are in float64 and in the same order of operations as
the numba kernels, so the ids are the same.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ..errors import BadInput
from .raster import NEAR_MM

CANDIDATES_AT_ONCE = 1 << 22
"""How many (triangle, pixel) pairs are held at a time: about 1 GB of float64 temporaries."""
_NOTHING = torch.iinfo(torch.int64).max
_LARGEST_FLOAT32_BITS = 0x7F800000


def rasterize(
    vertices_px: Tensor, triangles: Tensor, size_px: tuple[int, int], cull_back: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """See :func:`vultus.render.raster.rasterize`."""
    width, height = size_px
    _check_indices(triangles, vertices_px.shape[1])
    ids = torch.full((len(vertices_px), height, width), -1, dtype=torch.int32, device=vertices_px.device)
    for image, vertices in zip(ids, vertices_px):
        image.copy_(_nearest(vertices.double(), triangles, width, height, cull_back))
    weights, inverse_depth, where = _barycentric(ids, vertices_px, triangles)
    barycentric = vertices_px.new_zeros(len(ids), height, width, 3)
    barycentric[where] = weights.to(vertices_px.dtype)
    depth = vertices_px.new_full(ids.shape, torch.inf)
    depth[where] = (1 / inverse_depth).to(vertices_px.dtype)
    return ids, barycentric.permute(0, 3, 1, 2).contiguous(), depth


def interpolate(ids: Tensor, vertices_px: Tensor, triangles: Tensor, attributes: Tensor) -> Tensor:
    """See :func:`vultus.render.interpolate.interpolate`."""
    _check_indices(triangles, vertices_px.shape[1])
    weights, _, where = _barycentric(ids, vertices_px, triangles)
    corners = attributes[where[0][:, None], triangles[ids[where].long()]]
    values = (weights.to(attributes.dtype)[..., None] * corners).sum(1)
    image = attributes.new_zeros(*ids.shape, attributes.shape[-1]).index_put(where, values)
    return image.permute(0, 3, 1, 2)


def _barycentric(
    ids: Tensor, vertices_px: Tensor, triangles: Tensor
) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor, Tensor]]:
    """Weights "p 3" and 1/z "p" in float64 at the p covered pixels, and where (image, row, column) those are."""
    image, row, column = torch.nonzero(ids >= 0, as_tuple=True)
    corners = vertices_px[image[:, None], triangles[ids[image, row, column].long()]].double()
    centre = torch.stack([column, row], -1).double() + 0.5
    edges = torch.stack(_edges(*(corners[..., :2] - centre[:, None]).unbind(1)), -1)
    scaled = edges / corners[..., 2]
    total = scaled.sum(-1)
    total = torch.where(
        total == 0, torch.inf, total
    )  # moved until it shows no area: no weight, no gradient, no NaN
    return scaled / total[:, None], total / edges.sum(-1), (image, row, column)


def _nearest(vertices: Tensor, triangles: Tensor, width: int, height: int, cull_back: bool) -> Tensor:
    """The id of the nearest triangle at each pixel of one image: "h w" int32."""
    corners = vertices[triangles]  # f 3 3
    x, y, z = corners.unbind(-1)
    area = (x[:, 1] - x[:, 0]) * (y[:, 2] - y[:, 0]) - (y[:, 1] - y[:, 0]) * (x[:, 2] - x[:, 0])
    drawn = corners.isfinite().all(-1).all(-1) & (z > NEAR_MM).all(-1) & (area != 0)
    if cull_back:
        drawn &= area < 0
    left, right = _pixel_range(x, width)
    top, bottom = _pixel_range(y, height)
    drawn &= (left <= right) & (top <= bottom)
    kept = drawn.nonzero().squeeze(-1)
    # Clockwise in the image from here on, so that inside is where all edge functions are positive.
    corners = torch.where(area[kept, None, None] > 0, corners[kept], corners[kept][:, [0, 2, 1]])
    best = torch.full((height * width,), _NOTHING, dtype=torch.int64, device=vertices.device)
    wide, high = right[kept] - left[kept] + 1, bottom[kept] - top[kept] + 1
    for part in _portions(wide * high):
        count = (wide * high)[part]
        t = torch.repeat_interleave(torch.arange(part.start, part.stop, device=count.device), count)
        first = torch.repeat_interleave(count.cumsum(0) - count, count)
        nth = torch.arange(len(t), device=t.device) - first
        column = left[kept][t] + nth % wide[t]
        row = top[kept][t] + nth // wide[t]
        centre = torch.stack([column, row], -1).double() + 0.5
        corner = corners[t]
        a, b, c = (corner[..., :2] - centre[:, None]).unbind(1)
        e0, e1, e2 = _edges(a, b, c)
        total = e0 + e1 + e2
        inside = _owns(e0, b, c) & _owns(e1, c, a) & _owns(e2, a, b) & (total > 0)
        inverse = 1 / corner[..., 2]
        nearness = ((e0 * inverse[:, 0] + e1 * inverse[:, 1] + e2 * inverse[:, 2]) / total)[inside].float()
        # Positive floats order like their bits; the nearer, then the smaller id, makes the smaller key.
        key = (_LARGEST_FLOAT32_BITS - nearness.view(torch.int32).long()) << 32 | kept[t[inside]]
        best.scatter_reduce_(0, (row * width + column)[inside], key, "amin")
    return torch.where(best == _NOTHING, -1, best & 0xFFFFFFFF).to(torch.int32).reshape(height, width)


def _edges(a: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Edge functions opposite to the corners, given relative to the pixel centre, each "p 2"."""
    return (
        b[:, 0] * c[:, 1] - b[:, 1] * c[:, 0],
        c[:, 0] * a[:, 1] - c[:, 1] * a[:, 0],
        a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0],
    )


def _owns(edge: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """Inside, or on an edge that is a left one (runs up) or a top one (runs right)."""
    rise = end[:, 1] - start[:, 1]
    return (edge > 0) | ((edge == 0) & ((rise < 0) | ((rise == 0) & (end[:, 0] > start[:, 0]))))


def _pixel_range(coordinate: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """First and last pixel whose centre lies between the least and greatest of "f 3", cut to the image."""
    low = (coordinate.amin(-1) - 0.5).ceil().clamp(0, size).nan_to_num(0)
    high = (coordinate.amax(-1) - 0.5).floor().clamp(-1, size - 1).nan_to_num(0)
    return low.long(), high.long()


def _portions(counts: Tensor) -> Iterator[slice]:
    """Consecutive slices of ``counts`` whose sums stay near CANDIDATES_AT_ONCE."""
    ends = counts.cumsum(0).cpu()
    start, done = 0, 0
    while start < len(ends):
        stop = max(start + 1, int(torch.searchsorted(ends, done + CANDIDATES_AT_ONCE, right=True)))
        yield slice(start, stop)
        start, done = stop, int(ends[stop - 1])


def _check_indices(triangles: Tensor, num_vertices: int) -> None:
    if triangles.numel() and not (int(triangles.min()) >= 0 and int(triangles.max()) < num_vertices):
        raise BadInput(
            f"triangles refer to vertices outside 0..{num_vertices - 1}: are they of another mesh?"
        )
