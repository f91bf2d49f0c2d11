"""``consistency``: is one person the same head on every photo, and another person another; needs photos sorted by person and nothing else.

A protocol of vultus. Distances between heads of one person say nothing without those between people: a method that always returns the mean
head is perfectly consistent. So both are given, with how well one tells people apart by them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, product
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ..errors import BadInput
from ..geometry.rigid import umeyama
from ..io.images import list_images
from .benchmark import Curve, Item, ItemScore, Prediction, Row
from .layout import Layout
from .scan import FACE_RADIUS_MM
from .separation import Pairs, separation_rows
from .summary import curve

LAYOUT = Layout(
    "a set of photos sorted by person",
    "you: two or more photos each of two or more people",
    ("FOLDER/PERSON/NAME.jpg",),
)
_KEPT, _COMPARED = 8000, 2000  # points of a prediction that are kept, and of its face that are compared
_MAX_PAIRS = 10_000  # of heads of one person, and again of different people: ten seconds
_STEP_MM = 1e-3  # distances are told apart by a micron: rounding in files must not tell people apart
_NOSE = 4  # of FaceMesh.seven

Floats = NDArray[np.float64]


def open_consistency(folder: Path) -> ConsistencyBenchmark:
    """Photos of people, a folder for each.

    Raises:
        BadFile: no such folder, photos that belong to nobody, two photos of one name, or nobody with two photos.
    """
    folder = Path(folder)
    LAYOUT.check(folder, ())
    if loose := list_images(folder):
        raise LAYOUT.incomplete(
            folder,
            f"{loose[0].name}{' and others' * (len(loose) > 1)} lie in no person's folder, so nobody knows whose they are",
        )
    people = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    items = [Item(f"{p.name}/{path.stem}", p.name, photo=path) for p in people for path in list_images(p)]
    keys, names = [item.key for item in items], [item.person for item in items]
    if twice := sorted({key for key in keys if keys.count(key) > 1}):
        raise LAYOUT.incomplete(
            folder, f"two photos are called {twice[0]} (with different endings); rename one"
        )
    if not any(names.count(name) > 1 for name in set(names)):
        raise LAYOUT.incomplete(folder, "nobody in it has two photos")
    return ConsistencyBenchmark(tuple(items))


@dataclass(frozen=True)
class ConsistencyBenchmark:
    """See :func:`open_consistency`. Heads are only compared in :meth:`summarise`: a score of one photo means nothing."""

    items: tuple[Item, ...]
    name: str = "consistency"

    def score(self, item: Item, prediction: Prediction) -> ItemScore:
        """Keep the points of a head, relative to its nose tip, float32 as ``face_mm`` (k, 3); NaN what is no surface.

        Raises:
            BadInput: no mesh, no landmarks, or coordinates that are not finite.
        """
        mesh = prediction.person
        if mesh is None or mesh.seven is None:
            raise BadInput(
                "consistency compares meshes with a nose tip (landmarks); the method gives none for this photo"
            )
        used = np.unique(mesh.triangles) if len(mesh.triangles) else np.arange(len(mesh.vertices))
        if (
            len(used) < 3
            or not np.isfinite(mesh.vertices[used]).all()
            or not np.isfinite(mesh.seven[_NOSE]).all()
        ):
            raise BadInput("the mesh has less than three points, or coordinates that are not finite")
        # By number, so that meshes that correspond keep corresponding points, whatever of each is surface.
        surface = np.full(mesh.vertices.shape, np.nan)
        surface[used] = mesh.vertices[used] - mesh.seven[_NOSE]
        face = surface[:: -(-len(surface) // _KEPT)].astype(np.float32)
        values = {"vertices": float(len(surface)), "is_neutral": float(prediction.neutral is not None)}
        return ItemScore.of(item, values, {"face_mm": face}, prediction.seconds)

    def summarise(
        self, scores: Sequence[ItemScore]
    ) -> tuple[tuple[Row, ...], tuple[Curve, ...], tuple[str, ...]]:
        """Compare all heads.

        Raises:
            BadInput: meshes that do not correspond.
        """
        scores = sorted(scores, key=lambda score: score.key)
        pairs = measured_pairs(corresponding_faces(scores), [s.person for s in scores])
        notes = [
            "median distance of corresponding points after similarity alignment, within 95 mm of the nose tip; "
            "AUC 0.5 and d' 0: people are not told apart at all"
        ]
        if expressive := sum(not s.values["is_neutral"] for s in scores):
            notes.append(
                f"{expressive} of {len(scores)} heads come without a neutral one: an expression in them counts as shape"
            )
        same, apart = pairs.distance_mm[pairs.is_same], pairs.distance_mm[~pairs.is_same]
        if not len(same) or not len(apart):
            notes.append("two photos of one person and photos of two people are needed for every row")
        elif apart.max() == 0 and same.max() == 0:
            notes.append("every head is the same: perfectly consistent, and of no use")
        curves = (curve("within a person", same, "mm"), curve("between people", apart, "mm"))
        return separation_rows(pairs, len(scores)), tuple(c for c in curves if len(c.errors)), tuple(notes)


def corresponding_faces(scores: Sequence[ItemScore]) -> Floats:
    """Faces of all predictions as points that correspond, (n, k, 3): the same vertices of every mesh, k at most 2000.

    A vertex belongs to the face when its distance from the mesh's own nose tip is below 95 mm in the mean over all predictions, and it is
    part of the surface of each: that depends on neither their order nor their frames.

    Raises:
        BadInput: meshes of different topology, or nothing near the nose.
    """
    first = scores[0]
    for other in scores:
        if other.values["vertices"] != first.values["vertices"]:
            raise BadInput(
                f"{other.key} has {other.values['vertices']:g} vertices, {first.key} {first.values['vertices']:g}: "
                "consistency needs corresponding meshes, the same vertices in the same order for every photo"
            )
    away_mm = np.mean([np.linalg.norm(s.samples["face_mm"].astype(float), axis=1) for s in scores], axis=0)
    inside = np.flatnonzero(away_mm < FACE_RADIUS_MM)
    if len(inside) < 3:
        raise BadInput(
            f"only {len(inside)} vertices lie within {FACE_RADIUS_MM:g} mm of the nose tip: give meshes in millimetres"
        )
    inside = inside[:: -(-len(inside) // _COMPARED)]
    return np.stack([s.samples["face_mm"][inside] for s in scores]).astype(float)


def measured_pairs(faces: Floats, names: Sequence[str], limit: int = _MAX_PAIRS) -> Pairs:
    """All pairs of heads (n, k, 3), or where there are more than ``limit`` as many of each person and of each two people; reproducible."""
    who = np.unique(np.asarray(names), return_inverse=True)[1].ravel()
    of_person = [np.flatnonzero(who == p).tolist() for p in range(who.max() + 1)]
    rng = np.random.default_rng(0)
    within = [list(combinations(own, 2)) for own in of_person if len(own) > 1]
    couples = list(combinations(range(len(of_person)), 2))
    if len(couples) > limit:
        couples = [couples[i] for i in np.sort(rng.choice(len(couples), limit, replace=False))]
    between = [list(product(of_person[p], of_person[q])) for p, q in couples]
    chosen: list[tuple[int, int]] = []
    for groups in (within, between):
        share = max(1, limit // max(1, len(groups)))
        many = sum(map(len, groups)) > limit
        for group in groups:
            some = np.sort(rng.choice(len(group), min(share, len(group)), replace=False)) if many else None
            chosen += group if some is None else [group[i] for i in some]
    index = np.array(chosen, np.int64).reshape(-1, 2)
    return Pairs(who[index].astype(np.int64), pair_distances_mm(faces, index))


def pair_distances_mm(faces: Floats, pairs: NDArray[np.int64]) -> Floats:
    """How far two heads are apart, (m,) for pairs (m, 2) of faces (n, k, 3).

    Median distance of corresponding points after the best similarity, both ways averaged so that neither's size decides.
    """
    found = []
    every = torch.from_numpy(faces)
    for some in torch.from_numpy(pairs).split(64):
        a, b = every[some[:, 0]], every[some[:, 1]]
        gaps = [(umeyama(x, y).apply(x) - y).norm(dim=-1).numpy() for x, y in ((a, b), (b, a))]
        found.append(np.mean([np.median(gap, axis=1) for gap in gaps], axis=0))
    return np.round(np.concatenate(found or [np.zeros(0)]) / _STEP_MM) * _STEP_MM
