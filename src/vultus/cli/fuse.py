"""``vultus fuse``: several photos of one person in, one folder with one head out."""

from __future__ import annotations

import hashlib
import json
import sys
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import tyro
from tqdm import tqdm

from ..errors import BadFile, BadInput
from ..io.result import MESH_FILES, check_formats, is_finished
from ..model.result import FusedReconstruction
from ..stages.fuse_options import FEWEST, MOST, FuseOptions
from ..stages.options import chosen_device
from .batch import provenance
from .photos import find_photos
from .reconstruct import Format

_SOURCES = "photos_sha256"  # entry of the provenance: which bytes a result was made from
_STEPS_AFTER_LOOKING = 3

DESCRIPTION = """Fuse several photos of one person into one head: better in shape, seen from all sides.

OUT then holds what `vultus reconstruct` writes for one photo: face.glb, face.obj, maps,
textures, reconstruction.json (each photo's camera under `fusion`) and overlay.png, which
shows the head over every photo (look at this one first). Give 2 to 20 sharp photos from
different sides; light and expression may differ. The same photo twice counts once; photos
without a face and photos that seem to show another person are named and left out.

Examples:
  vultus fuse front.jpg left.jpg right.jpg -o anna
  vultus fuse album/ -o anna --expression smile.jpg
  vultus fuse rig/*.jpg -o anna --cameras cameras.json
  vultus fuse album/ -o anna --keep-all            you know that it is one person

--cameras takes {"unit": "mm", "cameras": {"front.jpg": {"K": 3x3, "R": 3x3, "t": 3}, ...}}:
OpenCV, world to camera, the person did not move between the photos (docs/fuse.md).

Exit status: 0 a head was written, also when photos were left out; 2 otherwise."""


@dataclass(frozen=True)
class Fuse:
    """Several photos of one person become one head."""

    photos: Annotated[
        tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="PHOTO...", help_behavior_hint="")
    ]
    """Photos, or folders of photos, of one person."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="OUT")]
    """Folder for the result; made if need be."""
    cameras: Annotated[Path | None, tyro.conf.arg(metavar="CAMERAS.JSON")] = None
    """Where the cameras stood, when you know it."""
    options: Annotated[FuseOptions, tyro.conf.arg(name="")] = field(default_factory=FuseOptions)
    formats: tuple[Format, ...] = ("obj", "glb", "dense", "overlay")
    """What to write beside reconstruction.json, the maps and the textures."""
    baked: bool = False
    """Colour the skin of face.glb and dense.ply as lit in the reference photo, instead of its own colour."""
    overwrite: bool = False
    """Do a finished result again."""
    json: bool = False
    """One line of JSON on standard output, and nothing else there."""
    debug: bool = False
    """Show where unexpected errors come from."""

    def run(self) -> int:
        """Do it; 0 when a head was written, or was there."""
        options = replace(self.options, device=str(chosen_device(self.options.device)))
        photos, problems = find_photos(self.photos)
        if problems:
            raise BadInput(f"{problems[0].photo}: {problems[0].error}")
        if not FEWEST <= len(photos) <= MOST:
            raise BadInput(f"{len(photos)} photos: vultus fuse takes {FEWEST} to {MOST} photos of one person")
        sources = {str(photo): _sha256(photo) for photo in photos}
        meshes = check_formats(name for name in self.formats if name != "overlay")
        if not self.overwrite and is_finished(self.out):
            if provenance(self.out).get(_SOURCES) != sources:
                raise BadFile(
                    f"{self.out} already holds another result; choose another -o, or --overwrite it"
                )
            if all((self.out / MESH_FILES[name]).exists() for name in meshes):
                return self._show(
                    {"status": "skipped", "directory": str(self.out)}, "finished earlier, skipped"
                )
        output = sys.stdout
        with redirect_stdout(sys.stderr):
            fused = self._fuse(photos, options)
            fused = _with_sources(fused, sources)
            picture = _sheet(fused) if "overlay" in self.formats else None
            fused.save(self.out, formats=meshes, overlay=picture, baked=self.baked)
        with redirect_stdout(output):
            return self._show(_summary(fused, self.out), _lines(fused, self.out))

    def _fuse(self, photos: list[Path], options: FuseOptions) -> FusedReconstruction:
        from ..stages.fuse import fuse

        total = len(photos) + _STEPS_AFTER_LOOKING
        with tqdm(
            total=total, file=sys.stderr, disable=None, dynamic_ncols=True, bar_format="{l_bar}{bar}|"
        ) as bar:

            def progress(step: str) -> None:
                bar.set_description(step)
                bar.update()

            return fuse(photos, cameras=self.cameras, progress=progress, **asdict(options))

    def _show(self, summary: dict[str, Any], lines: str) -> int:
        print(json.dumps(summary) if self.json else lines)
        return 0


def _summary(fused: FusedReconstruction, out: Path) -> dict[str, Any]:
    report = fused.head.report
    return {
        "status": "done",
        "directory": str(out),
        "face": report.status,
        "advice": list(report.advice),
        "photos": [view.name for view in fused.views],
        "left_out": dict(fused.left_out),
        "timings_s": {stage: round(seconds, 4) for stage, seconds in fused.head.timings_s.items()},
    }


def _lines(fused: FusedReconstruction, out: Path) -> str:
    report = fused.head.report
    advice = f" ({'; '.join(report.advice)})" if report.advice else ""
    lines = [f"{len(fused.views)} photos: {report.status} -> {out}{advice}"]
    lines += [f"left out: {name}: {why}" for name, why in fused.left_out.items()]
    return "\n".join(lines)


def _with_sources(fused: FusedReconstruction, sources: dict[str, str]) -> FusedReconstruction:
    head = replace(fused.head, provenance={**fused.head.provenance, _SOURCES: sources})
    return replace(fused, head=head)


def _sheet(fused: FusedReconstruction) -> Any:
    from ..viewer.fused_sheet import fused_sheet

    return fused_sheet(fused)


def _sha256(photo: Path) -> str:
    try:
        return hashlib.sha256(photo.read_bytes()).hexdigest()
    except OSError as error:
        raise BadFile(f"{photo}: cannot be read ({error.strerror}); check the path") from error
