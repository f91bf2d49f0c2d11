"""``vultus align``: dense alignment of photos, one folder per face out."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from ..errors import BadFile, BadInput
from ..io.alignment import read_alignment
from ..stages.options import LARGEST_TEXTURE, SMALLEST_TEXTURE
from .align_stream import StreamOptions, run_stream
from .batch import attempt, digest_of
from .outcome import FaceOutcome, PhotoOutcome
from .photo_run import make_folder, run_photos, standard_output
from .photos import face_directory, find_photos, further_faces, output_names

DESCRIPTION = """Align every face of every photo densely: where each point of it lies, also what is hidden.

OUT/<photo>/ then holds alignment.json (68 and 478 points, pose), overlay.png (look at this one first), depth.png, texture.png
and frontal.glb. Further faces of a photo go to OUT/<photo>-2/ and so on. What is finished is skipped. For
likeness, lit and animated, use `vultus reconstruct`: this is the fast way. Of a video or camera (--stream), OUT/<name>/ holds
frames.jsonl and overlay.mp4.

Examples:
  vultus align anna.jpg -o out
  vultus align album/ party.png -o out
  vultus align anna.jpg -o out --box 120 80 260 250
  vultus align album/ -o out --backend openvino --precision bf16
  vultus align anna.jpg -o out --weights run/best.safetensors
  vultus align --stream film.mp4 -o out
  vultus align --stream 0 -o out --seconds 30

Exit status: 0 all photos done or skipped, 2 otherwise (the others are done all the same)."""

_SOURCE = "photo_sha256"  # entry of the provenance: which bytes a result was made from


@dataclass(frozen=True)
class AlignOptions:
    """What a user may decide about an alignment.

    Raises:
        BadInput: a value is out of range.
    """

    box: Annotated[tuple[float, float, float, float] | None, tyro.conf.arg(metavar="L T R B")] = None
    """Left, top, right and bottom of the face in pixels, instead of looking for faces; for one photo."""
    weights: Path | None = None
    """A network that `vultus train --export` wrote, instead of the one that ships with vultus."""
    model: str = "vultus"
    """Face model whose chart the answer is over: a name that `vultus models` lists."""
    backend: Literal["torch", "onnx", "openvino"] = "torch"
    """What runs the network; onnx and openvino are faster where they are installed."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """bf16 is for processors that have it (not with onnx)."""
    no_refine: bool = False
    """Do not look again around the points that were found: faster, a little less exact."""
    texture_size: int = 512
    """Side of the texture in texels; 0 leaves it out."""

    def __post_init__(self) -> None:
        if self.texture_size != 0 and not SMALLEST_TEXTURE <= self.texture_size <= LARGEST_TEXTURE:
            raise BadInput(f"--texture-size {self.texture_size}: choose 0 (none) or {SMALLEST_TEXTURE} to {LARGEST_TEXTURE} texels")  # fmt: skip
        if self.weights is not None and not self.weights.is_file():
            raise BadInput(f"--weights {self.weights}: no such file; give one that `vultus train --export` wrote")  # fmt: skip


@dataclass(frozen=True)
class AlignTask:
    """One photo and everything that is needed to deal with it; attributes as in :class:`.batch.Task`."""

    photo: Path
    out: Path
    name: str
    options: AlignOptions
    overwrite: bool = False
    debug: bool = False


@dataclass(frozen=True)
class Align:
    """Photos become points, poses, depths and textures of their faces."""

    photos: Annotated[
        tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="PHOTO...", help_behavior_hint="")
    ]
    """Photos, or folders of photos."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="OUT")]
    """Folder for the results; made if need be."""
    options: Annotated[AlignOptions, tyro.conf.arg(name="")] = field(default_factory=AlignOptions)
    stream: Annotated[StreamOptions, tyro.conf.arg(name="")] = field(default_factory=StreamOptions)
    jobs: int = 1
    """How many photos at a time, each in its own process with one thread."""
    overwrite: bool = False
    """Do finished photos again."""
    json: bool = False
    """One line of JSON per photo on standard output, and nothing else there."""
    debug: bool = False
    """Show where unexpected errors come from."""

    def run(self) -> int:
        """Do it; 0 when every photo is done or skipped, else 2."""
        if self.jobs < 1:
            raise BadInput(f"--jobs {self.jobs}: use at least one")
        if self.stream.stream is not None:
            return self._follow(self.stream.stream)
        if not self.photos:
            raise BadInput("no photos given: vultus align PHOTO... -o OUT")
        make_folder(self.out)
        photos, outcomes = find_photos(self.photos)
        if self.options.box is not None and len(photos) != 1:
            raise BadInput(f"--box with {len(photos)} photos: a box is for one; give the photos one by one")
        _network(self.options)  # what is wrong with it is said once, not for every photo
        tasks = [AlignTask(photo, self.out, name, self.options, self.overwrite, self.debug) for photo, name in zip(photos, output_names(photos))]  # fmt: skip
        return run_photos(tasks, outcomes, process, jobs=self.jobs, as_json=self.json)

    def _follow(self, source: str) -> int:
        if self.photos:
            raise BadInput(f"photos and --stream {source}: give one or the other")
        make_folder(self.out)
        with standard_output() as output:
            return run_stream(source, self.out, self.stream, lambda: _network(self.options), output=output)


def process(task: AlignTask) -> PhotoOutcome:
    """Align and save every face of one photo; whatever goes wrong becomes an outcome. The first face is saved last, so that it says that all are done."""
    hint = "use fewer --jobs, a smaller --texture-size or a smaller photo"
    return attempt(task.photo, lambda start: _process(task, start), debug=task.debug, when_full=hint)


def _process(task: AlignTask, start: float) -> PhotoOutcome:
    from ..stages.align import align, align_all

    source, wanted = digest_of(task.photo), _wanted(task.options)
    first = face_directory(task.out, task.name, 1)
    saved = None if task.overwrite else read_alignment(first)
    if saved is not None:
        origin = saved.get("provenance", {})
        if not source or origin.get(_SOURCE) != source:
            raise BadFile(f"{first} already holds the result of another photo, or of this one before it was changed; choose another -o, or --overwrite to replace it")  # fmt: skip
        if origin.get("options") == wanted:
            status = _status(float(saved["confidence"]))
            return PhotoOutcome(str(task.photo), "skipped", (FaceOutcome(str(first), status),), seconds=time.perf_counter() - start)  # fmt: skip
    options = task.options
    network: Any = {name: getattr(options, name) for name in ("weights", "backend", "precision", "model")}
    network["refine"] = not options.no_refine
    if options.box is not None:
        faces = (align(task.photo, options.box, **network),)
    else:
        faces = align_all(task.photo, **network)
    aligned = time.perf_counter()
    folders = [face_directory(task.out, task.name, number + 1) for number in range(len(faces))]
    for folder in folders[1:]:
        _check_free(folder, task, source)
    told = {"photo": str(task.photo.resolve()), _SOURCE: source, "options": wanted}
    outcomes = [_save(face, folder, task, told, aligned - start) for face, folder in reversed(list(zip(faces, folders)))]  # fmt: skip
    for stale in further_faces(task.out, task.name, len(faces) + 1, lambda folder: _is_of(folder, source)):
        shutil.rmtree(stale)
    return PhotoOutcome(str(task.photo), "done", tuple(outcomes[::-1]), seconds=time.perf_counter() - start)


def _save(face: Any, folder: Path, task: AlignTask, told: dict[str, Any], seconds: float) -> FaceOutcome:
    from ..stages.save_alignment import save_alignment
    from ..viewer.alignment_picture import alignment_picture

    start = time.perf_counter()
    size = task.options.texture_size
    save_alignment(face, folder, texture_size=size, overlay=alignment_picture(face), provenance=told)
    status = _status(face.confidence)
    advice = (f"confidence {face.confidence:.2f}: this may be no face, or one that is hardly seen",)
    timings = {"align": round(seconds, 4), "save": round(time.perf_counter() - start, 4)}
    return FaceOutcome(str(folder), status, advice if status == "doubtful" else (), timings)


def _status(confidence: float) -> str:
    from ..stages.plausible import DOUBTFUL

    return "ok" if confidence >= DOUBTFUL else "doubtful"


def _wanted(options: AlignOptions) -> dict[str, Any]:
    """The options as JSON has them, and which network that is: what a finished result must have been made with to be one."""
    from ..nets.position_weights import DEFAULT_WEIGHTS

    weights = options.weights
    said = {"weights": None if weights is None else str(weights.resolve())}
    file = weights or DEFAULT_WEIGHTS
    if file.is_file():
        said["weights_sha256"] = _digest(file, file.stat().st_mtime_ns)
    return json.loads(json.dumps(asdict(options) | said))


@lru_cache(maxsize=2)
def _digest(file: Path, _changed_ns: int) -> str:
    return digest_of(file)


def _is_of(folder: Path, source: str) -> bool:
    saved = read_alignment(folder)
    return bool(source) and saved is not None and saved.get("provenance", {}).get(_SOURCE) == source


def _check_free(folder: Path, task: AlignTask, source: str) -> None:
    if not task.overwrite and read_alignment(folder) is not None and not _is_of(folder, source):
        raise BadFile(f"{folder} already holds the result of another photo; choose another -o, or --overwrite to replace it")  # fmt: skip


def _network(options: AlignOptions) -> Any:
    """The network that is asked for, ready to align."""
    from ..stages.align import load_aligner

    return load_aligner(options.weights, options.backend, options.precision, options.model)
