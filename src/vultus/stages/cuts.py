"""Where one scene of a video ends and the next begins."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_SMALL = (24, 32)  # rows and columns: what moves within a scene hardly changes so small a picture
_ALIKE = 0.35  # correlation, below which two pictures show different scenes
_FLAT = 0.01  # standard deviation of a picture that shows nothing


def thumbnail(image: Tensor) -> Tensor:
    """A frame "3 h w" as a small grey picture "h' w'"."""
    step = max(1, min(image.shape[-2] // _SMALL[0], image.shape[-1] // _SMALL[1]) // 3)
    return F.adaptive_avg_pool2d(image[:, ::step, ::step].mean(0)[None, None], _SMALL)[0, 0]


def is_cut(before: Tensor, after: Tensor) -> bool:
    """Whether the thumbnails of two neighbouring frames are of different scenes.

    By their correlation, which knows no brightness: a flash or a fading light is no cut. A picture that shows nothing is a scene of its own.
    """
    flat = [bool(picture.std() < _FLAT) for picture in (before, after)]
    if any(flat):
        return not all(flat)
    one, other = (F.normalize((picture - picture.mean()).flatten(), dim=0) for picture in (before, after))
    return float(torch.dot(one, other)) < _ALIKE
