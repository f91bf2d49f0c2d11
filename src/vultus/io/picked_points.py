"""Points picked on a mesh by hand, as MeshLab's PickPoints tool saves them (``.pp``)."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from ..errors import BadFile


def read_picked_points(path: str | Path) -> NDArray[np.float64]:
    """All points "n 3" in the order of the file, in the units of the mesh they were picked on.

    The file is XML whose ``point`` elements carry ``x``, ``y`` and ``z`` in any order; MeshLab's ``active`` mark is ignored, as it is by the
    benchmarks that ship such files.

    Raises:
        BadFile: not there, not such a file, or a point without a finite position.
    """
    try:
        root = ElementTree.fromstring(Path(path).read_bytes())
        points = [[float(element.attrib[axis]) for axis in ("x", "y", "z")] for element in root.iter("point")]
    except OSError as error:
        raise BadFile(
            f"{path}: cannot be read ({error.strerror}); check the path and its permissions"
        ) from error
    except (ElementTree.ParseError, KeyError, ValueError) as error:
        raise BadFile(
            f"{path}: is not a file of picked points ({error}); save it again from MeshLab"
        ) from error
    found = np.array(points, np.float64).reshape(-1, 3)
    if not len(found) or not np.isfinite(found).all():
        raise BadFile(
            f"{path}: holds {len(found)} points, some perhaps not finite; save it again from MeshLab"
        )
    return found
