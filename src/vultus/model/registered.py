"""The bundled head bent onto another model's mean once, and remembered on disk.

The registration takes some seconds, so its result is kept in the user's cache folder (``$XDG_CACHE_HOME/vultus``, else
``~/.cache/vultus``) under a hash of everything that went into it. A file that is missing, damaged or of another version is made anew;
a folder that cannot be written costs time, nothing else.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from pathlib import Path

import numpy as np
import torch

from ..geometry.register import RegisterOptions, register
from ..geometry.rigid import Similarity, umeyama
from . import bundled
from .morphable import MorphableModel

VERSION = 1  # of the method below; raise it when results change

# iBUG-68 index -> vertex of the bundled head: eye corners, nose, lips and chin picked by eye, the rest (brows, lids, inner lips) where a
# scan-based mean head that was registered with a detector has its own points (scripts/bundled_head/mean.py).
# The jaw line is left out: where annotators put it depends on the pose.
# fmt: off
IBUG68_VERTICES = {
    8: 8455,
    17: 5704, 18: 232, 19: 15122, 20: 223, 21: 15117, 22: 17247, 23: 2412, 24: 17252, 25: 2420, 26: 10096,
    27: 5400, 28: 131, 29: 164, 30: 1454, 31: 5892, 32: 314, 33: 317, 34: 2492, 35: 10261,
    36: 5110, 37: 15751, 38: 2178, 39: 5240, 40: 15758, 41: 5146, 42: 9681, 43: 4265, 44: 17875, 45: 9551, 46: 9587, 47: 17882,
    48: 425, 49: 410, 50: 6163, 51: 466, 52: 10525, 53: 2585, 54: 2600, 55: 10409, 56: 10580, 57: 1737, 58: 6234, 59: 6047,
    60: 1378, 61: 6210, 62: 6267, 63: 10559, 64: 3487, 65: 10582, 66: 493, 67: 6236,
}
# fmt: on
GUIDE_WEIGHT = {8: 1.0, **dict.fromkeys(range(17, 27), 0.3)}  # chin and brows: annotators differ along them
DEFAULT_WEIGHT = 3.0
HIDDEN = ("inner_mouth", "eye_sockets")  # skin that only follows its neighbours


def align_template(ibug68_points: np.ndarray) -> Similarity:
    """The similarity (float64) that takes the bundled mean head to a model whose iBUG-68 points are "68 3"."""
    ids, template = list(IBUG68_VERTICES), bundled.load()
    source = template.mean_mm[list(IBUG68_VERTICES.values())].double()
    return umeyama(source, torch.from_numpy(np.asarray(ibug68_points, float)[ids]))


def registered_template(mean_mm: np.ndarray, surface: np.ndarray, ibug68: np.ndarray) -> np.ndarray:
    """The bundled head's vertices "v 3" (float64) where they lie on another model's mean.

    Skin that the other surface does not reach, eyes, teeth and tongue follow their surroundings smoothly.

    Args:
        mean_mm: "w 3" the other model's mean, head frame.
        surface: "g 3" its visible skin.
        ibug68: "68" its vertices at the iBUG-68 points.
    """
    template = bundled.load()
    key = _key(mean_mm, surface, ibug68, template)
    place = cache_folder() / f"registered-{key}.npz"
    moved = _read(place, len(template.mean_mm))
    if moved is None:
        moved = _register(mean_mm, surface, ibug68, template).astype(np.float32)
        _write(place, moved)
    return moved.astype(np.float64)


def cache_folder() -> Path:
    """Where vultus keeps what it can make again; may not exist yet."""
    told = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(told) if told else Path.home() / ".cache") / "vultus"


def _register(
    mean_mm: np.ndarray, surface: np.ndarray, ibug68: np.ndarray, template: MorphableModel
) -> np.ndarray:
    target = np.asarray(mean_mm, float)
    start = align_template(target[ibug68]).apply(template.mean_mm.double()).numpy()
    used, skin = np.unique(template.part_triangles("skin").numpy(), return_inverse=True)
    skin = skin.reshape(-1, 3)
    local = np.full(len(start), -1)
    local[used] = np.arange(len(used))
    visible = np.ones(len(start))
    for name in HIDDEN:
        visible[template.regions[name].numpy()] = 0
    bent = register(
        start[used],
        skin,
        target,
        surface,
        landmark_ids=local[list(IBUG68_VERTICES.values())],
        landmark_points=target[ibug68[list(IBUG68_VERTICES)]],
        landmark_weight=np.array([GUIDE_WEIGHT.get(i, DEFAULT_WEIGHT) for i in IBUG68_VERTICES]),
        weight=visible[used],
        options=RegisterOptions(stiffness=(300.0, 100.0, 30.0, 10.0, 3.0), steps=2),
    )
    moved = start.copy()
    moved[used] = bent
    lids = template.regions["eyes"].numpy()
    for i, name in enumerate(template.part_names[1:], 1):
        ids = np.unique(template.triangles[template.part_of_triangle == i].numpy())
        # With the skin around it: the lids of its own side, or the lips.
        near = lids if "eye" in name else template.regions["lips"].numpy()
        side = np.sign(np.round(start[ids, 0].mean()))
        near = near & (start[:, 0] * side >= 0)
        moved[ids] += (moved[near] - start[near]).mean(0)
    return moved


def _key(mean_mm: np.ndarray, surface: np.ndarray, ibug68: np.ndarray, template: MorphableModel) -> str:
    digest = hashlib.sha256(f"{VERSION} {IBUG68_VERTICES} {GUIDE_WEIGHT} {DEFAULT_WEIGHT}".encode())
    arrays = (
        np.asarray(mean_mm, np.float32),
        np.asarray(surface, np.int64),
        np.asarray(ibug68, np.int64),
        template.mean_mm.numpy(),
        template.triangles.numpy(),
    )
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:24]


def _read(place: Path, num_vertices: int) -> np.ndarray | None:
    """The remembered vertices, or None where there are none that can be trusted."""
    try:
        with np.load(place, allow_pickle=False) as archive:
            moved = archive["vertices"]
    except Exception:  # whatever a damaged archive raises (it has a checksum of its own): it is made anew
        return None
    intact = moved.shape == (num_vertices, 3) and moved.dtype == np.float32 and np.isfinite(moved).all()
    return moved if intact else None


def _write(place: Path, moved: np.ndarray) -> None:
    partial = place.with_name(f".{place.stem}.{secrets.token_hex(4)}.partial.npz")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        np.savez(partial, vertices=moved)
        partial.replace(place)
    except OSError:  # read-only home, full disk: registered anew next time
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
