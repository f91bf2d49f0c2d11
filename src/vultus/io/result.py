"""Saving a reconstruction as a folder of ordinary files, and loading it again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .. import __version__
from ..errors import BadFile, BadInput, VultusError
from ..geometry.view import View
from ..model.catalog import load_model
from ..model.face import CoarseFace, TexturedFace
from ..model.morphable import MorphableModel
from ..model.result import Reconstruction
from ..render.shade import sample_texture, srgb_from_linear
from .document import (
    SCHEMA_VERSION,
    camera_from,
    document_from,
    dumps,
    face_from,
    landmarks_from,
    report_from,
)
from .files import atomic_directory
from .glb import write_glb
from .images import read_image, read_texture, write_png
from .level_files import ALBEDO, DENSE, NORMAL, OBSERVED, read_maps, write_dense, write_levels, write_maps
from .obj import Material, write_obj
from .ply import write_ply
from .surfaces import head_surfaces

FORMATS = ("obj", "glb", "ply", "dense")
"""The mesh formats to choose from; ``reconstruction.json``, the maps and the textures are always written."""
DEFAULT_FORMATS = ("obj", "glb", "dense")
DOCUMENT = "reconstruction.json"
MESH_FILES = {"obj": "face.obj", "glb": "face.glb", "ply": "face.ply", "dense": DENSE}
"""Format -> the file by which it is known."""
_OVERLAY = "overlay.png"


def save(
    result: Reconstruction,
    directory: str | Path,
    *,
    formats: Iterable[str] = DEFAULT_FORMATS,
    overlay: Tensor | None = None,
    baked: bool = False,
    more: Mapping[str, Any] | None = None,
) -> Path:
    """Write a result as a folder, whole or not at all.

    The files are written to a hidden folder beside ``directory``, which is renamed last (:mod:`vultus.io.files`). An older result in
    its place is replaced; files in it that vultus did not write are kept.

    Args:
        result: the result.
        directory: the folder; its parents are made.
        formats: of :data:`FORMATS`.
        overlay: "3 h w" sRGB contact picture (:func:`vultus.viewer.overlay.overlay`), or None for no ``overlay.png``.
        baked: the skin of ``face.glb`` and ``dense.ply`` as lit in the photo instead of its albedo.
        more: further entries of ``reconstruction.json``.

    Returns:
        The folder.

    Raises:
        BadInput: an unknown format, or a result that is not finite.
        BadFile: the folder cannot be written, or holds something else already.
    """
    formats = check_formats(formats)
    directory = Path(directory)
    with torch.no_grad(), atomic_directory(directory, _owned) as partial:
        textures = _write_textures(result, partial)
        files = write_maps(result, partial) | {"textures": textures if _textured(result) else None}
        if "obj" in formats:
            write_obj(partial / "face.obj", result.mesh, _materials(result, textures))
            write_levels(result, partial)
        if "ply" in formats:
            write_ply(partial / "face.ply", result.mesh, vertex_colours(result))
        if "dense" in formats:
            write_dense(result, partial, baked)
        if "glb" in formats:
            _write_glb(result, partial, textures, baked)
        if overlay is not None:
            write_png(partial / _OVERLAY, overlay)
        written = [path.relative_to(partial).as_posix() for path in partial.rglob("*") if path.is_file()]
        files = {"files": sorted([*written, DOCUMENT])} | files
        (partial / DOCUMENT).write_text(
            dumps(document_from(result, files | dict(more or {}))), encoding="utf-8"
        )
    return directory


def load(
    directory: str | Path, *, photo: bool | str | Path = False, model: MorphableModel | None = None
) -> Reconstruction:
    """Load a result that :func:`save` wrote; everything in it comes back, float32 exact and textures to 8 bits.

    The photo is not stored in the folder and is read only when asked for; without it ``view.image`` is empty, "3 0 0".
    ``view.skin_mask`` is not stored either and always empty, "0 0".

    Args:
        directory: the folder.
        photo: True to read the photo from where ``provenance["photo"]`` says it was, or a path if it has moved.
        model: the face model, if it is not one that :func:`vultus.model.catalog.load_model` finds by name.

    Raises:
        BadFile: no finished result, a damaged one, one of a newer vultus, or not the photo it was made from.
        WeightsMismatch: the code does not fit the face model of that name.
        AssetMissing: the face model is not installed.
    """
    directory = Path(directory)
    document = _read_document(directory)
    model = model if model is not None else load_model(str(document.get("provenance", {}).get("model")))
    try:
        names = {*(document["textures"] or {}).values(), document["observed"], document.get("albedo")}
        images = {name: read_texture(directory / Path(name).name) for name in names if name}
        deformation_mm, displacement_mm = read_maps(directory, document)
        scheme, landmarks_px = landmarks_from(document)
        camera, provenance = camera_from(document), document["provenance"]
        face = face_from(document, model, images, deformation_mm, displacement_mm)
        report = report_from(document)
        timings_s = {stage: float(seconds) for stage, seconds in document["timings_s"].items()}
    except VultusError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise BadFile(
            f"{directory / DOCUMENT}: is damaged ({type(error).__name__}: {error}); reconstruct the photo again"
        ) from error
    image = torch.empty(3, 0, 0)
    if photo is not False:
        image = _read_photo(
            Path(provenance.get("photo", "")) if photo is True else Path(photo), camera.size_px
        )
    view = View(image, camera, landmarks_px, scheme, torch.empty(0, 0, dtype=torch.bool))
    return Reconstruction(model, view, face, report, timings_s, provenance)


def is_finished(directory: str | Path, formats: Iterable[str] = ()) -> bool:
    """Whether a folder holds a complete result with at least these formats: a batch skips such folders when it resumes.

    Complete: ``reconstruction.json`` parses, is of a version that this vultus reads, and no file that it lists is missing or empty
    (what a power cut leaves behind).
    """
    directory = Path(directory)
    try:
        document = _read_document(directory)
        names = set(document["files"])
        wanted = {MESH_FILES[name] for name in check_formats(formats)}
        if document.get("displacement") is None:  # nothing dense to be had at the levels below
            wanted.discard(MESH_FILES["dense"])
        return wanted <= names and all((directory / name).stat().st_size > 0 for name in names)
    except (BadFile, KeyError, TypeError, OSError):
        return False


def check_formats(formats: Iterable[str]) -> tuple[str, ...]:
    """The formats without doubles, in the order of :data:`FORMATS`; ``json`` may be named and is written anyway.

    Raises:
        BadInput: one of them is unknown.
    """
    asked = {formats} if isinstance(formats, str) else set(formats)
    unknown = sorted(asked - {*FORMATS, "json"})
    if unknown:
        raise BadInput(f"unknown format {unknown[0]!r}; choose from json, {', '.join(FORMATS)}")
    return tuple(name for name in FORMATS if name in asked)


def vertex_colours(result: Reconstruction) -> Tensor:
    """sRGB colours "v 3" of all vertices: their texture where there is one, the albedo elsewhere."""
    colours = srgb_from_linear(result.model.vertex_albedo(result.coarse.code))
    topology = result.model.topology
    if not isinstance(result.face, TexturedFace) or topology.uv is None:
        return colours
    uv_triangles = topology.triangles if topology.uv_triangles is None else topology.uv_triangles
    total, corners = torch.zeros_like(colours), torch.zeros_like(colours[:, :1])
    for index, part in enumerate(result.model.part_names):
        texture = result.face.texture.get(part)
        if texture is None:
            continue
        in_part = result.model.part_of_triangle == index
        ids = topology.triangles[in_part].flatten()
        uv = topology.uv[uv_triangles[in_part].flatten()].T[None, :, None]
        # A vertex on a seam has several texels: the mean of all its corners.
        total.index_add_(0, ids, sample_texture(texture[:3], uv)[0, :, 0].T)
        corners.index_add_(0, ids, torch.ones_like(total[ids, :1]))
    return torch.where(corners > 0, total / corners.clamp_min(1), colours)


def _textured(result: Reconstruction) -> bool:
    return isinstance(result.face, TexturedFace)


def _write_textures(result: Reconstruction, directory: Path) -> dict[str, str]:
    """Write the images of a textured face; part name -> file name."""
    if not isinstance(result.face, TexturedFace):
        return {}
    names = {}
    for part, image in result.face.texture.items():
        names[part] = "texture.png" if part == result.model.part_names[0] else f"texture_{part}.png"
        write_png(directory / names[part], image)
    write_png(directory / OBSERVED, result.face.observed[None])
    return names


def _write_glb(result: Reconstruction, directory: Path, textures: Mapping[str, str], baked: bool) -> None:
    encoded = {part: (directory / name).read_bytes() for part, name in textures.items()}
    skin = result.model.part_names[0]
    if not baked and (directory / ALBEDO).exists():
        encoded[skin] = (directory / ALBEDO).read_bytes()
    bumps = {skin: (directory / NORMAL).read_bytes()} if (directory / NORMAL).exists() else {}
    code = result.coarse.code
    offsets = None
    if not isinstance(result.geometry, CoarseFace):
        offsets = result.mesh.vertices - result.model.vertices(code)
    write_glb(
        directory / "face.glb",
        head_surfaces(result.model, code, encoded, offsets_mm=offsets, normal_textures=bumps),
        name="vultus_head",
        copyright=result.provenance.get("copyright"),
        extras={"vultus": _public(result)},
    )


def _materials(result: Reconstruction, textures: Mapping[str, str]) -> list[Material]:
    """One material per part of the model that has triangles."""
    model = result.model
    albedo = model.vertex_albedo(result.coarse.code)
    materials = []
    for index, part in enumerate(model.part_names):
        ids = (model.part_of_triangle == index).nonzero().squeeze(-1)
        if len(ids):
            red, green, blue = srgb_from_linear(albedo[model.triangles[ids].flatten()].mean(0)).tolist()
            image = result.face.texture.get(part) if isinstance(result.face, TexturedFace) else None
            see_through = image is not None and len(image) == 4
            materials.append(Material(part, ids, (red, green, blue), textures.get(part), see_through))
    return materials


def _public(result: Reconstruction) -> dict[str, Any]:
    """What a face.glb that is passed on says about its origin: no folder names."""
    provenance = result.provenance
    public = {
        "version": provenance.get("version", __version__),
        "model": result.model.name,
        "status": result.report.status,
    }
    if provenance.get("photo"):
        public["photo"] = Path(str(provenance["photo"])).name
    return public


def _owned(directory: Path) -> list[str] | None:
    """The files in a folder that an earlier :func:`save` wrote, or None if it is not a folder of ours."""
    try:
        document = json.loads((directory / DOCUMENT).read_text(encoding="utf-8"))
        names = [str(name) for name in document["files"]]
        return [*names, *{Path(name).parts[0] for name in names}]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _read_document(directory: Path) -> dict[str, Any]:
    path = directory / DOCUMENT
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BadFile(
            f"{directory}: holds no finished result (no {DOCUMENT}); give a folder that vultus wrote"
        ) from error
    except OSError as error:
        raise BadFile(
            f"{path}: cannot be read ({error.strerror}); check the path and its permissions"
        ) from error
    except ValueError as error:
        raise BadFile(f"{path}: is damaged ({error}); reconstruct the photo again") from error
    version = document.get("schema_version") if isinstance(document, dict) else None
    if version != SCHEMA_VERSION:
        raise BadFile(
            f"{path}: has schema version {version}, this vultus reads {SCHEMA_VERSION}; use the vultus that wrote it"
        )
    return document


def _read_photo(path: Path, size_px: tuple[int, int]) -> Tensor:
    image, info = read_image(path, max_side_px=max(size_px))
    if info.size_px != size_px:
        raise BadFile(
            f"{path}: {info.size_px} pixels, the result was made from a photo of {size_px}; give that one"
        )
    return image
