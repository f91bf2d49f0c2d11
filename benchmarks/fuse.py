"""Several photos against one: error of the fused face over the mean error of its single views; and whether strangers are told.

    python benchmarks/fuse.py [--heads N] [--no-james] [--strangers-only] [--time PHOTO...] [--shared DIR] [--save] [--look SHEET.png]

`james` and random ICT-FaceKit heads, drawn from seven sides in seven lights; fused from three and from seven pictures, cameras unknown (focal length
not told) and known. Scored as in shape_james.py: neutral head, deformation included, similarity-aligned, median over the face. The single views are
reconstructed at the same level with the same knowledge of the focal length. Strangers: the studio portraits, neutral against smiling.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import shape_ict
import shape_james
import torch
from heads import Head, bundled_model, seven_points, skin_surface
from report import Report, Row, table, write
from scenes import Shot, cache_folder, contact_sheet, kept, recipe
from scoring import Score, Target, score

import vultus
from vultus.data.photo_skin import photo_skin
from vultus.data.scene import look_at_head
from vultus.detect import default_detector
from vultus.fit.joint_landmarks import LandmarkView
from vultus.fit.landmark_basis import landmark_basis
from vultus.fit.landmarks import LandmarkOptions
from vultus.fit.same_person import agreement, identity_evidence
from vultus.io.images import read_image, write_png
from vultus.model.deformation import deformation_offsets
from vultus.model.face import CoarseFace, Geometry
from vultus.stages.coarse import expression_prior
from vultus.stages.fused_coarse import STRANGER

SHARED = Path(__file__).parents[2] / "shared" / "data"
VIEWS = shape_james.VIEWS
PITCH_DEG = (0, 8, -6, 3, -3, 6, -8)
THREE, SEVEN = (1, 3, 5), tuple(range(7))
GOAL_UNKNOWN, GOAL_KNOWN = 0.85, 0.70
LEVEL = {"texture_size": 0, "level": "deformed"}
RECIPE = 1


def ict_shots(shared: Path, number: int) -> Iterator[tuple[str, list[Shot], Target, Score]]:
    people = sorted((shared / "photos" / "studio" / "neutral_front").glob("*.jpg"))
    folder = cache_folder(f"fuse-ict-{recipe(RECIPE, VIEWS, PITCH_DEG)}")
    for i, (_, target, mean) in enumerate(shape_ict.scenes(shared, number)):
        code = None
        shots = []
        for j, ((yaw, distance), pitch) in enumerate(zip(VIEWS, PITCH_DEG)):

            def draw() -> Shot:
                nonlocal code
                model, where = shape_ict.ict_model(shared)
                code = code or shape_ict.random_code(model, np.random.default_rng((0, i)), mild=i % 2 == 1)  # noqa: B023
                camera = look_at_head(yaw, pitch, 0.0, distance_mm=distance, face_px=300, size_px=640)  # noqa: B023
                rng = np.random.default_rng((2, i, j))  # noqa: B023
                skin = photo_skin(people[i % len(people)], where)  # noqa: B023
                return shape_ict.draw(model, skin, f"{i}-{j}", code, rng, (camera, float(yaw)))  # noqa: B023

            shots.append(kept(folder, f"ict{i:03d}-{j}", draw))
        yield f"ict{i:03d}", shots, target, mean


def james_shots(shared: Path) -> tuple[str, list[Shot], Target, Score]:
    found = list(shape_james.scenes(shared, None))
    return "james", [shot for shot, _, _ in found], found[0][1], found[0][2]


def neutral_head(face: Geometry) -> Head:
    """The neutral person of a face, deformation included."""
    model, code = bundled_model(), face.coarse.code
    vertices = model.vertices(replace(code, expression=torch.zeros_like(code.expression)))
    if not isinstance(face, CoarseFace):
        deformed = getattr(face, "deformed", face)
        vertices = vertices + deformation_offsets(model, deformed.deformation_mm)
    return Head(vertices.double().numpy(), skin_surface(), seven_points(model, vertices))


def cameras_of(shots: list[Shot]) -> dict:
    cameras = {}
    for i, shot in enumerate(shots):
        (x, y), f = shot.camera.principal_px.tolist(), float(shot.camera.focal_px)
        pose = shot.camera.T_camera_head.double().numpy()
        cameras[f"photo {i}"] = {
            "K": [[f, 0, x], [0, f, y], [0, 0, 1]], "R": _rotation(pose[:3, :3]).tolist(), "t": pose[:3, 3].tolist(),
        }  # fmt: skip
    return {"unit": "mm", "cameras": cameras}


def _rotation(matrix: np.ndarray) -> np.ndarray:
    u, _, vt = np.linalg.svd(matrix)
    return u @ vt


def measure_shape(shared: Path, num_heads: int, james: bool) -> Report:
    scenes = [james_shots(shared)] if james else []
    rows: dict[str, list[tuple[float, float, float]]] = {}
    details = {}
    for name, shots, target, mean in [*scenes, *ict_shots(shared, num_heads)]:
        for known in (False, True):
            alone = []
            for shot in shots:
                focal = float(shot.camera.focal_px) if known else None
                found = vultus.reconstruct(shot.image, focal_px=focal, **LEVEL)
                alone.append(score(neutral_head(found.geometry), target).similarity)
            for chosen in (THREE, SEVEN):
                some = [shots[i] for i in chosen]
                start = time.perf_counter()
                fused = vultus.fuse(
                    [shot.image for shot in some],
                    cameras=cameras_of(some) if known else None,
                    keep_all=True,
                    **LEVEL,
                )
                seconds = time.perf_counter() - start
                together = score(neutral_head(fused.head.geometry), target).similarity
                single = float(np.mean([alone[i] for i in chosen]))
                variant = f"{len(chosen)} views, cameras {'known' if known else 'unknown'}"
                rows.setdefault(variant, []).append((together, single, mean.similarity))
                details[f"{name}, {variant}"] = (together, single, mean.similarity)
                print(
                    f"  {name:8} {variant:26} fused {together:.3f}  single {single:.3f}  = {together / single:.2f}x"
                    f"  mean head {mean.similarity:.3f}  {seconds:.1f} s", file=sys.stderr, flush=True,
                )  # fmt: skip
    result = []
    for variant, numbers in rows.items():
        together, single, mean = np.mean(numbers, axis=0)
        goal = GOAL_KNOWN if "unknown" not in variant else GOAL_UNKNOWN
        ratio = float(np.mean([a / b for a, b, _ in numbers]))
        result += [
            Row(f"{variant}: fused", float(together), "mm", float(mean)),
            Row(f"{variant}: single views", float(single), "mm", float(mean)),
            Row(f"{variant}: fused over single", ratio, "x", 1.0, f"<= {goal}"),
        ]
    notes = (f"means over {len(rows[next(iter(rows))])} heads; trivial: the mean head",)
    return Report("fuse", tuple(result), notes, details)


def measure_strangers(shared: Path, partners: int = 6) -> Report:
    """One neutral and one smiling portrait: of one person, or of two."""
    model, detector = bundled_model(), default_detector()
    basis, prior = landmark_basis(model, "mediapipe478"), expression_prior(bundled_model())
    evidence = {}
    for kind in ("neutral", "smiling"):
        for path in sorted((shared / "photos" / "studio" / f"{kind}_front").glob("*.jpg")):
            image, _ = read_image(path)
            faces = detector.detect(image)
            if faces:
                points = faces[0].landmarks.points_px.double().numpy()
                height, width = image.shape[1:]
                guess = 1.2 * max(width, height) * 2  # studio portraits, taken from afar
                centre = np.array([width / 2, height / 2])
                view = LandmarkView(basis, points, np.ones(len(points)), centre, guess, 0.25)
                evidence[kind, path.name[:3]] = identity_evidence(view, prior, LandmarkOptions())
    people = sorted({p for k, p in evidence if k == "neutral"} & {p for k, p in evidence if k == "smiling"})
    rng = np.random.default_rng(0)
    odds = lambda a, b: agreement([evidence["neutral", a], evidence["smiling", b]])[0]  # noqa: E731
    same = np.array([odds(p, p) for p in people])
    other = np.array(
        [odds(a, b) for a in people for b in rng.choice(people, partners, replace=False) if a != b]
    )
    rows = [
        Row("strangers: area under the ROC", float((same[:, None] > other).mean()), "", 0.5, ">= 0.85"),
        Row(
            "strangers: false alarms at the threshold",
            100 * float((same < STRANGER).mean()),
            "%",
            None,
            "<= 2",
        ),
        Row("strangers: caught at the threshold", 100 * float((other < STRANGER).mean()), "%", 2.0),
    ]
    for alarms in (1, 2, 5, 10):
        limit = float(np.quantile(same, alarms / 100))
        rows.append(
            Row(
                f"strangers: caught at {alarms} % false alarms",
                100 * float((other < limit).mean()),
                "%",
                alarms,
            )
        )
        print(f"  {alarms} % false alarms: log odds {limit:.2f}", file=sys.stderr)
    notes = (f"{len(same)} pairs of one person, {len(other)} of two; landmarks only, one photo against one",)
    return Report("fuse_strangers", tuple(rows), notes)


def measure_time(photos: list[str]) -> Report:
    fused = vultus.fuse(photos)
    stages = fused.head.timings_s
    rows = [Row(f"{len(photos)} photos, all levels", sum(stages.values()), "s", None, "<= 60")]
    rows += [Row(f"  {stage}", seconds, "s") for stage, seconds in stages.items()]
    return Report("fuse_time", tuple(rows), (f"{len(fused.views)} used",))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--heads", type=int, default=6)
    parser.add_argument("--no-james", action="store_true")
    parser.add_argument("--strangers-only", action="store_true")
    parser.add_argument("--time", nargs="*", metavar="PHOTO", help="time these photos and stop")
    parser.add_argument("--shared", type=Path, default=SHARED)
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/")
    parser.add_argument("--look", type=Path, help="write a sheet of the pictures and stop")
    options = parser.parse_args()
    if options.look:
        shots = [shot for _, some, _, _ in ict_shots(options.shared, options.heads) for shot in some]
        write_png(options.look, contact_sheet(shots))
        return
    if options.time:
        reports = [measure_time(options.time)]
    else:
        reports = [measure_strangers(options.shared)]
        if not options.strangers_only:
            reports.append(measure_shape(options.shared, options.heads, not options.no_james))
    for report in reports:
        print(table(report))
        if options.save:
            write(report)


if __name__ == "__main__":
    main()
