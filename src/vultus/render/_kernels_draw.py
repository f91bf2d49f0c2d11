"""Numba kernels that draw: pixel boxes, then a z-buffer per band of rows."""

from __future__ import annotations

import math

import numpy as np
from numba import prange

from ._jit import NO_CORNERS, corners, edges, kernel, parallel

WORK_PER_TRIANGLE = 8
"""Cost of setting a triangle up, in pixels of its box; only the balance between threads depends on it."""


@kernel
def bound(task, tasks, vertices, triangles, width, height, near, cull_back, box, work, wrong):
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
            if not (az > near and bz > near and cz > near) or area == 0 or (cull_back and area > 0):
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
                work[task, image, (top + bottom) // 2] += pixels + WORK_PER_TRIANGLE


@kernel
def _owns(edge, start_x, start_y, end_x, end_y):
    """Inside, or on an edge that is a left one (runs up) or a top one (runs right)."""
    return edge > 0 or (edge == 0 and (end_y < start_y or (end_y == start_y and end_x > start_x)))


@kernel
def draw(task, tasks, vertices, triangles, box, bands, ids, barycentric, depth):
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
            ax, ay, wa, bx, by, wb, cx, cy, wc = corners(corner, i, j, k)
            if (bx - ax) * (cy - ay) - (by - ay) * (cx - ax) < 0:  # turn it clockwise in the image
                bx, by, wb, cx, cy, wc = cx, cy, wc, bx, by, wb
            for y in range(max(box[image, t, 0], first), min(box[image, t, 1] + 1, last)):
                py = y + 0.5
                day, dby, dcy = ay - py, by - py, cy - py
                for x in range(box[image, t, 2], box[image, t, 3] + 1):
                    px = x + 0.5
                    dax, dbx, dcx = ax - px, bx - px, cx - px
                    ea, eb, ec = edges(dax, day, dbx, dby, dcx, dcy)
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
            known, at = -1, NO_CORNERS
            for x in range(width):
                t = ids[image, y, x]
                if t < 0:
                    barycentric[image, 0, y, x] = barycentric[image, 1, y, x] = barycentric[
                        image, 2, y, x
                    ] = 0
                    depth[image, y, x] = np.inf
                    continue
                if t != known:
                    at = corners(corner, triangles[t, 0], triangles[t, 1], triangles[t, 2])
                    known = t
                ax, ay, wa, bx, by, wb, cx, cy, wc = at
                px, py = x + 0.5, y + 0.5
                ea, eb, ec = edges(ax - px, ay - py, bx - px, by - py, cx - px, cy - py)
                ua, ub, uc = ea * wa, eb * wb, ec * wc
                total = ua + ub + uc
                scale = 1 / total
                barycentric[image, 0, y, x] = ua * scale
                barycentric[image, 1, y, x] = ub * scale
                barycentric[image, 2, y, x] = uc * scale
                depth[image, y, x] = (ea + eb + ec) / total


# The parallel regions: prange hands out one task per thread.


@parallel
def bound_all(tasks, vertices, triangles, width, height, near, cull_back, box, work, wrong):
    for task in prange(tasks):
        bound(task, tasks, vertices, triangles, width, height, near, cull_back, box, work, wrong)


@parallel
def draw_all(tasks, vertices, triangles, box, bands, ids, barycentric, depth):
    for task in prange(tasks):
        draw(task, tasks, vertices, triangles, box, bands, ids, barycentric, depth)
