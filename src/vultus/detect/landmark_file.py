"""Landmarks that a user brings in a file instead of having them detected."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vultus.detect.protocol import DetectedFace, FaceBox, LandmarkKind, Landmarks
from vultus.errors import BadFile

_COUNTS: dict[int, LandmarkKind] = {478: "mediapipe478", 468: "mediapipe468", 68: "ibug68"}
_OUTER_EYES = {"mediapipe478": (33, 263), "mediapipe468": (33, 263), "ibug68": (36, 45)}


@dataclass(frozen=True)
class LandmarkFile:
    """A :class:`~vultus.detect.protocol.Detector` that reads the points of one face instead of searching for it.

    Files hold N points of (x, y) in image pixels, pixel centres at +0.5, with N = 478 or 468 (MediaPipe's order) or 68 (iBUG):
    ``.npy``; ``.json``, a list of [x, y] or an object with such a list under "points_px" or "landmarks"; ``.pts`` of the
    iBUG datasets, which count pixels from 1; or text with two numbers a line, separated by blanks or commas. A third
    number is the depth.
    """

    path: Path

    def detect(self, image: Tensor) -> tuple[DetectedFace, ...]:
        """The face in the file.

        Raises:
            BadFile: missing, unreadable, not N points, or all of them outside the image.
        """
        points = read_points(self.path)
        height, width = image.shape[-2:]
        inside = ((points[:, :2] >= 0) & (points[:, :2] <= points.new_tensor([width, height]))).all(-1)
        if not bool(inside.any()):
            raise BadFile(
                f"{self.path}: every landmark lies outside the image of {width} x {height} pixels; "
                "the points must be (x, y) in pixels of this image, not fractions"
            )
        return (_face(points),)


def read_points(path: str | Path) -> Tensor:
    """Landmarks of one face from a file, "n 2" or "n 3" float32; see :class:`LandmarkFile` for the formats.

    Raises:
        BadFile: missing, unreadable, or not such a list of points.
    """
    path = Path(path)
    try:
        values = _READERS.get(path.suffix.lower(), _read_text)(path)
        points = np.asarray(values, dtype=np.float32)
    except FileNotFoundError as error:
        raise BadFile(f"{path}: no such file; check the name") from error
    except (OSError, ValueError, TypeError, KeyError) as error:
        reason = " ".join(str(error).split())
        raise BadFile(f"{path}: no list of landmarks can be read ({reason}); {_EXPECTED}") from error
    if points.ndim != 2 or points.shape[1] not in (2, 3) or len(points) not in _COUNTS:
        raise BadFile(f"{path}: holds numbers of shape {points.shape}; {_EXPECTED}")
    if not np.isfinite(points).all():
        raise BadFile(f"{path}: holds NaN or infinite coordinates; {_EXPECTED}")
    return torch.from_numpy(points)


_EXPECTED = "give one line (x, y) in pixels for each of 478 or 468 (MediaPipe) or 68 (iBUG) points"


def _face(points: Tensor) -> DetectedFace:
    kind = _COUNTS[len(points)]
    right, left = _OUTER_EYES[kind]
    dx, dy = (points[left, :2] - points[right, :2]).tolist()
    low, high = points[:, :2].amin(0).tolist(), points[:, :2].amax(0).tolist()
    box = FaceBox(low[0], low[1], high[0], high[1], 1.0, math.degrees(math.atan2(dy, dx)))
    depth = points[:, 2] if points.shape[1] == 3 else points.new_zeros(len(points))
    return DetectedFace(box, Landmarks(points[:, :2].contiguous(), depth.contiguous(), 1.0, kind))


def _read_npy(path: Path) -> Any:
    return np.load(path, allow_pickle=False)


def _read_json(path: Path) -> Any:
    content = json.loads(path.read_text())
    if isinstance(content, dict):
        names = [
            name
            for name in ("points_px", "landmarks", "landmarks_478_px", "landmarks_68_px")
            if name in content
        ]
        if not names:
            raise ValueError("no list under points_px or landmarks")
        content = content[names[0]]
    return content


def _read_pts(path: Path) -> Any:
    text = path.read_text()
    if "{" not in text or "}" not in text:
        raise ValueError("no braces around the points")
    first_pixel = 0.5  # the first pixel's centre is 1 in these files and 0.5 here
    return np.array(_numbers(text[text.index("{") + 1 : text.index("}")])) - first_pixel


def _read_text(path: Path) -> Any:
    return _numbers(path.read_text())


def _numbers(text: str) -> list[list[float]]:
    lines = (line.replace(",", " ").replace(";", " ").split() for line in text.splitlines())
    return [[float(number) for number in line] for line in lines if line and not line[0].startswith("#")]


_READERS = {".npy": _read_npy, ".json": _read_json, ".pts": _read_pts}
