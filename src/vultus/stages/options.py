"""What a user may decide about a reconstruction: the keyword arguments of the Python API and the options of the command line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from ..errors import BadInput

SMALLEST_TEXTURE, LARGEST_TEXTURE = 64, 8192
SMALLEST_DISPLACEMENT, LARGEST_DISPLACEMENT = 64, 2048


@dataclass(frozen=True)
class ReconstructOptions:
    """One place for names, defaults and checks, so that Python and the command line cannot drift apart.

    Raises:
        BadInput: a value is out of range, or two values contradict each other.
    """

    model: str = "vultus"
    """Face model: a name that `vultus models` lists, or a name and where it is, e.g. ict:/data/ict."""
    device: str = "cpu"
    """Where to compute: cpu, cuda, cuda:1, or auto (a GPU if there is one)."""
    focal_px: float | None = None
    """Focal length in pixels of the photo, when you know it."""
    focal_mm35: float | None = None
    """Focal length in 35 mm equivalents, as cameras and phones state it."""
    focal: Literal["auto", "exif", "default"] = "auto"
    """Without the two above: auto takes EXIF if there is one, exif insists on it, default ignores it."""
    init: Literal["auto", "landmarks", "position"] = "auto"
    """What the face model is fitted to first: detected landmarks; the position map that a network sees (for heads seen from the side); or landmarks,
    and the map where no face was found by them."""
    faces: Literal["all", "largest"] | int = "all"
    """Which faces of each photo: all, the largest, or at most so many (largest first)."""
    texture_size: int = 1024
    """Side of the skin texture in texels; 0 leaves textures out."""

    level: Literal["coarse", "deformed", "detail"] = "detail"
    """How far to go: the face model alone, deformed to the photo, or with wrinkles."""
    displacement_size: int = 512
    """Side of the map of wrinkles in texels."""

    def __post_init__(self) -> None:
        if self.focal_px is not None and self.focal_mm35 is not None:
            raise BadInput("--focal-px and --focal-mm35 say the same thing twice: give one of them")
        for name in ("focal_px", "focal_mm35"):
            value = getattr(self, name)
            if value is not None and not 0 < value < 1e6:
                raise BadInput(f"--{name.replace('_', '-')} {value}: a focal length is a positive number")
        if self.init not in ("auto", "landmarks", "position"):
            raise BadInput(f"--init {self.init}: say auto, landmarks or position")
        if isinstance(self.faces, str) and self.faces not in ("all", "largest"):
            raise BadInput(f"--faces {self.faces}: say all, largest or a number")
        if isinstance(self.faces, int) and self.faces < 1:
            raise BadInput(f"--faces {self.faces}: ask for at least one face")
        if self.texture_size != 0 and not SMALLEST_TEXTURE <= self.texture_size <= LARGEST_TEXTURE:
            raise BadInput(
                f"--texture-size {self.texture_size}: choose 0 (none) or {SMALLEST_TEXTURE} to {LARGEST_TEXTURE} texels"
            )

        if self.level not in ("coarse", "deformed", "detail"):
            raise BadInput(f"--level {self.level}: say coarse, deformed or detail")
        if not SMALLEST_DISPLACEMENT <= self.displacement_size <= LARGEST_DISPLACEMENT:
            raise BadInput(
                f"--displacement-size {self.displacement_size}: choose {SMALLEST_DISPLACEMENT} to {LARGEST_DISPLACEMENT} texels;"
                " --level deformed leaves wrinkles out"
            )

    @property
    def max_faces(self) -> int | None:
        """How many faces of a photo are wanted; None for all."""
        return {"all": None, "largest": 1}[self.faces] if isinstance(self.faces, str) else self.faces


def chosen_device(name: str) -> torch.device:
    """The device of a name, checked before anything is computed on it.

    Raises:
        BadInput: no such device, or none on this machine.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise BadInput(f"--device {name}: say auto, cpu, cuda or cuda:1") from None
    if device.type == "cuda" and not (device.index or 0) < torch.cuda.device_count():
        raise BadInput(
            f"--device {name}: this machine shows torch {torch.cuda.device_count()} GPUs; use --device cpu, or see vultus doctor"
        )
    return device
