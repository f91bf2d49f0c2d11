"""Photos in, pictures out: any common file or array to "3 h w" sRGB in [0, 1], and PNG files of 8 or 16 bits."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError
from torch import Tensor

from ..errors import BadFile, BadInput
from .files import atomic_file

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".jp2", ".avif", ".ppm"}
)
MAX_PIXELS = 178_956_970  # Pillow's own limit against decompression bombs: 13,377 pixels square

_BACKDROP = (
    128  # what shows through where a picture is transparent: neither a bright nor a dark edge around the head
)
_ORIENTATION, _EXIF_BLOCK = 0x0112, 0x8769
_FOCAL_LENGTH, _FOCAL_LENGTH_35MM, _EXIF_WIDTH, _EXIF_HEIGHT = 0x920A, 0xA405, 0xA002, 0xA003


@dataclass(frozen=True)
class ImageInfo:
    """What a picture file says beside its pixels.

    Attributes:
        path: the file, or None for an array.
        size_px: (width, height) as returned, after turning and shrinking.
        file_size_px: (width, height) as stored in the file, before both.
        mode: Pillow's name of the stored pixels ("RGB", "L", "I;16", "CMYK", "P", "RGBA", ...).
        orientation: the EXIF orientation that was applied, 1 for none.
        has_alpha: transparent parts were laid over neutral grey.
        has_profile: an embedded colour profile was converted to sRGB.
        focal_mm: the lens's focal length, where the file says so.
        focal_mm35: the same as it would be on a 36 x 24 mm sensor.
        exif_size_px: (width, height) as the camera wrote it; when it differs from the file's in shape, the photo was
            cropped later and its focal length no longer tells the field of view.
    """

    path: Path | None
    size_px: tuple[int, int]
    file_size_px: tuple[int, int]
    mode: str
    orientation: int = 1
    has_alpha: bool = False
    has_profile: bool = False
    focal_mm: float | None = None
    focal_mm35: float | None = None
    exif_size_px: tuple[int, int] | None = None


def read_image(path: str | Path, max_side_px: int | None = None) -> tuple[Tensor, ImageInfo]:
    """Read a photo as "3 h w" float32 RGB, sRGB in [0, 1], turned upright as its EXIF data says.

    Args:
        path: a file of any format that Pillow reads; of an animation, the first picture.
        max_side_px: shrink (by averaging) when the longer side is above this; None keeps every pixel.

    Raises:
        BadFile: missing, a folder, not readable, empty, not a picture, cut short, or too large; one line with a remedy.
    """
    path = Path(path)
    _check_is_file(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # damaged EXIF blocks and sizes that are large but allowed
            with Image.open(path) as file:
                file.load()
                return _decode(file, path, max_side_px)
    except UnidentifiedImageError as error:
        raise BadFile(f"{path}: not a picture that can be read; convert it to JPEG or PNG") from error
    except Image.DecompressionBombError as error:
        raise BadFile(
            f"{path}: more than {MAX_PIXELS // 10**6} million pixels; make it smaller first"
        ) from error
    except PermissionError as error:
        raise BadFile(f"{path}: cannot be read (permission denied); change its permissions") from error
    except MemoryError as error:
        raise BadFile(f"{path}: does not fit into memory; make it smaller first") from error
    except Exception as error:  # a damaged file makes Pillow's decoders raise almost anything
        reason = " ".join(str(error).split())
        raise BadFile(f"{path}: damaged or cut short ({reason}); get the file again") from error


def read_texture(path: str | Path) -> Tensor:
    """Read an image that :func:`write_png` wrote: "3 h w", or "4 h w" with its opacity where the file has one.

    Raises:
        BadFile: as :func:`read_image`.
    """
    colours, info = read_image(path)
    if not info.has_alpha:
        return colours
    with Image.open(path) as file:  # read_image has seen that it can be read, and laid it over grey
        return torch.from_numpy(np.array(file.convert("RGBA"))).permute(2, 0, 1).float() / 255


def image_from_array(array: np.ndarray | Tensor) -> Tensor:
    """An image held in memory -> "3 h w" float32 RGB in [0, 1].

    Args:
        array: "h w", "h w c" or (torch tensors first) "c h w", with 1, 3 or 4 channels (4: RGBA over neutral grey); uint8,
            uint16, bool, or floating point in [0, 1].

    Raises:
        BadInput: another shape or type, no pixels, NaN or infinite values, floating point beyond [0, 1].
    """
    channels_first = isinstance(array, Tensor)
    values = array.detach().cpu().numpy() if isinstance(array, Tensor) else np.asarray(array)
    if values.ndim == 3 and values.size:
        first, last = values.shape[0] in (1, 3, 4), values.shape[2] in (1, 3, 4)
        if first and (channels_first or not last):
            values = values.transpose(1, 2, 0)
    if values.ndim == 2:
        values = values[..., None]
    if values.ndim != 3 or values.shape[2] not in (1, 3, 4) or values.size == 0:
        raise BadInput(f"an image must be shaped (h, w), (h, w, 3) or (3, h, w), not {tuple(array.shape)}")
    return _to_tensor(_over_backdrop(_to_unit_range(values)))


def write_png(path: str | Path, image: Tensor, bits: int = 8) -> None:
    """Write "3 h w" or "1 h w" values in [0, 1] (others are clipped) as a PNG file, whole or not at all.

    Args:
        path: where to; an existing file is replaced.
        image: one (grey), three (RGB) or four (RGBA) channels, already in the file's colour space.
        bits: 8, or 16 for maps whose steps would show.

    Raises:
        BadInput: another number of channels or bits, or NaN.
        BadFile: the file cannot be written.
    """
    if image.ndim != 3 or image.shape[0] not in (1, 3, 4) or image.numel() == 0 or bits not in (8, 16):
        raise BadInput(
            f"a PNG takes (1 | 3 | 4, h, w) values at 8 or 16 bits, not {tuple(image.shape)} at {bits}"
        )
    values = image.detach().to(torch.float64).permute(1, 2, 0).cpu().numpy()
    if not np.isfinite(values).all():
        raise BadInput(f"{path}: the image holds NaN or infinite values, nothing was written")
    top = 2**bits - 1
    levels = np.rint(values.clip(0, 1) * top).astype(">u2" if bits == 16 else np.uint8)
    with atomic_file(path) as partial:
        partial.write_bytes(_png(levels))


def list_images(folder: str | Path) -> tuple[Path, ...]:
    """The picture files in a folder, by their suffix, in alphabetical order; not those in folders inside it.

    Raises:
        BadFile: no such folder, or it cannot be read.
    """
    folder = Path(folder)
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise BadFile(f"{folder}: cannot be read ({error.strerror}); give a folder with photos") from error
    return tuple(entry for entry in entries if entry.suffix.lower() in IMAGE_SUFFIXES and entry.is_file())


def _check_is_file(path: Path) -> None:
    try:
        size = path.stat().st_size
    except FileNotFoundError as error:
        raise BadFile(f"{path}: no such file; check the name") from error
    except OSError as error:
        raise BadFile(
            f"{path}: cannot be read ({error.strerror}); check the path and its permissions"
        ) from error
    if path.is_dir():
        raise BadFile(f"{path}: this is a folder; give the pictures in it")
    if size == 0:
        raise BadFile(f"{path}: the file is empty; get it again")


def _decode(file: Image.Image, path: Path, max_side_px: int | None) -> tuple[Tensor, ImageInfo]:
    exif = file.getexif()
    block = exif.get_ifd(_EXIF_BLOCK)
    orientation = exif.get(_ORIENTATION, 1)
    mode, file_size, has_alpha = file.mode, file.size, file.has_transparency_data
    image, has_profile = _in_srgb(file)
    if max_side_px is not None and max(image.size) > max_side_px:
        scale = max_side_px / max(image.size)
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        image = image.resize(
            size, Image.Resampling.BOX if image.mode.startswith(("I", "F")) else Image.Resampling.LANCZOS
        )
    image = ImageOps.exif_transpose(image)
    values = _over_backdrop(_to_unit_range(np.asarray(image)))
    exif_width, exif_height = _positive(block.get(_EXIF_WIDTH)), _positive(block.get(_EXIF_HEIGHT))
    info = ImageInfo(
        path=path,
        size_px=image.size,
        file_size_px=file_size,
        mode=mode,
        orientation=orientation if orientation in range(1, 9) else 1,
        has_alpha=has_alpha,
        has_profile=has_profile,
        focal_mm=_positive(block.get(_FOCAL_LENGTH)),
        focal_mm35=_positive(block.get(_FOCAL_LENGTH_35MM)),
        exif_size_px=(int(exif_width), int(exif_height)) if exif_width and exif_height else None,
    )
    return _to_tensor(values), info


def _in_srgb(file: Image.Image) -> tuple[Image.Image, bool]:
    """The picture as RGB, RGBA, or grey of more than 8 bits; colours converted where an embedded profile can be used."""
    exif, profile = file.info.get("exif"), file.info.get("icc_profile")
    if file.mode.startswith(("I", "F")):
        return file, False
    image = file.convert("RGBA" if file.has_transparency_data else file.mode)
    if image.mode in ("P", "1", "LA", "PA"):
        image = image.convert("RGB")
    converted = None
    if profile and image.mode in ("RGB", "RGBA", "L", "CMYK"):
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            if image.mode == "RGBA":
                converted = ImageCms.profileToProfile(
                    image.convert("RGB"), source, ImageCms.createProfile("sRGB"), outputMode="RGB"
                )
                if converted is not None:
                    converted.putalpha(image.getchannel("A"))
            else:
                converted = ImageCms.profileToProfile(
                    image, source, ImageCms.createProfile("sRGB"), outputMode="RGB"
                )
        except (ImageCms.PyCMSError, OSError, ValueError):
            converted = (
                None  # a damaged profile, or one for another kind of pixels: most viewers ignore it as well
            )
    result = converted or (image if image.mode in ("RGB", "RGBA") else image.convert("RGB"))
    if exif:
        result.info["exif"] = exif
    return result, converted is not None


def _to_unit_range(values: np.ndarray) -> np.ndarray:
    """Integers by their range, floats as they are -> float32 in [0, 1]."""
    if values.dtype == bool:
        return values.astype(np.float32)
    if values.dtype.kind in "ui":
        top = (
            255 if values.dtype.itemsize == 1 else 65535
        )  # Pillow holds some 16-bit files as 32-bit integers
        return (values.astype(np.float32) / top).clip(0, 1)
    if values.dtype.kind != "f":
        raise BadInput(f"an image must hold integers or floats, not {values.dtype}")
    if not np.isfinite(values).all():
        raise BadInput("the image holds NaN or infinite values; replace them first")
    if values.min() < -1e-3 or values.max() > 1 + 1e-3:
        raise BadInput(
            f"floating point images must lie in [0, 1], not [{values.min():g}, {values.max():g}]; divide by their maximum"
        )
    return values.astype(np.float32).clip(0, 1)


def _over_backdrop(values: np.ndarray) -> np.ndarray:
    if values.ndim == 2:
        values = values[..., None]
    if values.shape[2] != 4:
        return values
    alpha = values[..., 3:]
    return values[..., :3] * alpha + (1 - alpha) * (_BACKDROP / 255)


def _to_tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1))).expand(3, -1, -1).contiguous()


def _positive(value: object) -> float | None:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return number if 0 < number < 1e6 else None


def _png(levels: np.ndarray) -> bytes:
    """Encode "h w c" of uint8 or big-endian uint16 as PNG (ISO/IEC 15948); Pillow cannot write 16-bit colour.

    Every row holds its difference to the row above (filter 2), which compresses photographs well.
    """
    height, width, channels = levels.shape
    rows = np.ascontiguousarray(levels).view(np.uint8).reshape(height, -1)
    filtered = np.full((height, rows.shape[1] + 1), 2, np.uint8)
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    colour_type = {1: 0, 3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", width, height, levels.dtype.itemsize * 8, colour_type, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(filtered.tobytes(), 4)), (b"IEND", b""))
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body
