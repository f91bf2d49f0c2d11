"""``vultus reconstruct``: photos in, one folder per face out."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro

from ..errors import BadInput
from ..stages.options import ReconstructOptions, chosen_device
from .batch import make_tasks, process
from .photo_run import make_folder, run_photos
from .photos import find_photos

Format = Literal["obj", "glb", "ply", "dense", "overlay"]

DESCRIPTION = """Reconstruct every face of every photo, each photo on its own.

OUT/<photo>/ then holds reconstruction.json, face.obj, face.glb, dense.ply, maps,
textures and overlay.png (look at this one first). Further faces of a photo go to OUT/<photo>-2/
and so on. What is finished is skipped: after an interruption, the same command
goes on where it was. A status of `doubtful` says: there is a result, look at it.

Examples:
  vultus reconstruct anna.jpg -o out
  vultus reconstruct album/ party.png -o out --jobs 2
  vultus reconstruct anna.jpg -o out --faces largest --texture-size 2048
  vultus reconstruct anna.jpg -o out --focal-mm35 50
  vultus reconstruct anna.jpg -o out --level coarse
  vultus reconstruct album/ -o out --json > results.jsonl

Exit status: 0 all photos done or skipped, 2 otherwise (the others are done all the same)."""


@dataclass(frozen=True)
class Reconstruct:
    """Photos become textured, animatable heads."""

    photos: Annotated[
        tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="PHOTO...", help_behavior_hint="")
    ]
    """Photos, or folders of photos."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="OUT")]
    """Folder for the results; made if need be."""
    options: Annotated[ReconstructOptions, tyro.conf.arg(name="")] = field(default_factory=ReconstructOptions)
    formats: tuple[Format, ...] = ("obj", "glb", "dense", "overlay")
    """What to write beside reconstruction.json, the maps and the textures."""
    baked: bool = False
    """Colour the skin of face.glb and dense.ply as lit in the photo, instead of its own colour without that light."""
    jobs: int = 1
    """How many photos at a time, each in its own process with one thread."""
    overwrite: bool = False
    """Do finished photos again."""
    json: bool = False
    """One line of JSON per photo on standard output, and nothing else there."""
    debug: bool = False
    """Show where unexpected errors come from."""

    def run(self) -> int:
        """Do it; 0 when every photo is done or skipped, else 2."""
        if self.jobs < 1:
            raise BadInput(f"--jobs {self.jobs}: use at least one")
        if not self.photos:
            raise BadInput("no photos given: vultus reconstruct PHOTO... -o OUT")
        options = replace(self.options, device=str(chosen_device(self.options.device)))
        make_folder(self.out)
        photos, outcomes = find_photos(self.photos)
        tasks = make_tasks(photos, self.out, options, self.formats, self.overwrite, self.debug, self.baked)
        return run_photos(tasks, outcomes, process, jobs=self.jobs, as_json=self.json)
