"""A dense alignment becomes a folder: what its ``alignment.json`` says, and the files beside it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from .. import __version__
from ..io.alignment import AlignmentFiles, plain_points, write_alignment
from ..io.document import plain_numbers
from .alignment import Alignment


def save_alignment(
    face: Alignment,
    directory: str | Path,
    *,
    texture_size: int = 512,
    overlay: Tensor | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> Path:
    """Write ``alignment.json``, ``depth.png``, ``frontal.glb``, ``texture.png``, and ``overlay.png`` if one is given.

    Args:
        texture_size: texels per side; 0 for no texture. overlay: "3 h w" (:func:`vultus.viewer.alignment_picture.alignment_picture`).
        provenance: where it comes from: JSON values.

    Raises:
        BadFile: the folder cannot be written. BadInput: the alignment holds no photo to take a texture from, or is not finite.
    """
    texture = face.texture(texture_size) if texture_size else None
    files = AlignmentFiles(face.depth_map(), face.frontal_mesh, texture, overlay)
    return write_alignment(directory, alignment_document(face, provenance or {}), files)


def alignment_document(face: Alignment, provenance: Mapping[str, Any]) -> dict[str, Any]:
    """What ``alignment.json`` says about a face, beside what is in which file."""
    pose, crop = face.pose, face.crop
    names = ("yaw", "pitch", "roll")
    return {
        "provenance": {"version": __version__, "model": face.model.name, **provenance},
        "confidence": round(face.confidence, 6),
        "image_size_px": list(face.image_size),
        "crop": {
            "centre_px": [round(c, 4) for c in crop.centre_px],
            "side_px": round(crop.side_px, 4),
            "roll_deg": round(math.degrees(crop.roll_rad), 4),
            "size_px": crop.size_px,
        },
        "pose": {
            "angles_deg": {name: plain_numbers(angle) for name, angle in zip(names, pose.angles)},
            "rotation_camera_head": plain_numbers(pose.rotation_camera_head),
            "scale_px_per_mm": plain_numbers(pose.scale_px_per_mm),
            "translation_px": plain_numbers(pose.translation_px),
        },
        "landmarks_68_px": plain_points(face.landmarks68_px),
        "landmarks_68_visible": face.landmarks68_visible.tolist(),
        "points_478_px": plain_points(face.points478_px),
        "points_478_visible": face.points478_visible.tolist(),
        "visible_share": round(float(face.visible.float().mean()), 4),
    }
