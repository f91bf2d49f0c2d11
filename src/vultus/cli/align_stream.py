"""What ``vultus align --stream`` does: a video or camera in, lines of JSON and a film with the faces drawn over it out."""

from __future__ import annotations

import json
import re
import secrets
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol, TextIO

import tyro
from tqdm import tqdm

from ..errors import BadFile, BadInput

if TYPE_CHECKING:
    from torch import Tensor

    from ..geometry.position_map import FaceCrop
    from ..io.video import Frame, Video, VideoWriter
    from ..stages.alignment import Alignment
    from ..stages.track import FaceTracker
    from ..stages.tracked import TrackedFace


@dataclass(frozen=True)
class StreamOptions:
    """What a user may decide about a stream.

    Raises:
        BadInput: numbers that make no sense.
    """

    stream: Annotated[str | None, tyro.conf.arg(metavar="SOURCE")] = None
    """Instead of photos: a video file, or a camera by number (0), device or address. Ctrl-C ends it."""
    seconds: float | None = None
    """Of a stream, stop after this much of it."""
    every: int = 1
    """Of a stream, use every n-th frame."""
    no_filter: bool = False
    """Do not smooth a stream over time."""
    no_overlay: bool = False
    """Of a stream, do not write overlay.mp4."""

    def __post_init__(self) -> None:
        if self.every < 1:
            raise BadInput(f"--every {self.every}: use 1 for every frame, 2 for every second one")
        if self.seconds is not None and not self.seconds > 0:
            raise BadInput(f"--seconds {self.seconds:g}: must be positive")


class Network(Protocol):
    """What finds and aligns faces: :class:`vultus.stages.align.Aligner`, or what stands for it."""

    @property
    def crop_factor(self) -> float:
        """Side of its crops over the size of the 68 points' box."""
        ...

    def detect(self, image: Tensor) -> Sequence[FaceCrop]:
        """Crops of the faces in a photo "3 h w"."""
        ...

    def look(self, image: Tensor, crops: Sequence[FaceCrop]) -> Sequence[Alignment]:
        """The face in each crop."""
        ...


@dataclass(frozen=True)
class StreamOutcome:
    """What became of a stream.

    Attributes:
        source: as given. directory: where its files are. num_frames: that were used. num_faces: different numbers given.
        frames_per_second: by the clock, all included. problem: one line, where the source ended too early, else empty.
    """

    source: str
    directory: Path
    num_frames: int
    num_faces: int
    frames_per_second: float
    problem: str = ""

    def line(self) -> str:
        """What people read."""
        faces = f"{self.num_faces} face{'s' * (self.num_faces != 1)}"
        frames = f"{self.num_frames} frame{'s' * (self.num_frames != 1)}"
        return (
            f"{self.source}: {faces} in {frames}, {self.frames_per_second:.1f} frames/s -> {self.directory}"
        )


def run_stream(
    source: str,
    out: Path,
    options: StreamOptions,
    load: Callable[[], Network],
    *,
    output: TextIO | None = None,
) -> int:
    """Follow the faces of a video file ("film.mp4") or camera ("0", "/dev/video0", an address) and write what was found.

    OUT/NAME then holds frames.jsonl, one line per frame, and overlay.mp4. Interrupted, by Ctrl-C, SIGTERM or an error, both hold the frames so far;
    for a camera Ctrl-C is the usual end.

    Args:
        load: makes the network ready; called when the source is known to be good.
        output: where the closing line goes, standard output by default.

    Returns:
        0: what can be read was done; problems of the source are told on standard error.

    Raises:
        BadFile: the source cannot be read, or the files cannot be written. And what ``load`` raises.
    """
    from ..io.video import Video
    from ..stages.track import FaceTracker
    from ..stages.tracked import TrackOptions

    with Video(source) as video, _one_thread():
        aligner = load()
        chosen = TrackOptions(crop_factor=aligner.crop_factor)
        if options.no_filter:
            chosen = TrackOptions(crop_factor=aligner.crop_factor, steadiness=None)
        outcome = follow(video, FaceTracker(aligner.look, aligner.detect, chosen), out, options)
    print(outcome.line(), file=output or sys.stdout, flush=True)
    if outcome.problem:
        print(outcome.problem, file=sys.stderr)
    return 0


def follow(video: Video, tracker: FaceTracker, out: Path, options: StreamOptions) -> StreamOutcome:
    """Run the tracker over a video and write the files; see :func:`run_stream`."""
    directory = out / stream_name(video.source)
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadFile(f"{directory}: the folder cannot be made ({error.strerror}); choose another -o") from error  # fmt: skip
    started_s, num_frames = time.monotonic(), 0
    with ExitStack() as stack:
        lines = stack.enter_context(_kept_file(directory / "frames.jsonl"))
        film = stack.enter_context(_film(directory, video, options)) if not options.no_overlay else None
        bar = stack.enter_context(_progress(video, options))
        if video.is_live:  # somebody has to end it, and this is how
            stack.enter_context(suppress(KeyboardInterrupt))
        for frame in video:
            if options.seconds is not None and frame.time_s >= options.seconds:
                break
            if frame.index % options.every:
                continue
            _one_frame(frame, tracker, lines, film)
            num_frames += 1
            bar.update()
    elapsed_s = max(time.monotonic() - started_s, 1e-6)
    num_faces = tracker.state.num_given if tracker.state else 0
    return StreamOutcome(video.source, directory, num_frames, num_faces, num_frames / elapsed_s, video.problem)  # fmt: skip


def stream_name(source: str) -> str:
    """What the folder of a source is called: a file's stem, camera-0, or what is left of an address."""
    if source.isdigit():
        return f"camera-{source}"
    if "://" in source or source.startswith("/dev/"):
        address = re.sub(r"^[^:]*://([^/@]*@)?", "", source)  # no passwords in names of folders
        return re.sub(r"[^A-Za-z0-9._-]+", "-", address.split("?")[0]).strip("-.") or "stream"
    return Path(source).stem


def frame_line(frame: Frame, faces: tuple[TrackedFace, ...]) -> str:
    """One frame as a line of JSON (docs/align-video.md)."""
    found = {"frame": frame.index, "time_s": round(frame.time_s, 4), "faces": [_as_json(face) for face in faces]}  # fmt: skip
    return json.dumps(found, separators=(",", ":"))


@contextmanager
def _one_thread() -> Iterator[None]:
    """As in a batch: crops are so small that threads which wait for each other cost more than they give, ten times as much on a busy machine."""
    import numba
    import torch

    before = numba.get_num_threads(), torch.get_num_threads()
    # In this order: both use one OpenMP, and numba's start sets the number of threads for torch too.
    numba.set_num_threads(1)
    torch.set_num_threads(1)
    try:
        yield
    finally:
        numba.set_num_threads(before[0])
        torch.set_num_threads(before[1])


def _one_frame(frame: Frame, tracker: FaceTracker, lines: TextIO, film: VideoWriter | None) -> None:
    import torch

    from ..viewer.stream_overlay import draw_faces

    image = torch.from_numpy(frame.image).permute(2, 0, 1).float().div_(255)
    faces = tracker(image, frame.time_s)
    lines.write(frame_line(frame, faces) + "\n")
    lines.flush()
    if film is not None:
        film.write(draw_faces(frame.image, faces), frame.time_s)


def _as_json(face: TrackedFace) -> dict[str, Any]:
    alignment = face.alignment
    yaw, pitch, roll = (round(float(angle), 2) for angle in alignment.pose.angles)
    return {
        "number": face.number,
        "confidence": round(alignment.confidence, 3),
        "pose_deg": {"yaw": yaw, "pitch": pitch, "roll": roll},
        "landmarks_px": [[round(c, 2) for c in point] for point in alignment.landmarks68_px.tolist()],
    }


def _film(directory: Path, video: Video, options: StreamOptions) -> VideoWriter:
    from ..io.video import VideoWriter

    return VideoWriter(directory / "overlay.mp4", video.size_px, video.fps / options.every)


def _progress(video: Video, options: StreamOptions) -> tqdm:
    """A bar with frames per second on standard error, where somebody watches."""
    total = video.num_frames
    if options.seconds is not None:
        wanted = int(options.seconds * video.fps) + 1
        total = wanted if total is None else min(total, wanted)
    total = None if total is None else -(-total // options.every)
    return tqdm(total=total, unit="frame", file=sys.stderr, disable=None, dynamic_ncols=True)


@contextmanager
def _kept_file(path: Path) -> Iterator[TextIO]:
    """A text file that takes its name when the block ends, well or not: every line in it is whole."""
    partial = path.with_name(f".{path.name}.partial-{secrets.token_hex(4)}")
    try:
        file = partial.open("w", encoding="utf-8")
    except OSError as error:
        raise BadFile(f"{path}: cannot be written ({error.strerror}); choose another -o") from error
    try:
        with file:
            yield file
    finally:
        if partial.stat().st_size:
            partial.replace(path)
        else:
            partial.unlink()
