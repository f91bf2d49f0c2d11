"""Reading binary glTF 2.0 as one mesh."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pygltflib as gltf
import torch

from ..errors import BadFile
from ..geometry.mesh import Mesh, Topology
from .glb import METRES_PER_MM

_DTYPES = {
    gltf.BYTE: "<i1",
    gltf.UNSIGNED_BYTE: "<u1",
    gltf.SHORT: "<i2",
    gltf.UNSIGNED_SHORT: "<u2",
    gltf.UNSIGNED_INT: "<u4",
    gltf.FLOAT: "<f4",
}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}
_READABLE = ("KHR_mesh_quantization", "KHR_materials_", "KHR_texture_basisu", "EXT_texture_", "KHR_lights_")


def read_glb(path: str | Path) -> Mesh:
    """Read a GLB as one mesh, as a viewer first shows it: nodes placed, morph weights applied; metres become millimetres.

    Raises:
        BadFile: it is not a GLB, is cut short, is compressed by an extension, or has no surface.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadFile(
            f"{path}: cannot be read ({error.strerror}); check the path and its permissions"
        ) from error
    try:
        if data[:4] != b"glTF" or len(data) < 20 or struct.unpack("<I", data[8:12])[0] > len(data):
            raise ValueError("not a GLB, or cut short")
        document = gltf.GLTF2.load_from_bytes(data)
        if document is None or not document.scenes:
            raise ValueError("it has no scene")
        foreign = [name for name in document.extensionsRequired or () if not name.startswith(_READABLE)]
        if foreign:
            raise ValueError(f"it needs {', '.join(foreign)}")
        scene = document.scenes[document.scene or 0]
        pieces = [piece for node in scene.nodes or () for piece in _walk(document, node, np.eye(4), 0)]
        vertices, uvs, triangles, offset = [], [], [], 0
        for points, uv, faces in pieces:
            if faces.size and (faces.min() < 0 or faces.max() >= len(points)):
                raise ValueError("a triangle refers to a vertex that is not there")
            triangles.append(faces + offset)
            vertices.append(points)
            uvs.append(uv)
            offset += len(points)
    except Exception as error:  # pygltflib checks nothing: damage surfaces as almost any exception
        raise BadFile(f"{path}: is not a readable GLB ({error}); export it again, uncompressed") from error
    if not sum(map(len, triangles)):
        raise BadFile(f"{path}: holds no surface")
    has_uv = all(uv is not None for uv in uvs)
    topology = Topology(
        torch.from_numpy(np.concatenate(triangles)),
        offset,
        torch.from_numpy(np.concatenate(uvs)).float() if has_uv else None,
    )
    return Mesh(torch.from_numpy(np.concatenate(vertices) / METRES_PER_MM).float(), topology)


_Piece = tuple[np.ndarray, "np.ndarray | None", np.ndarray]  # points in metres, uv, triangles


def _walk(document: gltf.GLTF2, index: int, T_world_parent: np.ndarray, depth: int) -> list[_Piece]:
    """The primitives of a node and everything below it, in world coordinates."""
    if depth > 100:
        raise ValueError("its nodes go in circles")
    node = document.nodes[index]
    T_world_node = T_world_parent @ _node_transform(node)
    pieces = []
    if node.mesh is not None:
        mesh = document.meshes[node.mesh]
        weights = getattr(node, "weights", None) or mesh.weights or []
        for primitive in mesh.primitives:
            if primitive.mode not in (None, gltf.TRIANGLES):
                continue
            if primitive.attributes.POSITION is None:
                continue
            points = _accessor(document, primitive.attributes.POSITION).astype(np.float64)
            for weight, target in zip(weights, primitive.targets or []):
                position = target["POSITION"] if isinstance(target, dict) else target.POSITION
                if weight and position is not None:
                    points = points + weight * _accessor(document, position)
            points = points @ T_world_node[:3, :3].T + T_world_node[:3, 3]
            uv = primitive.attributes.TEXCOORD_0
            ids = (
                np.arange(len(points))
                if primitive.indices is None
                else _accessor(document, primitive.indices)
            )
            faces = ids.astype(np.int64).reshape(-1, 3)
            if np.linalg.det(T_world_node[:3, :3]) < 0:
                faces = faces[:, ::-1].copy()  # a mirror turns the winding round
            pieces.append((points, None if uv is None else _accessor(document, uv), faces))
    return pieces + [
        p for child in node.children or () for p in _walk(document, child, T_world_node, depth + 1)
    ]


def _node_transform(node: gltf.Node) -> np.ndarray:
    if node.matrix:
        return np.array(node.matrix, np.float64).reshape(4, 4).T
    transform = np.eye(4)
    if node.rotation:
        x, y, z, w = node.rotation
        transform[:3, :3] = [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    if node.scale:
        transform[:3, :3] = transform[:3, :3] * np.array(node.scale)
    if node.translation:
        transform[:3, 3] = node.translation
    return transform


def _accessor(document: gltf.GLTF2, index: int) -> np.ndarray:
    """The values "n c" (or "n" for scalars), sparse ones filled in, normalised integers as floats."""
    accessor = document.accessors[index]
    dtype, width = np.dtype(_DTYPES[accessor.componentType]), _WIDTHS[accessor.type]
    if accessor.bufferView is None:
        values = np.zeros((accessor.count, width), dtype)
    else:
        view = document.bufferViews[accessor.bufferView]
        start = (view.byteOffset or 0) + (accessor.byteOffset or 0)
        stride = view.byteStride or width * dtype.itemsize
        values = np.ndarray(
            (accessor.count, width), dtype, _blob(document), start, (stride, dtype.itemsize)
        ).copy()
    if accessor.sparse is not None:
        ids, changed = accessor.sparse.indices, accessor.sparse.values
        count = accessor.sparse.count
        rows = _block(document, ids.bufferView, ids.byteOffset, np.dtype(_DTYPES[ids.componentType]), count)
        values[rows] = _block(document, changed.bufferView, changed.byteOffset, dtype, count * width).reshape(
            -1, width
        )
    if accessor.normalized:
        values = values / np.iinfo(dtype).max
    return values if width > 1 else values[:, 0]


def _block(document: gltf.GLTF2, view: int, offset: int | None, dtype: np.dtype, count: int) -> np.ndarray:
    start = (document.bufferViews[view].byteOffset or 0) + (offset or 0)
    return np.frombuffer(_blob(document), dtype, count, start)


def _blob(document: gltf.GLTF2) -> bytes:
    blob = document.binary_blob()
    if blob is None:
        raise ValueError("its data is in other files")
    return bytes(blob)
