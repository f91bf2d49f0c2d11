"""PLY (Turk 1994): scans come in it, and point-cloud tools read it. Written binary with normals and colours.

Own code, because the format is a page long and the library for it (plyfile) is GPL.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import BadFile
from ..geometry.mesh import Mesh, Topology, vertex_normals
from .files import atomic_file

# fmt: off
_TYPES = {
    "char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4", "float": "f4", "double": "f8",
    "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4", "float32": "f4", "float64": "f8",
}
# fmt: on
_ENDIAN = {"ascii": "=", "binary_little_endian": "<", "binary_big_endian": ">"}


@dataclass(frozen=True)
class _Property:
    name: str
    dtype: str
    length_dtype: str | None  # for lists


@dataclass(frozen=True)
class _Element:
    name: str
    count: int
    properties: list[_Property]


def write_ply(
    path: str | Path, mesh: Mesh, colours: Tensor | None = None, *, normals: bool = True, uv: bool = False
) -> None:
    """Write a mesh "v 3" as binary PLY in its own units.

    Args:
        path: the file.
        mesh: one mesh.
        colours: "v 3" sRGB in [0, 1].
        normals: whether to write them.
        uv: whether to write texture coordinates, as ``s`` and ``t``, t from the bottom of the image upwards; one row per vertex.

    Raises:
        BadFile: it cannot be written.
    """
    vertices = mesh.vertices.detach().cpu().float()
    triangles = mesh.topology.triangles.cpu()
    columns: list[tuple[tuple[str, ...], Tensor]] = [(("x", "y", "z"), vertices)]
    if normals:
        columns.append((("nx", "ny", "nz"), vertex_normals(vertices, triangles)))
    if uv and mesh.topology.uv is not None:
        up = mesh.topology.uv.detach().cpu().float() * torch.tensor([1.0, -1.0]) + torch.tensor([0.0, 1.0])
        columns.append((("s", "t"), up))
    fields = [(name, "<f4") for names, _ in columns for name in names]
    fields += [(name, "u1") for name in ("red", "green", "blue")] if colours is not None else []
    table = np.empty(len(vertices), fields)
    for names, values in columns:
        for i, name in enumerate(names):
            table[name] = values[:, i].numpy()
    if colours is not None:
        bytes_ = (colours.detach().cpu().clamp(0, 1) * 255).round().to(torch.uint8).numpy()
        for i, name in enumerate(("red", "green", "blue")):
            table[name] = bytes_[:, i]
    faces = np.empty(len(triangles), [("length", "u1"), ("ids", "<i4", 3)])
    faces["length"], faces["ids"] = 3, triangles.numpy()
    header = [
        "ply",
        "format binary_little_endian 1.0",
        "comment millimetres; +x to the subject's left, +y up, +z out of the face",
    ]
    header += [f"element vertex {len(table)}"]
    header += [f"property {'float' if kind == '<f4' else 'uchar'} {name}" for name, kind in fields]
    header += [f"element face {len(faces)}", "property list uchar int vertex_indices", "end_header\n"]
    with atomic_file(path) as partial:
        partial.write_bytes("\n".join(header).encode("ascii") + table.tobytes() + faces.tobytes())


def read_ply(path: str | Path) -> Mesh:
    """Read an ASCII or binary PLY as one mesh in its own units; polygons are cut into fans, other properties ignored.

    Raises:
        BadFile: it is not a PLY, is cut short, or has no surface.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadFile(
            f"{path}: cannot be read ({error.strerror}); check the path and its permissions"
        ) from error
    try:
        vertices, triangles = _parse(data)
    except (ValueError, IndexError, KeyError) as error:
        raise BadFile(f"{path}: is not a readable PLY, or is cut short ({error}); export it again") from error
    if not len(vertices) or not len(triangles):
        raise BadFile(f"{path}: holds no surface ({len(vertices)} vertices, {len(triangles)} triangles)")
    if triangles.min() < 0 or triangles.max() >= len(vertices):
        raise BadFile(f"{path}: a face refers to a vertex that is not there (there are {len(vertices)})")
    return Mesh(torch.from_numpy(vertices), Topology(torch.from_numpy(triangles), len(vertices)))


def _parse(data: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Vertices "v 3" float32 and triangles "f 3" int64."""
    marker = data.find(b"end_header")
    if not data.startswith(b"ply") or marker < 0:
        raise ValueError("no PLY header")
    body = data.index(b"\n", marker) + 1
    kind, elements = _header(data[:marker].decode("ascii", "replace").splitlines())
    tokens = iter(data[body:].split()) if kind == "ascii" else None
    vertices, triangles = np.empty((0, 3), np.float32), np.empty((0, 3), np.int64)
    for element in elements:
        if tokens is not None:
            table = _ascii(tokens, element)
        else:
            table, body = _binary(data, body, element, _ENDIAN[kind])
        if element.name == "vertex":
            vertices = np.stack([np.asarray(table[axis], np.float32) for axis in "xyz"], -1)
        elif element.name == "face":
            polygons = table["vertex_indices"] if "vertex_indices" in table else table["vertex_index"]
            triangles = _fans(polygons)
    return vertices, triangles


def _header(lines: list[str]) -> tuple[str, list[_Element]]:
    kind, elements = "", []
    for row in (line.split() for line in lines):
        if row[:1] == ["format"]:
            kind = row[1]
        elif row[:1] == ["element"]:
            elements.append(_Element(row[1], int(row[2]), []))
        elif row[:2] == ["property", "list"]:
            elements[-1].properties.append(_Property(row[4], _TYPES[row[3]], _TYPES[row[2]]))
        elif row[:1] == ["property"]:
            elements[-1].properties.append(_Property(row[2], _TYPES[row[1]], None))
    _ = _ENDIAN[kind]
    return kind, elements


def _ascii(tokens, element: _Element) -> dict[str, list]:
    table: dict[str, list] = {p.name: [] for p in element.properties}
    try:
        for _ in range(element.count):
            for p in element.properties:
                if p.length_dtype is None:
                    table[p.name].append(float(next(tokens)))
                else:
                    table[p.name].append([int(next(tokens)) for _ in range(int(next(tokens)))])
    except StopIteration:
        raise ValueError("the file ends too early") from None
    return table


def _binary(data: bytes, start: int, element: _Element, endian: str) -> tuple[dict, int]:
    """The columns of one element and where the next one starts; at once if every list has the length of the first."""
    lengths = {}
    offset = start
    for p in element.properties:  # the first row tells the layout
        if p.length_dtype is not None and element.count:
            lengths[p.name] = int(np.frombuffer(data, endian + p.length_dtype, 1, offset)[0])
            offset += np.dtype(p.length_dtype).itemsize + lengths[p.name] * np.dtype(p.dtype).itemsize
        else:
            offset += np.dtype(p.dtype).itemsize
    fields: list = []
    for p in element.properties:
        if p.length_dtype is not None:
            fields += [
                (f"{p.name} length", endian + p.length_dtype),
                (p.name, endian + p.dtype, lengths.get(p.name, 0)),
            ]
        else:
            fields.append((p.name, endian + p.dtype))
    row = np.dtype(fields)
    if start + element.count * row.itemsize <= len(data):
        table = np.frombuffer(data, row, element.count, start)
        if all((table[f"{name} length"] == length).all() for name, length in lengths.items()):
            return {p.name: table[p.name] for p in element.properties}, start + element.count * row.itemsize
    return _binary_rows(data, start, element, endian)


def _binary_rows(data: bytes, offset: int, element: _Element, endian: str) -> tuple[dict, int]:
    table: dict[str, list] = {p.name: [] for p in element.properties}
    for _ in range(element.count):
        for p in element.properties:
            length = 1
            if p.length_dtype is not None:
                length = int(np.frombuffer(data, endian + p.length_dtype, 1, offset)[0])
                offset += np.dtype(p.length_dtype).itemsize
            values = np.frombuffer(data, endian + p.dtype, length, offset)
            offset += values.nbytes
            table[p.name].append(values if p.length_dtype is not None else values[0])
    return table, offset


def _fans(polygons) -> np.ndarray:
    if isinstance(polygons, np.ndarray):
        fans = [polygons[:, [0, i, i + 1]] for i in range(1, polygons.shape[1] - 1)]
        return np.stack(fans, 1).reshape(-1, 3).astype(np.int64) if fans else np.empty((0, 3), np.int64)
    triangles = [(p[0], b, c) for p in polygons for b, c in pairwise(p[1:])]
    return np.array(triangles, dtype=np.int64).reshape(-1, 3)
