"""Where points of the head's surface are in a photo, and how far each may be believed: the trained network at work."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vultus.detect.crop import crop, window_around
from vultus.detect.mesh import LEFT_EYE_OUTER, RIGHT_EYE_OUTER, mirror_indices
from vultus.detect.network import Network

NUM_POINTS = 468
_EXTENT = 1.5  # of the window, times that of the landmarks: as in training
_MIN_LOG_SIGMA, _MAX_LOG_SIGMA = -2.0, 3.0


@dataclass(frozen=True)
class SurfacePoints:
    """Fixed points of the head's surface, seen or hidden: points_px "468 2", sigma_px "468" per axis."""

    points_px: Tensor
    sigma_px: Tensor


def find_surface_points(image: Tensor, points_px: Tensor, network: Network) -> SurfacePoints:
    """Look at a face again.

    Args:
        image: "3 h w" sRGB in [0, 1]. points_px: "l 2" MediaPipe landmarks (l >= 468) that say where it is.

    Returns:
        the mean over the face and its mirror image; where the two differ by more than they say, sigma grows.
    """
    size = network.input_size_px[0]
    face = points_px[:NUM_POINTS]
    window = window_around(face, face[RIGHT_EYE_OUTER], face[LEFT_EYE_OUTER], _EXTENT)
    seen = crop(image, window, size)
    points, log_sigma = read_heads(network(torch.stack([seen, seen.flip(-1)])))
    back = mirror_indices()[:NUM_POINTS]
    mirrored = torch.cat([size - points[1, back, :1], points[1, back, 1:]], 1)
    gap = (points[0] - mirrored).square().sum(1) / 4
    variance = (2 * log_sigma[0]).exp() / 2 + (2 * log_sigma[1, back]).exp() / 2 + gap / 2
    middle = window.to_image((points[0] + mirrored) / 2, size)
    return SurfacePoints(middle, variance.sqrt() * (window.side_px / size))


def read_heads(outputs: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
    """The network's two outputs -> points "b 468 2" in crop pixels and log sigma "b 468"."""
    mesh, head = outputs
    head = head.reshape(len(head), 3, NUM_POINTS)
    points = mesh.reshape(len(mesh), NUM_POINTS, 3)[..., :2] + head[:, :2].transpose(1, 2)
    return points, head[:, 2].clamp(_MIN_LOG_SIGMA, _MAX_LOG_SIGMA)
