"""vultus: ordinary photos become accurate, detailed, textured, animatable 3D faces.

>>> import vultus
>>> face = vultus.reconstruct("portrait.jpg")
>>> face.save("out/portrait")
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

# torch before numba, always: otherwise two OpenMP runtimes are loaded and fight for the cores (docs/how-it-works.md).
import torch as _torch  # noqa: F401

# Numba's threads wait for each other at every loop; on a machine that does other work, two of them are several times slower than one. Who says
# OMP_NUM_THREADS=1 means these too.
if os.environ.get("OMP_NUM_THREADS", "").isdigit():
    os.environ.setdefault("NUMBA_NUM_THREADS", os.environ["OMP_NUM_THREADS"])

if TYPE_CHECKING:
    from .errors import VultusError
    from .geometry.camera import Camera
    from .io.result import load
    from .model.catalog import load_model
    from .model.face import FaceCode
    from .model.morphable import MorphableModel
    from .model.result import Reconstruction
    from .stages.align import align, align_all
    from .stages.alignment import Alignment
    from .stages.fuse import fuse
    from .stages.reconstruct import reconstruct, reconstruct_all

__version__ = "0.1.0"

__all__ = [
    "Alignment",
    "Camera",
    "FaceCode",
    "MorphableModel",
    "Reconstruction",
    "VultusError",
    "align",
    "align_all",
    "fuse",
    "load",
    "load_model",
    "reconstruct",
    "reconstruct_all",
]

# Looked up on first use, so that importing vultus costs what importing torch costs and no more.
_HOME = {
    "Alignment": "stages.alignment",
    "Camera": "geometry.camera",
    "FaceCode": "model.face",
    "MorphableModel": "model.morphable",
    "Reconstruction": "model.result",
    "VultusError": "errors",
    "align": "stages.align",
    "align_all": "stages.align",
    "fuse": "stages.fuse",
    "load": "io.result",
    "load_model": "model.catalog",
    "reconstruct": "stages.reconstruct",
    "reconstruct_all": "stages.reconstruct",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
