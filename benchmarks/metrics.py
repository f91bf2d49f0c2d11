"""The measuring rod measured: exactness and speed of closest points, where ICP ends, what the corresponded error sees, how long a scan takes.

    python benchmarks/metrics.py [--starts N] [--save]

Needs nothing but the package and libigl (the reference for closest points). Heads are random ones of the bundled model.
"""

from __future__ import annotations

import argparse
import time

import igl
import numpy as np
import torch
from report import Report, Row, table, write
from tqdm import tqdm

from vultus.evaluate.benchmark import FaceMesh
from vultus.evaluate.corresponded import corresponded_distances, find_correspondence, template
from vultus.evaluate.regions import face_mesh, mean_face
from vultus.evaluate.scan import Alignment, align_to_scan, face_area, sample_surface
from vultus.evaluate.scan_score import score_against_scan
from vultus.evaluate.scan_truth import truth_of_scan
from vultus.geometry.closest import TriangleTree
from vultus.geometry.rigid import rotation_from_axis_angle, umeyama
from vultus.model import bundled
from vultus.model.face import FaceCode

STARTS, ANGLE_DEG, SHIFT_MM = 1000, 30.0, 30.0
TRIANGLES, QUERIES = 70_000, 35_000
PAIRS = 8


def measure(starts: int = STARTS) -> Report:
    rows = [*closest_rows(), *icp_rows(starts), *corresponded_rows(), *large_scan_rows()]
    notes = (
        f"ICP from {starts} starts up to {ANGLE_DEG:.0f} degrees and {SHIFT_MM:.0f} mm from the truth, another person's head onto a scan, with scale",
    )
    return Report("metrics", tuple(rows), notes)


def closest_rows() -> list[Row]:
    """The scan of a benchmark against a mesh of the size of BFM's."""
    vertices, triangles = height_field(int(np.sqrt(TRIANGLES / 2)))
    rng = np.random.default_rng(0)
    queries = vertices[rng.integers(len(vertices), size=QUERIES)] + rng.normal(0, 2, (QUERIES, 3))
    TriangleTree(vertices, triangles).query(queries[:10])  # compiles
    ours = [timed(lambda: TriangleTree(vertices, triangles).query(queries)) for _ in range(5)]
    theirs = [timed(lambda: igl.point_mesh_squared_distance(queries, vertices, triangles)) for _ in range(3)]
    reference = np.sqrt(igl.point_mesh_squared_distance(queries, vertices, triangles)[0])
    off = np.abs(TriangleTree(vertices, triangles).query(queries).distances - reference).max()
    return [
        Row("closest points: largest difference to libigl", float(off), "mm", None, "<= 1e-9"),
        Row(
            f"closest points: {QUERIES:,} on {len(triangles):,} triangles, tree built", 1e3 * float(np.median(ours)), "ms",
            1e3 * float(np.median(theirs)), "<= 150",
        ),
    ]  # fmt: skip


def icp_rows(starts: int) -> list[Row]:
    """Random starts on one scan: worse than where it began is divergence; elsewhere than from the truth is another minimum."""
    scan, other = person(1), person(2)
    points, _ = sample_surface(scan.vertices, scan.triangles, 8000)
    points = points[face_area(points, scan.landmarks[30])][:1000]
    rigid = umeyama(torch.from_numpy(other.landmarks), torch.from_numpy(scan.landmarks))
    good = Alignment(float(rigid.scale), rigid.rotation.numpy(), rigid.translation.numpy())
    reference = align_to_scan(other.vertices, other.triangles, points, good, with_scale=True)
    rng = np.random.default_rng(0)
    centre, worse, away = points.mean(0), 0, []
    for _ in tqdm(range(starts), desc="ICP", leave=False):
        turn, shift = random_move(rng)
        start = Alignment(
            good.scale, turn @ good.rotation, turn @ (good.translation - centre) + centre + shift
        )
        found = align_to_scan(other.vertices, other.triangles, points, start, with_scale=True)
        before, after = (
            np.median(TriangleTree(a.apply(other.vertices), other.triangles).query(points).distances)
            for a in (start, found)
        )
        worse += bool(after > before)
        moved = found.apply(other.landmarks) - reference.apply(other.landmarks)
        away.append(np.linalg.norm(moved, axis=1).mean())
    return [
        Row("ICP: diverged", worse, f"of {starts}", None, "<= 0"),
        Row("ICP: ended more than 0.5 mm from where the truth ends", int((np.array(away) > 0.5).sum()), f"of {starts}"),
        Row("ICP: landmarks from where the truth ends, median", float(np.median(away)), "mm"),
    ]  # fmt: skip


def corresponded_rows() -> list[Row]:
    """Share of the true distance between heads of one model that each measure shows."""
    shown: dict[str, list[float]] = {"closest": [], "corresponded": []}
    for i in range(PAIRS):
        scan, other = person(10 + i), person(30 + i)
        true = true_mm(other, scan)
        truth = truth_of_scan(scan.vertices, scan.triangles, scan.landmarks)
        values, _ = score_against_scan(other, truth, kinds=("rigid",))
        pair = (find_correspondence(m.vertices, m.triangles, m.landmarks) for m in (other, scan))
        away, weight = corresponded_distances(*pair, with_scale=False)
        shown["closest"].append(values["rigid_mean_mm"] / true)
        shown["corresponded"].append(float(np.nansum(away * weight) / weight.sum()) / true)
    return [
        Row(f"{name} error: share of the true one, {which}", float(value(of)), "x", 1.0)
        for name, of in shown.items()
        for which, value in (("least", np.min), ("median", np.median), ("most", np.max))
    ]


def large_scan_rows() -> list[Row]:
    """A head of a million triangles: the bundled one, each triangle cut into many."""
    scan = person(3)
    vertices, triangles = scan.vertices, scan.triangles
    while len(triangles) < 1_000_000:
        vertices, triangles = igl.upsample(vertices, triangles)[:2]
    start = time.perf_counter()
    truth = truth_of_scan(vertices, triangles.astype(np.int64), scan.landmarks)
    middle = time.perf_counter()
    score_against_scan(mean_face(), truth)
    return [
        Row(f"scan of {len(triangles):,} triangles: prepared", middle - start, "s"),
        Row("the mean head scored against it", time.perf_counter() - middle, "s"),
    ]


def person(seed: int) -> FaceMesh:
    model, rng = bundled.load(), np.random.default_rng(seed)
    identity = torch.from_numpy(rng.normal(size=len(model.identity_mm))).float()
    vertices = model.vertices(
        FaceCode(identity, torch.zeros(len(model.expression_names)), torch.zeros(len(model.albedo)))
    )
    return face_mesh(model, vertices)


def true_mm(source: FaceMesh, target: FaceMesh) -> float:
    """Mean distance of the same vertices of two heads of the model, over the template's face, after the best rigid alignment."""
    shape, mean = template(), mean_face()
    ids = np.array([int(np.abs(mean.vertices - v).sum(1).argmin()) for v in shape.vertices])
    a, b = torch.from_numpy(source.vertices[ids]), torch.from_numpy(target.vertices[ids])
    weight = torch.from_numpy(shape.area_mm2)
    away = (umeyama(a, b, weight, with_scale=False).apply(a) - b).norm(dim=1)
    return float((away * weight).sum() / weight.sum())


def random_move(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A rotation of at most ANGLE_DEG and a shift of at most SHIFT_MM, evenly in their balls."""
    axis, shift = rng.normal(size=(2, 3))
    angle = np.radians(ANGLE_DEG) * rng.uniform() ** (1 / 3)
    turn = rotation_from_axis_angle(torch.from_numpy(axis / np.linalg.norm(axis) * angle)).numpy()
    return turn, shift / np.linalg.norm(shift) * SHIFT_MM * rng.uniform() ** (1 / 3)


def height_field(side: int) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.meshgrid(np.linspace(-70, 70, side), np.linspace(-90, 90, side))
    z = 60 - (x / 12) ** 2 - (y / 18) ** 2 + 22 * np.exp(-((x / 12) ** 2) - (y / 22) ** 2)
    i = np.arange(side * side).reshape(side, side)
    a, b, c, d = (part.ravel() for part in (i[:-1, :-1], i[:-1, 1:], i[1:, :-1], i[1:, 1:]))
    triangles = np.concatenate([np.stack([a, b, c], 1), np.stack([b, d, c], 1)])
    return np.stack([x, y, z], -1).reshape(-1, 3), triangles.astype(np.int64)


def timed(work) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--starts", type=int, default=STARTS)
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/")
    options = parser.parse_args()
    report = measure(options.starts)
    print(table(report))
    if options.save:
        write(report)


if __name__ == "__main__":
    main()
