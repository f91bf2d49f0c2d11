"""``vultus ablate``: what each part of the method is worth, on photos or on captures with a scan."""

from __future__ import annotations

import json as json_text
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import tyro
from torch import Tensor
from tqdm import tqdm

from ..data.scans import Capture, open_captures
from ..detect import default_detector
from ..errors import BadFile, BadInput, FaceNotFound, VultusError
from ..evaluate.rerender import landmark_residual_px, outline_distance_mm, rerender_psnr
from ..evaluate.scan import FACE_RADIUS_MM, align_points, align_to_scan, sample_surface
from ..evaluate.scan_levels import level_error, level_surface, point_normals
from ..fit.scan_code import SEVEN
from ..geometry.view import View
from ..io.images import ImageInfo, read_image
from ..model.catalog import load_model
from ..model.deformation import face_vertices
from ..model.face import TexturedFace
from ..model.morphable import MorphableModel
from ..stages.ablate import Ablation, chosen_ablations, run_ablations
from ..stages.coarse import CoarseOptions, fit_coarse
from ..stages.options import ReconstructOptions
from ..stages.views import guess_focal, make_view
from .outcome import one_line
from .photos import find_photos

DESCRIPTION = """Run the method with one part switched off at a time, and print what it costs.

Takes photos, folders of photos, or sets of captures (`vultus dataset capture`, FaceScape:
docs/scans.md), which have a scan to measure against. Columns, means over the set: scan-to-mesh
median (mm) and normal error (degrees) where there is a scan; PSNR (dB) inside the skin mask of
the face drawn again with the model's albedo, with the extracted texture, and with the delit
albedo lit anew; distance of the outline (mm); landmark residual (pixels).

Examples:
  vultus ablate photos/
  vultus ablate captures/ --views 2 --limit 10
  vultus ablate anna.jpg --only full "contour none" "no displacement" --json

Exit status: 0 all photos went through, 2 otherwise (the table is of the others)."""

COLUMNS = {
    "scan_mm": "scan mm", "normal_deg": "normal deg", "psnr_model_db": "model dB", "psnr_texture_db": "texture dB",
    "psnr_relit_db": "relit dB", "outline_mm": "outline mm", "landmarks_px": "landmarks px",
}  # fmt: skip


@dataclass(frozen=True)
class _Item:
    """One photo, and the capture it belongs to, if it does."""

    name: str
    path: Path
    focal_px: float | None = None
    capture: Capture | None = None


@dataclass(frozen=True)
class Ablate:
    """What each part of the method is worth."""

    sets: Annotated[
        tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="PHOTO|SET...", help_behavior_hint="")
    ]
    """Photos, folders of photos, or folders of captures."""
    only: tuple[str, ...] = ()
    """Which rows; all when not given."""
    views: int = 1
    """How many pictures of each capture."""
    limit: int | None = None
    """At most so many pictures in all, spread evenly."""
    texture_size: int = 512
    """Side of the textures in texels."""
    model: str = "vultus"
    """Face model, as `vultus models` lists it; it needs a face chart."""
    json: bool = False
    """Print JSON with every picture's numbers instead of the table."""
    debug: bool = False
    """Show where unexpected errors come from."""

    def run(self) -> int:
        """Do it; 0 when every photo went through."""
        ablations = chosen_ablations(self.only)
        if self.views < 1 or (self.limit is not None and self.limit < 1):
            raise BadInput("--views and --limit must be at least one")
        model = load_model(self.model)
        if model.chart is None:
            raise BadInput(f"--model {self.model}: has no face chart, so there is nothing to switch off")
        items, failed = _items(self.sets, self.views)
        if self.limit is not None and len(items) > self.limit:
            items = [items[i] for i in np.linspace(0, len(items) - 1, self.limit).astype(int)]
        if not items and not failed:
            raise BadInput("no photos given: vultus ablate PHOTO|SET...")
        rows: dict[str, list[dict[str, float]]] = {name: [] for name in ablations}
        names = []
        for item in tqdm(items, unit="photo", file=sys.stderr, disable=None, dynamic_ncols=True):
            try:
                found = ablate_photo(model, item, ablations, self.texture_size)
            except VultusError as error:
                failed.append(f"{item.name}: failed: {one_line(error).removeprefix(f'{item.path}: ')}")
                continue
            names.append(item.name)
            for name, numbers in found.items():
                rows[name].append(numbers)
        if self.json:
            print(
                json_text.dumps(
                    {"photos": names, "rows": {name: _finite(values) for name, values in rows.items()}}
                )
            )
        elif names:
            print(table(rows))
        print(f"{len(names)} of {len(names) + len(failed)} photos", *failed, sep="\n", file=sys.stderr)
        return 2 if failed else 0


def ablate_photo(
    model: MorphableModel, item: _Item, ablations: dict[str, Ablation], texture_size: int
) -> dict[str, dict[str, float]]:
    """Row name -> column -> number, of one photo.

    Raises:
        FaceNotFound: nobody is in it. BadFile: it, or its scan, cannot be read.
    """
    image, info = read_image(item.path)
    view, coarse = _coarse(image, info, item, model)
    scan = _scanned_face(model, item.capture) if item.capture is not None and item.capture.mesh_path else None
    found = {}
    for name, face in run_ablations(view, model, coarse, ablations, texture_size=texture_size):
        vertices = face_vertices(model, face.geometry)
        numbers = {f"psnr_{c}_db": rerender_psnr(view, model, face, c) for c in ("model", "texture", "relit")}
        numbers["outline_mm"] = outline_distance_mm(view, model, vertices)
        numbers["landmarks_px"] = landmark_residual_px(view, model, vertices)
        if scan is not None:
            numbers["scan_mm"], numbers["normal_deg"] = _against(scan, model, face)
        found[name] = numbers
    return found


def table(rows: dict[str, list[dict[str, float]]]) -> str:
    """Means over the photos, aligned; columns without a number are left out."""
    means = {
        name: {key: _mean([numbers.get(key, np.nan) for numbers in values]) for key in COLUMNS}
        for name, values in rows.items()
        if values
    }
    used = [key for key in COLUMNS if any(np.isfinite(mean[key]) for mean in means.values())]
    cells = [["", *(COLUMNS[key] for key in used)]]
    cells += [[name, *(f"{mean[key]:.3f}" for key in used)] for name, mean in means.items()]
    widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:]))])
        for line in cells
    )


def _items(sets: tuple[Path, ...], views: int) -> tuple[list[_Item], list[str]]:
    """Photos of all sets; and lines about what could not be read."""
    items, failed = [], []
    for place in sets:
        try:
            captures = list(open_captures(place)) if place.is_dir() else None
        except BadFile as error:
            if "holds no captures" not in str(error):
                raise
            captures = None
        if captures is not None:
            items += [item for capture in captures for item in _of_capture(capture, views)]
            continue
        photos, outcomes = find_photos((place,))
        failed += [line for outcome in outcomes for line in outcome.lines()]
        items += [_Item(str(photo), photo) for photo in photos]
    return items, failed


def _of_capture(capture: Capture, views: int) -> Iterator[_Item]:
    for photo in capture.photos[:views]:
        name = f"{capture.subject}/{capture.expression}/{photo.path.name}"
        yield _Item(name, photo.path, float(photo.camera.focal_px), capture)


def _coarse(image: Tensor, info: ImageInfo, item: _Item, model: MorphableModel):
    faces = default_detector().detect(image)
    if not faces:
        raise FaceNotFound("no face found; crop closer to the face, or try a larger or brighter photo")
    focal = guess_focal(info, faces[0], ReconstructOptions(focal_px=item.focal_px))
    view: View = make_view(image, faces[0], focal)
    view, coarse, _ = fit_coarse(view, model, CoarseOptions(focal_log_sigma=focal.log_sigma))
    return view, coarse


def _scanned_face(
    model: MorphableModel, capture: Capture
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Points, normals and the seven landmarks of the face of a scan; None if it has no landmarks."""
    landmarks = capture.landmarks()
    if landmarks is None:
        return None
    mesh = capture.mesh()
    vertices, triangles = mesh.vertices.double().numpy(), mesh.topology.triangles.numpy()
    seven = landmarks if len(landmarks) == 7 else landmarks[list(SEVEN)]
    near = (np.linalg.norm(vertices - seven[4], axis=1) < FACE_RADIUS_MM)[triangles].all(1)
    points, ids = sample_surface(vertices, triangles[near], 10000)
    return points, point_normals(vertices, triangles[near], ids, points), seven


def _against(
    scan: tuple[np.ndarray, np.ndarray, np.ndarray], model: MorphableModel, face: TexturedFace
) -> tuple[float, float]:
    """Scan-to-mesh median in mm and mean normal error in degrees, aligned with scale."""
    points, normals, seven = scan
    vertices, zero = face_vertices(model, face.geometry), torch.zeros(())
    own = (
        model.landmarks["ibug68"].points(vertices, model.triangles, zero, zero)[list(SEVEN)].double().numpy()
    )
    surface = level_surface(model, face.geometry)
    start = align_points(own, seven, with_scale=True)
    alignment = align_to_scan(surface.vertices, surface.triangles, points[::4], start, with_scale=True)
    error = level_error(surface, points, normals, alignment)
    on_face = np.isfinite(error.angles_deg)
    error = replace(error, distances_mm=error.distances_mm[on_face], angles_deg=error.angles_deg[on_face])
    return error.median_mm, error.mean_angle_deg


def _mean(values: list[float]) -> float:
    finite = [value for value in values if np.isfinite(value)]
    return float(np.mean(finite)) if finite else float("nan")


def _finite(values: list[dict[str, float]]) -> list[dict[str, float | None]]:
    """NaN is no JSON."""
    return [
        {key: round(x, 5) if np.isfinite(x) else None for key, x in numbers.items()} for numbers in values
    ]
