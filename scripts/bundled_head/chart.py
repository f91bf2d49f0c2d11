"""The face chart and the head's texture atlas: where every vertex of the bundled head lies in its textures.

Only the left half (x >= 0) is flattened and then mirrored: both sides are exactly alike. While flattening, the second
coordinate runs up, like y; the arrays returned run down.
"""

from __future__ import annotations

import numpy as np
from cut import LOWER_CORNER, NOSE_LINE, UPPER_CORNER, LeftHalf, cut_left_half
from flatten import reference_triangles, relax, tutte, untangle
from loops import chain, ladder, sides_of
from makehuman import RawHead
from scipy.spatial import cKDTree

from vultus.model.subdivide import Subdivision, mirror_fine, subdivide_uv, triangulate

EYE_CAP_RAD = np.radians(120)
MARGIN = 0.115  # width of the frame around the chart's square in the atlas
MOUTH_OPENING = 0.3  # height over width of the hole that the closed lips leave in the chart


def close_membranes(half: LeftHalf, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Triangles that close the left eye and the left half of the mouth, counter-clockwise seen from the front.

    The chains above and below run from the middle of the lips, or the inner corner of the eye, outwards.
    """
    lips, lids = half.lips, half.lids
    corner = points[lips, 0].argmax()
    mouth = ladder(lips[: corner + 1], lips[corner:][::-1], points)
    inner, outer = points[lids, 0].argmin(), points[lids, 0].argmax()
    lids = np.roll(lids, -inner)
    outer = (outer - inner) % len(lids)
    one, other = lids[: outer + 1], np.append(lids[outer:], lids[0])[::-1]
    upper, lower = (one, other) if points[one, 1].mean() > points[other, 1].mean() else (other, one)
    return ladder(upper, lower, points), mouth


def feature_density(points: np.ndarray, half: LeftHalf) -> np.ndarray:
    """How many times longer than elsewhere a millimetre is in the chart, for each point (n,) of the left half."""
    density = np.ones(len(points))
    features = ((half.lids, 1.2, 12.0), (half.lips, 1.2, 14.0), (np.array(NOSE_LINE), 1.5, 16.0))
    for feature, gain, width_mm in features:
        distance = cKDTree(points[feature]).query(points)[0]
        density += gain * np.exp(-((distance / width_mm) ** 2))
    return density


def flatten_face(points: np.ndarray, half: LeftHalf) -> tuple[np.ndarray, np.ndarray]:
    """Chart coordinates (v, 2), v up, NaN outside the left half, and the membranes (f, 3) of that half.

    Tutte's embedding on the unit square is the start; then border vertices slide along their sides while the distortion
    against the wanted density falls.
    """
    eye, mouth = close_membranes(half, points)
    triangles = np.concatenate([half.pieces["face"], eye, mouth])
    outline = half.outline
    top, bottom = (int(np.flatnonzero(outline == corner)[0]) for corner in (UPPER_CORNER, LOWER_CORNER))
    position = _arc(points[outline])
    uv = np.full((len(points), 2), np.nan)
    fixed = np.zeros((len(points), 2), bool)
    uv[outline[: top + 1]] = np.stack([0.5 + 0.5 * position[: top + 1] / position[top], np.ones(top + 1)], -1)
    side = (position[top : bottom + 1] - position[top]) / (position[bottom] - position[top])
    uv[outline[top : bottom + 1]] = np.stack([np.ones_like(side), 1 - side], -1)
    end = (position[bottom:] - position[bottom]) / (position[-1] - position[bottom])
    uv[outline[bottom:]] = np.stack([1 - 0.5 * end, np.zeros_like(end)], -1)

    used = np.unique(triangles)
    middle = used[half.on_midline[used]]
    uv[middle, 0] = 0.5
    fixed[middle, 0] = True
    fixed[outline] = True
    local, local_triangles = _localise(triangles)
    start = tutte(local_triangles, np.nan_to_num(uv[local]), fixed[local])

    scale = feature_density(points, half)[triangles].mean(1)
    reference = reference_triangles(points, triangles, scale)
    open_mouth = _ellipse(points, half.lips)
    reference[-len(mouth) :] = reference_triangles(open_mouth, mouth, scale[-len(mouth) :])
    reference *= np.sqrt(0.5 / (0.5 * np.linalg.det(reference)).sum())  # the left half of the unit square
    fixed[outline[1:top], 0] = fixed[outline[top + 1 : bottom], 1] = fixed[outline[bottom + 1 : -1], 0] = (
        False
    )
    area = 0.5 * np.linalg.det(reference)
    uv[local] = relax(local_triangles, start, fixed[local], reference, area)
    return uv, np.concatenate([eye, mouth])


def flatten_around(points: np.ndarray, half: LeftHalf, chart_uv: np.ndarray) -> np.ndarray:
    """Atlas coordinates (v, 2), v up, of the left half: the chart in its square, the rest of the head in the frame around it.

    The neck's cut becomes the outer border. The mouth bag and the eye socket go into the holes of mouth and eye, so lips and
    lids are no seam.
    """
    triangles, neck, outline = half.pieces["head"], half.neck, half.outline
    local, local_triangles = _localise(triangles)
    # Unrolled, the frame is a rectangle (place along the border 0..4, 0 at the chart ... 1 at the neck): Tutte holds there.
    unrolled = np.zeros((len(points), 2))
    fixed = np.zeros((len(points), 2), bool)
    unrolled[outline, 0] = _place_on_border(chart_uv[outline])
    quarter, last = len(neck) // 4, len(neck) - 1
    unrolled[neck, 0] = np.interp(np.arange(len(neck)), [0, quarter, last - quarter, last], [0, 1, 3, 4])
    unrolled[neck, 1] = 1
    back = _midline_from(triangles, half.on_midline, start=outline[0])
    front = _midline_from(triangles, half.on_midline, start=outline[-1])
    unrolled[front, 0] = 4
    fixed[outline] = fixed[neck] = True
    fixed[back, 0] = fixed[front, 0] = True
    unrolled[local] = tutte(local_triangles, unrolled[local], fixed[local])
    uv = MARGIN + (1 - 2 * MARGIN) * chart_uv
    place, height = unrolled[local].T
    side = 1 - 2 * MARGIN * (1 - height)
    uv[local] = 0.5 + side[:, None] * (_border_at(place) - 0.5)
    uv[outline] = MARGIN + (1 - 2 * MARGIN) * chart_uv[outline]

    reference = reference_triangles(points, triangles, np.ones(len(triangles)))
    reference *= np.sqrt(
        (2 * MARGIN - 2 * MARGIN**2) / (0.5 * np.linalg.det(reference)).sum()
    )  # half of the frame
    area = 0.5 * np.linalg.det(reference)
    # From here on the border's vertices may slide along its sides.
    start = untangle(local_triangles, uv[local], fixed[local], reference, area)
    fixed[neck[1:quarter], 0] = fixed[neck[quarter + 1 : last - quarter], 1] = fixed[
        neck[last - quarter + 1 : -1], 0
    ] = False
    fixed[back, 0] = fixed[front, 0] = True
    uv[local] = relax(local_triangles, start, fixed[local], reference, area)
    for piece, rim in (("mouth", half.lips), ("socket", half.lids)):
        _fill_hole(uv, points, half.pieces[piece], rim, half.on_midline)
    return uv


def _fill_hole(
    uv: np.ndarray, points: np.ndarray, triangles: np.ndarray, rim: np.ndarray, on_midline: np.ndarray
) -> None:
    """Lay a pocket of skin into the hole of the atlas whose rim is known (changes ``uv``)."""
    local, local_triangles = _localise(triangles)
    fixed = np.zeros((len(points), 2), bool)
    fixed[rim] = True
    middle = local[on_midline[local]]
    uv[middle, 0] = 0.5
    fixed[middle, 0] = True
    start = tutte(local_triangles, np.nan_to_num(uv[local]), fixed[local])
    corners = uv[rim] - uv[rim].mean(0)
    hole = (
        abs((corners[:, 0] * np.roll(corners[:, 1], -1) - corners[:, 1] * np.roll(corners[:, 0], -1)).sum())
        / 2
    )
    reference = reference_triangles(points, triangles, np.ones(len(triangles)))
    reference *= np.sqrt(hole / (0.5 * np.linalg.det(reference)).sum())
    area = 0.5 * np.linalg.det(reference)
    start = untangle(local_triangles, start, fixed[local], reference, area)
    uv[local] = relax(local_triangles, start, fixed[local], reference, area)


def _place_on_border(uv: np.ndarray) -> np.ndarray:
    """Place (n,) along the right half of the unit square's border: upper middle 0, corners 1 and 3, lower middle 4."""
    u, v = uv.T
    return np.where(v == 1, 2 * u - 1, np.where(v == 0, 5 - 2 * u, 3 - 2 * v))


def _border_at(place: np.ndarray) -> np.ndarray:
    """The inverse of :func:`_place_on_border` (n, 2)."""
    u = 0.5 + 0.5 * np.clip(np.minimum(place, 4 - place), 0, 1)
    return np.stack([u, np.clip(1.5 - place / 2, 0, 1)], -1)


def _midline_from(triangles: np.ndarray, on_midline: np.ndarray, start: int) -> np.ndarray:
    """The vertices of a piece on the midline, connected with ``start`` along it."""
    sides, _ = sides_of(triangles)
    return chain(sides[on_midline[sides].all(1)], start)


def make_chart(head: RawHead, subdivision: Subdivision, points: np.ndarray) -> dict[str, np.ndarray]:
    """The face chart and the texture coordinates of all parts.

    Args:
        head: for its parts, mirror map and texture coordinates.
        subdivision: of its quads.
        points: (v_fine, 3) the mean head, symmetric, millimetres.

    Returns:
        chart_uv: (v_fine, 2) u right, v down, NaN outside; chart_triangles: (c, 3); chart_is_membrane: (c,) bool.
        uv: (t, 2) u right, v down; uv_triangles: (f, 3), row for row beside ``triangulate(subdivision.quads_fine)``.
        The chart's square is [MARGIN, 1 - MARGIN]^2 of the skin's texture.
    """
    part_of_quad, mirror = head.part_of_quad, mirror_fine(subdivision, head.mirror)
    half = cut_left_half(subdivision, part_of_quad, mirror)
    left_chart, membranes = flatten_face(points, half)
    left_atlas = flatten_around(points, half, left_chart)
    chart_uv, skin_uv = (_mirrored(left, mirror) for left in (left_chart, left_atlas))

    triangles = triangulate(subdivision.quads_fine)
    part_of_triangle = np.repeat(part_of_quad[subdivision.parent_quad], 2)
    face = np.unique(np.sort(half.pieces["face"], axis=1), axis=0)
    face = np.concatenate([face, np.sort(mirror[face], axis=1)])
    key = np.sort(triangles, axis=1) @ np.array([len(points) ** 2, len(points), 1])
    inside = np.isin(key, face @ np.array([len(points) ** 2, len(points), 1]))
    membranes = np.concatenate([membranes, mirror[membranes][:, ::-1]])

    all_uv, all_triangles = [], np.empty_like(triangles)
    uv_fine, uv_quads_fine = subdivide_uv(head.uv, head.uv_quads)
    uv_triangles = triangulate(uv_quads_fine)
    for part in range(part_of_quad.max() + 1):
        chosen = part_of_triangle == part
        if part == 0:
            used, local = _localise(triangles[chosen])
            part_uv = skin_uv[used]
        elif part <= 2:
            part_uv, local = _eye_uv(points, triangles[chosen])
        else:
            used, local = _localise(uv_triangles[chosen])
            part_uv = uv_fine[used] - uv_fine[used].min(0)
            part_uv = 0.02 + 0.96 * part_uv / part_uv.max(0)
        all_triangles[chosen] = local + sum(map(len, all_uv))
        all_uv.append(part_uv)
    return {
        "chart_uv": chart_uv * [1, -1] + [0, 1],
        "chart_triangles": np.concatenate([triangles[inside], membranes]),
        "chart_is_membrane": np.repeat([False, True], [inside.sum(), len(membranes)]),
        "uv": np.concatenate(all_uv) * [1, -1] + [0, 1],
        "uv_triangles": all_triangles,
    }


def _mirrored(left: np.ndarray, mirror: np.ndarray) -> np.ndarray:
    """Both sides (v, 2) from the left one (NaN elsewhere)."""
    return np.where(np.isnan(left), left[mirror] * [-1, 1] + [1, 0], left)


def _eye_uv(points: np.ndarray, triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """An eyeball seen from the front: straight ahead (+z) is the centre, EYE_CAP_RAD from it the rim, area-preserving.

    Lambert's azimuthal projection. The back, which nobody sees, is one point in a corner of the texture (the white's colour).
    """
    used, local = _localise(triangles)
    ray = points[used] - points[used].mean(0)
    ray /= np.linalg.norm(ray, axis=1, keepdims=True)
    radius = 0.5 * np.sqrt((1 - ray[:, 2]) / (1 - np.cos(EYE_CAP_RAD)))
    uv = 0.5 + radius[:, None] * ray[:, :2] / np.maximum(
        np.linalg.norm(ray[:, :2], axis=1, keepdims=True), 1e-9
    )
    behind = (radius[local] > 0.5).any(1)
    local[behind] = len(uv)
    kept, local = _localise(local)
    return np.append(uv, [[0.01, 0.01]], axis=0)[kept], local


def _ellipse(points: np.ndarray, lips: np.ndarray) -> np.ndarray:
    """Points with the contact line of the lips opened to half an ellipse, frontal, so that the mouth gets texels."""
    corner = points[lips, 0].argmax()
    opened = points.copy()
    width = points[lips[corner], 0]
    for lip, sign in ((lips[: corner + 1], 1.0), (lips[corner:][::-1], -1.0)):
        angle = 0.5 * np.pi * _arc(points[lip]) / _arc(points[lip])[-1]
        opened[lip, 0] = width * np.sin(angle)
        opened[lip, 1] = points[lips[corner], 1] + sign * MOUTH_OPENING * width * np.cos(angle)
        opened[lip, 2] = 0
    return opened


def _arc(path: np.ndarray) -> np.ndarray:
    """Length along a path (n, d) up to each vertex (n,)."""
    return np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])


def _localise(triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The vertices in use (n,) and the triangles as indices into them."""
    local, inverse = np.unique(triangles, return_inverse=True)
    return local, inverse.reshape(-1, 3)
