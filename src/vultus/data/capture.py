"""A folder of captures of people who do not exist, in the layout of :mod:`.scans`, so that nothing here needs licensed scans.

One capture is one folder, written beside its place and renamed when it is whole: an interrupted run goes on where it was, and two runs with the
same options make the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ..errors import BadInput
from ..evaluate.scan_levels import level_surface
from ..geometry.camera import Camera
from ..geometry.mesh import Mesh, Topology
from ..geometry.rigid import transform_points
from ..io.files import atomic_directory
from ..io.images import write_png
from ..io.ply import write_ply
from ..model.deformation import face_vertices
from ..model.face import DetailedFace
from ..model.morphable import MorphableModel
from .limits import check_limits
from .recipe import claim, rounded, write_json
from .rig import EXPRESSIONS, Subject, head_pose, lit_by, make_subject, posed_subject, rig_cameras, rig_lamps
from .wrinkles import photograph

CAMERAS, LANDMARKS, MESH, TRUTH = "cameras.json", "landmarks.json", "mesh.ply", "truth.npz"


@dataclass(frozen=True)
class CaptureOptions:
    """What the rig captures; the defaults are FaceHD-100's.

    Raises:
        BadInput: a number out of range.
    """

    subjects: int = 100
    """How many people."""
    expressions: int = 20
    """How many expressions of each, neutral first."""
    cameras: int = 9
    """How many cameras, the most useful first."""
    lights: int = 8
    """How many lamps."""
    lighting: Literal["all", "each"] = "all"
    """All lamps on, or a picture per camera under each lamp alone."""
    size_px: int = 512
    """Side of the pictures."""
    wrinkles: float = 1.0
    """Factor on the depth of wrinkles; 0 for smooth faces."""
    scan_noise_mm: float = 0.0
    """Noise of the scanner."""
    seed: int = 0
    """Other people for another number."""

    def __post_init__(self) -> None:
        check_limits(self, {"subjects": (1, 10**6), "expressions": (1, len(EXPRESSIONS)), "cameras": (1, 9), "lights": (1, 64),
                  "size_px": (64, 4096), "wrinkles": (0, 3), "scan_noise_mm": (0, 5), "seed": (0, 2**31)})  # fmt: skip
        if self.lighting not in ("all", "each"):
            raise BadInput(f"--lighting {self.lighting}: say all or each")


def make_captures(
    model: MorphableModel, folder: str | Path, options: CaptureOptions
) -> Iterator[tuple[Path, bool]]:
    """Write what is missing of a set of captures, one at a time: yields each folder and whether it was made just now.

    Raises:
        BadInput: the folder holds a set made with other options. BadFile: it cannot be written.
    """
    folder = Path(folder)
    recipe = {"maker": "vultus dataset capture", "model": model.name, **asdict(options)}
    claim(folder, recipe, grows="subjects", what="a set of captures")
    for number in range(options.subjects):
        subject: Subject | None = None
        for expression in list(EXPRESSIONS)[: options.expressions]:
            place = folder / f"{number + 1:03d}" / expression
            made = not (place / TRUTH).is_file()
            if made:
                subject = subject or make_subject(
                    model, options.seed * 100_003 + number, wrinkles=options.wrinkles
                )
                write_capture(model, place, subject, expression, options)
            yield place, made


def write_capture(
    model: MorphableModel, place: Path, subject: Subject, expression: str, options: CaptureOptions
) -> None:
    """One person making one face: pictures, cameras, scan, landmarks, and the truth behind them."""
    face = posed_subject(model, subject, expression)
    T_world_head = head_pose(subject.seed, expression)
    vertices, albedo = face_vertices(model, face), model.vertex_albedo(face.coarse.code)
    lamps = rig_lamps(options.lights)
    cameras: dict[str, Any] = {}
    with atomic_directory(place, lambda _: None) as partial:
        (partial / "images").mkdir()
        for name, camera in rig_cameras(options.cameras, options.size_px).items():
            seen = replace(camera, T_camera_head=camera.T_camera_head @ T_world_head)
            for lamp in [None] if options.lighting == "all" else range(options.lights):
                ambient, lit = lit_by(lamps, lamp, camera.T_camera_head)
                image, _ = photograph(
                    model, vertices, albedo, face.displacement_mm, seen, ambient, lit, seed=subject.seed
                )
                file = f"{name}.png" if lamp is None else f"{name}_lamp{lamp + 1}.png"
                write_png(partial / "images" / file, image)
                cameras[file] = _camera_entry(camera, name, lamp)
        write_ply(
            partial / MESH,
            scan_mesh(model, face, T_world_head, options.scan_noise_mm, subject.seed),
            normals=False,
        )
        zero = torch.zeros(())
        points = model.landmarks["ibug68"].points(vertices, model.triangles, zero, zero)
        points = transform_points(T_world_head, points)
        write_json(partial / CAMERAS, {"unit": "mm", "cameras": cameras})
        write_json(partial / LANDMARKS, {"unit": "mm", "scheme": "ibug68", "points": rounded(points, 4)})
        code = face.coarse.code
        with (partial / TRUTH).open("wb") as file:
            np.savez_compressed(
                file,
                identity=code.identity.numpy(),
                expression=code.expression.numpy(),
                albedo=code.albedo.numpy(),
                deformation_mm=face.deformed.deformation_mm.numpy(),
                displacement_mm=face.displacement_mm.numpy().astype(np.float16),
                T_world_head=T_world_head.numpy(),
            )


def scan_mesh(
    model: MorphableModel, face: DetailedFace, T_world_head: Tensor, noise_mm: float = 0.0, seed: int = 0
) -> Mesh:
    """What a scanner would give of a face: the skin with its wrinkles, in the world's frame, with noise along nothing in particular."""
    surface = level_surface(model, face)
    used, triangles = np.unique(surface.triangles, return_inverse=True)
    points = transform_points(T_world_head, torch.from_numpy(surface.vertices[used]).float())
    if noise_mm:
        points = points + noise_mm * torch.randn(points.shape, generator=torch.Generator().manual_seed(seed))
    return Mesh(points, Topology(torch.from_numpy(triangles.reshape(-1, 3)), len(points)))


def _camera_entry(camera: Camera, name: str, lamp: int | None) -> dict[str, Any]:
    """As ``vultus fuse --cameras`` reads it, with the names of camera and lamp besides."""
    focal, (x, y) = float(camera.focal_px), camera.principal_px.tolist()
    pose = camera.T_camera_head.double()
    return {
        "K": [[focal, 0.0, x], [0.0, focal, y], [0.0, 0.0, 1.0]],
        "R": rounded(pose[:3, :3], 9),
        "t": rounded(pose[:3, 3], 6),
        "size": list(camera.size_px),
        "camera": name,
        "light": "all" if lamp is None else f"lamp{lamp + 1}",
    }
