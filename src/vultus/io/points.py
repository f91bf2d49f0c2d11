"""Landmarks in space, as many systems write them: 7 or 68 points in the frame and unit of their mesh."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import BadFile
from .picked_points import read_picked_points

POINT_SUFFIXES = (".npy", ".txt", ".json", ".ljson", ".pp")
"""Files that :func:`read_points` reads."""
_EXPECTED = "give 7 points (outer and inner corner of the image-left eye, inner and outer of the other, nose tip, mouth corners) or 68 in iBUG's order"


def read_points(path: str | Path) -> NDArray[np.float64]:
    """Landmarks in the mesh's own frame and unit: (7, 3) or (68, 3).

    Files: .json and .ljson, a list of [x, y, z], or an object with it under "landmarks" or "points" at any depth that menpo's tools
    make; .npy; MeshLab's picked points .pp; text with three numbers a line.

    Raises:
        BadFile: missing, unreadable, another number of points, or not finite.
    """
    path = Path(path)
    try:
        points = np.asarray(_numbers(path), np.float64)
    except FileNotFoundError as error:
        raise BadFile(f"{path}: no such file; check the name") from error
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise BadFile(
            f"{path}: no list of points can be read ({' '.join(str(error).split())}); {_EXPECTED}"
        ) from error
    if points.shape not in ((7, 3), (68, 3)):
        raise BadFile(f"{path}: holds numbers of shape {points.shape}; {_EXPECTED}")
    if not np.isfinite(points).all():
        raise BadFile(f"{path}: holds NaN or infinite coordinates; {_EXPECTED}")
    return points


def _numbers(path: Path) -> Any:
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return np.load(path, allow_pickle=False)
    if suffix == ".pp":
        return read_picked_points(path)
    text = path.read_text()
    if suffix in (".json", ".ljson"):
        return _list_within(json.loads(text))
    lines = (line.replace(",", " ").split() for line in text.splitlines())
    return [[float(number) for number in line] for line in lines if line and not line[0].startswith("#")]


def _list_within(content: Any) -> Any:
    """The list of points of a JSON document."""
    for _ in range(8):
        if not isinstance(content, dict):
            return content
        known = [key for key in ("landmarks", "points", "groups", "LJSON") if key in content]
        content = content[known[0]] if known else next(iter(content.values()), None)
    return content
