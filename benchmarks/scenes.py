"""Pictures of known heads, drawn once and kept under ``$XDG_CACHE_HOME/vultus-benchmarks`` (they belong to no repository)."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vultus.geometry.camera import Camera
from vultus.io.files import atomic_file


@dataclass(frozen=True)
class Shot:
    """A picture "3 h w" sRGB (in 256 levels, like any photo) with its posed camera."""

    name: str
    image: Tensor
    camera: Camera
    yaw_deg: float


def cache_folder(name: str) -> Path:
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = home / "vultus-benchmarks" / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def recipe(*parts: object) -> str:
    """A short name for how something was made: files by their bytes, the rest by their text. A new recipe draws anew."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.read_bytes() if isinstance(part, Path) else repr(part).encode())
    return digest.hexdigest()[:12]


def kept(folder: Path, name: str, draw: Callable[[], Shot]) -> Shot:
    """A shot from the cache, or drawn now and kept."""
    path = folder / f"{name}.npz"
    if not path.is_file():
        shot = draw()
        camera = shot.camera
        with atomic_file(path) as partial, partial.open("wb") as file:
            np.savez_compressed(
                file,
                image=(shot.image * 255).round().byte().numpy(),
                focal_px=float(camera.focal_px),
                principal_px=camera.principal_px.numpy(),
                pose=camera.T_camera_head.numpy(),
                yaw_deg=shot.yaw_deg,
            )
    with np.load(path) as kept_shot:
        image = torch.from_numpy(kept_shot["image"]).float() / 255
        camera = Camera(
            torch.tensor(float(kept_shot["focal_px"])),
            torch.from_numpy(kept_shot["principal_px"]),
            (image.shape[2], image.shape[1]),
            torch.from_numpy(kept_shot["pose"]),
        )
        return Shot(name, image, camera, float(kept_shot["yaw_deg"]))


def contact_sheet(shots: list[Shot], columns: int = 7, side_px: int = 240) -> Tensor:
    """The pictures side by side, to look at what is measured."""
    small = [
        torch.nn.functional.interpolate(shot.image[None], (side_px, side_px), mode="area")[0]
        for shot in shots
    ]
    small += [torch.zeros(3, side_px, side_px)] * (-len(small) % columns)
    rows = [torch.cat(small[i : i + columns], 2) for i in range(0, len(small), columns)]
    return torch.cat(rows, 1)
