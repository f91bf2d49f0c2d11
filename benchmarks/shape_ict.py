"""Shape on heads whose truth is known: random ICT-FaceKit heads with skin from studio portraits, one picture each.

    python benchmarks/shape_ict.py [--method reconstruct|coarse|landmarks|mean|module:function] [--focal both|known|unknown]
                                   [--limit N] [--shared DIR] [--save] [--look SHEET.png]

Identity is N(0, 1) in ICT's modes, the expression neutral for every other head and mild for the rest, yaw within 45 degrees; the method's
*neutral* head is scored against the neutral face. ``module:function`` plugs any method in, see heads.py. Pictures and targets are made
once (a few seconds each) and kept under $XDG_CACHE_HOME/vultus-benchmarks. The bundled head's identity statistics were
calibrated on random heads of the same model: this says how well pictures are read, not how well people are covered.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from heads import SEVEN, load_method, mean_head, skin_surface
from report import Report, table, write
from scenes import Shot, cache_folder, contact_sheet, kept, recipe
from scoring import Score, Target, make_target, score
from shape import compare, report_shape
from tqdm import tqdm

from vultus.data.expressions import MILD, random_expression
from vultus.data.photo_skin import Correspondence, PhotoSkin, photo_skin, through_the_chart
from vultus.data.scene import finished, look_at_head
from vultus.geometry.camera import Camera
from vultus.geometry.light import ambient_and_directional
from vultus.io.files import atomic_file
from vultus.io.images import write_png
from vultus.model.bundled import HEAD
from vultus.model.face import FaceCode
from vultus.model.formats import ict
from vultus.model.morphable import MorphableModel
from vultus.render.shade import render

SHARED = Path(__file__).parents[2] / "shared" / "data"
NUM_HEADS, SIZE_PX, NUM_POINTS = 100, 640, 8000
MAX_YAW_DEG = 45.0
RECIPE = 1  # raise it when the drawing below changes


@lru_cache(maxsize=1)
def ict_model(shared: Path) -> tuple[MorphableModel, Correspondence]:
    model = ict.load(shared / "ict")
    return model, through_the_chart(model)


def random_code(model: MorphableModel, rng: np.random.Generator, *, mild: bool) -> FaceCode:
    expression = torch.zeros(len(model.expression_names))
    if mild:
        expression = random_expression(model, rng, MILD)
    identity = torch.from_numpy(rng.normal(size=len(model.identity_mm))).float()
    return FaceCode(identity, expression, torch.zeros(len(model.albedo)))


def random_camera(rng: np.random.Generator) -> tuple[Camera, float]:
    yaw = float(rng.uniform(-MAX_YAW_DEG, MAX_YAW_DEG))
    distance = float(np.exp(rng.uniform(np.log(400), np.log(2000))))
    shift = rng.normal(0, 12, 2)
    camera = look_at_head(
        yaw, float(rng.normal(0, 7)), float(rng.normal(0, 5)), distance_mm=distance, face_px=float(rng.uniform(200, 340)),
        size_px=SIZE_PX, shift_mm=(float(shift[0]), float(shift[1])),
    )  # fmt: skip
    return camera, yaw


def random_light(rng: np.random.Generator) -> torch.Tensor:
    """Ambient light and a coloured lamp somewhere before the face."""
    tint = torch.tensor([1 + rng.normal(0, 0.06), 1.0, 1 + rng.normal(0, 0.08)]).float()
    towards = torch.tensor([rng.normal(0, 0.7), rng.normal(-0.5, 0.4), -1.0]).float()
    lamp = float(rng.uniform(0.2, 0.7))
    return ambient_and_directional(tint * (1 - 0.8 * lamp), lamp / tint, towards)


def draw(
    model: MorphableModel,
    skin: PhotoSkin,
    name: str,
    code: FaceCode,
    rng: np.random.Generator,
    seen_by: tuple[Camera, float] | None = None,
) -> Shot:
    """One picture in a random light, by a random camera unless one is given with its yaw."""
    camera, yaw = seen_by or random_camera(rng)
    light, behind = random_light(rng), torch.from_numpy(rng.uniform(0.02, 0.6, 3)).float()
    vertices = model.vertices(code)
    shown = torch.cat([model.part_triangles(part) for part in ("skin", "eye_left", "eye_right", "teeth")])
    colour = model.vertex_albedo(code)
    is_skin = torch.zeros(len(vertices), dtype=torch.bool)
    is_skin[model.part_triangles("skin").flatten()] = True
    colour[is_skin] = skin.tone
    weight = (skin.weight * is_skin)[:, None]
    # What the photo shows plus what it does not, each with its share: two layers over the same pixels.
    photo = render(
        vertices, shown, camera, light, albedo=weight.expand(-1, 3), texture=skin.photo, uv=skin.uv, samples=2
    )
    plain = render(vertices, shown, camera, light, albedo=(1 - weight) * colour, samples=2)
    picture = torch.cat([photo[:, :3] + plain[:, :3], plain[:, 3:]], 1)
    image = finished(picture, behind, noise=0.01, seed=int(rng.integers(2**31)))
    return Shot(name, image, camera, yaw)


def target_of(model: MorphableModel, code: FaceCode, name: str) -> tuple[Target, Score]:
    """The neutral face of a code as a scan, and how well the mean head meets it."""
    neutral = model.vertices(FaceCode(code.identity, torch.zeros_like(code.expression), code.albedo))
    zero = torch.zeros(())
    marks = model.landmarks["ibug68"].points(neutral, model.triangles, zero, zero).double().numpy()
    target = make_target(name, neutral.double().numpy(), skin_surface(model), marks[list(SEVEN)], NUM_POINTS)
    return target, score(mean_head(), target)


def scenes(shared: Path, limit: int | None) -> Iterator[tuple[Shot, Target, Score]]:
    """The first so many heads, each with its target and the mean head's score."""
    code_files = [Path(__file__).parent / name for name in ("scoring.py",)]
    shots = cache_folder(f"ict-shots-{recipe(RECIPE)}")
    targets = cache_folder(f"ict-targets-{recipe(HEAD, *code_files)}")
    people = sorted((shared / "photos" / "studio" / "neutral_front").glob("*.jpg"))
    numbers = range(min(limit or NUM_HEADS, NUM_HEADS))
    for i in tqdm(numbers, desc="ICT heads", leave=False):
        name = f"ict{i:03d}"

        def code() -> FaceCode:
            return random_code(ict_model(shared)[0], np.random.default_rng((0, i)), mild=i % 2 == 1)  # noqa: B023

        def draw_now() -> Shot:
            model, where = ict_model(shared)
            skin = photo_skin(people[i % len(people)], where)  # noqa: B023
            return draw(model, skin, name, code(), np.random.default_rng((1, i)))  # noqa: B023

        shot = kept(shots, name, draw_now)
        path = targets / f"{name}.npz"
        if not path.is_file():
            _keep_target(path, *target_of(ict_model(shared)[0], code(), name))
        with np.load(path, allow_pickle=False) as kept_target:
            target = Target(name, kept_target["points"], kept_target["region"], kept_target["landmarks"])
            numbers_of = dict(zip(kept_target["keys"].tolist(), kept_target["values"].tolist()))
        regions = {key[7:]: value for key, value in numbers_of.items() if key.startswith("region ")}
        whole = {key: value for key, value in numbers_of.items() if not key.startswith("region ")}
        yield shot, target, Score(**whole, regions=regions)


def _keep_target(path: Path, target: Target, mean: Score) -> None:
    numbers = asdict(mean)
    numbers |= {f"region {key}": value for key, value in numbers.pop("regions").items()}
    with atomic_file(path) as partial, partial.open("wb") as file:
        np.savez_compressed(
            file, points=target.points, region=target.region, landmarks=target.landmarks,
            keys=np.array(list(numbers)), values=np.array(list(numbers.values())),
        )  # fmt: skip


def measure(
    shared: Path = SHARED, *, method: str = "reconstruct", focal: str = "both", limit: int | None = None
) -> Report:
    function = load_method(method)
    shots = list(scenes(shared, limit))
    runs = {
        f"focal {variant}": compare(function, shots, focal_known=variant == "known")
        for variant in ("known", "unknown")
        if focal in (variant, "both")
    }
    notes = (
        f"{len(shots)} heads; identity only (expression zero) against the neutral face; stretch goal 0.60",
    )
    return report_shape("shape_ict", runs, 0.80, notes)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--method", default="reconstruct")
    parser.add_argument("--focal", choices=("both", "known", "unknown"), default="both")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--shared", type=Path, default=SHARED)
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/")
    parser.add_argument("--look", type=Path, help="write a sheet of the pictures and stop")
    options = parser.parse_args()
    if options.look:
        write_png(options.look, contact_sheet([shot for shot, _, _ in scenes(options.shared, options.limit)]))
        return
    report = measure(options.shared, method=options.method, focal=options.focal, limit=options.limit)
    print(table(report))
    if options.save:
        write(report)


if __name__ == "__main__":
    main()
