"""Shape against a real scan: the mean head alone, then `james` drawn from seven sides and reconstructed from each picture.

    python benchmarks/shape_james.py [--method reconstruct|coarse|landmarks|mean|module:function] [--focal both|known|unknown]
                                     [--limit N] [--shared DIR] [--save] [--look SHEET.png]

The scan is neutral, so a method's *neutral* head is scored (identity only, expression set to zero). ``module:function`` plugs any
method in: ``(image "3 h w" sRGB, camera or None) -> (vertices "v 3", landmarks "7 3")``, see heads.py. Seconds per view are shown, and pictures
are drawn once and kept under $XDG_CACHE_HOME/vultus-benchmarks.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from heads import load_method, mean_head
from report import Report, Row, table, write
from scenes import Shot, cache_folder, contact_sheet, kept, recipe
from scoring import REGIONS, Score, Target, make_target, score
from shape import compare, report_shape

from vultus.data.scene import finished, look_at_head
from vultus.evaluate.scan import Alignment, align_points, align_to_scan
from vultus.io.images import read_image, write_png
from vultus.io.obj import read_obj
from vultus.render.shade import linear_from_srgb, render

SHARED = Path(__file__).parents[2] / "shared" / "data"
SEVEN_OF_JAMES = (17, 20, 23, 26, 37, 48, 54)
"""The eye corners, nose tip and mouth corners among the scan's 68 landmarks."""
VIEWS = ((-45, 900), (-30, 600), (-15, 1100), (0, 800), (15, 600), (30, 1200), (45, 700))
"""Yaw in degrees and distance in mm, so that near and far are not always the same side."""
SIZE_PX, FACE_PX, NUM_POINTS = 800, 360, 20000


@dataclass(frozen=True)
class Scan:
    """A textured scan: vertices "v 3" mm, triangles, texture coordinates, photo "3 h w" sRGB, seven landmarks,
    and the outlines "6 3" of the eyes' openings."""

    vertices: np.ndarray
    triangles: torch.Tensor
    uv: torch.Tensor
    uv_triangles: torch.Tensor
    texture: torch.Tensor
    landmarks: np.ndarray
    eye_outlines: tuple[np.ndarray, ...]


def read_james(shared: Path) -> Scan:
    folder = shared / "scans" / "james"
    mesh = read_obj(folder / "james.obj")
    points = json.loads((folder / "james.ljson").read_text())["groups"]["LJSON"]["landmarks"]["points"]
    seven, *eyes = (
        np.array([points[i] for i in ids], float) for ids in (SEVEN_OF_JAMES, range(17, 23), range(23, 29))
    )
    topology = mesh.topology
    assert topology.uv is not None and topology.uv_triangles is not None
    texture, _ = read_image(folder / "james.jpg")
    return Scan(
        mesh.vertices.double().numpy(),
        topology.triangles,
        topology.uv,
        topology.uv_triangles,
        texture,
        seven,
        tuple(eyes),
    )


def james_target(scan: Scan) -> Target:
    return make_target(
        "james", scan.vertices, scan.triangles.numpy(), scan.landmarks, NUM_POINTS, scan.eye_outlines
    )


def in_head_frame(scan: Scan, target: Target) -> Alignment:
    """Scan -> our head frame, rigid, from the mean head laid on the face."""
    mean = mean_head()
    start = align_points(mean.landmarks, scan.landmarks, with_scale=True)
    laid = align_to_scan(mean.vertices, mean.triangles, target.points[:5000], start, with_scale=True)
    turned = laid.rotation.T
    return Alignment(1.0, turned, -turned @ laid.translation)


def draw(scan: Scan, frame: Alignment, yaw_deg: float, distance_mm: float) -> Shot:
    """Unlit: the photo on the scan has its light in it."""
    camera = look_at_head(yaw_deg, 0.0, 0.0, distance_mm=distance_mm, face_px=FACE_PX, size_px=SIZE_PX)
    vertices = torch.from_numpy(frame.apply(scan.vertices)).float()
    picture = render(
        vertices, scan.triangles, camera, texture=linear_from_srgb(scan.texture), uv=scan.uv,
        uv_triangles=scan.uv_triangles, samples=2,
    )  # fmt: skip
    return Shot(f"yaw{yaw_deg:+d}", finished(picture, torch.full((3,), 0.3), noise=0.005), camera, yaw_deg)


def scenes(shared: Path, limit: int | None) -> Iterator[tuple[Shot, Target, Score]]:
    scan = read_james(shared)
    target = james_target(scan)
    mean = score(mean_head(), target)
    frame = in_head_frame(scan, target)
    made = (np.round(frame.rotation, 2).tolist(), np.round(frame.translation).tolist())
    folder = cache_folder(f"james-{recipe(VIEWS, SIZE_PX, FACE_PX, made)}")
    # The first few of a limited run are spread over the angles.
    for i in sorted((3, 0, 5, 6, 1, 2, 4)[:limit]):
        yaw, distance = VIEWS[i]
        yield kept(folder, f"yaw{yaw:+d}", lambda: draw(scan, frame, yaw, distance)), target, mean  # noqa: B023


def mean_report(shared: Path) -> Report:
    """The bundled mean head alone against the scan."""
    scan = read_james(shared)
    target = james_target(scan)
    found = score(mean_head(), target)
    rows = [
        Row("mean head: similarity median", found.similarity, "mm", 1.10, "<= 0.9"),
        Row("mean head: similarity mean", found.similarity_mean, "mm"),
        Row("mean head: rigid median", found.rigid, "mm"),
        Row("mean head: rigid mean", found.rigid_mean, "mm"),
        Row("mean head: scale", found.scale, "x"),
    ]
    rows += [
        Row(f"mean head: {name}", found.regions[name], "mm") for name in REGIONS if name in found.regions
    ]
    notes = (
        f"trivial: MakeHuman's own mean; {len(target.points)} points of the scan's face; stretch goal 0.80",
    )
    return Report("shape_james_mean", tuple(rows), notes)


def measure(
    shared: Path = SHARED, *, method: str = "reconstruct", focal: str = "both", limit: int | None = None
) -> Report:
    function = load_method(method)
    runs = {}
    shots = list(scenes(shared, limit))
    for variant in ("known", "unknown"):
        if focal in (variant, "both"):
            runs[f"focal {variant}"] = compare(function, shots, focal_known=variant == "known")
    notes = ("identity only (expression zero): the scan is neutral; stretch goal 0.75",)
    return report_shape("shape_james", runs, 0.90, notes)


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
    for report in (
        mean_report(options.shared),
        measure(options.shared, method=options.method, focal=options.focal, limit=options.limit),
    ):
        print(table(report))
        if options.save:
            write(report)


if __name__ == "__main__":
    main()
