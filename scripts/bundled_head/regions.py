"""Which vertices belong to the nose, the lips, the scalp ...: masks over the vertices of the bundled head.

MakeHuman's own targets say best where a feature ends ("move the nose up" moves the nose); edge loops of the base mesh bound
lips, nostrils, lids and mouth bag; only brows, hairline at the nape and forehead are drawn in millimetres.
"""

from __future__ import annotations

import numpy as np
from cut import cut_left_half
from loops import edge_loop, fine_path, flood
from makehuman import RawHead

from vultus.model.subdivide import Subdivision, mirror_fine, triangulate

VERMILION = (455, 2629)  # first edge of the loop around the red of the lips
NOSTRIL = (2458, 2539)  # first edge of the loop around the left nostril
NOSTRIL_SEED = 2520
INTEROCULAR_MM = 57.6  # of the head on which the lines below were drawn
# The left brow: x from the midline, y above the eyes, half its height.
BROW_MM = np.array([[9.5, 14.5, 4.5], [20, 18.5, 4.8], [33, 21.5, 4.2], [43, 20.5, 3.2], [52, 15.5, 2.0]])
NAPE_HAIRLINE_MM = 30.0  # how far below the ear lobes hair grows at the back


def make_regions(head: RawHead, subdivision: Subdivision, points: np.ndarray) -> dict[str, np.ndarray]:
    """Masks (v_fine,) over all vertices; only skin is marked.

    ``face, ears, scalp, neck, inner_mouth, eye_sockets`` cover the skin, ``nose, mouth, eyes, forehead, cheeks, chin``
    cover the face, each without overlap. Inside them: ``lips`` (the red), ``nostrils``, ``brows``.

    Args:
        head: for its topology and targets.
        subdivision: of its quads.
        points: (v_fine, 3) the mean head, millimetres, +y up, +z out of the face.
    """
    mirror = mirror_fine(subdivision, head.mirror)
    half = cut_left_half(subdivision, head.part_of_quad, mirror)
    eyes = [
        points[np.unique(subdivision.quads_fine[head.part_of_quad[subdivision.parent_quad] == part])]
        for part in (1, 2)
    ]
    left_eye, right_eye = (eye.mean(0) for eye in eyes)
    place = (points - (left_eye + right_eye) / 2) * INTEROCULAR_MM / np.linalg.norm(left_eye - right_eye)
    x, y, z = np.abs(place[:, 0]), place[:, 1], place[:, 2]

    def mask(vertices: np.ndarray) -> np.ndarray:
        """Both sides of a selection made on the left."""
        chosen = np.zeros(len(points), bool)
        chosen[vertices.ravel()] = True
        return chosen | chosen[mirror]

    def moved_by(target: str, share: float) -> np.ndarray:
        """What a target moves by more than a share of its largest motion."""
        motion = subdivision.matrix @ np.linalg.norm(head.targets_mm[head.target_names.index(target)], axis=1)
        return mask(np.flatnonzero(motion > share * motion.max()))

    def inside(first_edge: tuple[int, int], seed: int, triangles: np.ndarray) -> np.ndarray:
        """What an edge loop encloses, without the loop."""
        wall = fine_path(subdivision, edge_loop(quads, *first_edge), closed=True)
        enclosed = mask(triangles[flood(triangles, seed, [np.append(wall, wall[0])])])
        enclosed[wall] = enclosed[mirror[wall]] = False
        return enclosed

    quads = subdivision.quads[head.part_of_quad == 0]
    skin = triangulate(subdivision.quads_fine[head.part_of_quad[subdivision.parent_quad] == 0])
    face = mask(half.pieces["face"])
    inner_mouth, eye_sockets = mask(half.pieces["mouth"]) & ~face, mask(half.pieces["socket"]) & ~face
    around = mask(half.pieces["head"]) & ~face

    ears = moved_by("l-ear-wing-incr", 0.08) & around
    lobe, ear_front = y[ears].min(), z[ears].max()
    slope = NAPE_HAIRLINE_MM / (ear_front - z[around].min())
    neck = around & ~ears & (y < lobe - slope * np.maximum(ear_front - z, 0))

    eyes = moved_by("l-eye-trans-up", 0.4) & face
    nostrils = inside(NOSTRIL, NOSTRIL_SEED, skin) & face
    nose = (
        moved_by("nose-trans-up", 0.5) & face & ~eyes & (y > place[edge_loop(quads, *NOSTRIL), 1].min() - 2)
    )
    mouth = (moved_by("mouth-trans-up", 0.4) | moved_by("nose-trans-up", 0.5)) & face & ~nose & ~eyes
    brow_y = np.interp(x, BROW_MM[:, 0], BROW_MM[:, 1])
    thickness = np.interp(x, BROW_MM[:, 0], BROW_MM[:, 2])
    rest = face & ~eyes & ~nose & ~mouth
    forehead = rest & (y > np.where(x < BROW_MM[0, 0], 0.0, brow_y - thickness))
    chin = rest & ~forehead & (y < y[mouth].max()) & moved_by("chin-height-incr", 0.4)
    return {
        "face": face,
        "ears": ears,
        "scalp": around & ~ears & ~neck,
        "neck": neck,
        "inner_mouth": inner_mouth,
        "eye_sockets": eye_sockets,
        "nose": nose,
        "mouth": mouth,
        "eyes": eyes,
        "forehead": forehead,
        "cheeks": rest & ~forehead & ~chin,
        "chin": chin,
        "lips": inside(VERMILION, 2682, skin) & face,
        "nostrils": nostrils,
        "brows": face
        & (x > BROW_MM[0, 0])
        & (x < BROW_MM[-1, 0])
        & (np.abs(y - brow_y) < thickness)
        & (z > -10),
    }
