"""What became of one photo, in a form that travels between processes and prints as a line."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

UNEXPECTED_REMEDY = "please report this with what --debug prints"


@dataclass(frozen=True)
class FaceOutcome:
    """One face: where its files are and how far to trust them.

    Attributes:
        directory: the result. status: ``ok`` or ``doubtful``.
        advice: what to look at. timings_s: seconds per stage.
    """

    directory: str
    status: str
    advice: tuple[str, ...] = ()
    timings_s: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class PhotoOutcome:
    """One photo: its faces, or why there are none.

    Attributes:
        photo: the path as it was given. status: what happened.
        faces: largest first. error: one line, empty unless failed.
        seconds: wall-clock time.
    """

    photo: str
    status: Literal["done", "skipped", "failed"]
    faces: tuple[FaceOutcome, ...] = ()
    error: str = ""
    seconds: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """What ``--json`` prints for this photo."""
        return {key: value for key, value in asdict(self).items() if value or key != "error"}

    def lines(self) -> list[str]:
        """What people read: one line per face."""
        if self.status == "failed":
            return [f"{self.photo}: failed: {self.error}"]
        if self.status == "skipped":
            return [
                f"{self.photo}: finished earlier, skipped (--overwrite does it again) -> {self.faces[0].directory}"
            ]
        shown = []
        for face in self.faces:
            advice = f" ({'; '.join(face.advice)})" if face.advice else ""
            shown.append(f"{self.photo}: {face.status} -> {face.directory}{advice}")
        return shown


def failure(photo: Path | str, message: str, seconds: float = 0.0) -> PhotoOutcome:
    """A photo that did not work, and why in one line, without naming the file twice."""
    named = str(photo)
    for prefix in (f"{named}: ", f"{Path(named).name}: "):
        message = message.removeprefix(prefix)
    return PhotoOutcome(named, "failed", error=message, seconds=seconds)


def one_line(error: BaseException) -> str:
    """The message of an error without line breaks; its type when it has none."""
    return " ".join(str(error).split()) or type(error).__name__
