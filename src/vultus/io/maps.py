"""Maps of a detailed face as files: displacement, deformation, tangent-space normals, and the mesh that they describe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import BadFile
from ..geometry.chart_map import detailed_normals, displaced, tangent_space, unit
from ..geometry.mesh import Mesh, Topology, vertex_normals
from ..model.morphable import MorphableModel
from ..render.bake import bake, dilate
from ..render.shade import sample_texture
from .files import atomic_file
from .images import read_image, write_png

ZERO = 32768
"""The 16-bit grey level of a displacement of zero."""
_STEP_MM = 1e-4
_LARGEST_STEP = 32767


def write_displacement(path: Path, displacement_mm: Tensor) -> dict[str, Any]:
    """Write a displacement map "h w" as 16-bit grey; returns what is needed to read it, for the JSON.

    mm = (grey - zero) * mm_per_step. A step is a ten-thousandth of a millimetre, more only for maps beyond 3.2 mm.
    """
    largest = float(displacement_mm.abs().max())
    step = max(_STEP_MM, largest / _LARGEST_STEP)
    write_png(path, (displacement_mm.double()[None] / step + ZERO) / 65535, bits=16)
    return {"file": path.name, "mm_per_step": step, "zero": ZERO}


def read_displacement(directory: Path, entry: dict[str, Any]) -> Tensor:
    """The displacement map "h w" in mm of a JSON entry that :func:`write_displacement` returned."""
    image, _ = read_image(directory / Path(str(entry["file"])).name)
    levels = (image[0].double() * 65535).round() - float(entry["zero"])
    return (levels * float(entry["mm_per_step"])).float()


def write_deformation(path: Path, deformation_mm: Tensor) -> None:
    """Write a deformation map "3 m m" (mm, head frame, face chart) as ``deformation_mm`` in an npz."""
    with atomic_file(path) as partial, partial.open("wb") as file:
        np.savez_compressed(file, deformation_mm=deformation_mm.detach().cpu().numpy().astype(np.float32))


def read_deformation(path: Path) -> Tensor:
    """The map "3 m m" of :func:`write_deformation`.

    Raises:
        BadFile: it is missing, damaged or of another shape.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            values = torch.from_numpy(archive["deformation_mm"].astype(np.float32))
    except Exception as error:
        raise BadFile(f"{path}: cannot be read ({error}); reconstruct the photo again") from error
    if values.ndim != 3 or values.shape[0] != 3 or not bool(torch.isfinite(values).all()):
        raise BadFile(f"{path}: is damaged (shape {tuple(values.shape)}); reconstruct the photo again")
    return values


def normal_texture(model: MorphableModel, vertices: Tensor, displacement_mm: Tensor, size: int) -> Tensor:
    """The displacement as a tangent-space normal map "3 s s" of the skin's texture, in glTF's colours.

    glTF 2.0, section 3.9.3: red towards growing u, green up in the image, blue outwards; (n + 1) / 2. Skin beyond the face chart is flat.

    Args:
        vertices: "v 3" of the smooth head, any frame. displacement_mm: "h w" over the face chart.
    """
    skin = (model.part_of_triangle == 0).nonzero().squeeze(-1)
    uv, inside = _chart_coordinates(model)
    normals = vertex_normals(vertices, model.triangles)
    drawn, covered = bake(torch.cat([vertices, normals, uv, inside], -1), model.topology, skin, size)
    drawn = dilate(drawn, covered)
    position, smooth = drawn[:3], unit(drawn[3:6])
    displacement = sample_texture(displacement_mm[None], drawn[None, 6:8])[0, 0]
    displacement = torch.where(drawn[8] > 0.999, displacement, 0)
    detailed = detailed_normals(position, smooth, displacement)
    local = tangent_space(detailed, smooth, torch.gradient(position, dim=2)[0])
    flat = local.new_tensor([0.0, 0.0, 1.0])[:, None, None]
    return 0.5 + 0.5 * torch.where(covered, local, flat)


def dense_mesh(model: MorphableModel, vertices: Tensor, displacement_mm: Tensor) -> Mesh:
    """The face at the resolution of its displacement map, with coordinates of the skin's texture: a vertex per texel, two triangles per four.

    Eyes and mouth stay open: texels on their membranes are left out, as are those outside the chart.
    """
    assert model.chart is not None
    chart, (height, width) = model.chart, displacement_mm.shape
    skin_uv = _skin_coordinates(model)
    values = torch.cat([vertices, vertex_normals(vertices, model.triangles), skin_uv], -1)
    drawn, covered = bake(values, chart.topology, (~chart.is_membrane).nonzero().squeeze(-1), height)
    position = displaced(drawn[:3], unit(drawn[3:6]), displacement_mm)
    ids = torch.arange(height * width).reshape(height, width)
    quads = torch.stack([ids[:-1, :-1], ids[1:, :-1], ids[1:, 1:], ids[:-1, 1:]], -1).reshape(-1, 4)
    quads = quads[covered.flatten()[quads].all(1)]
    triangles = torch.cat([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    used, triangles = torch.unique(triangles, return_inverse=True)
    flat = torch.cat([position, drawn[6:]]).flatten(1).T[used]
    return Mesh(flat[:, :3].contiguous(), Topology(triangles, len(used), flat[:, 3:].contiguous()))


def _chart_coordinates(model: MorphableModel) -> tuple[Tensor, Tensor]:
    """Chart coordinates "v 2" (zero outside) and whether a vertex has any "v 1"."""
    if model.chart is None:
        return model.mean_mm.new_zeros(len(model.mean_mm), 2), model.mean_mm.new_zeros(len(model.mean_mm), 1)
    inside = torch.isfinite(model.chart.uv).all(-1, keepdim=True)
    return torch.nan_to_num(model.chart.uv), inside.to(model.chart.uv)


def _skin_coordinates(model: MorphableModel) -> Tensor:
    """Where each vertex of the skin lies in the skin's texture: "v 2", zero for others; any of several at a seam."""
    topology = model.topology
    found = model.mean_mm.new_zeros(len(model.mean_mm), 2)
    if topology.uv is not None:
        skin = model.part_of_triangle == 0
        uv_triangles = topology.triangles if topology.uv_triangles is None else topology.uv_triangles
        found[topology.triangles[skin]] = topology.uv[uv_triangles[skin]].to(found)
    return found
