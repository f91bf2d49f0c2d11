"""What a result's levels add to its folder: maps, albedo, the shapes of the levels below, the dense mesh."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ..geometry.mesh import Mesh
from ..model.deformation import face_vertices
from ..model.face import CoarseFace, DetailedFace, Geometry, TexturedFace
from ..model.result import Reconstruction
from ..render.shade import sample_texture
from .images import write_png
from .maps import (
    dense_mesh,
    normal_texture,
    read_deformation,
    read_displacement,
    write_deformation,
    write_displacement,
)
from .obj import write_obj
from .ply import write_ply

OBSERVED, ALBEDO, NORMAL, DENSE = "texture_observed.png", "albedo.png", "normal.png", "dense.ply"
_DEFORMATION, _DISPLACEMENT, _LEVELS = "deformation.npz", "displacement.png", "levels"


def write_maps(result: Reconstruction, directory: Path) -> dict[str, Any]:
    """Write what belongs to the level and the skin's albedo; entries of the document, None for what there is not."""
    geometry = result.geometry
    entries: dict[str, Any] = dict.fromkeys(("observed", "albedo", "normal", "deformation", "displacement"))
    if not isinstance(geometry, CoarseFace):
        deformed = geometry.deformed if isinstance(geometry, DetailedFace) else geometry
        write_deformation(directory / _DEFORMATION, deformed.deformation_mm)
        entries["deformation"] = _DEFORMATION
    if isinstance(geometry, DetailedFace):
        entries["displacement"] = write_displacement(directory / _DISPLACEMENT, geometry.displacement_mm)
    if isinstance(result.face, TexturedFace):
        entries["observed"] = OBSERVED
        if result.face.albedo is not None:
            write_png(directory / ALBEDO, result.face.albedo)
            entries["albedo"] = ALBEDO
        if isinstance(geometry, DetailedFace):
            size = result.face.observed.shape[-1]
            image = normal_texture(result.model, result.mesh.vertices, geometry.displacement_mm, size)
            write_png(directory / NORMAL, image)
            entries["normal"] = NORMAL
    return entries


def read_maps(directory: Path, document: Mapping[str, Any]) -> tuple[Tensor | None, Tensor | None]:
    """The deformation and the displacement of a document; None for what its level does not have."""
    deformation, displacement = document.get("deformation"), document.get("displacement")
    return (
        None if deformation is None else read_deformation(directory / Path(deformation).name),
        None if displacement is None else read_displacement(directory, displacement),
    )


def write_levels(result: Reconstruction, directory: Path) -> None:
    """The shapes of the levels below the result's own, each as an OBJ in the same vertex order."""
    geometry = result.geometry
    if isinstance(geometry, CoarseFace):
        return
    (directory / _LEVELS).mkdir()
    levels: dict[str, Geometry] = {"coarse": geometry.coarse}
    levels["deformed"] = geometry.deformed if isinstance(geometry, DetailedFace) else geometry
    for name, face in levels.items():
        mesh = Mesh(face_vertices(result.model, face), result.model.topology)
        write_obj(directory / _LEVELS / f"{name}.obj", mesh)


def write_dense(result: Reconstruction, directory: Path, baked: bool) -> None:
    """The face at the resolution of its displacement map as :data:`DENSE`, with texture coordinates and colours; nothing below that level."""
    geometry = result.geometry
    if not isinstance(geometry, DetailedFace) or result.model.chart is None:
        return
    mesh = dense_mesh(result.model, result.mesh.vertices, geometry.displacement_mm)
    skin = skin_image(result, baked)
    colours = None
    if skin is not None and mesh.topology.uv is not None:
        colours = sample_texture(skin, mesh.topology.uv.T[None, :, None])[0, :, 0].T
    write_ply(directory / DENSE, mesh, colours, normals=False, uv=True)


def skin_image(result: Reconstruction, baked: bool) -> Tensor | None:
    """The skin's albedo, or how it was lit; None without textures."""
    if not isinstance(result.face, TexturedFace):
        return None
    lit = result.face.texture.get(result.model.part_names[0])
    return lit if baked or result.face.albedo is None else result.face.albedo
