"""``vultus doctor``: is everything here that vultus needs, and if not, what to do about it."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module, metadata, resources
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from .. import __version__
from ..errors import VultusError
from ..model.catalog import known_models
from .assets import asset_files, expected_sha256, sha256
from .outcome import one_line

DESCRIPTION = """Look whether everything is here that vultus needs, and say what to do about the rest.

Examples:
  vultus doctor            versions, renderers, threads, GPU, model files with checksums
  vultus doctor --warm-up  also reconstruct the sample photo, which compiles the renderer once

Exit status: 0 vultus can work (lines marked `-` are optional), 2 something is broken (marked `!!`)."""

_PACKAGES = ("torch", "numpy", "scipy", "numba", "pillow", "safetensors", "pygltflib", "tqdm", "tyro")
_OPENCV = (
    "opencv-python-headless",
    "opencv-python",
    "opencv-contrib-python",
    "opencv-contrib-python-headless",
)
_MARKS = {"good": "ok", "optional": "- ", "broken": "!!"}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        what: its name. state: ``good``, ``optional`` (not here, not needed) or ``broken``.
        detail: version, path, or what is wrong. remedy: what to do; empty when nothing is.
    """

    what: str
    state: Literal["good", "optional", "broken"]
    detail: str
    remedy: str = ""

    def line(self) -> str:
        """How it is printed."""
        remedy = f"\n       {'':<16} -> {self.remedy}" if self.remedy else ""
        return f"  {_MARKS[self.state]}  {self.what:<18} {self.detail}{remedy}"


@dataclass(frozen=True)
class Doctor:
    """Versions, backends, threads, GPU, assets; what is missing and the remedy."""

    warm_up: bool = False
    """Reconstruct the sample photo twice: compiles the renderer's machine code and keeps it for later runs."""

    def run(self) -> int:
        """Print findings as they come; 0 unless something is broken."""
        print(f"vultus {__version__} in {Path(__file__).parents[1]}")
        num_broken = 0
        for finding in examine(self.warm_up):
            num_broken += finding.state == "broken"
            print(finding.line(), flush=True)
        print(
            "all good"
            if num_broken == 0
            else f"{num_broken} broken: do what the arrows say, then run this again"
        )
        return 2 if num_broken else 0


def examine(warm_up: bool = False) -> Iterator[Finding]:
    """Look at everything, one finding at a time."""
    yield _python()
    yield from map(_package, _PACKAGES)
    yield _opencv()
    yield from _renderers()
    yield _threads()
    yield _gpu()
    yield _compiled_code()
    yield from _models()
    yield from _assets()
    if warm_up:
        yield _warm_up()


def _python() -> Finding:
    version = platform.python_version()
    if (3, 10) <= sys.version_info[:2] <= (3, 12):
        return Finding("python", "good", f"{version} on {platform.system()} {platform.machine()}")
    return Finding("python", "broken", version, "use Python 3.10, 3.11 or 3.12")


def _package(name: str) -> Finding:
    module = {"pillow": "PIL"}.get(name, name)
    try:
        import_module(module)
        return Finding(name, "good", metadata.version(name))
    except Exception as error:  # a broken binary raises anything from ImportError to OSError and SystemError
        return Finding(
            name,
            "broken",
            f"{type(error).__name__}: {one_line(error)}",
            f"pip install --force-reinstall {name}",
        )


def _opencv() -> Finding:
    """OpenCV, whose four packages write the same folder, and whose graphical ones need libraries a server lacks."""
    installed = [name for name in _OPENCV if _version_of(name)]
    reinstall = f"pip uninstall -y {' '.join(installed)}; pip install opencv-python-headless"
    try:
        version = import_module("cv2").__version__
    except Exception as error:
        detail = f"{type(error).__name__}: {one_line(error)}"
        if "libGL" in detail or "libgthread" in detail:
            detail += " (the graphical build on a machine without graphics)"
        return Finding("opencv", "broken", detail, reinstall.replace("-y ;", "-y opencv-python-headless;"))
    if len(installed) > 1:
        detail = f"{version} works, but {' and '.join(installed)} overwrite each other's files"
        return Finding("opencv", "optional", detail, reinstall)
    return Finding("opencv", "good", f"{version} ({installed[0] if installed else 'not from a pip package'})")


def _version_of(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _renderers() -> Iterator[Finding]:
    import torch

    from ..render.raster import find_backend

    for name in ("numba", "torch", "warp", "drtk", "nvdiffrast"):
        needed = name in ("numba", "torch")
        try:
            find_backend(name, torch.device("cpu"))
            yield Finding(f"renderer {name}", "good", "loads")
        except VultusError as error:
            text = one_line(error)
            if needed:
                yield Finding(
                    f"renderer {name}", "broken", text, "pip install --force-reinstall numba llvmlite torch"
                )


def _threads() -> Finding:
    import torch

    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    chosen = os.environ.get("OMP_NUM_THREADS")
    return Finding(
        "threads",
        "good",
        f"{torch.get_num_threads()} of {usable} usable cores"
        + (f" (OMP_NUM_THREADS={chosen})" if chosen else ""),
    )


def _gpu() -> Finding:
    import torch

    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        return Finding("gpu", "good", f"{', '.join(names)}: use it with --device cuda")
    why = "this torch is a CPU build" if torch.version.cuda is None else "torch sees none"
    return Finding("gpu", "optional", f"none ({why}); vultus does not need one")


def _compiled_code() -> Finding:
    """Where numba keeps machine code between runs; without a writable place every start compiles anew."""
    from ..render import raster

    folder = Path(os.environ.get("NUMBA_CACHE_DIR") or Path(raster.__file__).parent / "__pycache__")
    num_kept = sum(1 for _ in folder.rglob("*.nbc")) if folder.is_dir() else 0
    probe = folder if folder.is_dir() else folder.parent
    if not os.access(probe, os.W_OK):
        remedy = "set NUMBA_CACHE_DIR to a folder that you may write to"
        return Finding(
            "compiled code",
            "optional",
            f"{folder} is not writable: numba keeps it in your home folder",
            remedy,
        )
    if num_kept:
        return Finding("compiled code", "good", f"kept in {folder}")
    return Finding(
        "compiled code", "optional", "none yet: the first photo takes longer", "vultus doctor --warm-up"
    )


def _models() -> Iterator[Finding]:
    for card in known_models():
        where = f" at {card.path}" if card.path else ""
        if card.installed:
            yield Finding(f"model {card.name}", "good", f"{card.licence}{where}")
        else:
            yield Finding(
                f"model {card.name}", "optional", f"not installed{where} ({card.licence}); see vultus models"
            )


def _assets() -> Iterator[Finding]:
    expected = expected_sha256()
    reinstall = "pip install --force-reinstall vultus"
    for name in sorted(expected.keys() | asset_files().keys()):
        path = asset_files().get(name)
        what, short = "file", f"{name}"
        if path is None:
            yield Finding(what, "broken", f"{short} is missing", reinstall)
        elif name not in expected:
            yield Finding(
                what, "optional", f"{short} is not one of ours", "delete it if you did not put it there"
            )
        elif (found := sha256(path)) != expected[name]:
            yield Finding(
                what, "broken", f"{short} is damaged or was changed (SHA-256 {found[:12]}...)", reinstall
            )
        else:
            yield Finding(what, "good", f"{short}  {path.stat().st_size / 1e6:.2f} MB  {found[:12]}")


def sample_photo() -> Path:
    """The photo that comes with vultus."""
    return Path(str(resources.files("vultus"))) / "assets" / "astronaut.jpg"


def _warm_up() -> Finding:
    from ..stages.reconstruct import reconstruct

    def timed(work: Callable[[], object]) -> float:
        start = time.perf_counter()
        work()
        return time.perf_counter() - start

    def once() -> None:
        with TemporaryDirectory() as folder:
            reconstruct(sample_photo()).save(Path(folder) / "sample")

    try:
        first, second = timed(once), timed(once)
    except Exception as error:
        return Finding(
            "sample photo",
            "broken",
            f"{type(error).__name__}: {one_line(error)}",
            "do what the lines above say",
        )
    return Finding(
        "sample photo", "good", f"reconstructed and saved in {first:.1f} s, then in {second:.1f} s"
    )
