"""Videos and cameras in, mp4 files out, through OpenCV; frames are (h, w, 3) uint8 RGB with the time they were taken."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import BadFile, BadInput

_USUAL_FPS = 25.0
_FPS = (1.0, 240.0)  # what a file may claim; others are mistakes
_ESTIMATE = 0.02  # by how much a container may overstate its frames without being cut short


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture of a video.

    Attributes:
        index: from 0, counting every frame of the source. time_s: since the first one, growing. image: (h, w, 3) uint8 RGB.
    """

    index: int
    time_s: float
    image: NDArray[np.uint8]


class Video:
    """A video file or a camera, read once from front to back; use it in a ``with`` block.

    Attributes:
        source: as given. is_live: frames come as they are taken, and do not end. size_px: (width, height), upright.
        fps: nominal frames per second. num_frames: as the file says, None where it says nothing.
        problem: one line once frames ended before the file's own count, else empty.

    Raises:
        BadFile: no such file, not a video, no frames in it, or a camera that is not there.
    """

    def __init__(self, source: str | Path) -> None:
        self.source = str(source)
        device = _device(self.source)
        self.is_live = device is not None
        if device is None:
            _check_is_file(Path(self.source))
        with _silent_opencv() as cv2:
            self._capture = cv2.VideoCapture(self.source if device is None else device)
            opened = self._capture.isOpened()
            if opened and self.is_live:
                self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # old frames are of no use: show what is now
            self._next = self._read() if opened else None
            told_fps = float(self._capture.get(cv2.CAP_PROP_FPS)) if opened else 0.0
            told_frames = float(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)) if opened else 0.0
        if self._next is None:
            self.close()
            raise BadFile(_no_frames(self.source, self.is_live, opened))
        height, width = self._next[1].shape[:2]
        self.size_px = (width, height)
        self.fps = told_fps if _FPS[0] <= told_fps <= _FPS[1] else _USUAL_FPS
        self.num_frames = int(told_frames) if 0 < told_frames < 1e9 and not self.is_live else None
        self.problem = ""

    def __enter__(self) -> Video:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Frame]:
        """The frames, from where the last loop stopped; times that do not grow, as damaged files have them, are moved on by a frame."""
        index, start_s, last_s = 0, None, -1.0 / self.fps
        while self._next is not None:
            at_s, image = self._next
            start_s = at_s if start_s is None else start_s
            told_s = at_s - start_s
            last_s = told_s if told_s > last_s else last_s + 1 / self.fps
            yield Frame(index, last_s, image)
            index += 1
            self._next = self._read()
        if self.is_live:
            self.problem = f"{self.source}: the camera stopped after {index} frames; check its connection"
        elif self.num_frames and index < self.num_frames * (1 - _ESTIMATE) - 1:
            self.problem = f"{self.source}: cut short or damaged, {index} of {self.num_frames} frames could be read; they are used"

    def close(self) -> None:
        """Give the file or camera back."""
        self._capture.release()

    def _read(self) -> tuple[float, NDArray[np.uint8]] | None:
        """Seconds of the source's own clock, and the next frame; None at the end."""
        import cv2

        found, pixels = self._capture.read()
        if not found or pixels is None or not pixels.size:
            return None
        at_s = time.monotonic() if self.is_live else self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        if pixels.ndim == 2:
            pixels = pixels[..., None].repeat(3, -1)
        return at_s, np.ascontiguousarray(pixels[..., 2::-1])  # OpenCV has BGR


class VideoWriter:
    """Writes an mp4 file; use it in a ``with`` block. The file takes its name when the block ends, whole, or with the frames so far if it was interrupted.

    Frames are repeated or left out so that the film runs as fast as it was taken, whatever the distances between the frames given.

    Raises:
        BadFile: the file cannot be written.
        BadInput: a rate that is not positive.
    """

    def __init__(self, path: str | Path, size_px: tuple[int, int], fps: float) -> None:
        if not 0 < fps < 1000:
            raise BadInput(f"a video of {fps} frames per second: choose more than 0 and less than 1000")
        self._path, self._size_px, self._fps = Path(path), size_px, fps
        self._partial = self._path.with_name(f".{self._path.stem}.partial-{secrets.token_hex(4)}.mp4")
        self.num_written = 0
        self._start_s: float | None = None
        self._last: NDArray[np.uint8] | None = None
        with _silent_opencv() as cv2:
            code = cv2.VideoWriter.fourcc(*"mp4v")
            self._writer = cv2.VideoWriter(str(self._partial), code, fps, size_px)
        if not self._writer.isOpened():
            raise BadFile(
                f"{self._path}: cannot be written; check that its folder is there and may be written to"
            )

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.release()
        try:
            complete = self.num_written > 0 and self._partial.stat().st_size > 0
            if complete:
                self._partial.replace(self._path)
        except OSError as problem:
            complete = False
            if kind is None:
                raise BadFile(f"{self._path}: cannot be written ({problem.strerror}); free some space or choose another folder") from problem  # fmt: skip
        finally:
            with suppress(OSError):
                self._partial.unlink(missing_ok=True)
        if not complete and kind is None:
            raise BadFile(
                f"{self._path}: no frame was written; give a video with frames, on a disk with space"
            )

    def write(self, image: NDArray[np.uint8], time_s: float) -> None:
        """Add a frame (h, w, 3) uint8 RGB, taken at a time; the first one starts the film.

        Raises:
            BadInput: it is of another size than the film.
        """
        if image.shape != (self._size_px[1], self._size_px[0], 3) or image.dtype != np.uint8:
            raise BadInput(f"a frame of shape {image.shape} {image.dtype} for a film of {self._size_px[0]} x {self._size_px[1]} px: give uint8 of that size")  # fmt: skip
        self._start_s = time_s if self._start_s is None else self._start_s
        due = round((time_s - self._start_s) * self._fps)
        while (
            self._last is not None and self.num_written < due
        ):  # it was still to be seen until this one came
            self._add(self._last)
        self._last = np.ascontiguousarray(image[..., ::-1])
        if self.num_written == due:
            self._add(self._last)

    def _add(self, pixels: NDArray[np.uint8]) -> None:
        self._writer.write(pixels)
        self.num_written += 1


def _device(source: str) -> int | str | None:
    """What OpenCV opens as a camera or stream: "0" is a number, "/dev/video0" and addresses are themselves; None for files."""
    if source.isascii() and source.isdigit():
        return int(source)
    return source if source.startswith("/dev/") or "://" in source else None


def _check_is_file(path: Path) -> None:
    if path.is_dir():
        raise BadFile(f"{path}: this is a folder; give a video file, or a camera by its number")
    try:
        size = path.stat().st_size
        with path.open("rb"):
            pass
    except FileNotFoundError as error:
        raise BadFile(f"{path}: no such file; check the name, or give a camera by its number (0, 1, ...)") from error  # fmt: skip
    except OSError as error:
        raise BadFile(f"{path}: cannot be read ({error.strerror}); check the path and its permissions") from error  # fmt: skip
    if size == 0:
        raise BadFile(f"{path}: the file is empty; get it again")


def _no_frames(source: str, is_live: bool, opened: bool) -> str:
    if is_live and "://" in source:
        return f"{source}: nothing is sent from there; check the address and the network"
    if is_live:
        return f"camera {source}: not there, or in use by another program; check the number, its connection and your rights to /dev/video*"
    if opened:
        return f"{source}: there are no frames that can be read in it; get the file again"
    return f"{source}: not a video that can be read, or cut short before its index; get it again, or convert it to mp4"


@contextmanager
def _silent_opencv() -> Iterator[Any]:
    """OpenCV and FFmpeg print about files they cannot open; our errors say it in one line."""
    # FFmpeg's level is read once, at the first file; damaged frames are told by Video.problem.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    import cv2

    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield cv2
    finally:
        cv2.utils.logging.setLogLevel(level)
