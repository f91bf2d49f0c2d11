"""Sets of samples as WebDataset shards: plain .tar files that hold KEY.jpg, KEY.mask.png, KEY.npz and KEY.json of one sample after the other.

The format is that of https://github.com/webdataset/webdataset (files of a sample share the name up to the first dot and follow each other), so that its
readers open these sets; ours is made for exact resumption instead: any place of any epoch's order is reached without reading what comes before it.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..errors import BadFile, BadInput, VultusError
from ..io.files import atomic_file
from .manifest import Manifest, ShardEntry, claim_set, read_manifest, write_manifest
from .packed_sample import pack
from .sample import Sample
from .sample_order import order_of_epoch, samples_of_epoch
from .shard_reader import ShardReader, remedied


class Source(Protocol):
    """Samples by number, each made when it is asked for; None for one that cannot be made."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int, /) -> Sample | None: ...


@dataclass(frozen=True)
class ShardTask:
    """A shard that is to be made, of things ``first`` to ``first + planned - 1``."""

    path: Path
    first: int
    planned: int


def missing_shards(folder: str | Path, manifest: Manifest, number: int) -> list[ShardTask]:
    """Which shards a set of so many things still lacks: not finished, gone, cut short, or made when fewer were planned."""
    found = {shard.name: shard for shard in manifest.shards}
    tasks = []
    for first in range(0, number, manifest.per_shard):
        name = f"shard-{first // manifest.per_shard:06d}.tar"
        planned = min(manifest.per_shard, number - first)
        path, done = Path(folder) / name, found.get(name)
        if done is None or done.planned < planned or not path.is_file() or path.stat().st_size != done.bytes:
            tasks.append(ShardTask(path, first, planned))
    return tasks


def write_shard(task: ShardTask, samples: Source, licences: Mapping[str, str], *, quality: int = 92) -> ShardEntry:  # fmt: skip
    """Make one shard, beside its place and renamed when it is whole.

    Args:
        samples: asked for the task's numbers only. licences: every sample's source must be in it. quality: of the JPEG pictures.

    Raises:
        BadInput: a sample is malformed, or its source has no terms. BadFile: the file cannot be written (the disk is full ...).
    """
    sources: Counter[str] = Counter()
    with atomic_file(task.path) as partial:
        with tarfile.open(partial, "w", format=tarfile.USTAR_FORMAT) as archive:
            for number in range(task.first, task.first + task.planned):
                sample = samples[number]
                if sample is None:
                    continue
                if sample.source not in licences:
                    raise BadInput(f"sample {sample.key}: nothing is said about the licence of its source {sample.source!r}")  # fmt: skip
                if not sample.key or "." in sample.key or "/" in sample.key:
                    raise BadInput(f"sample {sample.key!r}: a key is a file's name without dots and slashes")
                for ending, content in pack(sample, quality=quality).items():
                    member = tarfile.TarInfo(f"{sample.key}.{ending}")
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))
                sources[sample.source] += 1
        size, digest = partial.stat().st_size, _sha256(partial)
    return ShardEntry(task.path.name, task.first, task.planned, sources.total(), size, digest, dict(sources))


def write_shards(
    samples: Source | Iterable[Sample], folder: str | Path, manifest: Manifest, *, quality: int = 92
) -> Iterator[tuple[Path, bool]]:
    """Make what is missing of a set, one shard after the other: yields each shard's path and whether it was made just now.

    Finished shards stay, and nothing in them is asked for (of a mere iterable it is drawn and passed over); a source that has become longer adds shards, and
    the last one, not full, is made anew. For several processes: :func:`.manifest.claim_set`, :func:`missing_shards`, :func:`write_shard` in each, and
    :func:`record_shard`.

    Raises:
        BadInput: the folder holds a set made otherwise, or a sample is malformed. BadFile: something cannot be written; start again and it goes on.
    """
    folder = Path(folder)
    manifest = claim_set(folder, manifest)
    for first, part in _parts(samples, manifest.per_shard):
        todo = {task.path.name: task for task in missing_shards(folder, manifest, first + len(part))}
        path = folder / f"shard-{first // manifest.per_shard:06d}.tar"
        if path.name in todo:
            entry = write_shard(todo[path.name], part, manifest.licences, quality=quality)
            manifest = record_shard(folder, manifest, entry)
        yield path, path.name in todo


@dataclass(frozen=True)
class _Part:
    """Things ``first`` to ``first + number - 1`` of a source; ``offset``: what number the source's own first one has."""

    source: Source | Sequence[Sample]
    first: int
    number: int
    offset: int = 0

    def __len__(self) -> int:
        return self.number

    def __getitem__(self, number: int, /) -> Sample | None:
        return self.source[number - self.offset]


def _parts(samples: Source | Iterable[Sample], size: int) -> Iterator[tuple[int, _Part]]:
    if isinstance(samples, Iterable) and not hasattr(samples, "__getitem__"):
        stream, first = iter(samples), 0
        while chunk := list(islice(stream, size)):
            yield first, _Part(chunk, first, len(chunk), first)
            first += size
        return
    source: Any = samples
    for first in range(0, len(source), size):
        yield first, _Part(source, first, min(size, len(source) - first))


def record_shard(folder: str | Path, manifest: Manifest, entry: ShardEntry) -> Manifest:
    """Write a finished shard into the manifest."""
    manifest = manifest.with_shard(entry)
    write_manifest(folder, manifest)
    return manifest


def damaged_shards(folder: str | Path) -> list[str]:
    """One line for each shard that is not, byte for byte, what was written: gone, cut short, or changed."""
    folder, lines = Path(folder), []
    for shard in read_manifest(folder).shards:
        path = folder / shard.name
        if not path.is_file() or _sha256(path) != shard.sha256:
            lines.append(remedied(path, "damaged" if path.is_file() else "not found"))
    return lines


@dataclass(frozen=True)
class SampleSets:
    """One or more sets of samples to be read as one; picklable.

    Attributes:
        folders: theirs. manifests: of each. weights: their shares, or None: every sample once per epoch.
    """

    folders: tuple[Path, ...]
    manifests: tuple[Manifest, ...]
    weights: tuple[float, ...] | None = None

    @property
    def count(self) -> int:
        """Samples in an epoch."""
        return int(samples_of_epoch(self.manifests, self.weights).sum())

    @property
    def digest(self) -> str:
        """Of what is in them and how they are mixed."""
        what = [[shard.sha256 for shard in manifest.shards] for manifest in self.manifests]
        return hashlib.sha256(json.dumps([what, self.weights]).encode()).hexdigest()[:16]

    def read(
        self, *, seed: int, epoch: int, shuffle: bool, start: int = 0, world: int = 1, rank: int = 0
    ) -> Iterator[Sample | VultusError]:
        """Samples ``start + rank``, ``start + rank + world``, ... of an epoch's order; an error in place of one that cannot be read.

        ``shuffle`` False: one set after the other, as they were made.
        """
        order = order_of_epoch(self.manifests, self.weights, seed, epoch, shuffle)
        reader = ShardReader(zip(self.folders, self.manifests))
        try:
            for place in order[start + rank :: world]:
                yield reader.read(int(place))
        finally:
            reader.close()


def open_sets(folders: str | Path | Sequence[str | Path] | Mapping[str | Path, float]) -> SampleSets:
    """Sets by their folders; with shares (folder -> weight) an epoch is as long as all sets together, but each gives its share of it: a small one
    again and again, a large one in part, going on in the next epoch where it was.

    Raises:
        BadInput: no folder, or a weight that cannot be. BadFile: a folder without manifest or without samples.
    """
    if isinstance(folders, (str, Path)):
        folders = [folders]
    weights = tuple(float(weight) for weight in folders.values()) if isinstance(folders, Mapping) else None
    if not len(folders) or (weights is not None and not (min(weights) >= 0 and 0 < sum(weights) < np.inf)):
        raise BadInput(f"sets {[str(folder) for folder in folders]}: give at least one folder, and weights that are not negative and not all zero")  # fmt: skip
    paths = tuple(Path(folder) for folder in folders)
    manifests = tuple(read_manifest(folder) for folder in paths)
    for folder, manifest in zip(paths, manifests):
        if not manifest.samples:
            raise BadFile(f"{folder}: this set has no finished shard; run the command that makes it again")
    return SampleSets(paths, manifests, weights)


def read_samples(
    folders: str | Path | Sequence[str | Path] | Mapping[str | Path, float],
    *,
    seed: int = 0,
    epoch: int = 0,
    shuffle: bool = True,
    start: int = 0,
    rank: int = 0,
    world: int = 1,
    keep_going: bool = True,
) -> SampleStream:
    """The samples of one or more sets (:func:`open_sets`) in the order of one epoch, which seed and epoch alone say.

    Args:
        start: places of the order to leave out, at no cost: ``position`` of the stream that was left. rank, world: this process sees the places
            start + rank, start + rank + world, ...
        keep_going: pass over what is damaged and say so in ``problems`` of the stream.

    Raises:
        BadInput, BadFile: as :func:`open_sets`; a place that cannot be; and while reading, damage, unless ``keep_going``.
    """
    if not (world >= 1 and 0 <= rank < world and start >= 0 and epoch >= 0):
        raise BadInput(f"rank {rank} of {world}, start {start}, epoch {epoch}: ranks run from 0 to world - 1, start and epoch from 0")  # fmt: skip
    sets = open_sets(folders)
    items = sets.read(seed=seed, epoch=epoch, shuffle=shuffle, start=start, world=world, rank=rank)
    return SampleStream(items, start, world, keep_going)


class SampleStream(Iterator[Sample]):
    """An iterator over samples that knows where it is.

    Attributes:
        position: give it as ``start`` to go on (with several processes: when all have passed equally many places). problems: a line for each
            damaged shard met so far.
    """

    def __init__(self, items: Iterator[Sample | VultusError], start: int, world: int, keep_going: bool) -> None:  # fmt: skip
        self._items, self._world, self._keep_going = items, world, keep_going
        self.position, self.problems = start, list[str]()

    def __next__(self) -> Sample:
        while True:
            item = next(self._items)
            self.position += self._world
            if isinstance(item, Sample):
                return item
            if not self._keep_going:
                raise item
            if str(item) not in self.problems:
                self.problems.append(str(item))


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
