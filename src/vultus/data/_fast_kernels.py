"""Numba kernels of the fast maker: normals of a mesh, and every pixel lit in one pass.

Pixels are looked at once: torch, an operation at a time over a hundred thousand of them, takes three times as long.
"""

from __future__ import annotations

import math

from ..render._jit import NO_CORNERS, corners, edges, inverse, kernel


@kernel
def add_normals(vertices, triangles, out):
    """Sums of the triangles' normals at their corners, into ``out`` (v, 3), which is zero before."""
    for t in range(len(triangles)):
        i, j, k = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ux, uy, uz = (
            vertices[j, 0] - vertices[i, 0],
            vertices[j, 1] - vertices[i, 1],
            vertices[j, 2] - vertices[i, 2],
        )
        vx, vy, vz = (
            vertices[k, 0] - vertices[i, 0],
            vertices[k, 1] - vertices[i, 1],
            vertices[k, 2] - vertices[i, 2],
        )
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        for corner in (i, j, k):
            out[corner, 0] += nx
            out[corner, 1] += ny
            out[corner, 2] += nz


@kernel
def _sample(image, u, v, found):
    """Bilinear values of an image (h, w, c) at (u, v) in [0, 1], texel centres at +0.5, into ``found`` (c,)."""
    height, width, channels = image.shape
    x = min(max(u * width - 0.5, 0.0), width - 1.001)
    y = min(max(v * height - 0.5, 0.0), height - 1.001)
    left, top = int(x), int(y)
    a, b = x - left, y - top
    for c in range(channels):
        above = image[top, left, c] * (1 - a) + image[top, left + 1, c] * a
        below = image[top + 1, left, c] * (1 - a) + image[top + 1, left + 1, c] * a
        found[c] = above * (1 - b) + below * b


@kernel
def light_pixels(
    ids, vertices_px, triangles, look, is_face, texture, strands, turn, sky_light, lamp, hue, wrap, window, bright, focal,
    centre_x, centre_y, found, values, out,
):  # fmt: skip
    """Linear colour, coverage and face of every pixel, into ``out`` (5, h, w), which is zero before.

    ``look`` (v, 12): normal, how much of the lamp is seen, open sky, texture u, v, how much texture (below zero: of strands), colour, gloss.
    ``texture`` (s, s, 3 or 7): albedo, and the relief's turn of normals (head frame; ``turn`` (3, 3) takes it to the camera's) and sky.
    ``sky_light`` (3, 9): coefficients times the clamped cosine's factors and the harmonics' constants. ``found``, ``values``: room (7,), (12,).
    """
    height, width = ids.shape
    size = texture.shape[2]
    for y in range(height):
        known, i, j, k, at = -1, 0, 0, 0, NO_CORNERS
        for x in range(width):
            t = ids[y, x]
            if t < 0:
                continue
            if t != known:
                i, j, k = triangles[t, 0], triangles[t, 1], triangles[t, 2]
                at, known = corners(vertices_px, i, j, k), t
            ax, ay, wa, bx, by, wb, cx, cy, wc = at
            px, py = x + 0.5, y + 0.5
            ea, eb, ec = edges(ax - px, ay - py, bx - px, by - py, cx - px, cy - py)
            ua, ub, uc = ea * wa, eb * wb, ec * wc
            scale = inverse(ua + ub + uc)
            ua, ub, uc = ua * scale, ub * scale, uc * scale
            for c in range(12):
                values[c] = ua * look[i, c] + ub * look[j, c] + uc * look[k, c]
            nx, ny, nz = values[0], values[1], values[2]
            long = 1 / math.sqrt(max(nx * nx + ny * ny + nz * nz, 1e-20))
            nx, ny, nz = nx * long, ny * long, nz * long
            seen, sky, share, gloss = values[3], values[4], values[7], values[11]
            red, green, blue = values[8], values[9], values[10]
            if share > 0:
                _sample(texture, values[5], values[6], found)
                red = share * found[0] + (1 - share) * red
                green = share * found[1] + (1 - share) * green
                blue = share * found[2] + (1 - share) * blue
                if size > 3:
                    nx += share * (turn[0, 0] * found[3] + turn[0, 1] * found[4] + turn[0, 2] * found[5])
                    ny += share * (turn[1, 0] * found[3] + turn[1, 1] * found[4] + turn[1, 2] * found[5])
                    nz += share * (turn[2, 0] * found[3] + turn[2, 1] * found[4] + turn[2, 2] * found[5])
                    long = 1 / math.sqrt(max(nx * nx + ny * ny + nz * nz, 1e-20))
                    nx, ny, nz = nx * long, ny * long, nz * long
                    sky *= 1 - share * (1 - found[6])
            elif share < 0:
                _sample(strands, values[5] - math.floor(values[5]), values[6] - math.floor(values[6]), found)
                grain = 1 - share * found[0]
                red, green, blue = red * grain, green * grain, blue * grain
            # Skin shines a little all over, eyes and glasses mirror the lamp and something bright.
            vx, vy = (px - centre_x) / focal, (py - centre_y) / focal
            long = 1 / math.sqrt(vx * vx + vy * vy + 1)
            vx, vy, vz = vx * long, vy * long, long
            hx, hy, hz = lamp[0] - vx, lamp[1] - vy, lamp[2] - vz
            half = (nx * hx + ny * hy + nz * hz) / math.sqrt(max(hx * hx + hy * hy + hz * hz, 1e-12))
            half = max(half, 0.0)
            glint = 0.0
            if gloss > 0.4:
                shine = half**300
                hx, hy, hz = window[0] - vx, window[1] - vy, window[2] - vz
                mirrored = (nx * hx + ny * hy + nz * hz) / math.sqrt(max(hx * hx + hy * hy + hz * hz, 1e-12))
                glint = 0.35 * max(mirrored, 0.0) ** 220 * sky
            else:
                shine = half * half
                shine *= shine
                shine *= shine
                shine *= shine
            shine *= 1.6 * gloss * seen
            facing = nx * lamp[0] + ny * lamp[1] + nz * lamp[2]
            closed = sky * math.sqrt(max(sky, 0.0))
            for c in range(3):
                s = sky_light[c]
                around = s[0] + s[1] * ny + s[2] * nz + s[3] * nx + s[4] * nx * ny + s[5] * ny * nz
                around += s[6] * (3 * nz * nz - 1) + s[7] * nx * nz + s[8] * (nx * nx - ny * ny)
                direct = max((facing + wrap[c]) / (1 + wrap[c]), 0.0) * seen * hue[c]
                albedo = red if c == 0 else (green if c == 1 else blue)
                out[c, y, x] = (
                    albedo * (max(around, 0.02) * closed + direct) + shine * hue[c] + glint * bright[c]
                )
            out[3, y, x] = 1.0
            out[4, y, x] = 1.0 if is_face[t] else 0.0
