"""The fast rasteriser: numba kernels on the CPU, a z-buffer and one fused interpolation with its gradient.

Threads: as many as ``numba.get_num_threads()`` says; with one thread no parallel region is entered at all, so worker
processes made by fork and plain Python threads (the kernels release the GIL) are safe. Every kernel does the share of one ``task``;
a task writes only what it owns, so results do not depend, bit for bit, on how many there are:

- drawing: a task owns a band of rows and walks the triangles in order; equal depths go to the first.
- interpolation: a task owns rows.
- its gradient: pixels are sorted by triangle (a stable counting sort); a task owns triangles and sums each one's pixels in raster
  order into gradients per corner; then a task owns vertices and sums their corners in triangle order. No atomics.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import torch
from numba import njit, prange
from torch import Tensor

from ..errors import BadInput
from .raster import NEAR_MM

_WORK_PER_TRIANGLE = 8
"""Cost of setting a triangle up, in pixels of its box; only the balance between threads depends on it."""


def _kernel(function: Callable[..., Any], *, parallel: bool = False) -> Any:
    """Compile on first use and keep the result on disk; in memory only where no folder can be written."""
    try:
        return njit(nogil=True, cache=True, parallel=parallel, error_model="numpy")(function)
    except RuntimeError:
        return njit(nogil=True, parallel=parallel, error_model="numpy")(function)


_NO_CORNERS = (0.0,) * 9
_parallel = functools.partial(_kernel, parallel=True)


def rasterize(
    vertices_px: Tensor, triangles: Tensor, size_px: tuple[int, int], cull_back: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """See :func:`vultus.render.raster.rasterize`."""
    width, height = size_px
    batch, num_vertices, _ = vertices_px.shape
    corners, faces = vertices_px.numpy(), triangles.numpy()
    ids = torch.empty(batch, height, width, dtype=torch.int32)
    barycentric = vertices_px.new_empty(batch, 3, height, width)
    depth = vertices_px.new_empty(batch, height, width)
    tasks = numba.get_num_threads()
    box = np.empty((batch, len(faces), 4), np.int32)
    work = np.zeros((tasks, batch, height), np.int64)
    wrong = np.zeros(tasks, np.int64)
    _each_task(_bound, _bound_all, tasks, corners, faces, width, height, cull_back, box, work, wrong)
    _check_indices(wrong, num_vertices)
    bands = _equal_shares(work.sum(0) + width, tasks)
    _each_task(
        _draw, _draw_all, tasks, corners, faces, box, bands, ids.numpy(), barycentric.numpy(), depth.numpy()
    )
    return ids, barycentric, depth


def interpolate(ids: Tensor, vertices_px: Tensor, triangles: Tensor, attributes: Tensor) -> Tensor:
    """See :func:`vultus.render.interpolate.interpolate`."""
    return _Interpolation.apply(ids, vertices_px, triangles, attributes)  # type: ignore[no-any-return]


class _Interpolation(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, ids: Tensor, vertices_px: Tensor, triangles: Tensor, attributes: Tensor) -> Tensor:
        ids, triangles = ids.to(torch.int32).contiguous(), triangles.contiguous()
        vertices_px, attributes = vertices_px.contiguous(), attributes.contiguous()
        tasks = numba.get_num_threads()
        image = attributes.new_empty(len(ids), attributes.shape[-1], *ids.shape[1:])
        wrong = np.zeros(tasks, np.int64)
        arrays = [t.detach().numpy() for t in (ids, vertices_px, triangles, attributes, image)]
        _each_task(_mix, _mix_all, tasks, *arrays, wrong)
        _check_indices(wrong, vertices_px.shape[1])
        ctx.save_for_backward(ids, vertices_px, triangles, attributes)
        return image

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[None, Tensor | None, None, Tensor | None]:
        ids, vertices_px, triangles, attributes = ctx.saved_tensors
        seen, starts, pixels = _sort_pixels(ids.numpy().reshape(len(ids), -1), len(triangles))
        tasks = numba.get_num_threads()
        shares = np.searchsorted(starts, np.linspace(0, starts[-1], tasks + 1)).astype(np.int64)
        corner = np.empty((len(seen), 3, 3 + attributes.shape[-1]), vertices_px.numpy().dtype)
        arrays = [
            t.detach().contiguous().numpy() for t in (vertices_px, triangles, attributes, *grad_outputs)
        ]
        _each_task(_collect, _collect_all, tasks, *arrays, seen, starts, pixels, shares, corner)
        grad_vertices, grad_attributes = torch.zeros_like(vertices_px), torch.zeros_like(attributes)
        outputs = grad_vertices.numpy(), grad_attributes.numpy()
        _each_task(_gather, _gather_all, tasks, triangles.numpy(), seen, corner, *outputs)
        needed = ctx.needs_input_grad
        return None, grad_vertices if needed[1] else None, None, grad_attributes if needed[3] else None


def _each_task(kernel: Any, in_parallel: Any, tasks: int, *arrays: Any) -> None:
    if tasks == 1:
        kernel(0, 1, *arrays)
    else:
        in_parallel(tasks, *arrays)


def _equal_shares(work: np.ndarray, tasks: int) -> np.ndarray:
    """Cut rows "b h" into ``tasks`` bands of about equal work: first rows "b tasks+1"."""
    goals = np.arange(1, tasks) / tasks
    cuts = [np.searchsorted(done, done[-1] * goals) for done in work.cumsum(1)]
    return np.array([[0, *cut, work.shape[1]] for cut in cuts], np.int64).reshape(-1, tasks + 1)


def _check_indices(wrong: np.ndarray, num_vertices: int) -> None:
    if wrong.any():
        raise BadInput(
            f"triangles refer to vertices outside 0..{num_vertices - 1}: are they of another mesh?"
        )


@_kernel
def _bound(task, tasks, vertices, triangles, width, height, cull_back, box, work, wrong):
    """Pixel boxes (top, bottom, left, right) of this task's triangles, and the work they bring to each row."""
    for image in range(vertices.shape[0]):
        corner = vertices[image]
        for t in range(len(triangles) * task // tasks, len(triangles) * (task + 1) // tasks):
            box[image, t, 0], box[image, t, 1] = height, -1  # not drawn
            i, j, k = triangles[t, 0], triangles[t, 1], triangles[t, 2]
            if min(i, j, k) < 0 or max(i, j, k) >= len(corner):
                wrong[task] = 1
                continue
            ax, ay, az = np.float64(corner[i, 0]), np.float64(corner[i, 1]), np.float64(corner[i, 2])
            bx, by, bz = np.float64(corner[j, 0]), np.float64(corner[j, 1]), np.float64(corner[j, 2])
            cx, cy, cz = np.float64(corner[k, 0]), np.float64(corner[k, 1]), np.float64(corner[k, 2])
            area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
            if not (az > NEAR_MM and bz > NEAR_MM and cz > NEAR_MM) or area == 0 or (cull_back and area > 0):
                continue
            if not math.isfinite(ax + ay + az + bx + by + bz + cx + cy + cz):
                continue
            top = math.ceil(min(max(min(ay, by, cy) - 0.5, 0.0), height))
            bottom = math.floor(max(min(max(ay, by, cy) - 0.5, height - 1.0), -1.0))
            left = math.ceil(min(max(min(ax, bx, cx) - 0.5, 0.0), width))
            right = math.floor(max(min(max(ax, bx, cx) - 0.5, width - 1.0), -1.0))
            if top <= bottom and left <= right:
                box[image, t, 0], box[image, t, 1], box[image, t, 2], box[image, t, 3] = (
                    top,
                    bottom,
                    left,
                    right,
                )
                pixels = (bottom - top + 1) * (right - left + 1)
                work[task, image, (top + bottom) // 2] += pixels + _WORK_PER_TRIANGLE


@_kernel
def _corners(corner, i, j, k):
    """x, y and 1/z of three vertices, in float64."""
    ax, ay, wa = np.float64(corner[i, 0]), np.float64(corner[i, 1]), 1 / np.float64(corner[i, 2])
    bx, by, wb = np.float64(corner[j, 0]), np.float64(corner[j, 1]), 1 / np.float64(corner[j, 2])
    cx, cy, wc = np.float64(corner[k, 0]), np.float64(corner[k, 1]), 1 / np.float64(corner[k, 2])
    return ax, ay, wa, bx, by, wb, cx, cy, wc


@_kernel
def _edges(ax, ay, bx, by, cx, cy):
    """Edge functions opposite to the corners, which are given relative to the pixel centre."""
    return bx * cy - by * cx, cx * ay - cy * ax, ax * by - ay * bx


@_kernel
def _inverse(value):
    """1 / value, and 0 for 0: a triangle moved until it shows no area has no weight and no gradient, not NaN."""
    return 1 / value if value != 0 else 0.0


@_kernel
def _owns(edge, start_x, start_y, end_x, end_y):
    """Inside, or on an edge that is a left one (runs up) or a top one (runs right)."""
    return edge > 0 or (edge == 0 and (end_y < start_y or (end_y == start_y and end_x > start_x)))


@_kernel
def _draw(task, tasks, vertices, triangles, box, bands, ids, barycentric, depth):
    """The z-buffer over this task's rows, then weights and depth of what won."""
    width = ids.shape[2]
    for image in range(len(ids)):
        first, last = bands[image, task], bands[image, task + 1]
        corner = vertices[image]
        ids[image, first:last] = -1
        nearest = np.zeros((last - first, width), np.float32)  # 1/z
        for t in range(len(triangles)):
            if box[image, t, 0] >= last or box[image, t, 1] < first:
                continue
            i, j, k = triangles[t, 0], triangles[t, 1], triangles[t, 2]
            ax, ay, wa, bx, by, wb, cx, cy, wc = _corners(corner, i, j, k)
            if (bx - ax) * (cy - ay) - (by - ay) * (cx - ax) < 0:  # turn it clockwise in the image
                bx, by, wb, cx, cy, wc = cx, cy, wc, bx, by, wb
            for y in range(max(box[image, t, 0], first), min(box[image, t, 1] + 1, last)):
                py = y + 0.5
                day, dby, dcy = ay - py, by - py, cy - py
                for x in range(box[image, t, 2], box[image, t, 3] + 1):
                    px = x + 0.5
                    dax, dbx, dcx = ax - px, bx - px, cx - px
                    ea, eb, ec = _edges(dax, day, dbx, dby, dcx, dcy)
                    if not (ea >= 0 and eb >= 0 and ec >= 0):
                        continue
                    if not (
                        _owns(ea, bx, by, cx, cy) and _owns(eb, cx, cy, ax, ay) and _owns(ec, ax, ay, bx, by)
                    ):
                        continue
                    total = ea + eb + ec
                    if not total > 0:
                        continue
                    nearness = np.float32((ea * wa + eb * wb + ec * wc) / total)
                    if nearness > nearest[y - first, x]:
                        nearest[y - first, x] = nearness
                        ids[image, y, x] = t
        for y in range(first, last):
            known, at = -1, _NO_CORNERS
            for x in range(width):
                t = ids[image, y, x]
                if t < 0:
                    barycentric[image, 0, y, x] = barycentric[image, 1, y, x] = barycentric[
                        image, 2, y, x
                    ] = 0
                    depth[image, y, x] = np.inf
                    continue
                if t != known:
                    at = _corners(corner, triangles[t, 0], triangles[t, 1], triangles[t, 2])
                    known = t
                ax, ay, wa, bx, by, wb, cx, cy, wc = at
                px, py = x + 0.5, y + 0.5
                ea, eb, ec = _edges(ax - px, ay - py, bx - px, by - py, cx - px, cy - py)
                ua, ub, uc = ea * wa, eb * wb, ec * wc
                total = ua + ub + uc
                scale = 1 / total
                barycentric[image, 0, y, x] = ua * scale
                barycentric[image, 1, y, x] = ub * scale
                barycentric[image, 2, y, x] = uc * scale
                depth[image, y, x] = (ea + eb + ec) / total


@_kernel
def _mix(task, tasks, ids, vertices, triangles, attributes, out, wrong):
    """Interpolate attributes over rows task, task + tasks, ..."""
    num_channels = out.shape[1]
    for image in range(len(ids)):
        corner, value = vertices[image], attributes[image]
        for y in range(task, ids.shape[1], tasks):
            for c in range(num_channels):
                out[image, c, y] = 0
            known, i, j, k, at = -1, 0, 0, 0, _NO_CORNERS
            for x in range(ids.shape[2]):
                t = ids[image, y, x]
                if t < 0:
                    continue
                if t != known:
                    i, j, k = (
                        (triangles[t, 0], triangles[t, 1], triangles[t, 2])
                        if t < len(triangles)
                        else (-1, 0, 0)
                    )
                    if min(i, j, k) < 0 or max(i, j, k) >= len(corner):
                        wrong[task] = 1
                        return
                    at = _corners(corner, i, j, k)
                    known = t
                ax, ay, wa, bx, by, wb, cx, cy, wc = at
                px, py = x + 0.5, y + 0.5
                ea, eb, ec = _edges(ax - px, ay - py, bx - px, by - py, cx - px, cy - py)
                ua, ub, uc = ea * wa, eb * wb, ec * wc
                scale = _inverse(ua + ub + uc)
                ua, ub, uc = ua * scale, ub * scale, uc * scale
                for c in range(num_channels):
                    out[image, c, y, x] = ua * value[i, c] + ub * value[j, c] + uc * value[k, c]


@_kernel
def _sort_pixels(ids, num_triangles):
    """Group pixels "b p" by what they see.

    Returns ``seen`` (image * f + triangle, ascending), ``starts`` (one longer) and ``pixels``, in raster order within each.
    """
    ends = np.zeros(len(ids) * num_triangles + 1, np.int64)
    for image in range(len(ids)):
        for t in ids[image]:
            if t >= 0:
                ends[image * num_triangles + t + 1] += 1
    num_seen = 0
    for key in range(len(ends) - 1):
        num_seen += ends[key + 1] > 0
    seen, starts = np.empty(num_seen, np.int64), np.empty(num_seen + 1, np.int64)
    num_seen = 0
    for key in range(len(ends) - 1):
        if ends[key + 1] > 0:
            seen[num_seen], starts[num_seen] = key, ends[key]
            num_seen += 1
        ends[key + 1] += ends[key]
    starts[num_seen] = ends[-1]
    pixels = np.empty(ends[-1], np.int32)
    for image in range(len(ids)):
        for p in range(ids.shape[1]):
            t = ids[image, p]
            if t >= 0:
                key = image * num_triangles + t
                pixels[ends[key]] = p
                ends[key] += 1
    return seen, starts, pixels


@_kernel
def _collect(task, tasks, vertices, triangles, attributes, grad, seen, starts, pixels, shares, out):
    """Gradients at the corners of this task's triangles: out[n, corner] = (x, y, z, attributes...).

    With h_i = grad . attribute_i: dL/du_i = (h_i - sum(b h)) / sum(u) =: k_i, dL/de_i = k_i / z_i, dL/dz_i = -k_i e_i / z_i^2, and e_i is
    the cross product of the two other corners relative to the pixel centre.
    """
    num_channels, width = attributes.shape[2], grad.shape[3]
    sums = np.zeros((3, num_channels))
    for n in range(shares[task], shares[task + 1]):
        image, t = divmod(seen[n], len(triangles))
        i, j, k = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        corner, value, upstream = vertices[image], attributes[image], grad[image]
        vax, vay, wa, vbx, vby, wb, vcx, vcy, wc = _corners(corner, i, j, k)
        gax = gay = gaz = gbx = gby = gbz = gcx = gcy = gcz = 0.0
        sums[:] = 0
        for p in pixels[starts[n] : starts[n + 1]]:
            y = p // width
            x = p - y * width
            px, py = x + 0.5, y + 0.5
            ax, ay, bx, by, cx, cy = vax - px, vay - py, vbx - px, vby - py, vcx - px, vcy - py
            ea, eb, ec = _edges(ax, ay, bx, by, cx, cy)
            scale = _inverse(ea * wa + eb * wb + ec * wc)
            ba, bb, bc = ea * wa * scale, eb * wb * scale, ec * wc * scale
            ha = hb = hc = 0.0
            for c in range(num_channels):
                g = np.float64(upstream[c, y, x])
                ha += g * value[i, c]
                hb += g * value[j, c]
                hc += g * value[k, c]
                sums[0, c] += ba * g
                sums[1, c] += bb * g
                sums[2, c] += bc * g
            mean = ba * ha + bb * hb + bc * hc
            ka, kb, kc = (ha - mean) * scale * wa, (hb - mean) * scale * wb, (hc - mean) * scale * wc
            gax += kc * by - kb * cy
            gay += kb * cx - kc * bx
            gbx += ka * cy - kc * ay
            gby += kc * ax - ka * cx
            gcx += kb * ay - ka * by
            gcy += ka * bx - kb * ax
            gaz -= ka * ea * wa
            gbz -= kb * eb * wb
            gcz -= kc * ec * wc
        out[n, 0, 0], out[n, 0, 1], out[n, 0, 2] = gax, gay, gaz
        out[n, 1, 0], out[n, 1, 1], out[n, 1, 2] = gbx, gby, gbz
        out[n, 2, 0], out[n, 2, 1], out[n, 2, 2] = gcx, gcy, gcz
        out[n, :, 3:] = sums


@_kernel
def _gather(task, tasks, triangles, seen, corner, grad_vertices, grad_attributes):
    """Add corner gradients to this task's vertices."""
    num_vertices = grad_vertices.shape[1]
    first, last = num_vertices * task // tasks, num_vertices * (task + 1) // tasks
    for n in range(len(seen)):
        image, t = divmod(seen[n], len(triangles))
        for j in range(3):
            vertex = triangles[t, j]
            if first <= vertex < last:
                for c in range(3):
                    grad_vertices[image, vertex, c] += corner[n, j, c]
                for c in range(grad_attributes.shape[2]):
                    grad_attributes[image, vertex, c] += corner[n, j, 3 + c]


# The parallel regions. A task's kernel is called with its number; prange hands out one task per thread.


@_parallel
def _bound_all(tasks, vertices, triangles, width, height, cull_back, box, work, wrong):
    for task in prange(tasks):
        _bound(task, tasks, vertices, triangles, width, height, cull_back, box, work, wrong)


@_parallel
def _draw_all(tasks, vertices, triangles, box, bands, ids, barycentric, depth):
    for task in prange(tasks):
        _draw(task, tasks, vertices, triangles, box, bands, ids, barycentric, depth)


@_parallel
def _mix_all(tasks, ids, vertices, triangles, attributes, out, wrong):
    for task in prange(tasks):
        _mix(task, tasks, ids, vertices, triangles, attributes, out, wrong)


@_parallel
def _collect_all(tasks, vertices, triangles, attributes, grad, seen, starts, pixels, shares, out):
    for task in prange(tasks):
        _collect(task, tasks, vertices, triangles, attributes, grad, seen, starts, pixels, shares, out)


@_parallel
def _gather_all(tasks, triangles, seen, corner, grad_vertices, grad_attributes):
    for task in prange(tasks):
        _gather(task, tasks, triangles, seen, corner, grad_vertices, grad_attributes)
