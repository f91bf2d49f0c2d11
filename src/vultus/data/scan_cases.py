"""Captures as something to be met: the scan of each person and one photo of it."""

from __future__ import annotations

from pathlib import Path

from ..errors import BadFile
from ..evaluate.benchmark import Item
from ..evaluate.scans import ScanCase
from .capture import CAMERAS, LANDMARKS
from .scans import open_captures


def is_capture_set(folder: Path) -> bool:
    """Whether a folder is laid out as ``vultus dataset capture`` makes it."""
    return folder.is_dir() and next(folder.glob(f"*/*/{CAMERAS}"), None) is not None


def capture_cases(folder: Path) -> tuple[ScanCase, ...]:
    """The first picture of every capture that has a scan, which shows the same expression.

    Raises:
        BadFile: none has one.
    """
    cases = []
    for capture in open_captures(folder):
        if capture.mesh_path is None or not capture.photos:
            continue
        photo = capture.photos[0]
        item = Item(
            f"{capture.subject}/{capture.expression}", capture.subject, capture.expression, photo.path, float(photo.camera.focal_px)
        )  # fmt: skip
        cases.append(ScanCase(item, capture.mesh_path, capture.mesh_path.with_name(LANDMARKS)))
    if not cases:
        raise BadFile(f"{folder}: no capture in it has a scan and a photo (docs/scans.md)")
    return tuple(cases)
