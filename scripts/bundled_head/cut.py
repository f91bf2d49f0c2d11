"""Cut the skin of the bundled head into the pieces that its textures treat differently.

Selections are made on the topology of MakeHuman's base mesh (numbers of :class:`makehuman.RawHead`), so they hold for every
head. Only the left half (x >= 0) is cut: the right one is its mirror image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from loops import chain, edge_loop, fine_path, flood, sides_of

from vultus.model.subdivide import Subdivision, triangulate

# Left half of the chart's border: hairline and temple, in front of the ear, behind the jaw line, under the chin. Steps are
# edges or diagonals of quads. The corners of the unit square are two of its vertices.
OUTLINE = (
    *(
        964,
        3077,
        3076,
        2432,
        2431,
        2433,
        2434,
        2457,
        3883,
        3887,
        4051,
        4241,
        4223,
        3922,
        3901,
        4215,
        4239,
        3032,
    ),
    *(2873, 3089, 3090, 3093, 3091, 3092, 3450, 3087, 3086, 3085, 3083, 3082, 972),
)
UPPER_CORNER, LOWER_CORNER = 2434, 3090
LIP_CONTACT = (520, 2682)  # first edge of the loop along which the lips touch
LID_MARGIN = (4258, 4265)  # first edge of the loop along which the left lids touch the eyeball
SEEDS = {
    "face": 2313,
    "head": 3860,
    "mouth": 2696,
    "socket": 3423,
}  # a vertex inside each piece of the left half
NAPE = 840  # in the middle of the neck's cut, at the back
NOSE_LINE = (135, 131, 1463, 164, 201, 291, 1534, 294, 1454, 297, 302, 307, 312)  # ridge, tip, septum


@dataclass(frozen=True)
class LeftHalf:
    """The left half of the skin, cut into pieces; all indices are fine vertices.

    Attributes:
        pieces: face, head, mouth, socket -> (f, 3) triangles inside the chart, around it, in the mouth bag, behind the lids.
        outline: the chart's border from the hairline to the chin.
        lips: the contact line from the middle of the upper to the middle of the lower lip.
        lids: the left lid margin, closed.
        neck: the cut through the neck from the nape to the throat.
        on_midline: (v,) bool.
    """

    pieces: dict[str, np.ndarray]
    outline: np.ndarray
    lips: np.ndarray
    lids: np.ndarray
    neck: np.ndarray
    on_midline: np.ndarray


def cut_left_half(subdivision: Subdivision, part_of_quad: np.ndarray, mirror: np.ndarray) -> LeftHalf:
    """Cut the skin along the midline, the chart's border, the lips and the lids.

    Args:
        subdivision: of all parts.
        part_of_quad: (q,) part of the coarse quads, 0 = skin.
        mirror: (v_fine,).
    """
    quads = subdivision.quads[part_of_quad == 0]
    skin = triangulate(subdivision.quads_fine[part_of_quad[subdivision.parent_quad] == 0])
    on_midline = mirror == np.arange(len(mirror))
    lips = edge_loop(quads, *LIP_CONTACT)
    lips = fine_path(subdivision, lips[: next(k for k in range(1, len(lips)) if on_midline[lips[k]]) + 1])
    lids = fine_path(subdivision, edge_loop(quads, *LID_MARGIN), closed=True)
    outline = fine_path(subdivision, OUTLINE)
    sides, count = sides_of(skin)
    left = skin[flood(skin, SEEDS["face"], sides[on_midline[sides].all(1)])]
    walls = [outline, lips, np.append(lids, lids[0])]
    return LeftHalf(
        pieces={name: left[flood(left, seed, walls)] for name, seed in SEEDS.items()},
        outline=outline,
        lips=lips,
        lids=lids,
        neck=chain(sides[(count == 1) & np.isin(sides, left).all(1)], start=NAPE),
        on_midline=on_midline,
    )
