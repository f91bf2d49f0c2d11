"""Reading a mesh by the name of its file."""

from __future__ import annotations

from pathlib import Path

from ..errors import BadFile
from ..geometry.mesh import Mesh
from .glb_reader import read_glb
from .obj import read_obj
from .ply import read_ply

_READERS = {".obj": read_obj, ".ply": read_ply, ".glb": read_glb}


def read_mesh(path: str | Path) -> Mesh:
    """Read an OBJ, PLY (own units) or GLB (metres, returned in millimetres) as one mesh.

    Raises:
        BadFile: another format, not readable, damaged, or without a surface.
    """
    reader = _READERS.get(Path(path).suffix.lower())
    if reader is None:
        raise BadFile(
            f"{path}: meshes are read from {', '.join(sorted(_READERS))}; convert it to one of these"
        )
    return reader(path)
