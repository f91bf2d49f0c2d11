"""Faces over the frames of a video: aligned from where they were, kept apart by numbers, found again, and steadied.

A tracked face needs no detector: its next crop lies around its last points, moved on as they moved. The detector looks every few frames for
faces that came, at once when one is lost, and says that tracked ones are still faces.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import combinations

import torch
from torch import Tensor

from ..errors import BadInput
from ..geometry.crop_motion import distance, moved_on, overlap, pairs, share_inside, turned_crop
from ..geometry.position_map import FaceCrop
from ..geometry.steady_map import face_frame, steady
from ..render.bake import bake, dilate
from .alignment import Alignment
from .alignment_surface import FaceSurface
from .cuts import is_cut, thumbnail
from .tracked import Align, Detect, TrackedFace, TrackOptions, TrackState

_SAME = 0.65  # overlap of two alignments, beyond which they are of one face; another would be hidden by it
_SMALLEST_PX = 2.0  # extent of the 68 points: what lies in one place is no face, whatever its confidence
_INSIDE = 0.4  # of the 68 points that must lie in the picture


def track(
    state: TrackState | None,
    image: Tensor,
    time_s: float,
    align: Align,
    detect: Detect,
    options: TrackOptions | None = None,
) -> TrackState:
    """One frame: where the faces of the frame before are now, and which are new.

    Args:
        state: None for the first frame.
        image: "3 h w" sRGB. time_s: when it was taken.

    Raises:
        BadInput: time stands still or runs backwards.
    """
    options = options or TrackOptions()
    if state is not None and not time_s > state.time_s:
        raise BadInput(f"a frame at {time_s} s after one at {state.time_s} s: times must grow")
    small = thumbnail(image)
    cut = state is not None and is_cut(state.small, small)
    # What is behind a cut is another scene: whoever stands in the same place is somebody else.
    before = () if state is None or cut else state.faces
    expected = [moved_on(face.crop, face.velocity, time_s - face.seen_s) for face in before]
    frames_ago = 0 if state is None else state.num_since_detection + 1
    calm = before and all(face.is_seen for face in before)
    looks = state is None or cut or frames_ago >= (options.detect_every if calm else options.search_every)
    new: list[FaceCrop] = []
    if looks:
        before, expected, new = _confirm(before, expected, detect(image), options)
        frames_ago = 0
    found = align(image, [*expected, *new]) if expected or new else []
    followed, came = found[: len(before)], found[len(before) :]
    kept = _follow(before, expected, followed, time_s, options)
    given = 0 if state is None else state.num_given
    for crop, alignment in zip(new, came):
        if (
            len(kept) < options.max_faces
            and _is_there(alignment, options)
            and not _is_taken(alignment, kept, options)
        ):
            given += 1
            fresh = TrackedFace(given, alignment, crop, (0.0, 0.0), time_s)
            kept.append(_steadied(fresh, alignment, time_s, options))
    return TrackState(tuple(kept), given, time_s, frames_ago, cut, small)


class FaceTracker:
    """Follows the faces of one video; :func:`track` with its state kept."""

    def __init__(self, align: Align, detect: Detect, options: TrackOptions | None = None) -> None:
        self._align, self._detect, self._options = align, detect, options or TrackOptions()
        self.state: TrackState | None = None

    def __call__(self, image: Tensor, time_s: float) -> tuple[TrackedFace, ...]:
        """The faces of the next frame "3 h w"; errors as :func:`track`."""
        self.state = track(self.state, image, time_s, self._align, self._detect, self._options)
        return self.state.seen


def _confirm(
    faces: Sequence[TrackedFace],
    expected: list[FaceCrop],
    detected: Sequence[FaceCrop],
    options: TrackOptions,
) -> tuple[tuple[TrackedFace, ...], list[FaceCrop], list[FaceCrop]]:
    """What the detector says about tracked faces; where lost ones are to be looked for; what is new."""
    matched = pairs(expected, detected)
    confirmed, crops = [], list(expected)
    for index, face in enumerate(faces):
        if index in matched:
            confirmed.append(replace(face, num_missed=0))
            if not face.is_seen:
                crops[index] = detected[matched[index]]
        else:
            confirmed.append(replace(face, num_missed=face.num_missed + 1))
    taken = set(matched.values())
    new = [crop for index, crop in enumerate(detected) if index not in taken]
    return tuple(confirmed), crops, new[: max(options.max_faces - len(faces), 0)]


def _follow(
    faces: Sequence[TrackedFace],
    expected: Sequence[FaceCrop],
    found: Sequence[Alignment],
    time_s: float,
    options: TrackOptions,
) -> list[TrackedFace]:
    """Tracked faces with their new alignments; lost ones as they were, until they are dropped."""
    there = [
        _is_there(alignment, options) and face.num_missed < options.unconfirmed
        for face, alignment in zip(faces, found)
    ]
    for index in _doubles(expected, found, there, options):
        there[index] = False
    kept = []
    for face, alignment, is_there in zip(faces, found, there):
        if is_there:
            kept.append(_moved(face, alignment, time_s, options))
        elif time_s - face.seen_s <= options.lost_s:
            kept.append(replace(face, is_seen=False, steady=None))
    return kept


def _moved(face: TrackedFace, alignment: Alignment, time_s: float, options: TrackOptions) -> TrackedFace:
    """A face that was found again: its crop, how fast it moves, its steadied map."""
    crop, elapsed_s = _crop_of(alignment, options), time_s - face.seen_s
    step = [(now - was) / crop.side_px / elapsed_s for now, was in zip(crop.centre_px, face.crop.centre_px)]
    # Half of what it was: a prediction that errs by a little does no harm, one that trembles does.
    velocity = (0.5 * face.velocity[0] + 0.5 * step[0], 0.5 * face.velocity[1] + 0.5 * step[1])
    moved = replace(face, crop=crop, velocity=velocity, seen_s=time_s, is_seen=True)
    return _steadied(moved, alignment, time_s, options)


def _steadied(face: TrackedFace, alignment: Alignment, time_s: float, options: TrackOptions) -> TrackedFace:
    if options.steadiness is None:
        return replace(face, alignment=alignment, crop=_crop_of(alignment, options))
    frame = _frame_of(alignment.surface, alignment.position_px.shape[-1])
    memory, position = steady(options.steadiness, frame, face.steady, alignment.position_px, time_s)
    shown = replace(alignment, position_px=position)
    return replace(face, alignment=shown, crop=_crop_of(alignment, options), steady=memory)


def _doubles(
    expected: Sequence[FaceCrop], found: Sequence[Alignment], there: Sequence[bool], options: TrackOptions
) -> set[int]:
    """Of tracked faces that ended up on the same one: those that are not where they were going to be.

    It happens where one face passes in front of another: the crop of the hidden one shows the one in front.
    """
    crops = {index: _crop_of(found[index], options) for index, is_there in enumerate(there) if is_there}
    doubles = set()
    for one, other in combinations(crops, 2):
        if overlap(crops[one], crops[other]) > _SAME:
            off = {index: distance(expected[index], crops[index]) for index in (one, other)}
            doubles.add(one if off[one] > off[other] else other)
    return doubles


def _is_taken(alignment: Alignment, faces: Sequence[TrackedFace], options: TrackOptions) -> bool:
    """Whether a new alignment is of a face that is followed already."""
    crop = _crop_of(alignment, options)
    return any(face.is_seen and overlap(crop, face.crop) > _SAME for face in faces)


@lru_cache(4)
def _frame_of(surface: FaceSurface, size: int) -> Tensor:
    """A model's mean face as a map "3 s s", in the frame that maps are steadied in."""
    every = torch.arange(len(surface.triangles))
    return face_frame(dilate(*bake(surface.mean_mm, surface.topology, every, size)))


def _crop_of(alignment: Alignment, options: TrackOptions) -> FaceCrop:
    return turned_crop(alignment.landmarks68_px, options.crop_factor, alignment.crop.size_px)


def _is_there(alignment: Alignment, options: TrackOptions) -> bool:
    """Whether an alignment shows a face, of some size, and enough of it lies in the picture."""
    points = alignment.landmarks68_px
    if alignment.confidence < options.min_confidence or not bool(alignment.position_px.isfinite().all()):
        return False
    extent = (points.amax(0) - points.amin(0))[:2]
    return bool(extent.min() > _SMALLEST_PX) and share_inside(points, alignment.image_size) >= _INSIDE
