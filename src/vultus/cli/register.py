"""``vultus register``: a scan becomes code, deformation map and displacement map."""

from __future__ import annotations

import json as json_text
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
import tyro

from ..data.scan_points import (
    find_scan_landmarks,
    known_scan_landmarks,
)
from ..errors import BadInput, FaceNotFound
from ..evaluate.scan import FACE_RADIUS_MM
from ..evaluate.scan_levels import Surface, level_error, level_surface
from ..fit.register import RegisteredScan, ScanOptions, checked_scan, register_scan
from ..fit.scan_code import vertex_unit_normals
from ..geometry.mesh import Mesh
from ..geometry.units import MM_PER_UNIT, in_millimetres
from ..io.files import atomic_directory
from ..io.images import write_png
from ..io.maps import dense_mesh, write_deformation, write_displacement
from ..io.meshes import read_mesh
from ..io.obj import write_obj
from ..io.ply import write_ply
from ..io.points import read_points
from ..model.catalog import load_model
from ..model.deformation import face_vertices
from ..model.morphable import MorphableModel
from ..viewer.scan_picture import scan_picture

DESCRIPTION = """Lay the face model on a 3D scan of a head.

OUT then holds registration.json (code, similarity, errors), coarse.obj, deformed.obj, dense.ply,
deformation.npz, displacement.png, known.png (where the scan was seen) and error.png (look at
this one first): the training targets of the networks, and a scan in the model's topology.
The scan is an OBJ, PLY or GLB. Its face is searched for; where that fails, give landmarks:
7 points (eye corners from the image's left to its right, nose tip, mouth corners) or iBUG's 68.

Examples:
  vultus register anna.ply -o out
  vultus register anna.obj -o out --unit m --landmarks anna_points.json

Exit status: 0 done, 2 otherwise."""

_DOCUMENT = "registration.json"
_NAMES = (_DOCUMENT, "coarse.obj", "deformed.obj", "dense.ply", "deformation.npz", "displacement.png", "known.png", "error.png")  # fmt: skip


@dataclass(frozen=True)
class Register:
    """A scan in the face model's terms."""

    scan: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="SCAN")]
    """Mesh file: .obj, .ply or .glb."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="OUT")]
    """Folder for the result; made if need be."""
    landmarks: Path | None = None
    """File of 7 or 68 points (x, y, z) in the scan's frame; searched for when not given."""
    unit: Literal["mm", "cm", "m"] | None = None
    """Unit of the scan's coordinates; millimetres when not given (GLB: metres, as the format says)."""
    model: str = "vultus"
    """Face model, as `vultus models` lists it; it needs a face chart."""
    displacement_size: int = 512
    """Side of the displacement map in texels."""
    json: bool = False
    """Print registration.json on standard output."""
    debug: bool = False
    """Show where unexpected errors come from."""

    def run(self) -> int:
        """Do it; 0 when the scan was registered."""
        if not 64 <= self.displacement_size <= 2048:
            raise BadInput(f"--displacement-size {self.displacement_size}: choose 64 to 2048 texels")
        model = load_model(self.model)
        mesh = read_mesh(self.scan)
        try:
            scan, triangles = checked_scan(mesh.vertices.double().numpy(), mesh.topology.triangles.numpy())
            scan = in_millimetres(scan, self.unit or "mm")
            if self.landmarks is None:
                points = find_scan_landmarks(model, scan, triangles)
            else:
                factor = MM_PER_UNIT[self.unit or "mm"]
                points = known_scan_landmarks(model, factor * read_points(self.landmarks))
            found = register_scan(model, scan, triangles, points, ScanOptions(size=self.displacement_size))
        except (BadInput, FaceNotFound) as error:
            raise type(error)(f"{self.scan}: {error}") from error
        document = self._write(model, scan, triangles, found)
        if self.json:
            print(json_text.dumps(document))
        else:
            errors = document["scan_to_surface_mm"]
            line = ", ".join(f"{name} {value['median']:.3f} mm" for name, value in errors.items())
            print(f"{self.scan}: {line} (median distance of the scan's face) -> {self.out}")
        return 0

    def _write(
        self, model: MorphableModel, scan: np.ndarray, triangles: np.ndarray, found: RegisteredScan
    ) -> dict[str, Any]:
        head = found.head_from_scan.apply(torch.from_numpy(scan)).numpy()
        surfaces, errors_mm, summary = _measured(model, head, triangles, found)
        coarse = model.vertices(found.face.coarse.code)
        deformed = face_vertices(model, found.face)
        code = found.face.coarse.code
        with atomic_directory(self.out, _owned) as folder:
            for name, vertices in (("coarse", coarse), ("deformed", deformed)):
                write_obj(folder / f"{name}.obj", Mesh(vertices, model.topology))
            write_ply(folder / "dense.ply", dense_mesh(model, deformed, found.face.displacement_mm), uv=True)
            write_deformation(folder / "deformation.npz", found.face.deformed.deformation_mm)
            displacement = write_displacement(folder / "displacement.png", found.face.displacement_mm)
            write_png(folder / "known.png", found.known[None].float())
            write_png(folder / "error.png", scan_picture(head, triangles, surfaces, errors_mm))
            document = {
                "scan": str(self.scan),
                "unit": self.unit or "mm",
                "model": self.model,
                "identity": _rounded(code.identity),
                "expression": dict(zip(model.expression_names, _rounded(code.expression))),
                "head_from_scan_mm": {
                    "scale": float(found.head_from_scan.scale),
                    "rotation": found.head_from_scan.rotation.tolist(),
                    "translation": found.head_from_scan.translation.tolist(),
                },
                "deformation": {"file": "deformation.npz"},
                "displacement": displacement | {"known": "known.png"},
                "scan_to_surface_mm": summary,
            }
            (folder / _DOCUMENT).write_text(json_text.dumps(document, indent=1) + "\n")
        return document


def _measured(
    model: MorphableModel, head: np.ndarray, triangles: np.ndarray, found: RegisteredScan
) -> tuple[dict[str, Surface], dict[str, np.ndarray], dict[str, dict[str, float]]]:
    """The three levels as surfaces, each scan vertex's distance (NaN beyond the face), and their medians in the scan's millimetres."""
    scale = float(found.head_from_scan.scale)
    levels = {"coarse": found.face.coarse, "deformed": found.face.deformed, "detail": found.face}
    surfaces = {name: level_surface(model, face) for name, face in levels.items()}
    normals = vertex_unit_normals(head, triangles)
    every = {name: level_error(surface, head, normals) for name, surface in surfaces.items()}
    nose = surfaces["deformed"].vertices[surfaces["deformed"].vertices[:, 2].argmax()]
    # The face: around the nose, where the deformed level lies on the chart and near; hair and clothes are neither.
    face = np.isfinite(every["deformed"].angles_deg) & (every["deformed"].distances_mm < 5)
    face &= np.linalg.norm(head - nose, axis=1) < FACE_RADIUS_MM * scale
    errors = {name: np.where(face, error.distances_mm / scale, np.nan) for name, error in every.items()}
    if not face.any():
        raise BadInput("the model does not lie on the scan: give --landmarks")
    summary = {
        name: {
            "median": round(float(np.nanmedian(values)), 5),
            "mean": round(float(np.nanmean(values)), 5),
            "normal_error_deg": round(float(np.nanmean(every[name].angles_deg[face])), 3),
        }
        for name, values in errors.items()
    }
    return surfaces, errors, summary


def _owned(folder: Path) -> list[str] | None:
    return list(_NAMES) if (folder / _DOCUMENT).is_file() else None


def _rounded(values: torch.Tensor) -> list[float]:
    return [round(float(value), 5) for value in values]
