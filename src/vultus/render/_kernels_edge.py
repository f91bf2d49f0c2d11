"""The numba kernel of :mod:`vultus.render.silhouette`: silhouette edges, row by row or column by column."""

from __future__ import annotations

import numpy as np

from ._jit import kernel


@kernel
def pull_edges(image, grad, depth, vertices, ends, side, total):
    """Add the gradient of silhouette edges "s 2" to ``total`` "v 3", edge after edge; see ``pull_torch``."""
    channels, height, width = image.shape
    for s in range(len(ends)):
        i, j = ends[s, 0], ends[s, 1]
        dx = np.float64(vertices[j, 0]) - vertices[i, 0]
        dy = np.float64(vertices[j, 1]) - vertices[i, 1]
        steep = abs(dy) >= abs(dx)
        # u runs across the edge, v along it: u = x, v = y for a steep edge.
        across, along = (0, 1) if steep else (1, 0)
        num_across, num_along = (width, height) if steep else (height, width)
        u0, v0, w0 = np.float64(vertices[i, across]), np.float64(vertices[i, along]), 1 / vertices[i, 2]
        u1, v1, w1 = np.float64(vertices[j, across]), np.float64(vertices[j, along]), 1 / vertices[j, 2]
        if v0 == v1:
            continue
        slope = (u1 - u0) / (v1 - v0)
        inner_after = (side[s] * (v0 - v1) > 0) if steep else (side[s] * (v1 - v0) > 0)
        first = max(int(np.ceil(min(max(min(v0, v1) - 0.5, -1.0), num_along + 1.0))), 0)
        last = min(int(np.ceil(min(max(max(v0, v1) - 0.5, -1.0), num_along + 1.0))), num_along)
        for v in range(first, last):
            share = (v + 0.5 - v0) / (v1 - v0)
            crossing = u0 + share * (u1 - u0)
            if not (0.5 <= crossing < num_across - 0.5):
                continue
            before = int(np.floor(crossing - 0.5))
            ax, ay, bx, by = (before, v, before + 1, v) if steep else (v, before, v, before + 1)
            depth_a, depth_b = depth[ay, ax], depth[by, bx]
            inner, outer = (depth_b, depth_a) if inner_after else (depth_a, depth_b)
            if not (inner < outer and 1 / ((1 - share) * w0 + share * w1) < outer):
                continue
            far = crossing - 0.5 - before
            force = 0.0
            for c in range(channels):
                upstream = (1 - far) * grad[c, ay, ax] + far * grad[c, by, bx]
                force += (np.float64(image[c, ay, ax]) - image[c, by, bx]) * upstream
            total[i, across] += (1 - share) * force
            total[j, across] += share * force
            total[i, along] -= (1 - share) * slope * force
            total[j, along] -= share * slope * force
