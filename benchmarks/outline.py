"""How well the fitted face's silhouette meets the outline of the face in the photo, with the contour cost and without: studio portraits.

    python benchmarks/outline.py [--contour none 1d 2d ...] [--limit N] [--shared DIR] [--save] [--look SHEET.png]

The rendered silhouette is the visible rim of cheeks, jaw and chin. It is compared with two borders in the photo: the outline that the
contour cost is given (vultus.fit.outline: where the mask's border is a believable edge, on cheeks and jaw, hair left out), and,
at the same rim vertices, the border of the person segmentation (coarse, 2 mm a pixel, but of another origin), where one is near. The coarse face stands beside it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import torch
import torch.nn.functional as F
from heads import bundled_model
from report import Report, Row, table, write
from torch import Tensor
from tqdm import tqdm

from vultus.detect import default_detector, person_probability
from vultus.fit.contour import Rim, outline_region, outline_vertices, rim_distance
from vultus.fit.deformation import Contour
from vultus.fit.outline import Outline, outline_of_mask
from vultus.geometry.view import View
from vultus.io.images import list_images, read_image, write_png
from vultus.model.deformation import face_vertices
from vultus.model.face import CoarseFace
from vultus.stages.coarse import fit_coarse
from vultus.stages.deformed import DeformedOptions, fit_deformed
from vultus.stages.options import ReconstructOptions
from vultus.stages.views import guess_focal, make_view

SHARED = Path(__file__).parents[2] / "shared" / "data"
NUM_PHOTOS = 20
BELIEVED = 0.3  # least weight of an outline point that is measured against
REACH_MM = 10.0  # a person's border farther from the rim than this is that of hair, an ear or a shoulder

Method = Callable[[View, CoarseFace], Tensor]
"""A posed view and its coarse face -> vertices "v 3" of the face to be measured, bundled topology, head frame."""


@dataclass(frozen=True)
class Meeting:
    """One face against one photo: distances in mm of rim vertices from the outline and from the person's border, and mm per pixel."""

    outline_mm: np.ndarray
    person_mm: np.ndarray
    mm_per_px: float


def methods(contours: list[Contour]) -> dict[str, Method]:
    model = bundled_model()

    def deformed(contour: Contour) -> Method:
        options = DeformedOptions(contour=contour)
        return lambda view, coarse: face_vertices(model, fit_deformed(view, model, coarse, options)[0])

    coarse: dict[str, Method] = {"coarse": lambda view, face: model.vertices(face.code)}
    return coarse | {f"deformed, contour {contour}": deformed(contour) for contour in contours}


def measure(
    shared: Path = SHARED,
    *,
    contours: list[Contour] | None = None,
    limit: int | None = None,
    look: Path | None = None,
) -> Report:
    studio = shared / "photos" / "studio"
    paths = [path for name in ("neutral_front", "smiling_front") for path in list_images(studio / name)]
    paths = [paths[i] for i in np.linspace(0, len(paths) - 1, limit or NUM_PHOTOS).astype(int)]
    compared = methods(list(contours or get_args(Contour)))
    found: dict[str, list[Meeting]] = {name: [] for name in compared}
    panels = []
    for path in tqdm(paths, desc="studio portraits", leave=False):
        prepared = _prepare(path)
        if prepared is None:
            continue
        view, coarse, outline, person = prepared
        rims = {}
        for name, method in compared.items():
            projected = view.camera.project(method(view, coarse))
            rims[name] = projected, _rim(projected)
            found[name].append(meeting(*rims[name], outline, person))
        panels.append(_panel(view, outline, rims)) if look else None
    if look:
        write_png(look, torch.cat(panels, 1))
    return _report(found)


def meeting(projected: Tensor, rim: Rim, outline: Outline, person: Tensor) -> Meeting:
    distance, weight = rim_distance(projected, rim, outline)
    believed = weight > BELIEVED
    points, normals = projected[rim.ids[believed], :2], rim.normals[believed]
    person_mm = border_distance_mm(points, normals, person, outline.mm_per_px)
    return Meeting(distance[believed].numpy(), person_mm, outline.mm_per_px)


def border_distance_mm(points: Tensor, normals: Tensor, inside: Tensor, mm_per_px: float) -> np.ndarray:
    """Signed distance, along their normals, of points from where a mask "h w" falls through one half; those without such a place left out.

    Positive where the point lies outside of the mask.
    """
    offsets_mm = torch.linspace(-REACH_MM, REACH_MM, 81)
    position = points[:, None] + normals[:, None] * (offsets_mm / mm_per_px)[None, :, None]
    size = torch.tensor([inside.shape[1], inside.shape[0]])
    seen = F.grid_sample(inside[None, None].float(), (2 * position / size - 1)[None], align_corners=False)[
        0, 0
    ]
    leaves = (seen[:, :-1] >= 0.5) & (seen[:, 1:] < 0.5)
    share = (seen[:, :-1] - 0.5) / (seen[:, :-1] - seen[:, 1:]).clamp_min(1e-6)
    crossing = offsets_mm[:-1] + share * (offsets_mm[1] - offsets_mm[0])
    nearest = torch.where(leaves, crossing.abs(), torch.inf).argmin(1)
    return -crossing.gather(1, nearest[:, None])[leaves.any(1), 0].numpy()


def _prepare(path: Path) -> tuple[View, CoarseFace, Outline, Tensor] | None:
    image, info = read_image(path)
    faces = default_detector().detect(image)
    if not faces:
        return None
    view = make_view(image, faces[0], guess_focal(info, faces[0], ReconstructOptions()))
    view, coarse, _ = fit_coarse(view, bundled_model())
    person = person_probability(image, faces[0].landmarks)
    return view, coarse, outline_of_mask(view, person), person


def _rim(projected: Tensor) -> Rim:
    model = bundled_model()
    return outline_vertices(projected, model.triangles, outline_region(model))


def _report(found: dict[str, list[Meeting]]) -> Report:
    rows: list[Row] = []
    without = _mean(found.get("deformed, contour none") or found["coarse"], "outline_mm")
    for name, meetings in found.items():
        goal = f"<= {0.7 * without:.3f}" if name.endswith(("1d", "2d")) else ""
        distance = _mean(meetings, "outline_mm")
        pixels = np.mean([np.abs(m.outline_mm).mean() / m.mm_per_px for m in meetings if len(m.outline_mm)])
        every = np.abs(np.concatenate([m.outline_mm for m in meetings]))
        rows += [
            Row(f"{name}: silhouette from the outline", distance, "mm", without, goal),
            Row(f"{name}: the same in pixels", float(pixels), "px"),
            Row(f"{name}: 95th percentile", float(np.percentile(every, 95)), "mm"),
            Row(f"{name}: silhouette from the person's border", _mean(meetings, "person_mm"), "mm"),
        ]
    used = np.mean([len(m.outline_mm) for m in found["coarse"]])
    notes = (
        "trivial: without the contour cost; the goal is 30 % less",
        f"{len(found['coarse'])} photos, {used:.0f} rim vertices each",
    )
    details = {
        name: [float(np.abs(m.outline_mm).mean()) for m in meetings if len(m.outline_mm)]
        for name, meetings in found.items()
    }
    return Report("outline", tuple(rows), notes, details)


def _mean(meetings: list[Meeting], which: str) -> float:
    """Mean over photos of the mean absolute distance."""
    each = [np.abs(getattr(m, which)) for m in meetings]
    return float(np.mean([values.mean() for values in each if len(values)]))


def _panel(view: View, outline: Outline, rims: dict[str, tuple[Tensor, Rim]]) -> Tensor:
    """The photo once per method: outline green, rim red."""
    centre = view.landmarks_px.mean(0)
    side = round(210 / outline.mm_per_px)
    left, top = (round(float(c) - side / 2) for c in centre)
    columns = []
    for projected, rim in rims.values():
        image = F.pad(
            view.image,
            (
                max(-left, 0),
                max(left + side - view.image.shape[2], 0),
                max(-top, 0),
                max(top + side - view.image.shape[1], 0),
            ),
        )
        image = image[:, max(top, 0) : max(top, 0) + side, max(left, 0) : max(left, 0) + side]
        small = F.interpolate(image[None], (400, 400), mode="bilinear", antialias=True)[0]
        for points, colour in (
            (outline.points_px[outline.weight > BELIEVED], (0.0, 1.0, 0.2)),
            (projected[rim.ids, :2], (1.0, 0.0, 0.2)),
        ):
            at = ((points - torch.tensor([left, top])) * (400 / side)).long()
            for x, y in at[((at > 1) & (at < 398)).all(1)].tolist():
                small[:, y - 1 : y + 2, x - 1 : x + 2] = torch.tensor(colour)[:, None, None]
        columns.append(small)
    return torch.cat(columns, 2)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--contour", nargs="+", choices=get_args(Contour), help="which costs; all if not given"
    )
    parser.add_argument("--limit", type=int, help=f"photos, spread evenly; {NUM_PHOTOS} if not given")
    parser.add_argument("--shared", type=Path, default=SHARED)
    parser.add_argument("--look", type=Path, help="write a picture to look at")
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/")
    options = parser.parse_args()
    report = measure(options.shared, contours=options.contour, limit=options.limit, look=options.look)
    print(table(report))
    if options.save:
        write(report)


if __name__ == "__main__":
    main()
