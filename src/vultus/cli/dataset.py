"""``vultus dataset``: sets to train and to test with."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Annotated, NoReturn, TypeVar

import tyro
from tqdm import tqdm

from ..data.capture import CaptureOptions, make_captures
from ..data.drawn_samples import DrawnOptions, DrawnSet, make_source, manifest_of, missing_sources
from ..data.manifest import ShardEntry, claim_set
from ..data.shards import ShardTask, missing_shards, record_shard, write_shard
from ..data.synthetic_heads import SyntheticOptions, make_heads
from ..errors import BadFile, BadInput, VultusError
from ..model.catalog import load_model
from ..model.morphable import MorphableModel
from .dataset_albedo import Albedo
from .dataset_photos import PhotoSets
from .workers import run_all

Task = TypeVar("Task")
Made = TypeVar("Made")

DESCRIPTION = """Make a set of people, most of whom do not exist.

`capture` writes OUT/<subject>/<expression>/ with images/, cameras.json, mesh.ply,
landmarks.json and the truth behind them, as a studio with nine cameras and eight lamps
would (docs/scans.md): what real scans are needed for works with these.

`synthetic` writes OUT/<head>/ with one ordinary photo of each head, its camera, surfaces,
landmarks and masks: what `vultus evaluate synthetic` measures on (docs/evaluate/synthetic.md).

`drawn` writes OUT/shard-*.tar and OUT/manifest.json: small pictures by the ten thousand, with
vertices, camera, landmarks and masks, to train networks with (docs/datasets.md).

`fit` and `profile` make samples of the same kind from photos: fitted, and turned out of plane.
`albedo` learns from fitted photos how the skin of faces differs (docs/cards/albedo.md).

What is finished is skipped, so the same command goes on after an interruption, and a larger
--subjects, --heads or --samples adds people.

Examples:
  vultus dataset capture -o captures --subjects 4 --expressions 3 --cameras 3 --size-px 256
  vultus dataset capture -o captures                 all of it: 100 people, 18,000 pictures
  vultus dataset capture -o lamps --subjects 2 --lighting each
  vultus dataset synthetic -o heads                  200 heads from the package alone
  vultus dataset synthetic -o heads --ict FaceXModel --photos portraits
  vultus dataset drawn -o train --samples 100000 --jobs 2
  vultus dataset drawn -o test --samples 2000 --split test
  vultus dataset fit -o fits --photos portraits      photos that fit well, as samples
  vultus dataset profile -o turned --fits fits       the same, turned to 90 degrees of yaw
  vultus dataset albedo -o albedo.npz --fits fits    mean and components of their albedo

Exit status: 0 all is there, 2 otherwise."""

Out = Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="OUT")]


@dataclass(frozen=True)
class Capture:
    """Calibrated pictures and scans of synthetic people."""

    out: Out
    """Folder for the set; made if need be."""
    options: Annotated[CaptureOptions, tyro.conf.arg(name="")] = field(default_factory=CaptureOptions)
    debug: bool = False
    """Show where unexpected errors come from."""

    def run(self) -> int:
        """Make what is missing; 0 when all is there."""
        total = self.options.subjects * self.options.expressions
        return _make(make_captures(_model(), self.out, self.options), total, "capture", self.out)


@dataclass(frozen=True)
class Synthetic:
    """One photo each of heads whose truth is known."""

    out: Out
    """Folder for the set; made if need be."""
    options: Annotated[SyntheticOptions, tyro.conf.arg(name="")] = field(default_factory=SyntheticOptions)
    debug: bool = False
    """Show where unexpected errors come from."""

    def run(self) -> int:
        """Make what is missing; 0 when all is there."""
        return _make(
            make_heads(_model(), self.out, self.options), self.options.heads, "synthetic head", self.out
        )


@dataclass(frozen=True)
class Drawn:
    """Training samples: drawn heads in shards."""

    out: Out
    """Folder for the set; made if need be."""
    options: Annotated[DrawnOptions, tyro.conf.arg(name="")] = field(default_factory=DrawnOptions)
    jobs: Annotated[int, tyro.conf.arg(aliases=["-j"])] = 1
    """How many processes draw; each writes whole shards."""
    debug: bool = False
    """Show where unexpected errors come from."""

    def run(self) -> int:
        """Make what is missing; 0 when all is there."""
        if self.jobs < 1:
            raise BadInput(f"--jobs {self.jobs}: ask for at least one process")
        options, out = self.options, self.out
        manifest = claim_set(out, manifest_of(options))
        sources = missing_sources(out, options)
        work = partial(_attempted, make_source)
        with _bar(len(sources), "source") as bar:
            for made in run_all(sources, work, _died, self.jobs):
                _checked(made)
                bar.update()
        tasks = missing_shards(out, manifest, options.samples)
        before = options.samples - sum(task.planned for task in tasks)
        with _bar(options.samples, "sample", before) as bar:
            for entry in run_all(
                tasks, partial(_attempted, partial(_draw_shard, out, options)), _died, self.jobs
            ):
                done = _checked(entry)
                manifest = record_shard(out, manifest, done)
                bar.update(done.planned)
        print(f"{options.samples - before} samples made, {before} were there -> {out}")
        return 0


Dataset = (
    Annotated[Capture, tyro.conf.subcommand("capture")]
    | Annotated[Synthetic, tyro.conf.subcommand("synthetic")]
    | Annotated[Drawn, tyro.conf.subcommand("drawn")]
    | PhotoSets
    | Annotated[Albedo, tyro.conf.subcommand("albedo")]
)
"""Sets to train and to test with: the first word says which."""


def _model() -> MorphableModel:
    model = load_model("vultus")
    if model.chart is None:
        raise BadInput("the bundled model has no face chart: reinstall vultus")
    return model


def _make(things: Iterator[tuple[Path, bool]], total: int, what: str, out: Path) -> int:
    made = 0
    with tqdm(total=total, unit=what, file=sys.stderr, disable=None, dynamic_ncols=True) as bar:
        for _, new in things:
            made += new
            bar.update()
    print(f"{made} {what}s made, {total - made} were there -> {out}")
    return 0


@lru_cache(maxsize=1)
def _drawn_set(out: Path, options: DrawnOptions) -> DrawnSet:
    """Of this process: its things are made once, not for every shard."""
    return DrawnSet(out, options)


def _draw_shard(out: Path, options: DrawnOptions, task: ShardTask) -> ShardEntry:
    return write_shard(task, _drawn_set(out, options), manifest_of(options).licences, quality=options.quality)


def _attempted(work: Callable[[Task], Made], task: Task) -> Made | VultusError:
    """What is made, or why it is not: a process of its own can only give things back."""
    try:
        return work(task)
    except VultusError as error:
        return error


def _died(_task: object, how: str) -> BadFile:
    return BadFile(f"{how}; try again with fewer --jobs: what is finished is kept")


def _checked(made: Made | VultusError) -> Made:
    if isinstance(made, VultusError):
        raise made
    return made


def _bar(total: int, what: str, initial: int = 0) -> tqdm[NoReturn]:
    return tqdm(
        total=total,
        initial=initial,
        unit=what,
        file=sys.stderr,
        disable=None if total else True,
        dynamic_ncols=True,
    )
