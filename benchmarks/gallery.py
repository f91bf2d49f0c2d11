"""Contact sheets of many people, to look at: what no number tells.

    python benchmarks/gallery.py FOLDER [-o gallery.png] [--limit N] [--rows 8] [--panel 200]

A row per photo: photo, landmarks, mesh and textured head over the photo; the textured head from three sides; its shape alone from three
sides; the file's name below. One sheet per eight people (gallery-1.png, ...). FOLDER is searched with its sub-folders; a limit
takes photos spread evenly. Mind whose pictures you show to others.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from tqdm import tqdm

from vultus.errors import VultusError
from vultus.io.images import list_images, write_png
from vultus.model.face import TexturedFace
from vultus.model.result import Reconstruction
from vultus.stages.reconstruct import reconstruct
from vultus.viewer.overlay import overlay

LABEL_PX, GREY = 18, 0.32


def row_of(result: Reconstruction, panel_px: int) -> torch.Tensor:
    """Ten panels side by side "3 p 10p": what :func:`overlay` shows, then the same head in grey from its three sides."""
    picture = overlay(result, panel_px)
    upper, lower = picture[:, :panel_px], picture[:, panel_px:]
    coarse = result.face.coarse if isinstance(result.face, TexturedFace) else result.face
    model = replace(
        result.model,
        albedo_mean=torch.full_like(result.model.albedo_mean, GREY),
        albedo=torch.zeros_like(result.model.albedo),
    )
    nowhere = replace(result.view, image=torch.zeros(3, 0, 0))
    shape = overlay(replace(result, model=model, face=coarse, view=nowhere), panel_px)
    return torch.cat([upper, lower[..., : 3 * panel_px], shape[..., : 3 * panel_px]], -1)


def labelled(picture: torch.Tensor, text: str) -> torch.Tensor:
    """The picture with a line of text below."""
    strip = Image.new("RGB", (picture.shape[2], LABEL_PX), (28, 28, 28))
    ImageDraw.Draw(strip).text((6, 3), text, fill=(235, 235, 235))
    return torch.cat([picture, torch.from_numpy(np.array(strip)).permute(2, 0, 1).float() / 255], 1)


def photos_in(folder: Path, limit: int | None) -> list[Path]:
    folders = [folder, *sorted(path for path in folder.rglob("*") if path.is_dir())]
    paths = [path for sub in folders for path in list_images(sub)]
    if limit and limit < len(paths):
        paths = [paths[i] for i in np.linspace(0, len(paths) - 1, limit).round().astype(int)]
    return paths


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path("gallery.png"))
    parser.add_argument("--limit", type=int)
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--panel", type=int, default=200)
    parser.add_argument("--no-texture", action="store_true")
    options = parser.parse_args()
    rows: list[torch.Tensor] = []
    failures: list[str] = []
    sheets = 0

    def write_sheet() -> None:
        nonlocal sheets
        sheets += 1
        path = options.output.with_stem(f"{options.output.stem}-{sheets}")
        write_png(path, torch.cat(rows, 1))
        rows.clear()
        tqdm.write(str(path))

    for path in tqdm(photos_in(options.folder, options.limit), unit="photo"):
        try:
            found = reconstruct(path, **({"texture_size": 0} if options.no_texture else {}))
        except VultusError as error:
            failures.append(str(error))
            continue
        status = f"{found.report.status} {'; '.join(found.report.advice)}"
        rows.append(labelled(row_of(found, options.panel), f"{path.relative_to(options.folder)}   {status}"))
        if len(rows) == options.rows:
            write_sheet()
    if rows:
        write_sheet()
    for failure in failures:
        print(failure)


if __name__ == "__main__":
    main()
