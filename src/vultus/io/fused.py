"""A fused head as a folder: the files of a single photo, with what each view added in ``reconstruction.json`` under ``fusion``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from torch import Tensor

from ..geometry.rigid import pose_angles
from ..model.result import FusedReconstruction, FusedView
from .document import plain_numbers
from .result import DEFAULT_FORMATS, save


def save_fused(
    fused: FusedReconstruction,
    directory: str | Path,
    *,
    formats: Iterable[str] = DEFAULT_FORMATS,
    overlay: Tensor | None = None,
    baked: bool = False,
) -> Path:
    """Write a fused head, whole or not at all; arguments and errors as of :func:`vultus.io.result.save`.

    Args:
        overlay: "3 h w" sRGB, for example :func:`vultus.viewer.fused_sheet.fused_sheet`.
    """
    more = {"fusion": fusion_of(fused)}
    return save(fused.head, directory, formats=formats, overlay=overlay, baked=baked, more=more)


def fusion_of(fused: FusedReconstruction) -> dict[str, Any]:
    """The ``fusion`` block: plain JSON values."""
    names = fused.head.model.expression_names
    world = fused.T_world_head
    return {
        "reference": fused.views[fused.reference].name,
        "expression": fused.expression,
        "views": [_view(view, names) for view in fused.views],
        "left_out": dict(fused.left_out),
        "T_world_head": None if world is None else plain_numbers(world),
    }


def _view(view: FusedView, expression_names: Iterable[str]) -> dict[str, Any]:
    camera, coarse = view.camera, view.face.coarse
    angles = pose_angles(camera.T_camera_head[:3, :3])
    return {
        "photo": view.name,
        "camera": {
            "focal_px": plain_numbers(camera.focal_px),
            "principal_px": plain_numbers(camera.principal_px),
            "size_px": list(camera.size_px),
            "T_camera_head": plain_numbers(camera.T_camera_head),
        },
        "pose_deg": {
            "yaw": plain_numbers(angles.yaw_deg),
            "pitch": plain_numbers(angles.pitch_deg),
            "roll": plain_numbers(angles.roll_deg),
        },
        "expression": dict(zip(expression_names, plain_numbers(coarse.code.expression))),
        "light": plain_numbers(coarse.light),
        "residual_percent": round(100 * view.residual, 4),
        "weight": round(view.weight, 6),
    }
