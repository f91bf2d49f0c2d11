"""The face models that vultus knows, where it looks for them, and how to get those that it may not ship."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ..errors import AssetMissing, BadInput
from .morphable import MorphableModel


@dataclass(frozen=True)
class ModelCard:
    """One face model as `vultus models` shows it.

    Attributes:
        name: what ``--model`` takes. title: what it is, in a few words.
        licence: of its data. installed: whether it can be loaded now.
        path: where it was found or would be looked for; None when it is bundled or its place was never told.
        how_to_get: one line for people who do not have it.
    """

    name: str
    title: str
    licence: str
    installed: bool
    path: Path | None
    how_to_get: str


@dataclass(frozen=True)
class _Entry:
    """What is known about a model before looking for it; ``variable`` names the environment variable with its path."""

    name: str
    title: str
    licence: str
    variable: str | None
    how_to_get: str
    read: Callable[[Path | None], MorphableModel]

    def card(self) -> ModelCard:
        path = self.place()
        installed = self.variable is None or (path is not None and path.exists())
        return ModelCard(self.name, self.title, self.licence, installed, path, self.how_to_get)

    def place(self) -> Path | None:
        told = os.environ.get(self.variable, "") if self.variable else ""
        return Path(told).expanduser() if told else None


def _read_bundled(path: Path | None) -> MorphableModel:
    from .bundled import load

    return load()


def _read_ict(path: Path | None) -> MorphableModel:
    from .formats.ict import load

    assert path is not None
    return load(path)


def _read_bfm(path: Path | None) -> MorphableModel:
    from .formats.bfm import load

    assert path is not None
    return load(path)


_ENTRIES = (
    _Entry(
        "vultus", "adult head and neck with eyes, teeth and tongue, made from MakeHuman", "CC0", None,
        "it comes with the package", _read_bundled,
    ),
    _Entry(
        "ict", "ICT-FaceKit light: registered light-stage scans, USC ICT", "MIT", "VULTUS_ICT",
        "download FaceXModel from https://github.com/ICT-VGL/ICT-FaceKit, then set VULTUS_ICT to its folder"
        " or use --model ict:/that/folder",
        _read_ict,
    ),
    _Entry(
        "bfm", "Basel Face Model 2009 as Deep3D and HRN use it (BFM_model_front.mat)", "research only, on request",
        "VULTUS_BFM",
        "ask for it at https://faces.dmi.unibas.ch/bfm (licence agreement), make BFM_model_front.mat with the script of"
        " https://github.com/sicxu/Deep3DFaceRecon_pytorch, then set VULTUS_BFM to the file or use --model bfm:/that/file",
        _read_bfm,
    ),
)  # fmt: skip


def known_models() -> tuple[ModelCard, ...]:
    """Every face model that vultus can use, the bundled one first."""
    return tuple(entry.card() for entry in _ENTRIES)


def load_model(name: str = "vultus") -> MorphableModel:
    """Load a face model by name; later calls with the same name give the same object.

    Args:
        name: ``vultus``, ``ict``, ``bfm``; a licensed one also as ``name:path``, else its environment variable
            (``VULTUS_ICT``, ``VULTUS_BFM``) says where it is.

    Raises:
        BadInput: no model has that name.
        AssetMissing: the model is not on this machine; the message says where to get it.
        BadFile: its file is damaged or something else.
        WeightsMismatch: its file is not of the version that vultus reads.
    """
    key, _, told = name.partition(":")
    entry = next((entry for entry in _ENTRIES if entry.name == key.lower()), None)
    if entry is None:
        known = ", ".join(entry.name for entry in _ENTRIES)
        raise BadInput(f"no face model is called {name!r}: vultus knows {known} (see `vultus models`)")
    if entry.variable is None:
        if told:
            raise BadInput(f"{name!r}: the model {entry.name} is bundled and takes no path")
        return _loaded(entry, None)
    path = Path(told).expanduser() if told else entry.place()
    if path is None:
        raise AssetMissing(f"the face model {entry.name} is not installed: {entry.how_to_get}")
    if not path.exists():
        source = "" if told else f" (from {entry.variable})"
        raise AssetMissing(
            f"{path}: no such file or folder{source} for the face model {entry.name}; {entry.how_to_get}"
        )
    return _loaded(entry, path.resolve())


@lru_cache(maxsize=2)  # two, because a model takes about 100 MB and a batch uses one
def _loaded(entry: _Entry, path: Path | None) -> MorphableModel:
    return entry.read(path)
