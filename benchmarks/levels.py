"""Do the levels get nearer to the truth? Coarse, deformed and detailed faces of one photo against the scan of the person in it.

    python benchmarks/levels.py [--only james synthetic register] [--limit N] [--shared DIR] [--save] [--look SHEET.png]

`james`: the real scan drawn from seven sides (shape_james.py); its face has no wrinkles that its 12,000 triangles would show. `synthetic`: 20
people of the capture rig (vultus.data.rig: bumps that no code explains, known wrinkles, blemished skin), each in another pose and light.
`register`: how near the maps that are fitted to a scan itself come to it. Aligned with scale, as scans are scored.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import shape_james
import torch
from heads import SEVEN, bundled_model, skin_surface
from report import Report, Row, table, write
from scenes import Shot
from torch import Tensor

from vultus.data.capture import scan_mesh
from vultus.data.rig import lit_by, make_subject, posed_subject, rig_lamps
from vultus.data.scene import look_at_head
from vultus.data.wrinkles import photograph
from vultus.evaluate.scan import FACE_RADIUS_MM, align_points, align_to_scan, sample_surface
from vultus.evaluate.scan_levels import level_error, level_surface, point_normals
from vultus.fit.register import register_scan
from vultus.fit.scan_code import scan_landmarks
from vultus.io.images import write_png
from vultus.model.deformation import face_vertices
from vultus.model.face import DetailedFace, Geometry
from vultus.stages.reconstruct import reconstruct

SHARED = Path(__file__).parents[2] / "shared" / "data"
LEVELS = ("coarse", "deformed", "detail")
NUM_SYNTHETIC, SIZE_PX, FACE_PX, NUM_POINTS = 20, 640, 380, 12000
GOAL = 0.9  # of the normal error of the level below


@dataclass(frozen=True)
class ScannedFace:
    """The part of a scan that counts: points "n 3", unit normals "n 3", the seven landmarks; and the whole mesh."""

    points: np.ndarray
    normals: np.ndarray
    landmarks: np.ndarray
    vertices: np.ndarray
    triangles: np.ndarray


@dataclass(frozen=True)
class Scored:
    """Per level: median distance in mm, mean distance, mean angle between normals in degrees."""

    name: str
    median_mm: dict[str, float]
    mean_mm: dict[str, float]
    angle_deg: dict[str, float]


def james(shared: Path, limit: int | None) -> Iterator[tuple[Shot, ScannedFace]]:
    scan = shape_james.read_james(shared)
    target = shape_james.james_target(scan)
    face = _face_of_james(scan, target)
    for shot, _, _ in shape_james.scenes(shared, limit):
        yield shot, face


def _face_of_james(scan, target) -> ScannedFace:
    from vultus.geometry.closest import TriangleTree

    triangles = scan.triangles.numpy()
    ids = TriangleTree(scan.vertices, triangles).query(target.points).triangle_ids
    normals = point_normals(scan.vertices, triangles, ids, target.points)
    return ScannedFace(target.points, normals, scan.landmarks, scan.vertices, triangles)


def synthetic(limit: int | None) -> Iterator[tuple[Shot, ScannedFace]]:
    model, lamps = bundled_model(), rig_lamps(8)
    for i in range(limit or NUM_SYNTHETIC):
        rng = np.random.default_rng(i)
        subject = make_subject(model, 1000 + i)
        face = posed_subject(model, subject)
        vertices = face_vertices(model, face)
        yaw, pitch = float(rng.uniform(-35, 35)), float(rng.uniform(-12, 12))
        camera = look_at_head(yaw, pitch, float(rng.uniform(-8, 8)), distance_mm=float(rng.uniform(500, 1200)),
                              face_px=FACE_PX, size_px=SIZE_PX)  # fmt: skip
        ambient, lit = lit_by(
            lamps, None if i % 2 else i // 2 % 8, torch.diag(torch.tensor([1.0, -1, -1, 1]))
        )
        image, _ = photograph(
            model,
            vertices,
            model.vertex_albedo(face.coarse.code),
            face.displacement_mm,
            camera,
            ambient,
            lit,
            seed=i,
        )
        yield Shot(f"synthetic{i:02d}", image, camera, yaw), synthetic_scan(face, vertices)


def synthetic_scan(face: DetailedFace, vertices: Tensor) -> ScannedFace:
    """The scanned face in the head frame, its chart only: where the wrinkles are."""
    model = bundled_model()
    mesh = scan_mesh(model, face, torch.eye(4))
    points3, triangles = mesh.vertices.double().numpy(), mesh.topology.triangles.numpy()
    zero = torch.zeros(())
    seven = (
        model.landmarks["ibug68"].points(vertices, model.triangles, zero, zero)[list(SEVEN)].double().numpy()
    )
    near = (np.linalg.norm(points3 - seven[4], axis=1) < FACE_RADIUS_MM)[triangles].all(1)
    points, ids = sample_surface(points3, triangles[near], NUM_POINTS)
    truth = level_error(level_surface(model, face), points, np.zeros_like(points))
    on_face = np.isfinite(truth.angles_deg)
    normals = point_normals(points3, triangles[near], ids, points)
    return ScannedFace(points[on_face], normals[on_face], seven, points3, triangles)


def score_photo(shot: Shot, scan: ScannedFace) -> Scored | None:
    from vultus.errors import FaceNotFound

    try:
        found = reconstruct(shot.image, texture_size=0, focal_px=float(shot.camera.focal_px))
    except FaceNotFound:
        return None
    detail = found.geometry
    assert isinstance(detail, DetailedFace)
    return score_levels(shot.name, detail, scan)


def score_levels(name: str, face: DetailedFace, scan: ScannedFace) -> Scored:
    model, errors = bundled_model(), {}
    levels: dict[str, Geometry] = {"coarse": face.coarse, "deformed": face.deformed, "detail": face}
    zero = torch.zeros(())
    alignment = None
    for level, geometry in levels.items():
        # Details move nothing as a whole: they are aligned as the level below.
        if level != "detail":
            vertices = face_vertices(model, geometry)
            seven = model.landmarks["ibug68"].points(vertices, model.triangles, zero, zero)[list(SEVEN)]
            start = align_points(seven.double().numpy(), scan.landmarks, with_scale=True)
            some = scan.points[:: max(1, len(scan.points) // 4000)]
            alignment = align_to_scan(vertices.double().numpy(), skin_surface(), some, start, with_scale=True)
        errors[level] = level_error(level_surface(model, geometry), scan.points, scan.normals, alignment)
    return Scored(
        name,
        {level: error.median_mm for level, error in errors.items()},
        {level: float(error.distances_mm.mean()) for level, error in errors.items()},
        {level: error.mean_angle_deg for level, error in errors.items()},
    )


def score_registration(name: str, scan: ScannedFace) -> Scored:
    """Against the scan itself, in its own millimetres."""
    model = bundled_model()
    found = register_scan(model, scan.vertices, scan.triangles, scan_landmarks(model, scan.landmarks))
    scale = float(found.head_from_scan.scale)
    head = replace(
        scan,
        points=found.head_from_scan.apply(torch.from_numpy(scan.points)).numpy(),
        normals=scan.normals @ found.head_from_scan.rotation.numpy().T,
    )
    levels: dict[str, Geometry] = {
        "coarse": found.face.coarse,
        "deformed": found.face.deformed,
        "detail": found.face,
    }
    errors = {
        level: level_error(level_surface(model, face), head.points, head.normals)
        for level, face in levels.items()
    }
    return Scored(
        name,
        {level: error.median_mm / scale for level, error in errors.items()},
        {level: float(error.distances_mm.mean()) / scale for level, error in errors.items()},
        {level: error.mean_angle_deg for level, error in errors.items()},
    )


def measure(
    shared: Path = SHARED,
    *,
    only: tuple[str, ...] = ("james", "synthetic", "register"),
    limit: int | None = None,
    look: Path | None = None,
) -> Report:
    rows: list[Row] = []
    notes: list[str] = []
    details: dict[str, list] = {}
    pictures: list[Tensor] = []
    for name in only:
        if name == "register":
            scans = [("synthetic", scan) for _, scan in synthetic(max(1, (limit or NUM_SYNTHETIC) // 4))]
            if shared.is_dir():
                scan = shape_james.read_james(shared)
                scans.insert(0, ("james", _face_of_james(scan, shape_james.james_target(scan))))
            results = [score_registration(who, scan) for who, scan in scans]
            for who in dict.fromkeys(result.name for result in results):
                rows += _registration_rows(who, [result for result in results if result.name == who])
        else:
            results = []
            shots = james(shared, limit) if name == "james" else synthetic(limit)
            for shot, scan in shots:
                scored = score_photo(shot, scan)
                pictures.append(shot.image)
                if scored is None:
                    notes.append(f"{name}: no face found in {shot.name}")
                    continue
                results.append(scored)
                print(_line(scored), file=sys.stderr, flush=True)
            rows += _photo_rows(name, results)
        details[name] = [vars(result) for result in results]
    if look and pictures:
        side = [torch.nn.functional.interpolate(p[None], (320, 320), mode="area")[0] for p in pictures]
        side += [torch.zeros(3, 320, 320)] * (-len(side) % 5)
        write_png(look, torch.cat([torch.cat(side[i : i + 5], 2) for i in range(0, len(side), 5)], 1))
    return Report("levels", tuple(rows), tuple(notes), details)


def _photo_rows(name: str, results: list[Scored]) -> list[Row]:
    if not results:
        return []
    rows = []
    for number, level in enumerate(LEVELS):
        angle, median = (
            float(np.mean([getattr(r, key)[level] for r in results])) for key in ("angle_deg", "median_mm")
        )
        below = LEVELS[number - 1] if number else None
        trivial = float(np.mean([r.angle_deg[below] for r in results])) if below else None
        goal = f"<= {GOAL * trivial:.4g}" if trivial is not None else ""
        coarse = float(np.mean([r.median_mm["coarse"] for r in results]))
        rows += [
            Row(f"{name}: {level}: normal error", angle, "deg", trivial, goal),
            Row(
                f"{name}: {level}: median",
                median,
                "mm",
                coarse,
                f"<= {coarse:.4g}" if level == "deformed" else "",
            ),
        ]
        if below:
            better = np.mean([r.angle_deg[level] < r.angle_deg[below] for r in results])
            rows.append(
                Row(
                    f"{name}: {level}: pictures with smaller normal error than {below}",
                    100 * float(better),
                    "%",
                )
            )
    return rows


def _registration_rows(who: str, results: list[Scored]) -> list[Row]:
    mean = lambda key, level: float(np.mean([getattr(r, key)[level] for r in results]))  # noqa: E731
    rows = [
        Row(f"fitted to {who} itself: {level}: median", mean("median_mm", level), "mm",
            mean("median_mm", "coarse"), "<= 0.2" if level == "detail" else "")
        for level in LEVELS
    ]  # fmt: skip
    return rows + [
        Row(
            f"fitted to {who} itself: {level}: normal error",
            mean("angle_deg", level),
            "deg",
            mean("angle_deg", "coarse"),
        )
        for level in LEVELS
    ]


def _line(scored: Scored) -> str:
    shown = "  ".join(
        f"{level} {scored.median_mm[level]:.3f} mm {scored.angle_deg[level]:.2f} deg" for level in LEVELS
    )
    return f"  {scored.name:14} {shown}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = ("james", "synthetic", "register")
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    parser.add_argument(
        "--limit", type=int, help=f"pictures of each; {NUM_SYNTHETIC} synthetic ones if not given"
    )
    parser.add_argument("--shared", type=Path, default=SHARED)
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/")
    parser.add_argument("--look", type=Path, help="write a sheet of the pictures")
    options = parser.parse_args()
    report = measure(options.shared, only=tuple(options.only), limit=options.limit, look=options.look)
    print(table(report))
    if options.save:
        write(report)


if __name__ == "__main__":
    main()
