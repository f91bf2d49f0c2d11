"""Samples out of shards by number: what is damaged is an error in place of a sample, and the files of the last shards stay open."""

from __future__ import annotations

import tarfile
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ..errors import BadFile, BadInput
from .manifest import Manifest
from .packed_sample import FACTS, IMAGE, unpack
from .sample import Sample
from .sample_order import TOGETHER

DAMAGED = (ValueError, KeyError, OSError, EOFError, zlib.error, zipfile.BadZipFile, BadInput)
"""What a damaged sample may raise when it is unpacked."""


class ShardReader:
    """Reads samples by number (all sets' shards one after the other), and keeps the files of the last shards open."""

    def __init__(self, sets: Iterable[tuple[Path, Manifest]]) -> None:
        sets = list(sets)
        self._shards = [(folder / shard.name, shard) for folder, manifest in sets for shard in manifest.shards]  # fmt: skip
        self._first = np.cumsum([0] + [shard.samples for _, shard in self._shards])
        self._open: dict[int, _Shard | BadFile] = {}
        self._most_open = 2 * TOGETHER * len(sets)

    def read(self, place: int) -> Sample | BadFile:
        """Sample number ``place``, or why it cannot be read."""
        which = int(np.searchsorted(self._first, place, side="right")) - 1
        shard = self._shard(which)
        if isinstance(shard, BadFile):
            return shard
        try:
            return unpack(shard.read(place - int(self._first[which])))
        except DAMAGED as error:
            return BadFile(remedied(self._shards[which][0], f"a sample in it cannot be read ({error})"))

    def close(self) -> None:
        """Close the files."""
        for shard in self._open.values():
            if isinstance(shard, _Shard):
                shard.file.close()
        self._open.clear()

    def _shard(self, which: int) -> _Shard | BadFile:
        if which in self._open:
            return self._open[which]
        path, entry = self._shards[which]
        found: _Shard | BadFile
        try:
            if path.stat().st_size != entry.bytes:
                raise ValueError(f"{path.stat().st_size} bytes instead of {entry.bytes}")
            found = _Shard(path, entry.samples)
        except FileNotFoundError:
            found = BadFile(remedied(path, "not found"))
        except (OSError, ValueError, tarfile.TarError) as error:
            found = BadFile(remedied(path, f"damaged ({error})"))
        if len(self._open) >= self._most_open:
            old = self._open.pop(next(iter(self._open)))
            if isinstance(old, _Shard):
                old.file.close()
        self._open[which] = found
        return found


class _Shard:
    """An open shard: where each sample's files are in it."""

    def __init__(self, path: Path, samples: int) -> None:
        self.file: BinaryIO = path.open("rb")
        self.members: list[dict[str, tuple[int, int]]] = []
        try:
            key = None
            with tarfile.open(fileobj=self.file, mode="r:") as archive:
                for member in archive:
                    name, _, ending = member.name.partition(".")
                    if name != key:
                        key = name
                        self.members.append({})
                    self.members[-1][ending] = (member.offset_data, member.size)
            if len(self.members) != samples:
                raise ValueError(f"{len(self.members)} samples instead of {samples}")
        except BaseException:
            self.file.close()
            raise

    def read(self, number: int) -> dict[str, bytes]:
        files = {}
        for ending, (offset, size) in self.members[number].items():
            self.file.seek(offset)
            files[ending] = self.file.read(size)
        if FACTS not in files or IMAGE not in files:
            raise ValueError(f"sample {number} lacks {FACTS} or {IMAGE}")
        return files


def remedied(path: Path, what: str) -> str:
    """A line about a damaged shard."""
    return f"{path}: {what}; delete it and run the command that made the set again: only what is missing is made"  # fmt: skip
