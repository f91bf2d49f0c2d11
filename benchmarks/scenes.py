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
from vultus.geometry.rigid import rigid_transform, rotation_from_pose_angles
from vultus.io.files import atomic_file
from vultus.render.shade import over, srgb_from_linear

FACE_WIDTH_MM = 140.0


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


def look_at_head(
    yaw_deg: float,
    pitch_deg: float,
    roll_deg: float,
    *,
    distance_mm: float,
    face_px: float,
    size_px: int,
    shift_mm: tuple[float, float] = (0.0, 0.0),
) -> Camera:
    """A square camera that sees a head of our frame from a distance, the face ``face_px`` wide."""
    rotation = rotation_from_pose_angles(*torch.tensor([yaw_deg, pitch_deg, roll_deg]))
    centre = torch.tensor([0.0, -25.0, -30.0])
    translation = torch.tensor([*shift_mm, distance_mm]) - rotation @ centre
    focal_px = torch.tensor(face_px * distance_mm / FACE_WIDTH_MM)
    return Camera(
        focal_px, torch.full((2,), size_px / 2), (size_px, size_px), rigid_transform(rotation, translation)
    )


def finished(linear_rgba: Tensor, background: Tensor, noise: float = 0.0, seed: int = 0) -> Tensor:
    """Premultiplied linear "1 4 h w" over a background: sRGB "3 h w" with sensor noise."""
    image = srgb_from_linear(over(linear_rgba, background).clamp(0, 1))[0]
    if noise:
        image = image + noise * torch.randn(image.shape, generator=torch.Generator().manual_seed(seed))
    return image.clamp(0, 1)


def contact_sheet(shots: list[Shot], columns: int = 7, side_px: int = 240) -> Tensor:
    """The pictures side by side, to look at what is measured."""
    small = [
        torch.nn.functional.interpolate(shot.image[None], (side_px, side_px), mode="area")[0]
        for shot in shots
    ]
    small += [torch.zeros(3, side_px, side_px)] * (-len(small) % columns)
    rows = [torch.cat(small[i : i + columns], 2) for i in range(0, len(small), columns)]
    return torch.cat(rows, 1)
