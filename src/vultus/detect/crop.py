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

    def scaled(self, scale: float) -> Window:
        """The same window in an image ``scale`` times as large."""
        x, y = self.centre_px
        return Window((x * scale, y * scale), self.side_px * scale, self.roll_rad)

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
    """Resample a window of an image "3 h w" to "3 size size"; beyond the border the edge repeats.

    A network's answer must not depend on the photo's resolution, so where the window is larger than the crop whole pixels
    are averaged first, and what bilinear sampling then skips or repeats is at most half a pixel.
    """
    region, left, top = _region(image, window)
    shrink = max(1, min(round(window.side_px / size_px), *region.shape[-2:]))
    if shrink > 1:
        region = F.avg_pool2d(region, shrink)
    size = image.new_tensor([region.shape[-1], region.shape[-2]])
    axis = torch.arange(size_px, dtype=image.dtype, device=image.device) + 0.5
    rows, columns = torch.meshgrid(axis, axis, indexing="ij")
    grid = torch.stack([columns, rows], -1)
    position = (window.to_image(grid, size_px) - image.new_tensor([left, top])) / shrink
    return F.grid_sample(
        region[None], position[None] / size * 2 - 1, padding_mode="border", align_corners=False
    )[0]


def _region(image: Tensor, window: Window) -> tuple[Tensor, int, int]:
    """The part of an image that a window can touch (at least one pixel of it), with its left and top."""
    height, width = image.shape[-2:]
    reach = window.side_px * 0.71 + 2.0
    (x, y) = window.centre_px
    left, top = (max(0, min(math.floor(c - reach), side - 1)) for c, side in ((x, width), (y, height)))
    right, bottom = (
        max(low + 1, min(math.ceil(c + reach), side)) for c, low, side in ((x, left, width), (y, top, height))
    )
    return image[:, top:bottom, left:right], left, top


def turn_back(points: Tensor, num_quarter_turns: int, width_px: int, height_px: int) -> Tensor:
    """Points "n 2" in an image made by ``torch.rot90`` (width and height of the result) -> points before it."""
    x, y = points[:, 0], points[:, 1]
    turned = {
        0: (x, y),
        1: (height_px - y, x),
        2: (width_px - x, height_px - y),
        3: (y, width_px - x),
    }[num_quarter_turns % 4]
    return torch.stack(turned, -1)
