"""What a user may decide about fusing photos: the keyword arguments of the Python API and the options of the command line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..errors import BadInput
from .options import ReconstructOptions

FEWEST, MOST = 2, 20


@dataclass(frozen=True)
class FuseOptions:
    """One place for names, defaults and checks.

    Raises:
        BadInput: a value is out of range, or two values contradict each other.
    """

    expression: str | int = "neutral"
    """Of the fused head: neutral, or that of a photo, by its file name (or number, counted from 0)."""
    keep_all: bool = False
    """Use every photo with a face, also those that seem to show another person."""
    model: str = "vultus"
    """Face model: a name that `vultus models` lists, or a name and where it is, e.g. ict:/data/ict."""
    device: str = "cpu"
    """Where to compute: cpu, cuda, cuda:1, or auto (a GPU if there is one)."""
    focal_px: float | None = None
    """Focal length in pixels of all photos, when you know it and they share it."""
    focal_mm35: float | None = None
    """The same in 35 mm equivalents. Without either: EXIF if there is one, else a usual value that the fit improves."""
    texture_size: int = 1024
    """Side of the skin texture in texels; 0 leaves textures out."""
    level: Literal["coarse", "deformed", "detail"] = "detail"
    """How far to go: the face model alone, deformed to the photos, or with wrinkles."""
    displacement_size: int = 512
    """Side of the map of wrinkles in texels."""

    def __post_init__(self) -> None:
        _ = self.of_each

    @property
    def of_each(self) -> ReconstructOptions:
        """The options of each photo."""
        return ReconstructOptions(
            model=self.model,
            device=self.device,
            focal_px=self.focal_px,
            focal_mm35=self.focal_mm35,
            faces="largest",
            texture_size=self.texture_size,
            level=self.level,
            displacement_size=self.displacement_size,
        )

    def index_of_expression(self, names: list[str]) -> int | None:
        """Which photo's expression is wanted; None for a neutral one.

        Raises:
            BadInput: there is no such photo.
        """
        wanted = self.expression
        if wanted == "neutral":
            return None
        if isinstance(wanted, int) or (wanted.lstrip("-").isdigit() and wanted not in names):
            if 0 <= int(wanted) < len(names):
                return int(wanted)
        elif wanted in names:
            return names.index(wanted)
        raise BadInput(f"--expression {wanted}: say neutral, or one of the photos: {', '.join(names)}")
