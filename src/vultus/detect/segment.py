"""Which pixels belong to a person: MediaPipe's selfie segmentation."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from vultus.detect.crop import Window, crop
from vultus.detect.network import Network, load_network
from vultus.detect.protocol import Landmarks

MODEL_PATH = Path(__file__).parent / "assets" / "selfie_segmentation.safetensors"

_HEAD_AND_SHOULDERS = 2.6  # window, in landmark extents: the network expects a selfie, not a lone face


@lru_cache(maxsize=1)
def _network() -> Network:
    return load_network(MODEL_PATH)


def person_probability(image: Tensor, landmarks: Landmarks) -> Tensor:
    """How likely each pixel is to show the person (skin, hair, clothes), "h w" in [0, 1]; zero far from the face.

    The network sees a square around the head, upright as the photo is, at 256 pixels; hair and shoulders come out well,
    a second person in that square is included.
    """
    height, width = image.shape[-2:]
    low, high = landmarks.points_px.amin(0), landmarks.points_px.amax(0)
    x, y = ((low + high) / 2).tolist()
    window = Window((x, y), float((high - low).max()) * _HEAD_AND_SHOULDERS, 0.0)
    size = _network().input_size_px[0]
    (inside,) = _network()(crop(image, window, size)[None])
    columns = (torch.arange(width, device=image.device) + 0.5 - x) / window.side_px * 2
    rows = (torch.arange(height, device=image.device) + 0.5 - y) / window.side_px * 2
    grid = torch.stack(torch.meshgrid(rows, columns, indexing="ij")[::-1], -1)
    return F.grid_sample(inside.to(image.device), grid[None].to(inside.dtype), align_corners=False)[0, 0]
