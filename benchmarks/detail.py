"""Wrinkles from shading, alone: heads whose shape below the wrinkles is known exactly, drawn under lamps, and the error of their normals.

    python benchmarks/detail.py [--limit N] [--save] [--look SHEET.png]

Random heads (identity, skin colour, moles, freckles, brows), six poses, five sets of lamps (not spherical harmonics; hollows are dark because the
horizon is traced), sensor noise. Only the light is fitted. Every head is drawn with wrinkles and without: the first must come nearer to
the truth, the second must stay smooth. What the whole chain does from photo to wrinkles is measured in levels.py.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from heads import bundled_model
from report import Report, Row, table, write
from torch import Tensor
from tqdm import tqdm

from vultus.data.scene import look_at_head
from vultus.data.wrinkles import Lamp, photograph, wrinkle_map
from vultus.fit.photometric import PhotometricOptions, fit_light_and_albedo
from vultus.geometry.chart_map import detailed_normals, length, unit
from vultus.geometry.mesh import vertex_normals
from vultus.geometry.view import View
from vultus.io.images import write_png
from vultus.model.face import CoarseFace, DeformedFace
from vultus.render.bake import bake, dilate
from vultus.render.visible import facing
from vultus.stages.detail import fit_detail
from vultus.stages.photo_evidence import depth_buffer

NUM_HEADS, MAP_SIZE, DRAWN_SIZE = 12, 512, 1024
FACE_PX = 420.0
YAWS_DEG = (0.0, 15.0, -25.0, 8.0, 35.0, -10.0)
# Ambient light, and lamps as directions and strengths in the camera frame (y down).
LAMPS: dict[str, tuple[float, list[tuple[tuple[float, float, float], float]]]] = {
    "soft": (0.55, [((-0.5, -0.6, -1.0), 0.45)]),
    "side": (0.25, [((-1.0, -0.3, -0.6), 0.75)]),
    "top": (0.35, [((0.1, -1.0, -0.6), 0.6)]),
    "flash": (0.3, [((0.0, -0.1, -1.0), 0.6)]),
    "two": (0.2, [((-0.9, -0.5, -0.7), 0.5), ((0.9, -0.2, -0.7), 0.3)]),
}
WRINKLED_DEG, GRAZING = 3.0, 0.3


class Score(NamedTuple):
    """Mean angles to the true normals in degrees: smooth surface and with the wrinkles found, over the face and where it is wrinkled."""

    smooth: float
    found: float
    smooth_wrinkled: float
    found_wrinkled: float


def draw(number: int, strength: float) -> tuple[View, DeformedFace, Tensor]:
    """A view of a head with wrinkles of some strength, the face without them, and the wrinkles."""
    model, rng = bundled_model(), np.random.default_rng((7, number))
    normal = lambda count: torch.from_numpy(rng.normal(0, 0.7, count)).float()  # noqa: E731
    code = replace(
        model.mean_code(), identity=normal(len(model.identity_mm)), albedo=normal(len(model.albedo))
    )
    camera = look_at_head(
        YAWS_DEG[number % len(YAWS_DEG)], 0.0, 0.0, distance_mm=900, face_px=FACE_PX, size_px=int(2 * FACE_PX)
    )
    ambient, lamps = LAMPS[list(LAMPS)[number % len(LAMPS)]]
    known = wrinkle_map(model, DRAWN_SIZE, number, strength)
    image, cover = photograph(
        model, model.vertices(code), model.vertex_albedo(code), known, camera, torch.full((3,), ambient),
        [Lamp(torch.tensor(towards), torch.full((3,), colour)) for towards, colour in lamps], seed=number,
    )  # fmt: skip
    view = View(image, camera, torch.zeros(478, 2), "mediapipe478", cover > 0.5)
    light, albedo, _ = fit_light_and_albedo(view, model, code, PhotometricOptions())
    face = CoarseFace(replace(code, albedo=albedo), camera.T_camera_head, light)
    return view, DeformedFace(face, torch.zeros(3, 64, 64)), known


def score(view: View, vertices: Tensor, known: Tensor, found: Tensor) -> Score:
    """Angles over the skin that the camera sees at no grazing angle, weighted by area."""
    model = bundled_model()
    assert model.chart is not None
    position = view.camera.to_camera(vertices)
    normals = vertex_normals(position, model.triangles)
    values = torch.cat([position, normals, facing(position, normals)[:, None]], -1)
    skin = (~model.chart.is_membrane).nonzero().squeeze(-1)
    drawn, covered = bake(values, model.chart.topology, skin, found.shape[0])
    drawn = dilate(drawn, covered)  # so that no texel is stretched over the opening beside it
    texels_px = view.camera.project_camera(drawn[:3].flatten(1).T).T.reshape(drawn[:3].shape)
    seen = covered & (drawn[6] > GRAZING) & depth_buffer(view, model, vertices).sees(texels_px)
    down, right = torch.gradient(drawn[:3], dim=(1, 2))
    area = length(torch.linalg.cross(down, right, dim=0))[0] * seen
    smooth = unit(drawn[3:6])
    truth = detailed_normals(
        drawn[:3], smooth, F.interpolate(known[None, None], found.shape, mode="area")[0, 0]
    )
    angle = lambda n: torch.rad2deg((n * truth).sum(0).clamp(-1, 1).acos())  # noqa: E731
    errors = angle(smooth), angle(detailed_normals(drawn[:3], smooth, found))
    wrinkled = area * (errors[0] > WRINKLED_DEG)
    mean = lambda error, weight: float((error * weight).sum() / weight.sum().clamp_min(1e-6))  # noqa: E731
    return Score(*(mean(error, weight) for weight in (area, wrinkled) for error in errors))


def measure(limit: int | None = None, look: Path | None = None) -> Report:
    model, scores, typical, largest, pictures = bundled_model(), [], [], [], []
    for number in tqdm(range(min(limit or NUM_HEADS, NUM_HEADS)), desc="wrinkled heads", leave=False):
        view, face, known = draw(number, 1.0)
        found = fit_detail(view, model, face, size=MAP_SIZE).displacement_mm
        scores.append(score(view, model.vertices(face.coarse.code), known, found))
        maps = F.interpolate(
            torch.stack([known, F.interpolate(found[None, None], known.shape)[0, 0]])[None], (400, 400)
        )
        photo = F.interpolate(view.image[None], (400, 400), mode="area")[0]
        pictures.append(
            torch.cat([photo, *(0.5 + maps[0, :, None] / 0.8).clamp(0, 1).expand(-1, 3, -1, -1)], 2)
        )
        view, face, _ = draw(number, 0.0)
        invented = fit_detail(view, model, face, size=MAP_SIZE).displacement_mm.abs()
        typical.append(float(invented.median()))
        largest.append(float(invented.quantile(0.99)))
    if look is not None:
        write_png(look, torch.cat(pictures, 1))
    smooth, found, smooth_wrinkled, found_wrinkled = np.array(scores).T
    rows = (
        Row("normal error over the face", float(found.mean()), "deg", float(smooth.mean())),
        Row(
            "normal error where it is wrinkled",
            float(found_wrinkled.mean()),
            "deg",
            float(smooth_wrinkled.mean()),
        ),
        Row("ratio over the face", float((found / smooth).mean()), "", 1.0, "<= 0.9"),
        Row(
            "ratio where it is wrinkled", float((found_wrinkled / smooth_wrinkled).mean()), "", 1.0, "<= 0.9"
        ),
        Row("worst head's ratio", float((found / smooth).max()), "", 1.0, "<= 1.0"),
        Row("smooth face: median displacement", float(np.max(typical)), "mm", 0.0, "<= 0.03"),
        Row("smooth face: 99th percentile", float(np.mean(largest)), "mm", 0.0),
    )
    notes = (f"{len(scores)} heads; trivial: no wrinkles at all; stretch goal 0.80",)
    return Report("detail", rows, notes, {"heads": [list(s) for s in scores]})


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--limit", type=int)
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/")
    parser.add_argument("--look", type=Path, help="write a sheet of pictures, true and found wrinkles")
    options = parser.parse_args()
    report = measure(options.limit, options.look)
    print(table(report))
    if options.save:
        write(report)


if __name__ == "__main__":
    main()
