"""Methods by name, as ``--method`` takes them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import BadInput

if TYPE_CHECKING:
    from ..evaluate.benchmark import Method
    from ..evaluate.rerender import Colour

METHODS = {
    "vultus": "the reconstruction (its mesh: wrinkles move no vertex)",
    "vultus-detail": "the same with its wrinkles as a surface of half a million triangles",
    "vultus-coarse": "the face model alone",
    "vultus:SWITCH": "one part switched off, e.g. 'vultus:contour none' (vultus ablate)",
    "landmarks": "the fit to landmarks alone, a tenth of a second",
    "mean": "the mean head, posed: what every method must beat",
    "align": "dense alignment by a network (vultus align), no fit",
    "align-box": "the same, told where the face is by the benchmark's box",
    "mediapipe": "MediaPipe's own face mesh",
    "eos": "the Surrey model fitted by eos (--eos FOLDER)",
    "files": "predictions of any other system (--files FOLDER)",
}
"""Name -> what it is."""


def choose_method(
    name: str,
    *,
    model: str = "vultus",
    colour: Colour | None = None,
    files: Path | None = None,
    unit: str | None = None,
    mirrored: bool = False,
    landmarks: Path | None = None,
    eos: Path | None = None,
) -> Method:
    """The method of a name; a path stands for ``files`` with it.

    Args:
        model: face model of our own methods. colour: also draw the photo again, of those that can.
        files, unit, mirrored, landmarks: of ``files``. eos: folder with the Surrey model.

    Raises:
        BadInput: no such method, or what it needs was not said. AssetMissing, BadFile: it is not there.
    """
    if name not in METHODS and Path(name).exists():
        name, files = "files", Path(name)
    # Each method is imported when it is chosen: the command line must start quickly, whatever it is asked for.
    if name == "files":
        from .files import Files

        if files is None:
            raise BadInput("--method files: say where the predictions are, with --files FOLDER")
        return Files(files, unit, mirrored, landmarks)
    if name == "eos":
        from .eos import EosFit

        if eos is None:
            raise BadInput(
                "--method eos: say where the Surrey model is, with --eos FOLDER (docs/evaluate/peers.md)"
            )
        return EosFit(eos)
    if name in ("align", "align-box"):
        from .aligned import Aligned

        return Aligned(by_box=name == "align-box")
    if name == "mediapipe":
        from .mediapipe import MediaPipeMesh

        return MediaPipeMesh()
    return _our_own(name, model, colour)


def _our_own(name: str, model: str, colour: Colour | None) -> Method:
    from .vultus import LandmarkFitOnly, MeanHead, Switched, Vultus

    if name == "mean":
        return MeanHead(model)
    if name == "landmarks":
        return LandmarkFitOnly(model)
    if name == "vultus-coarse":
        return Vultus("coarse", model, colour)
    if name == "vultus-detail":
        return Vultus("detail", model, colour)
    if name == "vultus":
        return Vultus("deformed" if colour is None else "detail", model, colour)
    if name.startswith("vultus:"):
        return Switched(name.removeprefix("vultus:"), model)
    raise BadInput(f"--method {name}: there is no such method or path; say one of {', '.join(METHODS)}")
