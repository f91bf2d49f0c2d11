"""Numba kernels that interpolate vertex attributes, and carry gradients back."""

from __future__ import annotations

import numpy as np
from numba import prange

from ._jit import NO_CORNERS, corners, edges, inverse, kernel, parallel


@kernel
def mix(task, tasks, ids, vertices, triangles, attributes, out, wrong):
    """Interpolate attributes over rows task, task + tasks, ..."""
    num_channels = out.shape[1]
    for image in range(len(ids)):
        corner, value = vertices[image], attributes[image]
        for y in range(task, ids.shape[1], tasks):
            for c in range(num_channels):
                out[image, c, y] = 0
            known, i, j, k, at = -1, 0, 0, 0, NO_CORNERS
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
                    at = corners(corner, i, j, k)
                    known = t
                ax, ay, wa, bx, by, wb, cx, cy, wc = at
                px, py = x + 0.5, y + 0.5
                ea, eb, ec = edges(ax - px, ay - py, bx - px, by - py, cx - px, cy - py)
                ua, ub, uc = ea * wa, eb * wb, ec * wc
                scale = inverse(ua + ub + uc)
                ua, ub, uc = ua * scale, ub * scale, uc * scale
                for c in range(num_channels):
                    out[image, c, y, x] = ua * value[i, c] + ub * value[j, c] + uc * value[k, c]


@kernel
def sort_runs(ids, num_triangles):
    """Group the pixels of ids "b h w" by what they see, as runs along rows.

    Returns ``seen`` (image * f + triangle, ascending), ``starts`` (one longer) and ``runs`` (row, first column, column after the last),
    in raster order within each triangle: a stable counting sort.
    """
    num_images, height, width = ids.shape
    ends = np.zeros(num_images * num_triangles + 1, np.int64)
    for image in range(num_images):
        for y in range(height):
            before = -1
            for t in ids[image, y]:
                if t != before and t >= 0:
                    ends[image * num_triangles + t + 1] += 1
                before = t
    num_seen = 0
    for count in ends[1:]:
        num_seen += count > 0
    seen, starts = np.empty(num_seen, np.int64), np.empty(num_seen + 1, np.int64)
    num_seen = 0
    for key in range(len(ends) - 1):
        if ends[key + 1] > 0:
            seen[num_seen], starts[num_seen] = key, ends[key]
            num_seen += 1
        ends[key + 1] += ends[key]
    starts[num_seen] = ends[-1]
    runs = np.empty((ends[-1], 3), np.int32)
    for image in range(num_images):
        for y in range(height):
            before, run = -1, 0
            for x in range(width):
                t = ids[image, y, x]
                if t != before:
                    if before >= 0:
                        runs[run, 2] = x
                    if t >= 0:
                        run = ends[image * num_triangles + t]
                        ends[image * num_triangles + t] += 1
                        runs[run, 0], runs[run, 1] = y, x
                    before = t
            if before >= 0:
                runs[run, 2] = width
    return seen, starts, runs


@kernel
def collect(task, tasks, vertices, triangles, attributes, grad, seen, starts, runs, shares, out):
    """Gradients at the corners of this task's triangles: out[n, corner] = (x, y, z, attributes...).

    With h_i = grad . attribute_i: dL/du_i = (h_i - sum(b h)) / sum(u) =: k_i, dL/de_i = k_i / z_i, dL/dz_i = -k_i e_i / z_i^2, and e_i is
    the cross product of the two other corners relative to the pixel centre.
    """
    num_channels = attributes.shape[2]
    sums = np.zeros((3, num_channels))
    for n in range(shares[task], shares[task + 1]):
        image, t = divmod(seen[n], len(triangles))
        i, j, k = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        corner, upstream = vertices[image], grad[image]
        va, vb, vc = attributes[image, i], attributes[image, j], attributes[image, k]
        vax, vay, wa, vbx, vby, wb, vcx, vcy, wc = corners(corner, i, j, k)
        gax = gay = gaz = gbx = gby = gbz = gcx = gcy = gcz = 0.0
        sums[:] = 0
        for run in range(starts[n], starts[n + 1]):
            y = runs[run, 0]
            for x in range(runs[run, 1], runs[run, 2]):
                px, py = x + 0.5, y + 0.5
                ax, ay, bx, by, cx, cy = vax - px, vay - py, vbx - px, vby - py, vcx - px, vcy - py
                ea, eb, ec = edges(ax, ay, bx, by, cx, cy)
                scale = inverse(ea * wa + eb * wb + ec * wc)
                ba, bb, bc = ea * wa * scale, eb * wb * scale, ec * wc * scale
                ha = hb = hc = 0.0
                for c in range(num_channels):
                    g = np.float64(upstream[c, y, x])
                    ha += g * va[c]
                    hb += g * vb[c]
                    hc += g * vc[c]
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


@kernel
def gather(task, tasks, triangles, seen, corner, grad_vertices, grad_attributes):
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


# The parallel regions: prange hands out one task per thread.


@parallel
def mix_all(tasks, ids, vertices, triangles, attributes, out, wrong):
    for task in prange(tasks):
        mix(task, tasks, ids, vertices, triangles, attributes, out, wrong)


@parallel
def collect_all(tasks, vertices, triangles, attributes, grad, seen, starts, runs, shares, out):
    for task in prange(tasks):
        collect(task, tasks, vertices, triangles, attributes, grad, seen, starts, runs, shares, out)


@parallel
def gather_all(tasks, triangles, seen, corner, grad_vertices, grad_attributes):
    for task in prange(tasks):
        gather(task, tasks, triangles, seen, corner, grad_vertices, grad_attributes)
