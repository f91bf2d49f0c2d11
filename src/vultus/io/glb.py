"""Binary glTF 2.0: parts as meshes, expressions as morph targets, textures inside.

https://registry.khronos.org/glTF/specs/2.0/glTF-2.0.html. Only the core of the format is used, no extension, so every viewer opens it.
glTF's frame (right-handed, +y up, front along +z) is the head frame; only the unit differs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pygltflib as gltf
from torch import Tensor

from .. import __version__
from .files import atomic_file
from .surfaces import Morph, Surface

METRES_PER_MM = 1e-3
# Perceptual roughness: skin is matt, wet things shine.
_ROUGHNESS = {"skin": 0.55, "eye_left": 0.2, "eye_right": 0.2, "teeth": 0.35, "tongue": 0.45, "lashes": 0.8}
_RGBA = 6
_COMPONENTS = {1: gltf.SCALAR, 2: gltf.VEC2, 3: gltf.VEC3, 4: gltf.VEC4}


def write_glb(
    path: str | Path,
    surfaces: Sequence[Surface],
    *,
    name: str = "head",
    copyright: str | None = None,
    extras: Mapping[str, Any] | None = None,
) -> None:
    """Write parts as named nodes under one root; the geometry is neutral and the morph weights give the expression.

    Morph targets are stored sparsely, with positions and normals (three.js uses the neutral ones otherwise, and a smile without its
    shading looks painted on). The first part gets every expression; further parts only those that move them.

    Args:
        path: the ``.glb`` file.
        surfaces: the parts.
        name: of the root node.
        copyright: for the asset's copyright field.
        extras: anything JSON can hold, for the asset.

    Raises:
        BadFile: it cannot be written.
    """
    document = gltf.GLTF2(
        asset=gltf.Asset(generator=f"vultus {__version__}", copyright=copyright, extras=dict(extras or {}))
    )
    document.samplers = [
        gltf.Sampler(
            magFilter=gltf.LINEAR,
            minFilter=gltf.LINEAR_MIPMAP_LINEAR,
            wrapS=gltf.CLAMP_TO_EDGE,
            wrapT=gltf.CLAMP_TO_EDGE,
        )
    ]
    buffer = _Buffer(document)
    for index, surface in enumerate(surfaces):
        morphs = [morph for morph in surface.morphs if index == 0 or len(morph.vertex_ids)]
        document.materials.append(_material(buffer, surface))
        document.meshes.append(_mesh(buffer, surface, morphs, material=index))
        document.nodes.append(gltf.Node(mesh=index, name=surface.name))
    document.nodes.append(gltf.Node(name=name, children=list(range(len(surfaces)))))
    document.scenes, document.scene = [gltf.Scene(nodes=[len(surfaces)], name=name)], 0
    if not document.textures:
        document.samplers = []
    blob = buffer.close()
    document.buffers = [gltf.Buffer(byteLength=len(blob))]
    document.set_binary_blob(blob)
    with atomic_file(path) as partial:
        partial.write_bytes(b"".join(document.save_to_bytes()))


class _Buffer:
    """Collects the binary chunk; each method adds one block and returns its index."""

    def __init__(self, document: gltf.GLTF2) -> None:
        self.document = document
        self.chunks: list[bytes] = []
        self.length = 0

    def view(self, data: bytes, target: int | None = None) -> int:
        """Append bytes as a buffer view; every view starts at a multiple of four."""
        self.document.bufferViews.append(
            gltf.BufferView(buffer=0, byteOffset=self.length, byteLength=len(data), target=target)
        )
        padded = data + b"\0" * (-len(data) % 4)
        self.chunks.append(padded)
        self.length += len(padded)
        return len(self.document.bufferViews) - 1

    def vectors(self, values: np.ndarray, bounds: bool = False) -> int:
        """Append "n c" floats as a vertex attribute."""
        values = np.ascontiguousarray(values, "<f4")
        accessor = gltf.Accessor(
            bufferView=self.view(values.tobytes(), gltf.ARRAY_BUFFER),
            componentType=gltf.FLOAT,
            count=len(values),
            type=_COMPONENTS[values.shape[1]],
        )
        if bounds:
            accessor.min, accessor.max = values.min(0).tolist(), values.max(0).tolist()
        return self._accessor(accessor)

    def indices(self, values: np.ndarray) -> int:
        """Append vertex numbers in the narrowest type that can hold them."""
        code, data = _index_array(values.ravel(), int(values.max()) + 1)
        view = self.view(data, gltf.ELEMENT_ARRAY_BUFFER)
        return self._accessor(
            gltf.Accessor(bufferView=view, componentType=code, count=values.size, type=gltf.SCALAR)
        )

    def changes(self, count: int, ids: np.ndarray, columns: Sequence[np.ndarray]) -> list[int]:
        """Append attributes "count 3" that are zero except at ``ids``; sparse where that is smaller, the ids shared by all columns."""
        code, data = _index_array(ids, count)
        is_sparse = len(data) + 12 * len(ids) * len(columns) < 12 * count * len(columns)
        id_view = self.view(data) if is_sparse and len(ids) else None
        accessors = []
        for column in columns:
            column = np.ascontiguousarray(column, "<f4")
            accessor = gltf.Accessor(componentType=gltf.FLOAT, count=count, type=gltf.VEC3)
            if id_view is not None:
                accessor.sparse = gltf.Sparse(
                    count=len(ids),
                    indices=gltf.AccessorSparseIndices(bufferView=id_view, componentType=code),
                    values=gltf.AccessorSparseValues(bufferView=self.view(column.tobytes())),
                )
            elif len(ids):
                dense = np.zeros((count, 3), "<f4")
                dense[ids] = column
                accessor.bufferView = self.view(dense.tobytes(), gltf.ARRAY_BUFFER)
            # Neither: by the specification such an accessor reads as zeros.
            untouched = np.zeros((1 if len(ids) < count else 0, 3), "<f4")
            everything = np.concatenate([column, untouched])
            accessor.min, accessor.max = everything.min(0).tolist(), everything.max(0).tolist()
            accessors.append(self._accessor(accessor))
        return accessors

    def close(self) -> bytes:
        """All of it."""
        return b"".join(self.chunks)

    def _accessor(self, accessor: gltf.Accessor) -> int:
        accessor.byteOffset = None
        self.document.accessors.append(accessor)
        return len(self.document.accessors) - 1


def _index_array(values: np.ndarray, count: int) -> tuple[int, bytes]:
    # 65535 is reserved in 16-bit index lists (primitive restart).
    if count <= 65535:
        return gltf.UNSIGNED_SHORT, values.astype("<u2").tobytes()
    return gltf.UNSIGNED_INT, values.astype("<u4").tobytes()


def _mesh(buffer: _Buffer, surface: Surface, morphs: Sequence[Morph], material: int) -> gltf.Mesh:
    attributes = gltf.Attributes(
        POSITION=buffer.vectors(_array(surface.vertices_mm) * METRES_PER_MM, bounds=True),
        NORMAL=buffer.vectors(_array(surface.normals)),
        TEXCOORD_0=None if surface.uv is None else buffer.vectors(_array(surface.uv)),
    )
    if surface.tangents is not None:
        attributes.TANGENT = buffer.vectors(_array(surface.tangents))
    if surface.texture is None:
        attributes.COLOR_0 = buffer.vectors(_array(surface.colours))
    targets = []
    for morph in morphs:
        columns = (_array(morph.delta_mm) * METRES_PER_MM, _array(morph.delta_normal))
        position, normal = buffer.changes(len(surface.vertices_mm), _array(morph.vertex_ids), columns)
        targets.append(gltf.Attributes(POSITION=position, NORMAL=normal))
    primitive = gltf.Primitive(
        attributes=attributes,
        indices=buffer.indices(_array(surface.triangles)),
        material=material,
        targets=targets,
    )
    # The specification has no place for the names of morph targets; everyone reads them here.
    extras = {"targetNames": [morph.name for morph in morphs]} if morphs else {}
    return gltf.Mesh(
        name=surface.name,
        primitives=[primitive],
        weights=[float(morph.weight) for morph in morphs],
        extras=extras,
    )


def _material(buffer: _Buffer, surface: Surface) -> gltf.Material:
    look = gltf.PbrMetallicRoughness(
        baseColorFactor=[1.0, 1.0, 1.0, 1.0],
        metallicFactor=0.0,
        roughnessFactor=_ROUGHNESS.get(surface.name, 0.6),
    )
    if surface.texture is not None:
        look.baseColorTexture = gltf.TextureInfo(index=_texture(buffer, surface.texture, surface.name))
    bumps = None
    if surface.normal_texture is not None:
        index = _texture(buffer, surface.normal_texture, f"{surface.name}_normal")
        bumps = gltf.NormalMaterialTexture(index=index, scale=1.0)
    # Open surfaces: from behind or inside the mouth they would have holes.
    double_sided = surface.name in ("skin", "lashes")
    return gltf.Material(
        name=surface.name,
        pbrMetallicRoughness=look,
        normalTexture=bumps,
        doubleSided=double_sided,
        alphaMode=gltf.BLEND
        if surface.texture is not None and _has_opacity(surface.texture)
        else gltf.OPAQUE,
        alphaCutoff=None,
        emissiveFactor=[0.0, 0.0, 0.0],
    )


def _has_opacity(encoded: bytes) -> bool:
    """Whether an image is a PNG of RGBA: its header's colour type."""
    return encoded.startswith(b"\x89PNG") and encoded[25] == _RGBA


def _texture(buffer: _Buffer, encoded: bytes, name: str) -> int:
    """Embed an image and return its texture's index."""
    document = buffer.document
    kind = "image/png" if encoded.startswith(b"\x89PNG") else "image/jpeg"
    document.images.append(gltf.Image(bufferView=buffer.view(encoded), mimeType=kind, name=name))
    document.textures.append(gltf.Texture(sampler=0, source=len(document.images) - 1, name=name))
    return len(document.textures) - 1


def _array(values: Tensor) -> np.ndarray:
    return values.detach().cpu().numpy()
