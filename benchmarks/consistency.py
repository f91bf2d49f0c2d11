"""The same person on different photos must become the same head: zoom/ (15 to 60 cm) and lisa/ (four head positions).

    python benchmarks/consistency.py [--limit N] [--shared DIR] [--save]

Neutral faces (expression set to zero) are compared pairwise, similarity-aligned by the face region's vertices: median distance of
corresponding vertices. Beside it, the same number between different people (studio/), without which it says nothing: a
method that always returns the mean head would be perfectly consistent.
"""

from __future__ import annotations

import argparse
from itertools import combinations
from pathlib import Path

import numpy as np
from faces import neutral_face
from report import Report, Row, table, write

from vultus.errors import VultusError
from vultus.evaluate.scan import align_points
from vultus.io.images import list_images

SHARED = Path(__file__).parents[2] / "shared" / "data"
NUM_PEOPLE = 10


def measure(shared: Path = SHARED, *, limit: int | None = None) -> Report:
    photos = shared / "photos"
    people = list_images(photos / "studio" / "neutral_front")[:: max(1, 102 // (limit or NUM_PEOPLE))]
    studio, lost = _faces(people[: limit or NUM_PEOPLE])
    between = list(_pairs(studio).values())
    # Neutral and smiling: the same person with another expression.
    smiling, more = _faces(_partners(list(studio), photos / "studio" / "smiling_front"))
    same = [
        _distance_mm(face, smiling[partner])
        for name, face in studio.items()
        for partner in smiling
        if partner.split("_")[0] == name.split("_")[0]
    ]
    notes = [
        f"{len(studio)} people of studio/ for the distance between people; not reconstructed: {', '.join([*lost, *more]) or 'none'}"
    ]
    rows, details = [], {"between people": between}
    apart = float(np.median(between))
    for name in ("zoom", "lisa"):
        faces, lost = _faces(list_images(photos / name))
        pairs = _pairs(faces)
        if lost:
            notes.append(f"{name}: not reconstructed: {', '.join(lost)}")
        if pairs:
            values = list(pairs.values())
            rows.append(Row(f"{name}: median of pairs", float(np.median(values)), "mm", apart, "<= 1.2"))
            rows.append(Row(f"{name}: worst pair", max(values), "mm", apart, "<= 1.2"))
            details[name] = {" ".join(pair): value for pair, value in pairs.items()}
    if same:
        rows.append(Row("studio: neutral and smiling of one person", float(np.median(same)), "mm", apart))
    return Report("consistency", tuple(rows), ("trivial: between different people", *notes), details)


def _faces(paths) -> tuple[dict[str, np.ndarray], list[str]]:
    faces, lost = {}, []
    for path in paths:
        try:
            faces[path.stem] = neutral_face(path)[0]
        except VultusError:
            lost.append(path.name)
    return faces, lost


def _partners(names: list[str], folder: Path) -> list[Path]:
    people = {name.split("_")[0] for name in names}
    return [path for path in list_images(folder) if path.stem.split("_")[0] in people]


def _pairs(faces: dict[str, np.ndarray]) -> dict[tuple[str, str], float]:
    return {(a, b): _distance_mm(faces[a], faces[b]) for a, b in combinations(faces, 2)}


def _distance_mm(first: np.ndarray, second: np.ndarray) -> float:
    """Median over vertices after the best similarity, both ways averaged so that neither's size decides."""
    ways = ((first, second), (second, first))
    gaps = [
        np.median(np.linalg.norm(align_points(a, b, with_scale=True).apply(a) - b, axis=1)) for a, b in ways
    ]
    return float(np.mean(gaps))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--limit", type=int, help="people of studio/")
    parser.add_argument("--shared", type=Path, default=SHARED)
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/")
    options = parser.parse_args()
    report = measure(options.shared, limit=options.limit)
    print(table(report))
    if options.save:
        write(report)


if __name__ == "__main__":
    main()
