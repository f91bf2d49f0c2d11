"""A user's own copy of a data set: is it all there, and if not, what is expected where, and who gives it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import BadFile


@dataclass(frozen=True)
class Layout:
    """What a benchmark expects on the disk.

    Attributes:
        name: of the data set. source: who gives it, under which terms, and where to ask.
        expected: lines that draw the folder, one path and its meaning each.
    """

    name: str
    source: str
    expected: tuple[str, ...]

    def check(self, folder: Path, needed: Sequence[str]) -> None:
        """Raise one error that names everything that is missing.

        Args:
            needed: glob patterns relative to the folder, each of which must match something.

        Raises:
            BadFile: no such folder, or a pattern without a match.
        """
        if not folder.is_dir():
            raise BadFile(f"{folder}: no such folder; {self.advice()}")
        missing = [pattern for pattern in needed if next(folder.glob(pattern), None) is None]
        if missing:
            raise BadFile(f"{folder}: {', '.join(missing)} not there; {self.advice()}")

    def incomplete(self, folder: Path, what: str) -> BadFile:
        """The error for something that is missing within."""
        return BadFile(f"{folder}: {what}; {self.advice()}")

    def advice(self) -> str:
        """What to put there, and where it comes from, in one line."""
        return f"{self.name} is expected as {'; '.join(self.expected)}. It comes from {self.source}"
