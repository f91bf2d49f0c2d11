"""Eyelids that lie on the eyeball: open, closed, under every expression unit and for every identity.

All functions work on the left eye; callers mirror. A lid's margin is a shelf of four rings of vertices: 0 touches the eyeball, 3 is the
outer edge. The opening is that of an average adult: about 28 mm wide, 10 mm high, the upper lid over the iris by 1.5 mm, the lower at
its rim (Farkas, "Anthropometry of the head and face", 1994; Hall's fissure charts agree within a millimetre).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from cut import LID_MARGIN
from deform import SmoothField, reach
from eyeball import eyeball_radius
from loops import edge_loop, fine_path
from scipy.spatial.transform import Rotation

from vultus.model.subdivide import Subdivision

# Corners of the opening and the heights of its lids, millimetres from the eyeball's centre, +x outwards.
INNER_MM, OUTER_MM = np.array([-14.6, -2.4]), np.array([12.9, -1.5])
UPPER_MM, LOWER_MM = 6.35, -3.75  # highest and lowest point over the line between the corners
UPPER_SHAPE, LOWER_SHAPE = (0.95, 0.75), (1.2, 0.8)  # sin(pi t^p)^q along that line
TOUCH_MM, TOUCH_MOVED_MM, TOUCH_CLOSED_MM = 0.25, 0.35, 0.7  # of ring 0 over the eyeball: open, moved, closed
SHELF_OUT_MM = np.array([0.0, 0.2, 0.55, 1.25])  # rings 0..3, away from the opening
SHELF_UP_MM = np.array([0.0, 0.5, 1.05, 1.5])  # and away from the eyeball
CARUNCLE_X_MM, CARUNCLE_SLOPE = -7.5, 0.62  # where the lids leave the eyeball towards the nose, and how fast
TEMPLE_X_MM, TEMPLE_SLOPE = 11.2, 0.62  # the same towards the temple
CLOSED_SHARE = 0.12  # where the lids meet: share of the opening above the lower lid
OVERLAP_MM = 0.4  # each lid passes the line of contact by this much, or a person's lids might leave a slit
SKIN_MM = 1.5  # least thickness of a lid
KEPT_SHARE = 0.2  # how much of what would part a person's lids from the eyeball stays in the identities
NEAR_MM, FAR_MM = 3.5, 16.0  # corrections fade out between these distances from the margin


@dataclass(frozen=True)
class Lids:
    """The left eye's lid margin on the fine mesh.

    Attributes:
        rings: (4, n) fine vertices, in step with each other, ring 0 on the eyeball.
        inner, outer: positions of the corners in the rings; the upper lid runs from ``outer`` over the end to ``inner``.
    """

    rings: np.ndarray
    inner: int
    outer: int

    @property
    def is_upper(self) -> np.ndarray:
        """(n,) bool; the corners belong to both."""
        place = np.arange(self.rings.shape[1])
        return (place <= self.inner) | (place >= self.outer)


def find_lids(
    subdivision: Subdivision, part_of_quad: np.ndarray, points: np.ndarray, face: np.ndarray
) -> Lids:
    """Walk outwards, over vertices of the ``face`` (v,), from the loop that touches the eyeball."""
    quads = subdivision.quads[part_of_quad == 0]
    loop = edge_loop(quads, *LID_MARGIN)
    columns = [_outwards(quads, loop, i, face) for i in range(len(loop))]
    rings = np.array(
        [fine_path(subdivision, [column[k] for column in columns], closed=True) for k in range(4)]
    )
    x = points[rings[0], 0]
    return Lids(rings, int(x.argmin()), int(x.argmax()))


def lid_of(lids: Lids, upper: bool) -> np.ndarray:
    """Positions in the rings from the inner to the outer corner along one lid."""
    n = lids.rings.shape[1]
    if upper:
        return np.arange(lids.inner, lids.outer - n - 1, -1) % n
    return np.arange(lids.inner, lids.outer + 1)


def neutral_margin(lids: Lids, points: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Where the rings (4, n, 3) of an average adult's open eye lie about an eyeball's centre (3,).

    The vertices keep their share of the length of each lid from corner to corner, as they have it in ``points`` (v, 3).
    """
    margin = np.empty((*lids.rings.shape, 3))
    for is_upper in (True, False):
        ids = lid_of(lids, is_upper)
        line = _rim(is_upper)
        at, length = _arc(points[lids.rings[0, ids]]), _arc(line)
        margin[0, ids] = np.stack([np.interp(at, length, line[:, i]) for i in range(3)], 1)
    up = margin[0] / np.linalg.norm(margin[0], axis=1, keepdims=True)
    along = np.roll(margin[0], -1, 0) - np.roll(margin[0], 1, 0)
    out = np.cross(along, up)
    out -= (out * up).sum(1, keepdims=True) * up
    out /= np.linalg.norm(out, axis=1, keepdims=True)
    if (out[:, 1] * np.where(lids.is_upper, 1, -1)).sum() < 0:
        out = -out
    for k in range(1, 4):
        margin[k] = margin[0] + SHELF_OUT_MM[k] * out + SHELF_UP_MM[k] * up
    return margin + centre


def _rim(is_upper: bool) -> np.ndarray:
    """The edge (m, 3) of a lid that touches the eyeball, from the inner to the outer corner, about the eyeball's centre."""
    place = 0.5 - 0.5 * np.cos(np.linspace(0, np.pi, 400))  # denser at the corners, where it bends
    height, (p, q) = (UPPER_MM, UPPER_SHAPE) if is_upper else (LOWER_MM, LOWER_SHAPE)
    xy = INNER_MM + place[:, None] * (OUTER_MM - INNER_MM)
    xy[:, 1] += height * np.sin(np.pi * place**p).clip(0) ** q
    # Where the lids leave the eyeball, they lie on a larger sphere.
    leave = sum(
        softness * slope * np.logaddexp(0, beyond / softness)
        for softness, slope, beyond in (
            (0.6, CARUNCLE_SLOPE, CARUNCLE_X_MM - xy[:, 0]),
            (0.4, TEMPLE_SLOPE, xy[:, 0] - TEMPLE_X_MM),
        )
    )
    depth = np.full(len(xy), 11.0)
    for _ in range(30):  # the eyeball's radius depends on the ray
        ray = np.concatenate([xy, depth[:, None]], 1)
        ray /= np.linalg.norm(ray, axis=1, keepdims=True)
        radius = eyeball_radius(ray) + TOUCH_MM + leave
        depth = np.sqrt((radius**2 - (xy**2).sum(1)).clip(0.5))
    return np.concatenate([xy, depth[:, None]], 1)


def closed_margin(lids: Lids, margin: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """The rings (4, n, 3) of the closed eye, from those of the open one.

    Upper and lower rings meet, ring by ring, on a line just above the open eye's lower lid.
    """
    rim = margin[0] - centre
    height = np.linalg.norm(rim, axis=1)
    reach_mm = height - eyeball_radius(rim / height[:, None])
    upper, lower = lid_of(lids, True), lid_of(lids, False)
    t = {name: _arc(rim[ids]) for name, ids in (("upper", upper), ("lower", lower))}
    closed = margin - centre
    for ids, own, sign in ((upper, "upper", -1.0), (lower, "lower", 1.0)):
        on = {
            name: np.stack([np.interp(t[own], t[name], rim[other, i]) for i in range(3)], 1)
            for name, other in (("upper", upper), ("lower", lower))
        }
        line = (1 - CLOSED_SHARE) * on["lower"] + CLOSED_SHARE * on["upper"]
        above = np.interp(t[own], t["lower"], reach_mm[lower])
        opening = np.linalg.norm(on["upper"] - on["lower"], axis=1)
        fade = np.clip(opening / 3, 0, 1)[:, None]  # nothing to close at the corners
        ray = line / np.linalg.norm(line, axis=1, keepdims=True)
        down = sign * np.array([0, 1.0, 0]) - sign * ray[:, 1:2] * ray
        down /= np.linalg.norm(down, axis=1, keepdims=True)
        for k, past in enumerate((OVERLAP_MM, OVERLAP_MM, OVERLAP_MM / 2, -0.45)):
            foot = (eyeball_radius(ray) + TOUCH_CLOSED_MM - TOUCH_MM + above + SHELF_UP_MM[k])[:, None] * ray
            closed[k, ids] = fade * (foot + past * down) + (1 - fade) * closed[k, ids]
    return closed + centre


def seat(
    points: np.ndarray,
    lids: Lids,
    field: SmoothField,
    centre: np.ndarray,
    turn: Rotation,
    skin: np.ndarray,
    *,
    margin: np.ndarray | None = None,
    rounds: int = 4,
) -> np.ndarray:
    """Move lids (v, 3) smoothly onto an eyeball that stands at ``centre`` and looks along ``turn``.

    Args:
        margin: (4, n, 3) where the rings must go; omitted, they are lifted or lowered along their rays: ring 0 to the eyeball
            where it was there in the neutral head, the others so that the lid keeps its thickness.
        skin: vertices (m,) of the lids and around that must stay outside the eyeball.
    """
    ids, targets, weights = lids.rings.ravel(), None, np.full(lids.rings.size, 100.0)
    if margin is not None:
        targets = margin.reshape(-1, 3)
    moved = points.copy()
    pushed = np.zeros(len(points))
    wanted = np.zeros_like(points)
    for _ in range(rounds):
        if targets is None:
            goal, firm = _on_rays(moved, lids, centre, turn)
            keep, push = ids, goal.reshape(-1, 3) - points[ids]
            weights = firm.ravel()
        else:
            keep, push = ids, targets - points[ids]
        arm = moved[skin] - centre
        distance = np.linalg.norm(arm, axis=1)
        least = eyeball_radius(turn.inv().apply(arm / distance[:, None])) + SKIN_MM
        low = (distance < least) & (arm[:, 2] > 0)
        where = skin[low]
        wanted[where] = (moved[where] - points[where]) + ((least - distance) / distance)[low, None] * arm[low]
        pushed[where] = 30.0
        extra = np.flatnonzero(pushed)
        extra = extra[~np.isin(extra, ids)]
        moved = points + field(
            np.concatenate([keep, extra]),
            np.concatenate([push, wanted[extra]]),
            np.concatenate([weights, pushed[extra]]),
        )
    return moved


def _on_rays(
    points: np.ndarray, lids: Lids, centre: np.ndarray, turn: Rotation
) -> tuple[np.ndarray, np.ndarray]:
    """Goals (4, n, 3) of the rings along their rays, and how firmly (4, n): corners that are off the eyeball stay as they are."""
    arm = points[lids.rings] - centre
    distance = np.linalg.norm(arm, axis=2, keepdims=True)
    ball = eyeball_radius(turn.inv().apply((arm / distance).reshape(-1, 3))).reshape(distance.shape)
    least = ball + TOUCH_MOVED_MM + SHELF_UP_MM[:, None, None]
    goal = centre + np.maximum(distance, least) / distance * arm
    x = arm[0, :, 0]
    on_ball = (x > CARUNCLE_X_MM) & (x < 10.5)
    goal[0] = np.where(on_ball[:, None], centre + least[0] / distance[0] * arm[0], goal[0])
    return goal, np.full(goal.shape[:2], 100.0)


def seat_identity(
    basis: np.ndarray, coarse: np.ndarray, rim: np.ndarray, ball: np.ndarray, centre: np.ndarray
) -> np.ndarray:
    """Identity modes (k, v, 3) of the coarse mesh with the left eyeball moved, not bent, and lids that move along with it.

    A person's lids may travel with the eyeball and turn about it; both keep them on it. What is left (they part, or leave the
    eyeball) is mostly taken out near the margin: how far an eye is open is what lids do, not what a face is.

    Args:
        coarse: (v, 3) the mean. rim: coarse vertices (n,) of the lid margin. ball: those of the eyeball. centre: (3,).
    """
    arm = coarse - centre
    design = np.zeros((3 * len(rim), 6))
    for axis in range(3):
        design[axis::3, axis] = 1
        design[:, 3 + axis] = np.cross(np.eye(3)[axis], arm[rim]).ravel()
    motion = np.linalg.lstsq(design, basis[:, rim].reshape(len(basis), -1).T, rcond=None)[0].T  # (k, 6)
    travel, spin = motion[:, None, :3], motion[:, None, 3:]
    carried = travel + np.cross(np.broadcast_to(spin, (len(basis), len(coarse), 3)), arm)
    share = (1 - KEPT_SHARE) * reach(coarse, coarse[rim], NEAR_MM, FAR_MM) * (arm[:, 2] > -6)
    share[ball] = 0
    seated = basis + share[:, None] * (carried - basis)
    seated[:, ball] = travel
    return seated


def _outwards(quads: np.ndarray, loop: list[int], i: int, face: np.ndarray) -> list[int]:
    """Four vertices from ring 0 to ring 3 along a column of quads."""
    neighbours = lambda v: set(  # noqa: E731
        np.concatenate(
            [quad[[(k - 1) % 4, (k + 1) % 4]] for quad in quads for k in np.flatnonzero(quad == v)]
        )
    )
    here = loop[i]
    beside = neighbours(here) - {loop[i - 1], loop[(i + 1) % len(loop)]}
    column = [here, next(int(v) for v in beside if face[v])]
    while len(column) < 4:
        before, here = column[-2:]
        near = set(quads[((quads == here).any(1)) & ((quads == before).any(1))].ravel().tolist())
        (after,) = neighbours(here) - near
        column.append(int(after))
    return column


def _arc(path: np.ndarray) -> np.ndarray:
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    return length / length[-1]
