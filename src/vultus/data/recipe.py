"""The recipe of a made set: which options a folder was made with, so that a run goes on only with what it began with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ..errors import BadFile, BadInput
from ..io.files import atomic_file

RECIPE = "dataset.json"


def claim(folder: Path, recipe: Mapping[str, Any], *, grows: str, what: str) -> None:
    """Write the recipe, or check that the one in place is the same but for the number that may grow.

    Args:
        folder: of the set; made if need be.
        recipe: as it stands in :data:`RECIPE`; values as JSON gives them back.
        grows: the key of the number of people: more may be added later. what: the set holds, for messages.

    Raises:
        BadInput: the folder holds a set made with other options, or something else. BadFile: it cannot be written.
    """
    path = folder / RECIPE
    recipe = dict(recipe)
    try:
        if path.is_file():
            before = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(before, dict):
                raise ValueError("no JSON object")
            other = sorted(key for key in recipe if key != grows and before.get(key) != recipe[key])
            if other:
                raise BadInput(
                    f"{folder}: holds a set made with another {', '.join(other)} (see {RECIPE}); use the same, or another -o"
                )
            recipe[grows] = max(recipe[grows], int(before.get(grows, 0)))
        elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise BadInput(f"{folder}: holds something else than {what}; choose another -o")
        folder.mkdir(parents=True, exist_ok=True)
        write_json(path, recipe)
    except (OSError, ValueError) as error:
        raise BadFile(f"{path}: cannot be read or written ({error}); choose another -o") from error


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Write a document, whole or not at all."""
    with atomic_file(path) as partial:
        partial.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def rounded(values: Tensor, digits: int) -> Any:
    """Numbers as nested lists for JSON."""
    return np.round(values.double().numpy(), digits).tolist()
