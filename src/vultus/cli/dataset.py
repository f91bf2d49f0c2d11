"""``vultus dataset``: sets to train and to test with."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tqdm import tqdm

from ..data.capture import CaptureOptions, make_captures
from ..errors import BadInput
from ..model.catalog import load_model

DESCRIPTION = """Make a set of captures of people who do not exist.

`capture` writes OUT/<subject>/<expression>/ with images/, cameras.json, mesh.ply,
landmarks.json and the truth behind them, as a studio with nine cameras and eight lamps
would (docs/scans.md): what real scans are needed for works with these. What is finished is
skipped, so the same command goes on after an interruption, and a larger --subjects adds people.

Examples:
  vultus dataset capture -o captures --subjects 4 --expressions 3 --cameras 3 --size-px 256
  vultus dataset capture -o captures                 all of it: 100 people, 18,000 pictures
  vultus dataset capture -o lamps --subjects 2 --lighting each

Exit status: 0 all captures are there, 2 otherwise."""


@dataclass(frozen=True)
class Dataset:
    """Sets to train and to test with."""

    kind: Annotated[Literal["capture"], tyro.conf.Positional]
    """capture: calibrated pictures and scans of synthetic people."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="OUT")]
    """Folder for the set; made if need be."""
    options: Annotated[CaptureOptions, tyro.conf.arg(name="")] = field(default_factory=CaptureOptions)
    debug: bool = False
    """Show where unexpected errors come from."""

    def run(self) -> int:
        """Make what is missing; 0 when all is there."""
        model = load_model("vultus")
        if model.chart is None:
            raise BadInput("the bundled model has no face chart: reinstall vultus")
        total = self.options.subjects * self.options.expressions
        made = 0
        with tqdm(total=total, unit="capture", file=sys.stderr, disable=None, dynamic_ncols=True) as bar:
            for _, new in make_captures(model, self.out, self.options):
                made += new
                bar.update()
        print(f"{made} captures made, {total - made} were there -> {self.out}")
        return 0
