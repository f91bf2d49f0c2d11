"""``vultus dataset fit`` and ``vultus dataset profile``: training samples from photos. Joined to the others in :mod:`.dataset`."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro
from tqdm import tqdm

from ..data import profiling
from ..data.fitted_photos import FitOptions, FittedPhotos, fit_photos, manifest_of, photos_of
from ..data.fitted_sheet import contact_sheet
from ..data.profiling import ProfileOptions, TurnedPhotos
from ..data.shards import write_shards
from ..model.catalog import load_model

SHARDS, SHEET = "samples", "sheet.png"
_MOST_ON_SHEET = 100
Out = Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="OUT")]


@dataclass(frozen=True)
class Fit:
    """Photos of people, fitted; the good fits as samples, with a contact sheet of what was kept and what was not."""

    out: Out
    """Folder for the fits; made if need be. OUT/samples/ holds the shards."""
    options: Annotated[FitOptions, tyro.conf.arg(name="")]
    debug: bool = False
    """Show where unexpected errors come from."""

    def run(self) -> int:
        """Fit what is missing; 0 when all photos have a record."""
        model = load_model("vultus")
        records = []
        total = len(photos_of(self.options))
        with tqdm(total=total, unit="photo", file=sys.stderr, disable=None, dynamic_ncols=True) as bar:
            for record in fit_photos(model, self.out, self.options):
                records.append(record)
                bar.update()
        kept = sum(record.kept for record in records)
        shown = [r for r in records if not r.kept][:_MOST_ON_SHEET] + [r for r in records if r.kept][
            :_MOST_ON_SHEET
        ]
        sheet = contact_sheet(model, self.out, self.options.photos, shown, self.out / SHEET)
        if kept:
            for _ in write_shards(FittedPhotos(self.out), self.out / SHARDS, manifest_of(self.options)):
                pass
        why = Counter(record.reason.split(",")[0].split(" (")[0] for record in records if not record.kept)
        for reason, number in why.most_common():
            print(f"{number:6d} dropped: {reason}")
        print(f"{kept} of {total} photos kept -> {self.out / SHARDS}; look at {sheet}")
        return 0


@dataclass(frozen=True)
class Profile:
    """Fitted photos turned out of plane, as 300W-LP was made."""

    out: Out
    """Folder for the set; made if need be."""
    options: Annotated[ProfileOptions, tyro.conf.arg(name="")]
    debug: bool = False
    """Show where unexpected errors come from."""
    per_shard: int = field(default=500)
    """Samples per file."""

    def run(self) -> int:
        """Make the shards that are missing; 0 when all are there."""
        source = TurnedPhotos(load_model("vultus"), self.options)
        made = number = 0
        plan = profiling.manifest_of(self.options, self.per_shard)
        shards = -(-len(source) // self.per_shard)
        with tqdm(total=shards, unit="shard", file=sys.stderr, disable=None, dynamic_ncols=True) as bar:
            for _, new in write_shards(source, self.out, plan):
                made, number = made + new, number + 1
                bar.update()
        print(f"{made} shards made, {number - made} were there -> {self.out}")
        return 0


PhotoSets = Annotated[Fit, tyro.conf.subcommand("fit")] | Annotated[Profile, tyro.conf.subcommand("profile")]
"""What the union of subcommands in :mod:`.dataset` takes over."""
