"""``vultus train``: from a set of samples to a network."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import tyro
from tqdm import tqdm

from ..errors import BadInput

if TYPE_CHECKING:
    from ..data.shards import SampleSets
    from ..train.loop import Report

DESCRIPTION = """Train a network on a set of samples that `vultus dataset` made.

CONFIG is a JSON or TOML file, or the name of one that comes with vultus: reference (as the
paper has it), better (ours), fast (for processors: the network that vultus ships), tiny (to try
things out). docs/training.md says what is in it.

OUT gets checkpoints, metrics.csv, validation.csv, pictures and config.json. The same command
goes on after an interruption, and ends with the same weights. GPUs are used where there are any;
`torchrun --nproc-per-node=N -m vultus train ...` uses several.

Examples:
  vultus train reference --data heads --validation others -o run
  vultus train better --data heads photos --weights 1 3 --validation others -o run
  vultus train my.json --data heads -o run --set batch=32 --set schedule.rate=3e-4
  vultus train tiny --data heads -o run --export net.safetensors

Exit status: 0 trained to the end, 130 or 143 interrupted, 2 otherwise."""

Out = Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="OUT")]


@dataclass(frozen=True, kw_only=True)
class Train:
    """Train a network."""

    config: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="CONFIG")]
    """File, or reference, better, fast, tiny."""
    data: tuple[Path, ...]
    """Folders of samples to train on."""
    out: Out
    """Folder of the run; made if need be."""
    validation: tuple[Path, ...] = ()
    """Folders of samples of other people, to measure on; nothing is measured without."""
    weights: tuple[float, ...] = ()
    """How much of each epoch comes from each folder of --data; as large as they are when not given."""
    overrides: Annotated[tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg(name="set", metavar="KEY=VALUE")] = ()  # fmt: skip
    """A key of the config and its value, e.g. schedule.rate=3e-4; may be given several times."""
    device: str = "auto"
    """auto: a GPU where there is one; or cpu, cuda, cuda:1."""
    export: Path | None = None
    """When trained to the end, write the best weights to this .safetensors file."""
    debug: bool = False
    """Show where unexpected errors come from."""

    def run(self) -> int:
        """Train; 0 when the run came to its end."""
        from ..data.shards import open_sets
        from ..train.config import read_config
        from ..train.loop import train
        from ..train.tasks import make_task

        if self.weights and len(self.weights) != len(self.data):
            raise BadInput(f"--weights: {len(self.weights)} numbers for {len(self.data)} folders of --data; give one each")  # fmt: skip
        config = read_config(self.config, self.overrides)
        task = make_task(config)
        training = open_sets(dict(zip(self.data, self.weights)) if self.weights else self.data)
        validation = open_sets(self.validation) if self.validation else None
        if validation is not None and _shards(training) & _shards(validation):
            raise BadInput("--validation: these sets are trained on too, so nothing would be measured; give sets of other people")  # fmt: skip
        with _told() as told:
            reports = train(config, task, training, validation, self.out, device=self.device, stop=lambda: bool(told))  # fmt: skip
            ended, writes = _show(reports)
        if ended == "stopped":
            print("vultus: stopped, a checkpoint is written; the same command goes on from there", file=sys.stderr)  # fmt: skip
            return 128 + (told[0] if told else signal.SIGTERM)
        if writes:
            print(f"trained -> {self.out}")
            if self.export is not None:
                self._export({name: terms for m in training.manifests for name, terms in m.licences.items()})
        return 0

    def _export(self, licences: dict[str, str]) -> None:
        from ..train.checkpoint import best_or_latest, read_checkpoint
        from ..train.export import export

        assert self.export is not None
        chosen = best_or_latest(self.out)
        checkpoint = read_checkpoint(chosen)
        export(self.export, checkpoint, {"licences": licences})
        print(f"weights of step {checkpoint.step} -> {self.export}")


def _shards(sets: SampleSets) -> set[str]:
    return {shard.sha256 for manifest in sets.manifests for shard in manifest.shards}


def _show(reports: Iterator[Report]) -> tuple[str, bool]:
    """Draw the bar and the numbers of a run; returns how it ended, and whether this process speaks for all."""
    from ..train.validation import BASELINE

    ended, writes, bar = "", True, None
    try:
        for report in reports:
            ended, writes = report.ended, report.writes
            if bar is None:
                bar = tqdm(
                    total=report.total_steps, initial=report.step, unit="step", file=sys.stderr, disable=None if writes else True
                )  # fmt: skip
            bar.update(report.step - bar.n)
            if report.metrics:
                bar.set_postfix(loss=f"{report.metrics['loss']:.4g}", refresh=False)
            for note in report.notes:
                tqdm.write(f"vultus: {note}", file=sys.stderr)
            if report.validation and writes:
                tqdm.write(_numbers(report.step, report.validation, BASELINE), file=sys.stdout)
    finally:
        if bar is not None:
            bar.close()
    return ended, writes


def _numbers(step: int, found: dict[str, float], prefix: str) -> str:
    """Lines of what was measured, with the baseline's number in brackets."""
    said = []
    for name, value in found.items():
        if not name.startswith(prefix):
            beside = found.get(prefix + name)
            said.append(f"{name} {value:.4g}" + (f" ({beside:.4g})" if beside is not None else ""))
    return f"step {step}: " + ", ".join(said)


@contextmanager
def _told() -> Iterator[list[int]]:
    """While inside, the first Ctrl-C or SIGTERM is written into the list; a second one acts as it always did."""
    told: list[int] = []
    before: dict[int, Callable | int | None] = {}

    def note(number: int, _frame: FrameType | None) -> None:
        told.append(number)
        for which, handler in before.items():
            signal.signal(which, handler)

    for which in (signal.SIGINT, signal.SIGTERM):
        before[which] = signal.signal(which, note)
    try:
        yield told
    finally:
        for which, handler in before.items():
            signal.signal(which, handler)
