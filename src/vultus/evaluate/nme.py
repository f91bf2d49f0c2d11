"""Normalised mean errors of landmarks, and the means over yaw that the AFLW papers quote.

The protocol is that of 3DDFA (Zhu et al., CVPR 2016; github.com/cleardusk/3DDFA, benchmark_aflw2000.py and benchmark_aflw.py): the mean
distance of the landmarks over the square root of width times height of the true ones, in bins of the absolute yaw, and the unweighted mean of the bins.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import BadInput
from ..geometry.camera import Camera
from .benchmark import Curve, ItemScore, Points, Prediction, Row
from .summary import curve, interval

BINS = ("0-30", "30-60", "60-90")
"""Absolute yaw in degrees; an upper end belongs to its bin, and the last bin has none."""

Depth = Literal["raw", "mean", "min"]
"""How the z of two sets of landmarks are brought together: not at all; means at zero; minima at zero."""

_Values = NDArray[np.float64]
_Statistic = Callable[[_Values, NDArray[np.int64]], float]


def yaw_bin(yaw_deg: float) -> str:
    """The bin of an angle.

    Angles are not brought into half a turn first, because the protocol does not: the few fits of AFLW2000-3D beyond it (-351 degrees is among them)
    count as profiles.
    """
    size = abs(yaw_deg)
    return BINS[0] if size <= 30 else BINS[1] if size <= 60 else BINS[2]


def extent(points: Points) -> tuple[float, float, float, float]:
    """Left, top, right, bottom of (n, 2 or 3) points."""
    (left, top), (right, bottom) = points[:, :2].min(0), points[:, :2].max(0)
    return float(left), float(top), float(right), float(bottom)


def box_size(points: Points) -> float:
    """What distances are divided by: sqrt(width * height) of the extent of (n, 2 or 3) *true* points.

    Raises:
        BadInput: the points lie on one line or in one place.
    """
    left, top, right, bottom = extent(points)
    size = float(np.sqrt((right - left) * (bottom - top)))
    if not size > 0:
        raise BadInput(
            f"true landmarks have no extent ({left:g}, {top:g}, {right:g}, {bottom:g}): check the annotation"
        )
    return size


def percent_errors(points: Points, truth: Points, size: float, depth: Depth | None = None) -> _Values:
    """Distances (n,) of corresponding points in per cent of ``size``.

    Args:
        points, truth: (n, 2 or 3), pixels. size: of :func:`box_size`.
        depth: how z is compared; None: x and y alone.
    """
    if depth is None:
        return 100 * np.linalg.norm(points[:, :2] - truth[:, :2], axis=1) / size
    return 100 * np.linalg.norm(_with_depth(points, depth) - _with_depth(truth, depth), axis=1) / size


def _with_depth(points: Points, depth: Depth) -> Points:
    origin = {"raw": 0.0, "mean": points[:, 2].mean(), "min": points[:, 2].min()}[depth]
    return points[:, :3] - np.array([0.0, 0.0, origin])


def image_points(prediction: Prediction, numbers: Sequence[int] = (68,)) -> Points:
    """Where a prediction puts the landmarks in the photo, (n, 2 or 3): x, y (pixel centres at +0.5), z towards the camera, in pixels.

    Without ``points_px``, those of the posed face as its camera sees them; their z is what remains of their depth when it is drawn at the
    scale of its mean (weak perspective, as the ground truth was made): ``-(depth - mean depth) * focal / mean depth``.

    Args:
        numbers: of landmarks that will do.

    Raises:
        BadInput: no landmarks, another number of them, or a coordinate that is not finite.
    """
    if prediction.points_px is not None:
        points = np.asarray(prediction.points_px, np.float64)
    elif prediction.posed is None or prediction.posed.landmarks is None or prediction.camera is None:
        raise BadInput(
            "no landmarks in the photo: give points_px, or a posed face with landmarks and a camera"
        )
    else:
        points = _seen(prediction.posed.landmarks, prediction.camera)
    if points.ndim != 2 or len(points) not in numbers or points.shape[1] not in (2, 3):
        expected = " or ".join(str(number) for number in numbers)
        raise BadInput(f"landmarks of shape {points.shape}: this benchmark measures ({expected}, 2 or 3)")
    if not np.isfinite(points).all():
        raise BadInput("a landmark is not finite: leave z out where it is unknown")
    return points


def _seen(landmarks: Points, camera: Camera) -> Points:
    import torch

    exact = replace(
        camera,
        focal_px=camera.focal_px.double().cpu(),
        principal_px=camera.principal_px.double().cpu(),
        T_camera_head=camera.T_camera_head.double().cpu(),
    )
    seen = exact.project(torch.from_numpy(np.array(landmarks, np.float64))).numpy()
    depth_mm = seen[:, 2]
    if not depth_mm.min() > 0:
        raise BadInput("a landmark lies behind the camera: check T_camera_head")
    mean_mm = depth_mm.mean()
    z_px = -(depth_mm - mean_mm) * float(exact.focal_px) / mean_mm
    return np.concatenate([seen[:, :2], z_px[:, None]], 1)


def mean_of_bins(values: _Values, bins: NDArray[np.int64]) -> float:
    """The unweighted mean of the bins' means; NaN where a bin is empty.

    Args:
        values: (n,). bins: (n,) numbers of :data:`BINS`.
    """
    chosen = [values[bins == number] for number in range(len(BINS))]
    return float(np.mean([some.mean() for some in chosen])) if all(map(len, chosen)) else float("nan")


def balanced_subset(bins: Mapping[str, str], per_bin: int, seed: int = 0) -> frozenset[str]:
    """Items drawn at random, equally many of each bin.

    Args:
        bins: key -> bin of *all* items, so that the subset does not depend on which of them could be scored.
        per_bin: so many, or fewer where a bin has not got them.
    """
    rng = np.random.default_rng(seed)
    members = {name: sorted(key for key, bin_ in bins.items() if bin_ == name) for name in BINS}
    number = min(per_bin, *(len(keys) for keys in members.values()))
    drawn = [rng.choice(keys, number, replace=False) for keys in members.values() if number]
    return frozenset(str(key) for keys in drawn for key in keys)


def bin_rows(
    name: str, scores: Sequence[ItemScore], value: str, bins: Mapping[str, str], of: str = "yaw"
) -> tuple[Row, ...]:
    """A value's mean in each bin and the unweighted mean of the bins, which is what papers call the mean.

    The intervals are those of :func:`.summary.interval` for people who appear once each, which is all that is known here.

    Args:
        name: of what is measured. value: its name in :attr:`ItemScore.values`; scores without it do not count.
        bins: key -> bin. of: what the bins are of, for the rows' names.
    """
    values, ids = _chosen(scores, value, bins)
    rows = [
        _row(f"{name}, {of} {part}", values[ids == number], ids[ids == number], _mean)
        for number, part in enumerate(BINS)
    ]
    return (*rows, _row(f"{name}, mean of {of} bins", values, ids, mean_of_bins))


def all_row(name: str, scores: Sequence[ItemScore], value: str, bins: Mapping[str, str]) -> Row:
    """The mean over all images."""
    return _row(f"{name}, all", *_chosen(scores, value, bins), _mean)


def subset_row(
    name: str, scores: Sequence[ItemScore], value: str, bins: Mapping[str, str], subset: frozenset[str]
) -> Row:
    """The mean of the bins over a subset of keys (:func:`balanced_subset`)."""
    inside = [score for score in scores if score.key in subset]
    return _row(f"{name}, balanced subset", *_chosen(inside, value, bins), mean_of_bins)


def _chosen(
    scores: Sequence[ItemScore], value: str, bins: Mapping[str, str]
) -> tuple[_Values, NDArray[np.int64]]:
    chosen = [score for score in scores if value in score.values]
    values = np.array([score.values[value] for score in chosen], np.float64)
    return values, np.array([BINS.index(bins[score.key]) for score in chosen], np.int64)


def _mean(values: _Values, bins: NDArray[np.int64]) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _row(what: str, values: _Values, bins: NDArray[np.int64], statistic: _Statistic) -> Row:
    found, number = statistic(values, bins), len(values)
    if number < 2 or not np.isfinite(found):
        return Row(what, found, "%", count=number)
    nobody_twice = [str(i) for i in range(number)]
    low, high = interval(nobody_twice, lambda ids: statistic(values[ids], bins[ids]))
    return Row(what, found, "%", low, high, number)


def bin_curves(
    name: str, scores: Sequence[ItemScore], value: str, bins: Mapping[str, str]
) -> tuple[Curve, ...]:
    """Cumulative error curves over images: all of them, then each bin that has any."""
    chosen = [score for score in scores if value in score.values]
    groups = {f"{name}, all": chosen}
    groups |= {f"{name}, yaw {part}": [s for s in chosen if bins[s.key] == part] for part in BINS}
    return tuple(
        curve(title, np.array([s.values[value] for s in some]), "%") for title, some in groups.items() if some
    )


def scored_row(scores: Sequence[ItemScore], total: int) -> Row:
    """How many of the set's images have an error at all: a method that gives up on the hard ones must not look better for it."""
    return Row("images scored", 100 * len(scores) / total, "%", count=len(scores), better="higher")


def missing_note(scores: Sequence[ItemScore], total: int) -> tuple[str, ...]:
    """A line about images without an error, or nothing."""
    missing = total - len(scores)
    if not missing:
        return ()
    return (
        f"{missing} of {total} images have no error and are in no mean; published numbers count all, so compare with care",
    )
