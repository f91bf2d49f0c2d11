"""The public functions of dense alignment: a photo becomes position maps of its faces, in tens of milliseconds (docs/align.md)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch import Tensor

from ..detect.boxes import find_boxes
from ..errors import FaceNotFound
from ..geometry.position_map import FaceCrop, in_pixels
from ..io.images import image_from_array, read_image
from ..model.catalog import load_model
from ..model.morphable import MorphableModel
from ..nets.position_input import network_input
from ..nets.position_weights import PositionWeights, position_weights
from ..nets.runtime import Run, runner
from .alignment import Alignment
from .alignment_surface import face_surface
from .first_crop import crop_of_box, crop_of_corners, is_near, next_crop, other_crops
from .plausible import DOUBTFUL, agreement, plausibility

Backend = Literal["torch", "onnx", "openvino"]
Precision = Literal["fp32", "bf16"]
Photo = str | Path | Tensor | np.ndarray | Image.Image
Box = tuple[float, float, float, float]

_LYING = 0.7  # what a face that lies is believed, of what an upright one is
_TOGETHER = 16  # crops that go through a network at once


def align(
    image: Photo,
    box: Box | None = None,
    *,
    weights: str | Path | None = None,
    backend: Backend = "torch",
    precision: Precision = "fp32",
    model: str | MorphableModel = "vultus",
    refine: bool = True,
) -> Alignment:
    """The largest face of a photo, or the one in a box, densely aligned.

    Args:
        image: a file, "3 h w" tensor, "h w 3" array (sRGB in [0, 1], or bytes), or Pillow's image.
        box: (left, top, right, bottom) in pixels of the face, from the forehead to the chin; nothing is detected then.
        weights: a file that `vultus train --export` wrote; None for the network that ships with vultus.
        backend, precision: what runs the network (:func:`vultus.nets.runtime.runner`).
        model: whose chart the answer is over; any model's, because charts are shared.
        refine: look again around the points that were found, where the first crop was not quite around them.

    Raises:
        FaceNotFound: nobody is in the picture. AssetMissing, WeightsMismatch: the weights. BadFile, BadInput: as they say.
    """
    aligner = load_aligner(weights, backend, precision, model)
    pixels, name = _read(image)
    if box is not None:
        # Who draws a box may mean another part of the head than detectors do: one more look.
        return aligner.look(pixels, [aligner.crop_of(box)], looks=3 if refine else 1)[0]
    first = _found(aligner, pixels, name)[:1]
    found = aligner.look(pixels, first, looks=2 if refine else 1)[0]
    if refine and (found.confidence < DOUBTFUL or _lies(found)):
        others = aligner.look(pixels, other_crops(first[0]), looks=2)
        found = max((found, *others), key=lambda face: face.confidence * (_LYING if _lies(face) else 1))
    return found


def align_all(
    image: Photo,
    *,
    weights: str | Path | None = None,
    backend: Backend = "torch",
    precision: Precision = "fp32",
    model: str | MorphableModel = "vultus",
    refine: bool = True,
) -> tuple[Alignment, ...]:
    """Every face of a photo, largest first; looks more closely for small ones. Arguments and errors as :func:`align`."""
    aligner = load_aligner(weights, backend, precision, model)
    pixels, name = _read(image)
    return aligner.look(pixels, _found(aligner, pixels, name, small_too=True), looks=2 if refine else 1)


@dataclass(frozen=True, eq=False)
class Aligner:
    """A network ready to be asked, and what is known about it. Make one with :func:`load_aligner`.

    Attributes:
        model: whose chart. crop_px, crop_factor: of the crops that the network knows. run: batches of them -> normalised maps.
    """

    model: MorphableModel
    crop_px: int
    crop_factor: float
    run: Run = field(repr=False)

    def detect(self, image: Tensor, *, small_too: bool = False) -> list[FaceCrop]:
        """Crops of the faces in a photo "3 h w", largest first; small_too as :func:`vultus.detect.boxes.find_boxes`."""
        found = find_boxes(image, small_too=small_too)
        return [crop_of_box(box, self.crop_factor, self.crop_px) for box in found]

    def crop_of(self, box: Box) -> FaceCrop:
        """The crop for a box as :func:`align` takes it.

        Raises:
            BadInput: it is empty.
        """
        return crop_of_corners(box, self.crop_factor, self.crop_px)

    def look(self, image: Tensor, crops: Sequence[FaceCrop], *, looks: int = 1) -> tuple[Alignment, ...]:
        """The face in each crop of a photo "3 h w", all of them through the network together.

        Args:
            crops: of any resolution; the network's own is taken.
            looks: how often at most; again only at faces whose crop was not around what was found in it.
        """
        found = self._once(image, [replace(crop, size_px=self.crop_px) for crop in crops])
        for _ in range(looks - 1):
            better: dict[int, FaceCrop] = {}
            for index, face in enumerate(found):
                crop = next_crop(face.landmarks68_px, self.crop_factor, self.crop_px)
                # A crop that jumps away is what a network says of no face: believe the detector.
                if crop is not None and not is_near(face.crop, crop) and _overlaps(face.crop, crop):
                    better[index] = crop
            if not better:
                break
            again = self._once(image, list(better.values()), [found[index] for index in better])
            for index, face in zip(better, again):
                found[index] = face
        return tuple(found)

    def _once(
        self, image: Tensor, crops: Sequence[FaceCrop], before: Sequence[Alignment] = ()
    ) -> list[Alignment]:
        size, surface = (image.shape[2], image.shape[1]), face_surface(self.model)
        maps = [
            answer
            for start in range(0, len(crops), _TOGETHER)
            for answer in self.run(
                torch.stack([seen_through(image, crop) for crop in crops[start : start + _TOGETHER]])
            )
        ]
        found = []
        for number, (crop, answer) in enumerate(zip(crops, maps)):
            position_px = _in_photo(in_pixels(answer, self.crop_px), crop)
            confidence = plausibility(surface, position_px)
            if before:
                confidence *= agreement(before[number].position_px, position_px)
            found.append(Alignment(self.model, crop, position_px, size, confidence, image))
        return found


def load_aligner(
    weights: str | Path | None = None,
    backend: Backend = "torch",
    precision: Precision = "fp32",
    model: str | MorphableModel = "vultus",
) -> Aligner:
    """A network to align with; the last few are kept. Arguments and errors as :func:`align`."""
    loaded = position_weights(weights)
    chosen = load_model(model) if isinstance(model, str) else model
    face_surface(chosen).points_uv("ibug68")  # what cannot be aligned is said before anything is computed
    return Aligner(chosen, loaded.config.crop_px, loaded.crop_factor, _runner(loaded, backend, precision, torch.get_num_threads()))  # fmt: skip


def seen_through(image: Tensor, crop: FaceCrop) -> Tensor:
    """What a network sees of a photo "3 h w" through a crop: "3 c c", as it was trained (:mod:`vultus.nets.position_input`).

    Only the part around the crop is turned into bytes, averaged to the crop's resolution first: a photo of 12 megapixels costs no more than a small one.
    """
    size, (height, width) = crop.size_px, image.shape[1:]
    square = torch.tensor([[0.0, 0], [0, size], [size, 0], [size, size]], dtype=torch.float64)
    corners = crop.to_photo(square)
    step = max(1, round(crop.side_px / size))
    low = [max(math.floor(c) - 2 * step, 0) // step * step for c in corners.amin(0).tolist()]
    high = [math.ceil(c) + 2 * step for c in corners.amax(0).tolist()]
    part = image[:, low[1] : min(high[1], height), low[0] : min(high[0], width)]
    if not part.numel():
        return torch.zeros(3, size, size)
    if step > 1:
        spare = (0, -part.shape[2] % step, 0, -part.shape[1] % step)
        part = F.avg_pool2d(F.pad(part[None], spare, mode="replicate") if any(spare) else part[None], step)[0]
    picture = (part.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).contiguous().cpu().numpy()
    x, y = ((c - offset) / step for c, offset in zip(crop.centre_px, low))
    return network_input(picture, FaceCrop((x, y), crop.side_px / step, crop.roll_rad, size))


@lru_cache(maxsize=4)
def _runner(weights: PositionWeights, backend: Backend, precision: Precision, _threads: int) -> Run:
    return runner(weights.network, backend, precision, input_px=weights.config.crop_px)


def _found(aligner: Aligner, pixels: Tensor, name: str, *, small_too: bool = False) -> list[FaceCrop]:
    crops = aligner.detect(pixels, small_too=small_too)
    if not crops:
        raise FaceNotFound(f"{name}: no face found; say where it is with a box (--box LEFT TOP RIGHT BOTTOM), or crop closer to the face")  # fmt: skip
    return crops


def _in_photo(map_px: Tensor, crop: FaceCrop) -> Tensor:
    """A map "3 s s" in the crop -> in the photo."""
    return crop.to_photo(map_px.flatten(1).T).T.reshape(map_px.shape).contiguous()


def _lies(face: Alignment) -> bool:
    """Whether a face lies on its side or stands on its head, which fewer do than detectors say."""
    return abs(math.remainder(face.crop.roll_rad, 2 * math.pi)) > math.radians(60)


def _overlaps(one: FaceCrop, other: FaceCrop) -> bool:
    near = math.dist(one.centre_px, other.centre_px) < 0.5 * max(one.side_px, other.side_px)
    return near and 0.4 < one.side_px / other.side_px < 2.5


def _read(image: Photo) -> tuple[Tensor, str]:
    """A photo "3 h w" and what to call it."""
    if isinstance(image, str | Path):
        return read_image(image)[0], str(image)
    if isinstance(image, Image.Image):
        image = ImageOps.exif_transpose(image)
        if image.mode not in ("RGB", "RGBA", "L") and not image.mode.startswith(("I", "F")):
            image = image.convert("RGBA" if image.has_transparency_data else "RGB")
        return image_from_array(np.asarray(image)), "image"
    return image_from_array(image), "image"
