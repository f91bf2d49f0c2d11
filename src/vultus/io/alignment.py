"""A dense alignment as a folder of ordinary files: ``alignment.json`` (alignment.schema.json, docs/align.md), pictures, a textured mesh."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..geometry.mesh import Mesh, vertex_normals
from ..render.bake import dilate
from .document import dumps, plain_numbers
from .files import atomic_directory
from .glb import write_glb
from .images import write_png
from .surfaces import Surface

ALIGNMENT = "alignment.json"
ALIGNMENT_VERSION = 1
ALIGNMENT_SCHEMA_PATH = Path(__file__).with_name("alignment.schema.json")
"""The JSON Schema that every ``alignment.json`` of this version follows."""
ZERO = 32768
"""The 16-bit grey level of the chart's mean depth in ``depth.png``; 0 where no face is."""
_OVERLAY, _DEPTH, _TEXTURE, _FRONTAL = "overlay.png", "depth.png", "texture.png", "frontal.glb"


@dataclass(frozen=True, eq=False)
class AlignmentFiles:
    """What the folder holds beside ``alignment.json``.

    Attributes:
        depth_px: "h w", NaN beside the face. frontal: mesh in the head frame, millimetres, with texture coordinates.
        texture: "3 s s" sRGB, visible: "s s" bool; None for no texture, and a grey mesh.
        overlay: "3 h w" picture to look at, or None.
    """

    depth_px: Tensor
    frontal: Mesh
    texture: tuple[Tensor, Tensor] | None = None
    overlay: Tensor | None = None


def write_alignment(directory: str | Path, document: Mapping[str, Any], files: AlignmentFiles) -> Path:
    """Write a folder, whole or not at all; an older one in its place is replaced.

    Args:
        document: what ``alignment.json`` says beside ``schema_version``, ``depth`` and ``files``.

    Raises:
        BadFile: it cannot be written, or something else is in its place. BadInput: a number is not finite.
    """
    directory = Path(directory)
    with torch.no_grad(), atomic_directory(directory, _owned) as partial:
        depth = _write_depth(partial / _DEPTH, files.depth_px)
        encoded = None
        if files.texture is not None:
            image, visible = files.texture
            # Hidden texels are transparent; their colour is their visible neighbours', so that no filter mixes in black.
            rgba = torch.cat([dilate(image, visible), visible[None].to(image)])
            write_png(partial / _TEXTURE, rgba)
            encoded = (partial / _TEXTURE).read_bytes()
        write_glb(partial / _FRONTAL, [_surface(files.frontal, encoded)], name="vultus_face")
        if files.overlay is not None:
            write_png(partial / _OVERLAY, files.overlay)
        names = sorted([*(path.name for path in partial.iterdir()), ALIGNMENT])
        whole = {"schema_version": ALIGNMENT_VERSION, **document, "depth": depth, "files": names}
        (partial / ALIGNMENT).write_text(dumps(whole), encoding="utf-8")
    return directory


def read_alignment(directory: str | Path) -> dict[str, Any] | None:
    """The document of a finished folder of this version, whose files are all there; else None."""
    directory = Path(directory)
    try:
        document = json.loads((directory / ALIGNMENT).read_text(encoding="utf-8"))
        complete = all((directory / str(name)).stat().st_size > 0 for name in document["files"])
        return document if complete and document["schema_version"] == ALIGNMENT_VERSION else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def plain_points(points: Tensor) -> list[list[float] | None]:
    """Points "n 3" as JSON has them; None for those that are not finite."""
    finite = points.isfinite().all(-1)
    values = plain_numbers(torch.where(finite[:, None], points, 0))
    return [value if known else None for value, known in zip(values, finite.tolist())]


def _write_depth(path: Path, depth_px: Tensor) -> dict[str, Any]:
    """16-bit grey: z in pixels is (grey - zero) * px_per_step; returns what the JSON says of it."""
    seen = depth_px.isfinite()
    largest = float(depth_px[seen].abs().max()) if bool(seen.any()) else 1.0
    step = max(largest, 1e-6) / (ZERO - 1)
    grey = torch.where(seen, (depth_px.nan_to_num().double() / step + ZERO).clamp(1, 65535), 0)
    write_png(path, grey[None] / 65535, bits=16)
    return {"file": path.name, "px_per_step": step, "zero": ZERO}


def _surface(mesh: Mesh, encoded: bytes | None) -> Surface:
    topology = mesh.topology
    normals = vertex_normals(mesh.vertices, topology.triangles)
    grey = torch.full_like(mesh.vertices, 0.45)
    # "skin" is drawn from both sides: the surface is open.
    return Surface("skin", mesh.vertices, normals, topology.triangles, topology.uv, grey, (), encoded)


def _owned(directory: Path) -> list[str] | None:
    try:
        document = json.loads((directory / ALIGNMENT).read_text(encoding="utf-8"))
        return [str(name) for name in document["files"]]
    except (OSError, ValueError, KeyError, TypeError):
        return None
