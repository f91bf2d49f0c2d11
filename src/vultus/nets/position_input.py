"""What a position network sees of a photo: the crop, made the same way for training and afterwards."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from ..geometry.position_map import FaceCrop


def crop_picture(picture: NDArray[np.uint8], crop: FaceCrop) -> NDArray[np.uint8]:
    """Resample a picture (h, w, 3) or (h, w) uint8 to the crop's square (c, c, 3) or (c, c); zero beyond its border.

    Bilinear; where the crop is coarser than the photo, whole pixels are averaged first. Pillow rounds down: half a level of 255 darker on average.
    """
    size, (height, width) = crop.size_px, picture.shape[:2]
    square = torch.tensor([[0.0, 0], [0, size], [size, 0], [size, size]], dtype=torch.float64)
    corners = crop.to_photo(square)
    left, top = (max(int(low) - 2, 0) for low in corners.amin(0).tolist())
    right, bottom = (int(high) + 3 for high in corners.amax(0).tolist())
    part = picture[top : max(min(bottom, height), 0), left : max(min(right, width), 0)]
    if not part.size:
        return np.zeros((size, size, *picture.shape[2:]), np.uint8)
    image = Image.fromarray(np.ascontiguousarray(part))
    coarser = max(1, min(round(1 / crop.scale), *part.shape[:2]))
    if coarser > 1:
        image = image.reduce(coarser)
    (x0, y0), (xv, yv), (xu, yu), _ = ((corners - torch.tensor([left, top])) / coarser).tolist()
    affine = ((xu - x0) / size, (xv - x0) / size, x0, (yu - y0) / size, (yv - y0) / size, y0)
    return np.array(image.transform((size, size), Image.Transform.AFFINE, affine, Image.Resampling.BILINEAR))


def network_input(picture: NDArray[np.uint8], crop: FaceCrop) -> torch.Tensor:
    """A photo (h, w, 3) uint8 sRGB through a crop: "3 c c" float32 in [0, 1]."""
    return torch.from_numpy(crop_picture(picture, crop)).permute(2, 0, 1).float().contiguous() / 255
