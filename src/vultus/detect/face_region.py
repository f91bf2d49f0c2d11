"""Where a face's parts lie in its upright work image, from the landmarks alone."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vultus.detect.crop import Window
from vultus.detect.protocol import LandmarkKind

WORK_PX = 192  # the face is judged at this size, about 1 mm a pixel: pores do not matter, eyelids do
_FOREHEAD = 0.22  # how far above the outline's top the forehead may reach, in outline heights


@dataclass(frozen=True)
class LandmarkSets:
    """Landmarks that bound regions, in order around each."""

    face: list[int]
    top: list[int]  # those of ``face`` that move up to include the forehead
    jaw: list[int]  # those of ``face`` from the right ear over the chin to the left one
    eyes: tuple[list[int], list[int]]
    lips: list[int]
    inner_mouth: list[int]
    samples: tuple[
        list[int], ...
    ]  # convex hulls of these are skin in nearly every photo; the nose is the third
    outer_eyes: tuple[int, int]
    inner_eyes: tuple[int, int]


# fmt: off
_MEDIAPIPE = LandmarkSets(
    face=[
        10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152,
        148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
    ],
    top=[251, 284, 332, 297, 338, 10, 109, 67, 103, 54, 21],
    jaw=[234, 93, 132, 58, 172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397, 288, 361, 323, 454],
    eyes=(
        [33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246],
        [263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466],
    ),
    lips=[61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185],
    inner_mouth=[78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191],
    samples=(
        [117, 118, 101, 36, 205, 50], [346, 347, 330, 266, 425, 280],
        [6, 122, 351, 198, 420, 4], [9, 107, 336, 69, 299, 151],
    ),
    outer_eyes=(33, 263),
    inner_eyes=(133, 362),
)
# fmt: on
_IBUG = LandmarkSets(
    face=[*range(17), *range(26, 16, -1)],
    top=[*range(17, 27)],
    jaw=[*range(17)],
    eyes=([36, 37, 38, 39, 40, 41], [42, 43, 44, 45, 46, 47]),
    lips=[*range(48, 60)],
    inner_mouth=[*range(60, 68)],
    samples=([40, 41, 2, 31], [46, 47, 14, 35], [27, 31, 35, 30]),
    outer_eyes=(36, 45),
    inner_eyes=(39, 42),
)


def landmark_sets(kind: LandmarkKind) -> LandmarkSets:
    """The sets of a kind of landmarks."""
    return _IBUG if kind == "ibug68" else _MEDIAPIPE


@dataclass(frozen=True)
class FaceLayout:
    """Landmarks in the work image, and the regions they bound there.

    Attributes:
        sets: names of the landmarks. xy: "l 2" work pixels.
    """

    sets: LandmarkSets
    xy: np.ndarray

    @property
    def eye_line(self) -> float:
        """The row of the eyes' outer corners."""
        return float(self.xy[list(self.sets.outer_eyes), 1].mean())

    @property
    def brow_line(self) -> float:
        """A row a little above the brows: as far above the eyes as half the way from them to the middle of the nose."""
        return 1.5 * self.eye_line - 0.5 * float(self.xy[self.sets.samples[2], 1].mean())

    @property
    def eye_centres(self) -> np.ndarray:
        """Right and left eye, "2 2"."""
        corners = (self.xy[list(self.sets.outer_eyes)], self.xy[list(self.sets.inner_eyes)])
        return (corners[0] + corners[1]) / 2

    def face(self) -> np.ndarray:
        """The outline with a forehead, without eyes and open mouth."""
        raised = self.xy.copy()
        ys = self.xy[self.sets.face, 1]
        raised[self.sets.top, 1] -= _FOREHEAD * (ys.max() - ys.min()) * _arch(self.xy[self.sets.top, 0])
        region = polygon(raised[self.sets.face])
        for hole in (*self.sets.eyes, self.sets.inner_mouth):
            region &= ~polygon(self.xy[hole])
        return region

    def lips(self) -> np.ndarray:
        """Both lips, and the mouth between them."""
        return polygon(self.xy[self.sets.lips])

    def middle(self) -> np.ndarray:
        """The face from the eyes down, away from its outline."""
        centre = self.xy[self.sets.face].mean(0)
        inner = polygon(centre + 0.82 * (self.xy[self.sets.face] - centre))
        return inner & (rows() > self.eye_line)

    def lower(self) -> np.ndarray:
        """Where beards grow: below the nose, without the lips."""
        nose = float(self.xy[self.sets.samples[2], 1].max())
        mouth = float(self.xy[self.sets.lips, 1].min())
        return (rows() > 0.5 * (nose + mouth)) & ~cv2.dilate(
            self.lips().astype(np.uint8), np.ones((7, 7))
        ).astype(bool)

    def samples(self) -> np.ndarray:
        """Pixels of cheeks, nose and forehead that are skin in nearly every photo."""
        hulls = [cv2.convexHull(self.xy[points].astype(np.float32))[:, 0] for points in self.sets.samples]
        return np.logical_or.reduce([polygon(hull) for hull in hulls])


def rows() -> np.ndarray:
    """Row numbers "h 1" of the work image."""
    return np.arange(WORK_PX)[:, None]


def polygon(xy: np.ndarray) -> np.ndarray:
    """Pixels of the work image inside a polygon, with sixteenths of a pixel; cv2 counts from pixel centres."""
    canvas = np.zeros((WORK_PX, WORK_PX), np.uint8)
    corners = np.rint((np.clip(xy, -WORK_PX, 2 * WORK_PX) - 0.5) * 16).astype(np.int32)
    return cv2.fillPoly(canvas, [corners], 1, shift=4).astype(bool)


def mask_in_photo(inside: Tensor, window: Window, image: Tensor) -> Tensor:
    """Where a float mask "s s" of a window is above one half, seen from the photo: "h w" bool."""
    height, width = image.shape[-2:]
    reach = 0.71 * window.side_px
    (left, right), (top, bottom) = (
        (max(0, int(c - reach)), min(side, int(c + reach) + 1))
        for c, side in zip(window.centre_px, (width, height))
    )
    mask = torch.zeros(height, width, dtype=torch.bool)
    if right > left and bottom > top:
        ys, xs = torch.arange(top, bottom) + 0.5, torch.arange(left, right) + 0.5
        position = torch.stack(torch.meshgrid(ys, xs, indexing="ij")[::-1], -1)
        grid = window.from_image(position, 1) * 2 - 1
        mask[top:bottom, left:right] = (
            F.grid_sample(inside[None, None], grid[None], align_corners=False)[0, 0] > 0.5
        )
    return mask.to(image.device)


def _arch(x: np.ndarray) -> np.ndarray:
    """1 in the middle of the given range, 0 at its ends."""
    relative = (x - x.min()) / max(float(np.ptp(x)), 1e-6) * 2 - 1
    return np.sqrt(np.clip(1 - relative**2, 0, 1))
