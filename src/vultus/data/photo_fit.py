"""A fitted photo as a crop with everything that is known in it: made from a reconstruction, kept as one file, read again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ..errors import BadFile, BadInput
from ..geometry.camera import Camera
from ..geometry.rigid import pose_angles
from ..io.files import atomic_file
from ..model.deformation import face_vertices
from ..model.face import DeformedFace
from ..model.morphable import MorphableModel
from ..model.result import Reconstruction
from .sample import Sample

FITS, SOURCE = "fits", "fitted-photos"
TERMS = "fits of the photos that were given: their licence and the consent of the people in them go with every picture"
"""What a manifest says of samples of :data:`SOURCE`, and of pictures made from them."""
REACH_MM = 195.0
"""Half the side of a crop: as far as the tip of the nose gets from the neck's axis when a head turns, and a little more."""
CENTRE_MM = (0.0, -30.0, -50.0)
"""What lies in the middle of a crop, head frame: between the face and the axis that it turns about."""


_PLAIN = ("key", "source", "image", "mask", "vertices_mm", "focal_px", "principal_px", "T_camera_head", "landmarks_px", "person", "light")  # fmt: skip


@dataclass(frozen=True)
class PhotoFit:
    """A kept photo.

    Attributes:
        sample: the crop, with a code (identity, expression, albedo), ``deformation_mm`` and light.
        person: (h, w) uint8, 255 where the crop shows the person: skin, hair, clothes.
    """

    sample: Sample
    person: NDArray[np.uint8]


def crop_fit(found: Reconstruction, key: str, size_px: int) -> PhotoFit:
    """The part of a photo around its head, at most ``size_px`` on a side, with everything that the fit knows in that crop's pixels."""
    image, camera, (left, top) = crop_around_head(found.view.image, found.camera, size_px)
    scale = float(camera.focal_px / found.camera.focal_px)
    bits = torch.stack([found.view.skin_mask.float(), _person(found)])
    bits = _resampled(bits, (left, top), scale, (image.shape[-2], image.shape[-1]))
    vertices = face_vertices(found.model, found.geometry)
    coarse = found.coarse
    code = {name: getattr(coarse.code, name).numpy() for name in ("identity", "expression", "albedo")}
    maps = {"deformation_mm": found.geometry.deformation_mm.numpy()} if isinstance(found.geometry, DeformedFace) else {}  # fmt: skip
    sample = as_sample(
        found.model, key=key, source=SOURCE, image=image, mask=bits[0] > 0.5, vertices=vertices, camera=camera,
        person=key, code=code, maps=maps, light=coarse.light.numpy(),
    )  # fmt: skip
    return PhotoFit(sample, as_bytes(bits[1:])[..., 0])


def crop_around_head(image: Tensor, camera: Camera, size_px: int) -> tuple[Tensor, Camera, tuple[int, int]]:
    """The square around a head, as far as the photo goes: image "3 h w", its camera, and the corner (left, top) in the photo.

    Large crops are shrunk to ``size_px`` by averaging; small ones stay as they are.
    """
    x, y, depth = camera.project(torch.tensor([CENTRE_MM]))[0].tolist()
    reach = REACH_MM * float(camera.focal_px) / depth
    height, width = image.shape[1:]
    left, right = max(0, round(x - reach)), min(width, round(x + reach))
    top, bottom = max(0, round(y - reach)), min(height, round(y + reach))
    scale = min(1.0, size_px / (2 * reach + 1))  # a pixel for the rounding of both corners
    cropped = camera.cropped(left, top, (right - left, bottom - top)).resized(scale)
    size = cropped.size_px[1], cropped.size_px[0]
    return _resampled(image, (left, top), scale, size), cropped, (left, top)


def as_sample(
    model: MorphableModel, *, key: str, source: str, image: Tensor, mask: Tensor, vertices: Tensor, camera: Camera,
    person: str, code: Mapping[str, NDArray[np.float32]], maps: Mapping[str, NDArray[np.floating]], light: NDArray[np.float32] | None,
) -> Sample:  # fmt: skip
    """A sample of an image "3 h w" in [0, 1] and a posed camera; landmarks are those of the model's surface at these vertices "v 3"."""
    zero = torch.zeros(())
    marks = model.landmarks["ibug68"].points(vertices, model.triangles, zero, zero)
    return Sample(
        key, source, as_bytes(image), as_bytes(mask.float()[None])[..., 0], vertices.numpy(), float(camera.focal_px),
        camera.principal_px.numpy(), camera.T_camera_head.numpy(), camera.project(marks).numpy(), person, code, maps, light,
    )  # fmt: skip


def camera_of(sample: Sample) -> Camera:
    """The posed camera of a sample."""
    height, width = sample.image.shape[:2]
    to = torch.from_numpy
    return Camera(torch.tensor(sample.focal_px).float(), to(sample.principal_px), (width, height), to(sample.T_camera_head))  # fmt: skip


def as_bytes(image: Tensor) -> NDArray[np.uint8]:
    """An image "c h w" in [0, 1] as (h, w, c) bytes."""
    return (image.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).contiguous().numpy()


def yaw_deg(sample: Sample) -> float:
    """How far the face of a sample is turned."""
    return float(pose_angles(torch.from_numpy(sample.T_camera_head)[:3, :3]).yaw_deg)


def write_fit(folder: Path, fit: PhotoFit) -> None:
    """One file, whole or not at all."""
    sample = fit.sample
    (folder / FITS).mkdir(exist_ok=True)
    plain: dict[str, Any] = {
        name: getattr(sample, name) for name in _PLAIN if getattr(sample, name) is not None
    }
    plain |= {f"code/{name}": value for name, value in sample.code.items()}
    plain |= {f"maps/{name}": value for name, value in sample.maps.items()}
    with atomic_file(folder / FITS / f"{sample.key}.npz") as partial, partial.open("wb") as file:
        np.savez_compressed(file, **plain, seen_person=fit.person)


def read_fit(path: Path) -> PhotoFit:
    """What :func:`write_fit` wrote.

    Raises:
        BadFile: it is no such file.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            found: dict[str, Any] = {name: file[name] for name in file.files}
        plain: dict[str, Any] = {name: found[name] for name in _PLAIN if name != "light"}
        plain |= {name: str(plain[name]) for name in ("key", "source", "person")}
        plain["focal_px"] = float(plain["focal_px"])
        nested = {
            part: {
                name.split("/", 1)[1]: value for name, value in found.items() if name.startswith(f"{part}/")
            }
            for part in ("code", "maps")
        }
        plain |= nested | {"light": found.get("light")}
        return PhotoFit(Sample(**plain), found["seen_person"])
    except (OSError, ValueError, KeyError) as error:
        raise BadFile(f"{path}: not a fit of a photo ({error}); delete it and its line in photos.jsonl, and run vultus dataset fit again") from error  # fmt: skip


def list_fits(folder: str | Path) -> tuple[Path, ...]:
    """The kept photos' files of a folder of fits, by name.

    Raises:
        BadInput: there are none.
    """
    found = tuple(sorted((Path(folder) / FITS).glob("*.npz")))
    if not found:
        raise BadInput(
            f"{folder}: no fits in it ({FITS}/*.npz); make them with vultus dataset fit -o {folder}"
        )
    return found


def _person(found: Reconstruction) -> Tensor:
    person = found.view.person
    return torch.ones_like(found.view.image[0]) if person is None else person.float()


def _resampled(image: Tensor, corner: tuple[int, int], scale: float, size: tuple[int, int]) -> Tensor:
    """A window of "c h w", its corner (left, top) and its size (h, w) after scaling; averages where that shrinks."""
    (left, top), (height, width) = corner, size
    window = image[:, top : top + round(height / scale) + 1, left : left + round(width / scale) + 1]
    if scale == 1.0:
        return window[:, :height, :width].contiguous()
    wide = torch.arange(width) / scale
    high = torch.arange(height) / scale
    # Pixels are areas: sums over [a, b) from a running sum, exact for any scale.
    return _averaged(_averaged(window, wide, 1 / scale, -1), high, 1 / scale, -2)


def _averaged(image: Tensor, start: Tensor, length: float, dim: int) -> Tensor:
    """Means over intervals [start, start + length) of pixels along an axis."""
    total = F.pad(image.transpose(dim, -1).double().cumsum(-1), (1, 0))

    def until(place: Tensor) -> Tensor:
        place = place.clamp(0, total.shape[-1] - 1)
        low = place.long().clamp_max(total.shape[-1] - 2)
        part = place - low
        return total[..., low] * (1 - part) + total[..., low + 1] * part

    begin, end = start.double(), (start.double() + length).clamp_max(total.shape[-1] - 1)
    return ((until(end) - until(begin)) / (end - begin).clamp_min(1e-9)).transpose(dim, -1).float()
