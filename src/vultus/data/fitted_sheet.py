"""A contact sheet of fitted photos: what was kept, with the head drawn on it, and what was dropped, with the reason under each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ..errors import BadFile
from ..geometry.mesh import vertex_normals
from ..io.images import read_image, write_png
from ..model.morphable import MorphableModel
from ..render.interpolate import interpolate
from ..render.raster import rasterize
from .fitted_photos import Record, key_of
from .photo_fit import FITS, PhotoFit, camera_of, read_fit
from .profiling_scene import drawn_triangles

TILE_PX, _LINE_PX, _LINES, _LETTERS = 180, 13, 3, 29
_PAPER, _INK, _GOOD, _BAD = (245, 245, 242), (30, 30, 30), (60, 120, 70), (170, 50, 40)


@dataclass(frozen=True)
class Tile:
    """One photo on the sheet: pictures (h, w, 3) bytes side by side, whether it was kept, and what is said about it."""

    pictures: tuple[np.ndarray, ...]
    kept: bool
    lines: tuple[str, ...]


def contact_sheet(
    model: MorphableModel, folder: str | Path, photos: str | Path, records: Sequence[Record], out: str | Path, *, columns: int = 5
) -> Path:  # fmt: skip
    """Write a PNG of these photos, dropped ones first; of each, the photo beside the fitted head drawn over it.

    Args:
        folder: of the fits. photos: of the photos. records: which of them. out: the file.

    Raises:
        BadFile: it cannot be written.
    """
    tiles = [
        tile_of(model, Path(folder), Path(photos), record) for record in sorted(records, key=lambda r: r.kept)
    ]
    write_png(out, torch.from_numpy(drawn_sheet(tiles, columns)).permute(2, 0, 1).float() / 255)
    return Path(out)


def tile_of(model: MorphableModel, folder: Path, photos: Path, record: Record) -> Tile:
    """What the sheet shows of a photo; a file that cannot be read any more leaves its place empty."""
    lines = [record.photo, *_wrapped(record.reason)] if record.reason else [record.photo, *_measures(record)]
    blank = np.full((8, 8, 3), 200, np.uint8)
    try:
        if record.kept:
            fit = read_fit(folder / FITS / f"{key_of(Path(record.photo))}.npz")
            return Tile((fit.sample.image, overlay(model, fit)), True, tuple(lines[: _LINES + 1]))
        image, _ = read_image(photos / record.photo, 2 * TILE_PX)
        return Tile(((image * 255).byte().permute(1, 2, 0).numpy(),), False, tuple(lines[: _LINES + 1]))
    except BadFile:
        return Tile((blank,), record.kept, tuple(lines[: _LINES + 1]))


def overlay(model: MorphableModel, fit: PhotoFit) -> np.ndarray:
    """The crop (h, w, 3) bytes with the head's shape shaded over it, and the skin mask's border in green."""
    camera, image = camera_of(fit.sample), torch.from_numpy(fit.sample.image).permute(2, 0, 1).float() / 255
    points = camera.to_camera(torch.from_numpy(fit.sample.vertices_mm))
    triangles, _ = drawn_triangles(model)
    px = camera.project_camera(points)[None]
    found = rasterize(px, triangles, camera.size_px)
    normals = interpolate(found, px, triangles, vertex_normals(points, triangles))[0]
    shade = (0.25 - 0.7 * normals[2] - 0.25 * normals[1]).clamp(0, 1).expand(3, -1, -1)
    drawn = torch.where(found.mask[0], torch.lerp(image, shade, 0.7), image)
    drawn = torch.where(_border(torch.from_numpy(fit.sample.mask) > 127), drawn.new_tensor([0.1, 0.9, 0.3])[:, None, None], drawn)  # fmt: skip
    return (drawn * 255).round().byte().permute(1, 2, 0).numpy()


def drawn_sheet(tiles: Sequence[Tile], columns: int) -> np.ndarray:
    """The sheet (h, w, 3) bytes."""
    wide, high = 2 * TILE_PX + 10, TILE_PX + _LINE_PX * (_LINES + 1) + 12
    rows = max(1, -(-len(tiles) // columns))
    sheet = Image.new("RGB", (columns * wide + 10, rows * high + 10), _PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for i, tile in enumerate(tiles):
        left, top = 10 + i % columns * wide, 10 + i // columns * high
        for k, picture in enumerate(tile.pictures):
            small = Image.fromarray(picture)
            small.thumbnail((TILE_PX, TILE_PX))
            sheet.paste(small, (left + k * TILE_PX, top))
        for k, line in enumerate(tile.lines):
            colour = _INK if k else (_GOOD if tile.kept else _BAD)
            pen.text((left, top + TILE_PX + 3 + k * _LINE_PX), line[: 2 * _LETTERS], fill=colour, font=font)
    return np.array(sheet)


def _measures(record: Record) -> list[str]:
    m = record.measures
    if m is None:
        return []
    return [f"landmarks {m.landmark_residual:.3f}  colours {m.photometric_residual:.3f}", f"bare {100 * m.coverage:.0f} %  {m.face_px:.0f} px  yaw {m.yaw_deg:+.0f}"]  # fmt: skip


def _wrapped(text: str) -> list[str]:
    """Lines of at most so many letters, broken between words."""
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + len(word) >= 2 * _LETTERS:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def _border(mask: Tensor) -> Tensor:
    inner = -torch.nn.functional.max_pool2d(-mask.float()[None], 3, 1, 1)[0] > 0
    return mask & ~inner
