"""Photos as people really have them, made from the sample photo: sizes, turns, formats, damage."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from vultus.cli.doctor import sample_photo

_ORIENTATION = 0x0112
FACE_PX = 111  # the face in the sample photo of 512 x 512


def sample() -> Image.Image:
    return Image.open(sample_photo()).convert("RGB")


def face_of(size_px: int) -> Image.Image:
    side = round(512 * size_px / FACE_PX)
    return sample().resize((side, side), Image.Resampling.LANCZOS)


def no_face(path: Path) -> None:
    y, x = np.mgrid[:480, :640]
    hills = np.stack([x / 3, 255 - y / 2, 120 + 60 * np.sin(x / 40 + np.sin(y / 30))], -1)
    Image.fromarray(hills.clip(0, 255).astype(np.uint8)).save(path)


def two_faces(path: Path) -> None:
    wide = Image.new("RGB", (900, 512), (90, 90, 90))
    wide.paste(sample(), (0, 0))
    wide.paste(sample().resize((360, 360), Image.Resampling.LANCZOS), (530, 100))
    wide.save(path)


def exif_rotated(path: Path) -> None:
    turned = sample().transpose(
        Image.Transpose.ROTATE_90
    )  # stored counter-clockwise; 6 says: turn clockwise to show
    exif = Image.Exif()
    exif[_ORIENTATION] = 6
    turned.save(path, exif=exif, quality=95)


def sixteen_bit(path: Path) -> None:
    grey = np.asarray(sample().convert("L"), np.uint16)
    Image.fromarray(grey * 257).save(path)


def transparent(path: Path) -> None:
    image = sample().convert("RGBA")
    y, x = np.mgrid[:512, :512]
    alpha = np.where((x - 220) ** 2 + (y - 130) ** 2 < 180**2, 255, 0)
    image.putalpha(Image.fromarray(alpha.astype(np.uint8)))
    image.save(path)


def truncated(path: Path) -> None:
    data = sample_photo().read_bytes()
    path.write_bytes(data[: len(data) // 3])


def very_wide(path: Path) -> None:
    wide = Image.new("RGB", (10_000, 600), (70, 80, 90))
    wide.paste(sample(), (7000, 40))
    wide.save(path, quality=90)


def not_a_number(path: Path) -> None:
    grey = np.asarray(sample().convert("L"), np.float32) / 255
    grey[100:200, 100:200] = np.nan
    Image.fromarray(grey).save(path)


# file name -> how to make it; the dictionary says what must come of it
SCENES: dict[str, Callable[[Path], object]] = {
    "plain.jpg": lambda path: path.write_bytes(sample_photo().read_bytes()),
    "two_faces.png": two_faces,
    "face_of_40_px.png": lambda path: face_of(40).save(path),
    "upside_down.png": lambda path: sample().transpose(Image.Transpose.ROTATE_180).save(path),
    "on_its_side.png": lambda path: sample().transpose(Image.Transpose.ROTATE_90).save(path),
    "grey.png": lambda path: sample().convert("L").save(path),
    "very_wide.jpg": very_wide,
}
# The same scene, stored otherwise.
FORMATS: dict[str, Callable[[Path], object]] = {
    "exif_rotated.jpg": exif_rotated,
    "sixteen_bit.png": sixteen_bit,
    "cmyk.jpg": lambda path: sample().convert("CMYK").save(path, quality=95),
    "transparent.png": transparent,
    "palette.gif": lambda path: sample().convert("P", palette=Image.Palette.ADAPTIVE).save(path),
    "modern.webp": lambda path: sample().save(path, quality=90),
}
WORKS = SCENES | FORMATS
FAILS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no_face.png": (no_face, "no face"),
    "black.png": (lambda path: Image.new("RGB", (400, 300)).save(path), "no face"),
    "truncated.jpg": (truncated, "damaged"),
    "empty.jpg": (lambda path: path.write_bytes(b""), "empty"),
    "text.jpg": (lambda path: path.write_text("this is not a picture\n" * 50), "not a picture"),
    "not_a_number.tif": (not_a_number, "NaN"),
    "missing.jpg": (lambda path: None, "no such file"),
}
