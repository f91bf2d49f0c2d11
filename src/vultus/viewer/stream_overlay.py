"""Tracked faces drawn over a frame of a video, in milliseconds: the 68 points as lines, the number, and where the head looks."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ..stages.tracked import TrackedFace

_LINES = (
    range(17), range(17, 22), range(22, 27), range(27, 31), range(31, 36),
    (*range(36, 42), 36), (*range(42, 48), 42), (*range(48, 60), 48), (*range(60, 68), 60),
)  # fmt: skip
"""Of iBUG's 68: jaw, brows, bridge and wings of the nose, eyes, lips outside and inside."""
_NOSE = 30
_COLOURS = ((64, 242, 217), (255, 140, 26), (166, 227, 56), (255, 94, 148), (120, 160, 255), (250, 220, 70))
_LOOK = 0.35  # length of the line out of the nose, in sides of the crop
_SAMPLES = 2  # per pixel and axis: lines without steps


def draw_faces(image: NDArray[np.uint8], faces: tuple[TrackedFace, ...]) -> NDArray[np.uint8]:
    """A frame (h, w, 3) uint8 RGB with its faces drawn over it, every number in its own colour; the frame itself is left as it is."""
    drawn = Image.fromarray(image)  # a copy
    for face in faces:
        _draw_face(drawn, face)
    return np.asarray(drawn)


def _draw_face(picture: Image.Image, face: TrackedFace) -> None:
    """Draw on a sheet around the face, finer than the picture, and lay that over it."""
    points = face.alignment.landmarks68_px[:, :2]
    forward = face.alignment.pose.rotation_camera_head[:2, 2].to(points) * _LOOK * face.crop.side_px
    looks_at = points[_NOSE] + forward
    width = max(1.0, max(picture.size) / 640)
    font_px = round(22 * width)
    low, high = points.amin(0).minimum(looks_at), points.amax(0).maximum(looks_at)
    left, top = math.floor(float(low[0]) - 4), math.floor(float(low[1]) - font_px - 6)
    right, bottom = math.ceil(float(high[0]) + 4), math.ceil(float(high[1]) + 4)
    left, top, right, bottom = max(left, 0), max(top, 0), min(right, picture.width), min(bottom, picture.height)  # fmt: skip
    if right <= left or bottom <= top:
        return
    sheet = Image.new("RGBA", ((right - left) * _SAMPLES, (bottom - top) * _SAMPLES))
    pen = ImageDraw.Draw(sheet)
    colour = _COLOURS[(face.number - 1) % len(_COLOURS)]
    at = lambda point: ((float(point[0]) - left) * _SAMPLES, (float(point[1]) - top) * _SAMPLES)  # noqa: E731
    for line in _LINES:
        pen.line([at(points[index]) for index in line], colour, round(width * _SAMPLES), "curve")
    pen.line([at(points[_NOSE]), at(looks_at)], (255, 255, 255), round(1.5 * width * _SAMPLES))
    label = at((float(points[:, 0].min()), float(points[:, 1].min()) - font_px - 4))
    font = ImageFont.load_default(font_px * _SAMPLES)
    pen.text(label, str(face.number), colour, font, stroke_width=_SAMPLES, stroke_fill=(0, 0, 0))
    fine = sheet.reduce(_SAMPLES)
    picture.paste(fine, (left, top), fine)
