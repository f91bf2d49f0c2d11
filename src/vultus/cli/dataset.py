"""``vultus dataset``: sets to train and to test with."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro
from tqdm import tqdm

from ..data.capture import CaptureOptions, make_captures
from ..data.synthetic_heads import SyntheticOptions, make_heads
from ..errors import BadInput
from ..model.catalog import load_model
from ..model.morphable import MorphableModel

DESCRIPTION = """Make a set of people who do not exist.

`capture` writes OUT/<subject>/<expression>/ with images/, cameras.json, mesh.ply,
landmarks.json and the truth behind them, as a studio with nine cameras and eight lamps
would (docs/scans.md): what real scans are needed for works with these.

`synthetic` writes OUT/<head>/ with one ordinary photo of each head, its camera, surfaces,
landmarks and masks: what `vultus evaluate synthetic` measures on (docs/evaluate/synthetic.md).

What is finished is skipped, so the same command goes on after an interruption, and a larger
--subjects or --heads adds people.

Examples:
  vultus dataset capture -o captures --subjects 4 --expressions 3 --cameras 3 --size-px 256
  vultus dataset capture -o captures                 all of it: 100 people, 18,000 pictures
  vultus dataset capture -o lamps --subjects 2 --lighting each
  vultus dataset synthetic -o heads                  200 heads from the package alone
  vultus dataset synthetic -o heads --ict FaceXModel --photos portraits

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


Dataset = (
    Annotated[Capture, tyro.conf.subcommand("capture")]
    | Annotated[Synthetic, tyro.conf.subcommand("synthetic")]
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
