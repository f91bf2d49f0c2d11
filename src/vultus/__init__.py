"""vultus: ordinary photos become accurate, detailed, textured, animatable 3D faces.

>>> import vultus
>>> face = vultus.reconstruct("portrait.jpg")
>>> face.save("out/portrait")
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

# torch before numba, always: otherwise two OpenMP runtimes are loaded and fight for the cores (docs/how-it-works.md).
import torch as _torch  # noqa: F401

if TYPE_CHECKING:
    from .errors import VultusError
    from .geometry.camera import Camera
    from .io.result import load
    from .model.catalog import load_model
    from .model.face import FaceCode
    from .model.morphable import MorphableModel
    from .model.result import Reconstruction
    from .stages.fuse import fuse
    from .stages.reconstruct import reconstruct, reconstruct_all

__version__ = "0.1.0"

__all__ = [
    "Camera",
    "FaceCode",
    "MorphableModel",
    "Reconstruction",
    "VultusError",
    "fuse",
    "load",
    "load_model",
    "reconstruct",
    "reconstruct_all",
]

# Looked up on first use, so that importing vultus costs what importing torch costs and no more.
_HOME = {
    "Camera": "geometry.camera",
    "FaceCode": "model.face",
    "MorphableModel": "model.morphable",
    "Reconstruction": "model.result",
    "VultusError": "errors",
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
