"""Running a method through a benchmark: in parallel, with a bar, and with what is finished kept for the next time."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from .. import __version__
from ..errors import BadInput
from ..evaluate.benchmark import Benchmark, Evaluation, Item, ItemScore, Method, evaluation, run_item
from ..io.files import atomic_file
from ..methods.files import Files
from .outcome import UNEXPECTED_REMEDY, one_line
from .workers import run_all


@dataclass(frozen=True)
class Kept:
    """Scores on the disk, one file per item; what they depend on is in the folder's name.

    Attributes:
        folder: under ``$XDG_CACHE_HOME/vultus/evaluate``.
    """

    folder: Path

    def load(self, item: Item, extra: str) -> ItemScore | None:
        """The kept score of an item; None if there is none, or it cannot be read."""
        with (
            suppress(OSError, ValueError, KeyError),
            np.load(self._path(item, extra), allow_pickle=False) as archive,
        ):
            fields = json.loads(str(archive["score"]))
            samples = {name[2:]: archive[name] for name in archive.files if name.startswith("s ")}
            return ItemScore(**fields, samples=samples)
        return None

    def keep(self, item: Item, extra: str, score: ItemScore) -> None:
        """Write a score; failures are not kept, so that a mended file gets its chance."""
        if score.problem:
            return
        fields = {"key": score.key, "person": score.person, "group": score.group, "values": dict(score.values), "seconds": score.seconds}  # fmt: skip
        self.folder.mkdir(parents=True, exist_ok=True)
        with atomic_file(self._path(item, extra)) as partial, partial.open("wb") as file:
            arrays = {f"s {name}": array for name, array in score.samples.items()}
            np.savez_compressed(file, score=np.array(json.dumps(fields)), **arrays)  # pyright: ignore[reportArgumentType]

    def _path(self, item: Item, extra: str) -> Path:
        return self.folder / f"{_digest(item.key, extra)}.npz"


def score_all(
    benchmark: Benchmark,
    method: Method,
    name: str,
    data: Path | None,
    *,
    jobs: int = 1,
    limit: int | None = None,
    again: bool = False,
    debug: bool = False,
) -> Evaluation:
    """All items through a method; an interrupted run goes on where it was.

    Args:
        name: of the method, for the table. data: the files that scores depend on.
        limit: at most so many items, spread evenly. again: do not use what was kept.
    """
    items = list(benchmark.items)
    if not items:
        raise BadInput(f"{data}: nothing to evaluate in it")
    if limit is not None and limit < len(items):
        items = [items[i] for i in np.linspace(0, len(items) - 1, limit).round().astype(int)]
    kept = Kept(cache_folder() / "evaluate" / f"{benchmark.name}-{_digest(repr(_without_items(benchmark)), repr(method), _state(data), _code())}")  # fmt: skip
    scores: dict[str, ItemScore] = {}
    extras = {item.key: method.fingerprint(item) if isinstance(method, Files) else "" for item in items}
    if not again:
        found = {item.key: kept.load(item, extras[item.key]) for item in items}
        scores = {key: score for key, score in found.items() if score is not None}
    todo = [item for item in items if item.key not in scores]
    of_key = {item.key: item for item in items}
    with tqdm(
        total=len(items), initial=len(scores), unit="item", file=sys.stderr, disable=None, dynamic_ncols=True
    ) as bar:
        # The benchmark may hold twenty thousand items: it goes to each process once, not with every item.
        for score in run_all(todo, partial(_score, benchmark, method, debug), _when_died, jobs):
            scores[score.key] = score
            kept.keep(of_key[score.key], extras[score.key], score)
            bar.update()
    return evaluation(benchmark, name, [scores[item.key] for item in items])


def _score(benchmark: Benchmark, method: Method, debug: bool, item: Item) -> ItemScore:
    try:
        return run_item(benchmark, method, item)
    except Exception as error:  # one item must not end a run of hours
        if debug:
            raise
        return ItemScore.failed(
            item, f"unexpected {type(error).__name__}: {one_line(error)}; {UNEXPECTED_REMEDY}"
        )


def _when_died(item: Item, how: str) -> ItemScore:
    return ItemScore.failed(item, how)


def _without_items(benchmark: Benchmark) -> object:
    """A benchmark's options: its repr without the items, whose files :func:`_state` knows."""
    return sorted(
        (name, value) for name, value in vars(benchmark).items() if isinstance(value, (bool, int, float, str, tuple)) and name not in ("items", "cases")
    )  # fmt: skip


def _state(data: Path | None) -> str:
    """Names, sizes and times of all files that the benchmark may read."""
    if data is None:
        return ""
    files: Sequence[Path] | Iterator[Path] = [data] if data.is_file() else data.rglob("*")
    digest = hashlib.sha256(str(data.resolve()).encode())
    for path in sorted(files):
        with suppress(OSError):
            stat = path.stat()
            digest.update(f"{path}|{stat.st_size}|{stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()


@lru_cache(maxsize=1)
def _code() -> str:
    """The package's own state: scores of another version are not these."""
    digest = hashlib.sha256(__version__.encode())
    root = Path(__file__).parents[1]
    for path in sorted(root.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:  # compiled files, numba's too, come and go
            digest.update(path.read_bytes())
    return digest.hexdigest()


def cache_folder() -> Path:
    """Where what can be made again is kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vultus"


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
