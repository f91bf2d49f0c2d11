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
def pull(task, tasks, ids, vertices, triangles, attributes, grad, partial):
    """Gradients of this task's bands: partial[image, band, vertex] = (x, y, z, attributes...).

    With h_i = grad . attribute_i: dL/du_i = (h_i - sum(b h)) / sum(u) =: k_i, dL/de_i = k_i / z_i, dL/dz_i = -k_i e_i / z_i^2, and e_i is
    the cross product of the two other corners relative to the pixel centre. Pixels of a row that see the same triangle are summed first.
    """
    num_images, height, width = ids.shape
    bands, num_channels = partial.shape[1], attributes.shape[2]
    for strip in range(num_images * bands * task // tasks, num_images * bands * (task + 1) // tasks):
        image, band = strip // bands, strip % bands
        value, upstream, total = attributes[image], grad[image], partial[image, band]
        total[:] = 0
        for y in range(height * band // bands, height * (band + 1) // bands):
            x = 0
            while x < width:
                t = ids[image, y, x]
                if t < 0:
                    x += 1
                    continue
                i, j, k = triangles[t, 0], triangles[t, 1], triangles[t, 2]
                vax, vay, wa, vbx, vby, wb, vcx, vcy, wc = corners(vertices[image], i, j, k)
                gax = gay = gaz = gbx = gby = gbz = gcx = gcy = gcz = 0.0
                while x < width and ids[image, y, x] == t:
                    px, py = x + 0.5, y + 0.5
                    ax, ay, bx, by, cx, cy = vax - px, vay - py, vbx - px, vby - py, vcx - px, vcy - py
                    ea, eb, ec = edges(ax, ay, bx, by, cx, cy)
                    scale = inverse(ea * wa + eb * wb + ec * wc)
                    ba, bb, bc = ea * wa * scale, eb * wb * scale, ec * wc * scale
                    ha = hb = hc = 0.0
                    for c in range(num_channels):
                        g = np.float64(upstream[c, y, x])
                        ha += g * value[i, c]
                        hb += g * value[j, c]
                        hc += g * value[k, c]
                        total[i, 3 + c] += ba * g
                        total[j, 3 + c] += bb * g
                        total[k, 3 + c] += bc * g
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
                    x += 1
                total[i, 0] += gax
                total[i, 1] += gay
                total[i, 2] += gaz
                total[j, 0] += gbx
                total[j, 1] += gby
                total[j, 2] += gbz
                total[k, 0] += gcx
                total[k, 1] += gcy
                total[k, 2] += gcz


@kernel
def add_up(task, tasks, partial, grad_vertices, grad_attributes):
    """Add the bands of this task's vertices, first to last."""
    num_images, bands, num_vertices, _ = partial.shape
    num_channels = grad_attributes.shape[2]
    for image in range(num_images):
        for v in range(num_vertices * task // tasks, num_vertices * (task + 1) // tasks):
            for band in range(1, bands):
                for c in range(3 + num_channels):
                    partial[image, 0, v, c] += partial[image, band, v, c]
            for c in range(3):
                grad_vertices[image, v, c] = partial[image, 0, v, c]
            for c in range(num_channels):
                grad_attributes[image, v, c] = partial[image, 0, v, 3 + c]


# The parallel regions: prange hands out one task per thread.


@parallel
def mix_all(tasks, ids, vertices, triangles, attributes, out, wrong):
    for task in prange(tasks):
        mix(task, tasks, ids, vertices, triangles, attributes, out, wrong)


@parallel
def pull_all(tasks, ids, vertices, triangles, attributes, grad, partial):
    for task in prange(tasks):
        pull(task, tasks, ids, vertices, triangles, attributes, grad, partial)


@parallel
def add_up_all(tasks, partial, grad_vertices, grad_attributes):
    for task in prange(tasks):
        add_up(task, tasks, partial, grad_vertices, grad_attributes)
