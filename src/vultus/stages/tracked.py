"""What tracking is told and what it says: options, one followed face, the state after a frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from ..errors import BadInput
from ..geometry.position_map import CROP_FACTOR, FaceCrop
from ..geometry.steady_map import Steadiness, SteadyState
from .alignment import Alignment

Align = Callable[[Tensor, Sequence[FaceCrop]], Sequence[Alignment]]
"""A photo "3 h w" and crops of it -> the face in each."""
Detect = Callable[[Tensor], Sequence[FaceCrop]]
"""A photo "3 h w" -> crops of its faces, largest first."""


@dataclass(frozen=True)
class TrackOptions:
    """How faces are followed.

    Attributes:
        detect_every: frames between two looks of the detector. search_every: the same while a face is lost or nobody is there; a look in vain
            costs as much as ten frames.
        min_confidence: of an alignment, below which the face counts as lost in this frame.
        lost_s: a face that is lost for longer is dropped; if it comes back, it is a new one.
        unconfirmed: looks of the detector in a row that may miss a tracked face before it counts as lost too.
        max_faces: at most this many at a time.
        steadiness: how much maps are smoothed over time; None: not at all.
        crop_factor: side of the crops that the network knows, over the size of the 68 points' box.

    Raises:
        BadInput: a number that makes no sense.
    """

    detect_every: int = 10
    search_every: int = 4
    min_confidence: float = 0.5
    lost_s: float = 0.6
    unconfirmed: int = 6
    max_faces: int = 8
    steadiness: Steadiness | None = field(default_factory=Steadiness)
    crop_factor: float = CROP_FACTOR

    def __post_init__(self) -> None:
        if (
            min(self.detect_every, self.search_every, self.unconfirmed, self.max_faces) < 1
            or not self.lost_s >= 0
        ):
            raise BadInput(
                f"tracking with detect_every {self.detect_every}, search_every {self.search_every}, unconfirmed {self.unconfirmed}, max_faces {self.max_faces}, lost_s {self.lost_s}: numbers must be 1 at least, seconds not negative"
            )


@dataclass(frozen=True, eq=False)
class TrackedFace:
    """One face while it is followed.

    Attributes:
        number: its own, never given again.
        alignment: the last one, steadied. crop: around its points before that.
        velocity: of the crop, in its sides per second (x, y).
        seen_s: when it was last there. is_seen: whether that is now.
        num_missed: looks of the detector since it last found this face.
        steady: the filter's memory; None when it starts anew.
    """

    number: int
    alignment: Alignment
    crop: FaceCrop
    velocity: tuple[float, float]
    seen_s: float
    is_seen: bool = True
    num_missed: int = 0
    steady: SteadyState | None = None


@dataclass(frozen=True, eq=False)
class TrackState:
    """What is known after a frame.

    Attributes:
        faces: in the order of their numbers, lost ones included. num_given: how many numbers were given.
        time_s: of the frame. num_since_detection: frames since the detector looked. is_cut: the scene is another one than a frame before.
        small: the frame, small, to notice cuts by.
    """

    faces: tuple[TrackedFace, ...]
    num_given: int
    time_s: float
    num_since_detection: int
    is_cut: bool
    small: Tensor

    @property
    def seen(self) -> tuple[TrackedFace, ...]:
        """The faces that are there now."""
        return tuple(face for face in self.faces if face.is_seen)
