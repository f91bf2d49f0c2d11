"""Position maps of a video at rest: the 1-euro filter (:mod:`vultus.geometry.one_euro`) for a face that moves and changes.

Two things move the points of a face, and they move differently. The head turns and shifts as one, so its motion is a similarity that thousands of points tell
together: filtered as one, nothing tears, and a moving head opens the filter for all its points alike. What is left, the face in its own frame, rests but
for mouth, brows and lids, which are fast and small: filtered point by point, a talking mouth does not bring the jitter of the forehead back, and a
moving head does not either. The answer is one map again; vertices, landmarks and pose are all read from it and so agree.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from .one_euro import OneEuro, OneEuroState, smooth
from .rigid import Similarity, umeyama

_STRIDE = 4  # of the texels that tell the similarity
_AROUND = 5  # texels over which rates are averaged: motion is shared by neighbours, noise less


@dataclass(frozen=True)
class Steadiness:
    """How much to smooth; speeds in face sizes (:func:`face_frame`) per second, so it holds at any resolution.

    Attributes:
        head: of the face as a whole. face: of its points in its own frame.
    """

    head: OneEuro = field(default_factory=lambda: OneEuro(1.0, 8.0, 1.0))
    face: OneEuro = field(default_factory=lambda: OneEuro(0.8, 25.0, 1.5))


@dataclass(frozen=True, eq=False)
class SteadyState:
    """What is remembered of the last frame: four points "4 3" that carry the similarity, and the face in its frame "s s 3"."""

    head: OneEuroState
    face: OneEuroState


def face_frame(mean_map_mm: Tensor) -> Tensor:
    """The mean head's map "3 s s" (head frame) as the frame that faces are compared in: centred, and one face size large.

    A face size is the mean of width and height of the chart.
    """
    points = mean_map_mm.flatten(1)
    size = (points.amax(1) - points.amin(1))[:2].mean()
    return (mean_map_mm - points.mean(1)[:, None, None]) / size


def steady(
    settings: Steadiness, frame: Tensor, state: SteadyState | None, map_px: Tensor, time_s: float
) -> tuple[SteadyState, Tensor]:
    """Smooth the map of one frame.

    Args:
        frame: "3 s s", :func:`face_frame` of the model. state: None for the first frame, after a cut, or when the face was lost.
        map_px: "3 s s" in pixels of the photo: x right, y down, z towards the camera.

    Returns:
        The next state, and the map "3 s s" to show.

    Raises:
        BadInput: time stands still or runs backwards.
    """
    upright = map_px.new_tensor([1.0, -1.0, 1.0])  # y up, as in the head frame: right-handed
    points = map_px.permute(1, 2, 0) * upright
    pose = _similarity(frame, points)
    own = pose.inverse().apply(points.flatten(0, 1)).unflatten(0, points.shape[:2])

    carriers = torch.cat([own.new_zeros(1, 3), torch.eye(3, dtype=own.dtype, device=own.device)])
    face_px = pose.scale
    head = smooth(
        settings.head,
        state and state.head,
        pose.apply(carriers),
        time_s,
        lambda rate: rate.square().sum(-1).mean().sqrt() / face_px,
    )
    face = smooth(settings.face, state and state.face, own, time_s, _speed_around)
    steadied = umeyama(carriers, head.value)  # a mixture of two similarities is nearly one: the nearest
    shown = steadied.apply(face.value.flatten(0, 1)).unflatten(0, points.shape[:2])
    return SteadyState(head, face), (shown * upright).permute(2, 0, 1).contiguous()


def _similarity(frame: Tensor, points: Tensor) -> Similarity:
    """From the face's frame to the picture, by every fourth texel."""
    source = frame.permute(1, 2, 0)[::_STRIDE, ::_STRIDE].reshape(-1, 3)
    target = points[::_STRIDE, ::_STRIDE].reshape(-1, 3)
    found = umeyama(source.double(), target.double())
    return Similarity(*(part.to(points) for part in found))


def _speed_around(rate: Tensor) -> Tensor:
    """Rates "s s 3" -> speeds "s s 1" of the mean motion around each texel, so that cutoffs vary smoothly over the face."""
    mean = F.avg_pool2d(
        rate.permute(2, 0, 1)[None], _AROUND, stride=1, padding=_AROUND // 2, count_include_pad=False
    )
    return mean[0].square().sum(0).sqrt()[..., None]  # torch's own norm takes ten times as long here
