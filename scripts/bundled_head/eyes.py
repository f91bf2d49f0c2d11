"""Both eyes of the bundled head: eyeballs in their place, lids and lashes on them, in the mean and in everything that moves it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from deform import Coarsen, SmoothField, fair, reach
from eyeball import eyeball_radius, flattened, gaze, shape_eyeball
from lashes import grow_lashes, lash_grids
from lids import (
    CARUNCLE_X_MM,
    FAR_MM,
    Lids,
    closed_margin,
    find_lids,
    lid_of,
    neutral_margin,
    seat,
    seat_identity,
)
from makehuman import RawHead
from scipy.spatial.transform import Rotation

from vultus.model.subdivide import Subdivision

FLIP = np.array([-1.0, 1, 1])
STRAIGHT = Rotation.identity()


@dataclass(frozen=True)
class LeftEye:
    """What the functions below need of the left eye; the right one is its mirror image.

    Attributes:
        lids: the margin's rings. ball: vertices (n,) of the eyeball. skin: vertices (m,) that must not enter it.
        lashes: grids of coarse vertices. centre: (3,) of the eyeball in the mean. mirror: (v,).
    """

    lids: Lids
    ball: np.ndarray
    skin: np.ndarray
    lashes: list[np.ndarray]
    centre: np.ndarray
    mirror: np.ndarray


def find_eye(
    mean: np.ndarray, subdivision: Subdivision, head: RawHead, face: np.ndarray, mirror: np.ndarray
) -> LeftEye:
    """The left eye of a mean head (v, 3); the eyeball's height and depth are where the lids, as registered, fit best around it."""
    part_of_quad = head.part_of_quad
    part = part_of_quad[subdivision.parent_quad]
    ball = np.unique(subdivision.quads_fine[part == 1])
    lids = find_lids(subdivision, part_of_quad, mean, face)
    centre = mean[ball].mean(0)
    carried = centre
    for _ in range(10):
        centre = centre + (mean[lids.rings] - neutral_margin(lids, mean, centre)).mean((0, 1))
    # Sideways the corners of the lids say one thing, the eyeballs, carried along with the face, another.
    centre = np.array([(centre[0] + carried[0]) / 2, *centre[1:]])
    rim = mean[lids.rings[0]]
    skin = np.flatnonzero(
        face & (reach(mean, rim, 1.0, 9.0) > 0) & ~np.isin(np.arange(len(mean)), lids.rings[:3])
    )
    lashes = subdivision.quads[part_of_quad == head.part_names.index("lashes")]
    raw_centre = head.base_mm[np.unique(subdivision.quads[part_of_quad == 1])].mean(0)
    grids = lash_grids(lashes, head.base_mm, raw_centre)
    return LeftEye(lids, ball, skin, grids, centre, mirror)


def open_eyes(
    mean: np.ndarray, eye: LeftEye, subdivision: Subdivision, skin_triangles: np.ndarray, face: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The mean head (v, 3) with anatomical eyeballs, lids and lashes, and its lid margin (4, n, 3)."""
    margin = neutral_margin(eye.lids, mean, eye.centre)
    field = _field(mean, eye, skin_triangles)
    moved = seat(mean, eye.lids, field, eye.centre, STRAIGHT, eye.skin, margin=margin)
    # Registration crumples the skin under the lower lid and beside the outer corner, where ICT's has other folds.
    below = moved[eye.lids.rings[3, lid_of(eye.lids, False)]]
    loose = reach(moved, below, 3.0, 8.0)
    loose[eye.lids.rings] = 0
    inside = np.isin(np.arange(len(mean)), skin_triangles) & ~face
    moved = fair(moved, skin_triangles, np.where(face & (loose > 0), 0.02 / np.maximum(loose, 1e-3), 1e6))
    moved[inside] = _tucked(moved[inside], eye.centre)
    moved[eye.ball] = shape_eyeball(mean[eye.ball], eye.centre)
    shift = moved - mean
    opened = mean + shift + FLIP * shift[eye.mirror]
    coarse = np.zeros((subdivision.num_coarse, 3))
    ids, places = grow_lashes(opened, eye.lids, eye.centre, eye.lashes)
    coarse[ids] = places
    coarse[eye.mirror[ids]] = FLIP * places
    fine = subdivision.matrix @ coarse
    lashes = np.asarray(abs(subdivision.matrix[:, ids]).sum(1)).ravel() > 0
    lashes |= lashes[eye.mirror]
    return np.where(lashes[:, None], fine, opened), margin


def _tucked(pocket: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """The skin behind the lids (n, 3), where it would lie in front of the eyeball, drawn into it; the caruncle stays."""
    arm = pocket - centre
    distance = np.linalg.norm(arm, axis=1)
    ray = arm / distance[:, None]
    deep = np.minimum(distance, eyeball_radius(ray) - 1.5)
    near = (distance < 20) & (arm[:, 2] > -5) & (arm[:, 0] > CARUNCLE_X_MM)
    return np.where(near[:, None], centre + deep[:, None] * ray, pocket)


def move_eyes(
    mean: np.ndarray,
    margin: np.ndarray,
    expressions: np.ndarray,
    names: tuple[str, ...],
    eye: LeftEye,
    subdivision: Subdivision,
    skin_triangles: np.ndarray,
) -> np.ndarray:
    """Expression units (k, v_coarse, 3) whose lids stay on the eyeballs (v, 3), close them with a blink, and whose gaze turns them."""
    coarsen = Coarsen(subdivision)
    field = _field(mean, eye, skin_triangles)
    moved = expressions.copy()
    for i, name in enumerate(names):
        for _ in range(2):  # the coarse mesh follows only nearly: what is left is seated again
            delta = subdivision.matrix @ moved[i]
            for side in (False, True):
                own = _mirrored(delta, eye.mirror) if side else delta
                shift = _seat_unit(mean, margin, own, _other(name) if side else name, eye, field)
                if shift is not None:
                    moved[i] += coarsen(_mirrored(shift, eye.mirror) if side else shift)
    return _move_lashes(mean, moved, eye, subdivision)


def move_identities(
    basis: np.ndarray, mean: np.ndarray, eye: LeftEye, subdivision: Subdivision
) -> np.ndarray:
    """Identity modes (k, v_coarse, 3) that leave eyeballs whole and lids on them; ``mean`` (v, 3) is the fine mean."""
    num_coarse = subdivision.num_coarse
    coarse, mirror = mean[:num_coarse], eye.mirror[:num_coarse]
    rim, ball = (ids[ids < num_coarse] for ids in (eye.lids.rings[:2].ravel(), eye.ball))
    for _ in range(2):  # left, then, mirrored, right
        basis = seat_identity(basis, coarse, rim, ball, eye.centre)[:, mirror] * FLIP
    return _move_lashes(mean, basis, eye, subdivision, step=0.1)


def _move_lashes(
    mean: np.ndarray, deltas: np.ndarray, eye: LeftEye, subdivision: Subdivision, step: float = 1.0
) -> np.ndarray:
    """Coarse displacements (k, v_coarse, 3) with lashes that stay rooted; ``step`` is the weight at which they are grown anew."""
    moved = deltas.copy()
    ids, before = grow_lashes(mean, eye.lids, eye.centre, eye.lashes)
    back = eye.ball[mean[eye.ball, 2] < eye.centre[2]]
    for i, delta in enumerate(deltas):
        fine = step * (subdivision.matrix @ delta)
        for side in (False, True):
            own = _mirrored(fine, eye.mirror) if side else fine
            centre = eye.centre + (own[back].mean(0) if step < 1 else 0)
            after = grow_lashes(mean + own, eye.lids, centre, eye.lashes)[1]
            moved[i, eye.mirror[ids] if side else ids] = (after - before) / step * (FLIP if side else 1)
    return moved


def _seat_unit(
    mean: np.ndarray, margin: np.ndarray, delta: np.ndarray, name: str, eye: LeftEye, field: SmoothField
) -> np.ndarray | None:
    """What a unit (v, 3) of the left eye must change; None when it leaves that eye alone."""
    lids = eye.lids
    turns, closes = gaze(name), name == "eyeBlinkLeft"
    shift = np.zeros_like(mean)
    if np.abs(delta[lids.rings]).max() > 0.05:
        goal = closed_margin(lids, margin, eye.centre) if closes else None
        seated = seat(mean + delta, lids, field, eye.centre, turns, eye.skin, margin=goal)
        shift += seated - mean - delta
    arm = mean[eye.ball] - eye.centre
    turned = flattened(arm) if closes else turns.apply(arm)
    shift[eye.ball] = turned - arm - delta[eye.ball]
    return shift if np.abs(shift).max() > 1e-3 else None


def _field(mean: np.ndarray, eye: LeftEye, triangles: np.ndarray) -> SmoothField:
    used = np.zeros(len(mean), bool)
    used[triangles] = True
    return SmoothField(mean, triangles, used & (reach(mean, mean[eye.lids.rings[0]], 1.0, FAR_MM) > 0))


def _mirrored(delta: np.ndarray, mirror: np.ndarray) -> np.ndarray:
    return delta[mirror] * FLIP


def _other(name: str) -> str:
    """The unit of the other side."""
    for one, other in (("Left", "Right"), ("Right", "Left")):
        if name.endswith(one):
            return name.removesuffix(one) + other
    return name
