"""Vertices, texture coordinates and triangles of an OBJ, numbers as they are in the file (``io`` lies above this room)."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...errors import BadFile


class Wavefront(NamedTuple):
    """Vertices "v 3", texture coordinates "t 2" (v up), triangles "f 3" and their texture indices "f 3" (-1: none)."""

    vertices: np.ndarray
    uv: np.ndarray
    triangles: np.ndarray
    uv_triangles: np.ndarray


def read_wavefront(path: Path) -> Wavefront:
    """Read an OBJ; polygons are cut into fans, everything but v, vt and f is ignored.

    Raises:
        BadFile: it cannot be read or is not a consistent OBJ.
    """
    vertices, uv, corners, uv_corners = [], [], [], []
    try:
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            kind, _, rest = line.partition(" ")
            if kind == "v":
                vertices.append(rest.split()[:3])
            elif kind == "vt":
                uv.append(rest.split()[:2])
            elif kind == "f":
                words = [word.split("/") for word in rest.split()]
                ids = [int(word[0]) - 1 for word in words]
                uv_ids = [int(word[1]) - 1 if len(word) > 1 and word[1] else -1 for word in words]
                for i in range(1, len(ids) - 1):
                    corners.append((ids[0], ids[i], ids[i + 1]))
                    uv_corners.append((uv_ids[0], uv_ids[i], uv_ids[i + 1]))
        read = Wavefront(
            np.array(vertices, np.float64).reshape(-1, 3),
            np.array(uv, np.float64).reshape(-1, 2),
            np.array(corners, np.int64).reshape(-1, 3),
            np.array(uv_corners, np.int64).reshape(-1, 3),
        )
    except OSError as error:
        raise BadFile(
            f"{path}: cannot be read ({error.strerror}); check the path and its permissions"
        ) from error
    except (ValueError, IndexError) as error:
        raise BadFile(f"{path}: is not a readable OBJ ({error}); download it again") from error
    bad = not len(read.vertices) or (read.triangles < 0).any() or (read.triangles >= len(read.vertices)).any()
    if bad or (read.uv_triangles >= len(read.uv)).any() or not np.isfinite(read.vertices).all():
        raise BadFile(
            f"{path}: is damaged (a face refers to something that is not there, or no vertices); download it again"
        )
    return read
