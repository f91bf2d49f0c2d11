"""The square, upright window around a face that the landmark network looks at."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Window:
    """A square in the image, turned with the face.

    Attributes:
        centre_px: (x, y) in the image.
        side_px: its side, in image pixels.
        roll_rad: by how much it is turned, clockwise as seen; 0 is upright.
    """

    centre_px: tuple[float, float]
    side_px: float
    roll_rad: float

    def to_image(self, points: Tensor, size_px: int) -> Tensor:
        """Points "... 2" in pixels of the ``size_px`` wide crop -> image pixels."""
        return (points / size_px - 0.5) * self.side_px @ self._rotation(points).T + points.new_tensor(
            self.centre_px
        )

    def from_image(self, points_px: Tensor, size_px: int) -> Tensor:
        """The inverse of :meth:`to_image`."""
        offset = (points_px - points_px.new_tensor(self.centre_px)) @ self._rotation(points_px)
        return (offset / self.side_px + 0.5) * size_px

    def _rotation(self, like: Tensor) -> Tensor:
        cos, sin = math.cos(self.roll_rad), math.sin(self.roll_rad)
        return like.new_tensor([[cos, -sin], [sin, cos]])


def window_around(points_px: Tensor, right_eye_px: Tensor, left_eye_px: Tensor, scale: float) -> Window:
    """The square window around points "l 2", upright with respect to the subject's eyes, ``scale`` times their extent."""
    dx, dy = (left_eye_px - right_eye_px).tolist()
    roll_rad = math.atan2(dy, dx)
    turned = Window((0.0, 0.0), 1.0, roll_rad)
    upright = turned.from_image(points_px, 1)
    high, low = upright.amax(0), upright.amin(0)
    centre = turned.to_image((high + low) / 2, 1)
    return Window((float(centre[0]), float(centre[1])), max(float((high - low).max()) * scale, 1.0), roll_rad)


def crop(image: Tensor, window: Window, size_px: int) -> Tensor:
    """Resample a window of an image "3 h w" to "3 size size", without aliasing; beyond the border the edge repeats.

    A network's answer must not depend on the photo's resolution, so large windows are averaged down: whole pixels
    first, then twice the samples that the crop needs, then their mean.
    """
    height, width = image.shape[-2:]
    reach = window.side_px * 0.71 + 4.0
    x, y = window.centre_px
    left, top = (max(0, min(math.floor(c - reach), side - 1)) for c, side in ((x, width), (y, height)))
    right, bottom = (
        max(low + 1, min(math.ceil(c + reach), side)) for c, low, side in ((x, left, width), (y, top, height))
    )
    region = image[None, :, top:bottom, left:right]
    shrink = max(1, min(int(window.side_px / (2 * size_px)), region.shape[2], region.shape[3]))
    if shrink > 1:
        region = F.avg_pool2d(region, shrink)
    num = 2 * size_px if window.side_px > size_px * shrink else size_px
    axis = (torch.arange(num, dtype=image.dtype, device=image.device) + 0.5) * (size_px / num)
    grid = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1)
    position = (window.to_image(grid, size_px) - image.new_tensor([left, top])) / shrink
    position = position / image.new_tensor([region.shape[3], region.shape[2]]) * 2 - 1
    sampled = F.grid_sample(region, position[None], padding_mode="border", align_corners=False)
    return (F.avg_pool2d(sampled, 2) if num != size_px else sampled)[0]
