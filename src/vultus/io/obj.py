"""Wavefront OBJ with its MTL: written with one material per part, read as one mesh.

Text written and parsed through numpy, because that is all there is to it; the mesh libraries that read OBJ reorder or
split vertices unless told otherwise, and a registered mesh lives by its vertex numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import BadFile
from ..geometry.mesh import Mesh, Topology
from .files import atomic_file


@dataclass(frozen=True)
class Material:
    """The look of some triangles of an OBJ.

    Attributes:
        name: of the group and the material.
        triangle_ids: "n" int64, which triangles.
        colour: sRGB in [0, 1].
        texture: file name of the image beside the OBJ, or None. see_through: whether it holds opacity.
    """

    name: str
    triangle_ids: Tensor
    colour: tuple[float, float, float]
    texture: str | None = None
    see_through: bool = False


def write_obj(path: str | Path, mesh: Mesh, materials: Sequence[Material] = ()) -> None:
    """Write a mesh "v 3" as OBJ, in its own units and vertex order, and its materials as MTL beside it.

    Args:
        path: the ``.obj`` file.
        mesh: one mesh; texture coordinates are written if it has them.
        materials: groups of triangles, written in this order; triangles in no group are left out. None at all: every triangle.

    Raises:
        BadFile: it cannot be written.
    """
    path, topology = Path(path), mesh.topology
    lines = ["# millimetres; +x to the subject's left, +y up, +z out of the face"]
    if materials:
        lines.append(f"mtllib {path.with_suffix('.mtl').name}")
    lines += _rows("v", mesh.vertices.detach().cpu().numpy(), "%.5f")
    corners = topology.triangles.cpu().numpy() + 1
    if topology.uv is not None:
        # OBJ counts v upwards from the bottom of the image, we downwards from the top.
        lines += _rows("vt", topology.uv.cpu().numpy() * (1, -1) + (0, 1), "%.6f")
        uv_triangles = topology.triangles if topology.uv_triangles is None else topology.uv_triangles
        corners = np.stack([corners, uv_triangles.cpu().numpy() + 1], -1).reshape(len(corners), -1)
        pattern = "f %d/%d %d/%d %d/%d"
    else:
        pattern = "f %d %d %d"
    for material in materials or (None,):
        if material is None:
            lines.append(_format(pattern, corners))
        else:
            lines += [f"g {material.name}", f"usemtl {material.name}"]
            lines.append(_format(pattern, corners[material.triangle_ids.cpu().numpy()]))
    if materials:
        with atomic_file(path.with_suffix(".mtl")) as partial:
            partial.write_text("\n".join(_material(material) for material in materials), encoding="utf-8")
    with atomic_file(path) as partial:
        partial.write_text("\n".join(lines) + "\n", encoding="utf-8")


def read_obj(path: str | Path) -> Mesh:
    """Read an OBJ as one mesh in its own units: vertex order kept, polygons cut into fans, materials and normals ignored.

    Raises:
        BadFile: it is not an OBJ, has no surface, or a face refers to a vertex that is not there.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").replace("\\\n", " ").splitlines()
        rows = [line.split() for line in lines]
        # A vertex may carry a weight or a colour after its position: not ours.
        vertices = np.array([row[1:4] for row in rows if row and row[0] == "v"], dtype=np.float64)
        uv = np.array([row[1:3] for row in rows if row and row[0] == "vt"], dtype=np.float64)
        triangles, uv_triangles = _faces(rows)
    except OSError as error:
        raise BadFile(
            f"{path}: cannot be read ({error.strerror}); check the path and its permissions"
        ) from error
    except (ValueError, IndexError) as error:
        raise BadFile(f"{path}: is not a readable OBJ ({error}); export it again") from error
    if not len(vertices) or not len(triangles):
        raise BadFile(f"{path}: holds no surface ({len(vertices)} vertices, {len(triangles)} triangles)")
    if triangles.min() < 0 or triangles.max() >= len(vertices):
        raise BadFile(f"{path}: a face refers to a vertex that is not there (there are {len(vertices)})")
    has_uv = len(uv) > 0 and uv_triangles.min() >= 0 and uv_triangles.max() < len(uv)
    topology = Topology(
        torch.from_numpy(triangles),
        len(vertices),
        torch.from_numpy(uv * (1, -1) + (0, 1)).float() if has_uv else None,
        torch.from_numpy(uv_triangles) if has_uv else None,
    )
    return Mesh(torch.from_numpy(vertices).float(), topology)


def _faces(rows: list[list[str]]) -> tuple[np.ndarray, np.ndarray]:
    """Position and texture indices "f 3" from zero; -1 where a corner has no texture coordinate."""
    count_v = count_vt = 0
    triangles: list[tuple[int, int, int]] = []
    uv_triangles: list[tuple[int, int, int]] = []
    for row in rows:
        if not row:
            continue
        if row[0] == "v":
            count_v += 1
        elif row[0] == "vt":
            count_vt += 1
        elif row[0] == "f":
            corners = [corner.split("/") for corner in row[1:]]
            # Negative numbers count back from the last vertex read so far.
            v = [i - 1 if i > 0 else count_v + i for i in (int(c[0]) for c in corners)]
            vt = [
                i - 1 if i > 0 else count_vt + i
                for i in (int(c[1]) if len(c) > 1 and c[1] else -(2**40) for c in corners)
            ]
            triangles += [(v[0], b, c) for b, c in pairwise(v[1:])]
            uv_triangles += [(vt[0], b, c) for b, c in pairwise(vt[1:])]
    return np.array(triangles, dtype=np.int64).reshape(-1, 3), np.array(uv_triangles, dtype=np.int64).reshape(
        -1, 3
    )


def _rows(keyword: str, values: np.ndarray, number: str) -> list[str]:
    return [_format(" ".join([keyword, *[number] * values.shape[1]]), values)]


def _format(pattern: str, values: np.ndarray) -> str:
    """One line per row; a single ``%`` over all rows is several times as fast as numpy.savetxt."""
    return "\n".join([pattern] * len(values)) % tuple(values.ravel().tolist())


def _material(material: Material) -> str:
    lines = [
        f"newmtl {material.name}",
        "Ka 0 0 0",
        "Kd {:.4f} {:.4f} {:.4f}".format(*material.colour),
        "Ks 0 0 0",
        "illum 1",
    ]
    if material.texture is not None:
        # Viewers multiply the map by Kd, so with a map Kd is white.
        lines[2] = "Kd 1 1 1"
        lines.append(f"map_Kd {material.texture}")
        if material.see_through:
            lines.append(f"map_d {material.texture}")
    return "\n".join(lines) + "\n"
