"""What every benchmark is made of: items to predict, predictions, scores per item, and a summary that a table, a file and a figure share.

A benchmark lists :class:`Item`; a method turns an item into a :class:`Prediction` or a :class:`VultusError`; the benchmark turns the pair into an
:class:`ItemScore`, and all scores into the rows of an :class:`Evaluation`. Which means over what is the protocol's business, so it is the
benchmark that writes the rows; :func:`.summary.row` gives every one its confidence interval over people.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..errors import VultusError
from ..fit.scan_code import SEVEN
from ..geometry.camera import Camera

Points = NDArray[np.float64]
"""(n, 3) float64."""


@dataclass(frozen=True)
class FaceMesh:
    """A surface with landmarks on it, as any system may have made it.

    Attributes:
        vertices: (v, 3) millimetres (or units of their own, where a benchmark only aligns with scale).
        triangles: (f, 3) int64; what counts as the face's surface (no eyeballs, no inside of the mouth, where the maker knows).
        landmarks: (68, 3) in iBUG's order, or (7, 3): eye corners from the image's left to its right, nose, mouth corners.
            The nose is iBUG's tip (30) unless a protocol says otherwise. None: unknown.
    """

    vertices: Points
    triangles: NDArray[np.int64]
    landmarks: Points | None = None

    @property
    def seven(self) -> Points | None:
        """The landmarks that alignments start from, (7, 3)."""
        return None if self.landmarks is None else seven_of(self.landmarks)


def seven_of(landmarks: Points) -> Points:
    """The seven (7, 3) among 7 or 68 landmarks."""
    return landmarks if len(landmarks) == 7 else landmarks[list(SEVEN)]


@dataclass(frozen=True)
class Prediction:
    """What a method says about one item. A benchmark takes what it measures and says in one line what it misses.

    Attributes:
        posed: the face as in the photo, with its expression, in the frame that ``camera`` looks at.
        neutral: the same person without expression; None: the method does not tell them apart (``posed`` stands in).
        camera: of the photo, with the pose of ``posed``; None: unknown.
        points_px: (68, 3) image positions x, y (pixel centres at +0.5) and z (towards the camera, in pixels); None: those of ``posed`` as the
            camera sees them.
        image: "3 h w" sRGB, the photo drawn again; drawn: "h w" bool, where.
        seconds: what it took, reading the photo left out.
    """

    posed: FaceMesh | None = None
    neutral: FaceMesh | None = None
    camera: Camera | None = None
    points_px: Points | None = None
    image: Tensor | None = None
    drawn: Tensor | None = None
    seconds: float | None = None

    @property
    def person(self) -> FaceMesh | None:
        """The neutral face where there is one, else the posed."""
        return self.neutral or self.posed


@dataclass(frozen=True)
class Item:
    """One thing to predict.

    Attributes:
        key: its stable name, "/"-separated; predictions of other systems lie in files of this name.
        person: whom it shows; confidence intervals resample people, not photos.
        group: challenge, pose bin, set of views: what the published tables split by.
        photo: None where a benchmark has none (a mesh against a scan).
        focal_px: where the benchmark tells it. box_px: left, top, right, bottom of the face, where the protocol gives it.
    """

    key: str
    person: str
    group: str = ""
    photo: Path | None = None
    focal_px: float | None = None
    box_px: tuple[float, float, float, float] | None = None


Method = Callable[[Item], Prediction]
"""Raises :class:`~vultus.errors.VultusError` where it has nothing to say about an item."""


@dataclass(frozen=True)
class ItemScore:
    """What was measured of one item.

    Attributes:
        key, person, group: the item's. values: name -> number. seconds: the method's.
        samples: name -> array: distances behind the numbers, for curves, pooled medians and ``--dump``.
        problem: why there are no values; empty when there are.
    """

    key: str
    person: str
    group: str = ""
    values: Mapping[str, float] = field(default_factory=dict)
    samples: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    seconds: float | None = None
    problem: str = ""

    @classmethod
    def of(
        cls,
        item: Item,
        values: Mapping[str, float],
        samples: Mapping[str, NDArray[Any]] | None = None,
        seconds: float | None = None,
    ) -> ItemScore:
        """The score of an item that went well."""
        return cls(item.key, item.person, item.group, values, samples or {}, seconds)

    @classmethod
    def failed(cls, item: Item, problem: str) -> ItemScore:
        """An item that could not be scored, and why, in one line."""
        return cls(item.key, item.person, item.group, problem=problem)


@dataclass(frozen=True)
class Row:
    """One number of a table.

    Attributes:
        what: stable name. value. unit: mm, %, deg, dB, or empty.
        low, high: 95 % confidence interval over people; None where it makes no sense.
        count: how many items it is about. better: which way is better.
    """

    what: str
    value: float
    unit: str
    low: float | None = None
    high: float | None = None
    count: int = 0
    better: str = "lower"


@dataclass(frozen=True)
class Curve:
    """A cumulative error curve: share of samples (0 to 1) at most so far off.

    Attributes:
        name: of the curve. errors: (n,) ascending. share: (n,). unit: of the errors.
    """

    name: str
    errors: NDArray[np.float64]
    share: NDArray[np.float64]
    unit: str


@dataclass(frozen=True)
class Evaluation:
    """What a benchmark says about a method: everything that the terminal, the JSON file and the figure show.

    Attributes:
        benchmark, method: names. rows: the table. curves: for the figure.
        scores: per item, failures included. notes: what a reader must know (protocol details, failures).
    """

    benchmark: str
    method: str
    rows: tuple[Row, ...]
    curves: tuple[Curve, ...]
    scores: tuple[ItemScore, ...]
    notes: tuple[str, ...] = ()


class Benchmark(Protocol):
    """One protocol on one copy of its data. Opening it (a function ``open_...(folder)``) checks the data: :mod:`.layout`."""

    @property
    def name(self) -> str:
        """As in ``vultus evaluate NAME``."""
        ...

    @property
    def items(self) -> Sequence[Item]:
        """Everything to predict, in a stable order."""
        ...

    def score(self, item: Item, prediction: Prediction) -> ItemScore:
        """Measure one prediction.

        Raises:
            BadInput: the prediction lacks what the benchmark measures, or cannot be measured.
        """
        ...

    def summarise(
        self, scores: Sequence[ItemScore]
    ) -> tuple[tuple[Row, ...], tuple[Curve, ...], tuple[str, ...]]:
        """Rows, curves and notes of the scores that have no ``problem``."""
        ...


def run_item(benchmark: Benchmark, method: Method, item: Item) -> ItemScore:
    """One item through a method and a benchmark; what goes wrong on purpose becomes its ``problem``.

    Anything unexpected is raised: a bug must not pass for a bad photo.
    """
    try:
        prediction = method(item)
        scored = benchmark.score(item, prediction)
    except VultusError as error:
        return ItemScore.failed(item, " ".join(str(error).split()))
    if scored.seconds is None:
        return replace(scored, seconds=prediction.seconds)
    return scored


def evaluation(benchmark: Benchmark, method: str, scores: Sequence[ItemScore]) -> Evaluation:
    """All scores as one result; items that could not be scored are counted in a note, never silently left out."""
    good = [score for score in scores if not score.problem]
    rows, curves, notes = benchmark.summarise(good) if good else ((), (), ())
    bad = len(scores) - len(good)
    if bad:
        first = next(score for score in scores if score.problem)
        notes = (
            *notes,
            f"{bad} of {len(scores)} not scored and in no mean, e.g. {first.key}: {first.problem}",
        )
    return Evaluation(benchmark.name, method, tuple(rows), tuple(curves), tuple(scores), tuple(notes))
