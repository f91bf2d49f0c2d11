"""What stands between a drawn face and a picture file: the crop's camera, a background, soft things before the lens, blur, noise, colour, JPEG."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..geometry.camera import FULL_FRAME_DIAGONAL_MM, Camera
from ..geometry.rigid import rigid_transform, rotation_from_pose_angles
from ..render.shade import linear_from_srgb, srgb_from_linear
from .scene import CLOSEST_MM, FACE_MM, FOCAL_MM35, SHARE, as_jpeg, random_backdrop

_PHOTO_PX = 1000.0
_CENTRE_MM = (0.0, -25.0, -30.0)
_CROP = (1.25, 1.75)  # side of the crop in sizes of the face
_JITTER = 0.10
_SRGB = srgb_from_linear(torch.linspace(0, 1, 16384))


def crop_camera(rng: np.random.Generator, face_mm: Tensor, size_px: int, max_yaw_deg: float) -> Camera:
    """The camera of a crop about a face of a photo that somebody took: the optical axis goes through the middle of the photo, not of the crop.

    Focal length (20 to 135 mm, log-uniform) and share of the frame come first, the distance (33 cm or more) follows; the face lies anywhere in the
    photo. Half of the heads look about ahead, half anywhere up to ``max_yaw_deg``.

    Args:
        face_mm: "n 3" head frame, what the crop is about.
    """
    while True:
        mm35 = float(np.exp(rng.uniform(*np.log(FOCAL_MM35))))
        focal_px = mm35 / FULL_FRAME_DIAGONAL_MM * math.sqrt(2) * _PHOTO_PX
        distance = focal_px * FACE_MM / (float(rng.uniform(*SHARE)) * _PHOTO_PX)
        if distance >= CLOSEST_MM:
            break
    yaw = float(rng.normal(0, 22)) if rng.random() < 0.5 else float(rng.uniform(-max_yaw_deg, max_yaw_deg))
    angles = [np.clip(yaw, -max_yaw_deg, max_yaw_deg), np.clip(rng.normal(0, 12), -40, 40), np.clip(rng.normal(0, 11), -45, 45)]  # fmt: skip
    rotation = rotation_from_pose_angles(*torch.tensor([float(angle) for angle in angles]))
    aside = rng.triangular(-1, 0, 1, 2) * 0.32 * _PHOTO_PX * distance / focal_px
    translation = torch.tensor([*aside, distance]).float() - rotation @ torch.tensor(_CENTRE_MM)
    pose = rigid_transform(rotation, translation)
    photo = Camera(torch.tensor(focal_px).float(), torch.full((2,), _PHOTO_PX / 2), (1000, 1000), pose)
    seen = photo.project(face_mm)[:, :2]
    low, high = seen.min(0).values, seen.max(0).values
    size = float((high - low).mean())
    side = size * float(rng.uniform(*_CROP))
    middle = (low + high) / 2 + torch.from_numpy(rng.uniform(-_JITTER, _JITTER, 2)).float() * size
    scale = size_px / side
    return Camera(photo.focal_px * scale, (photo.principal_px - middle + side / 2) * scale, (size_px, size_px), pose)  # fmt: skip


def backdrop(rng: np.random.Generator, size_px: int, behind: Tensor | None) -> Tensor:
    """A background "3 h w" in linear light: one of :func:`.scene.random_backdrop`'s, or a cluttered one in focus.

    Args:
        behind: "3 t t" sRGB, a small photo.
    """
    if rng.random() < 0.65:
        return random_backdrop(rng, size_px, behind)[0]
    half = size_px // 2  # it is soft anyway
    image = linear_from_srgb(
        torch.from_numpy(np.clip(rng.uniform(0.1, 0.9) + rng.normal(0, 0.06, 3), 0, 1)).float()
    )
    image = image[:, None, None].expand(3, half, half).clone()
    for _ in range(int(rng.integers(4, 16))):
        left, top = rng.integers(-half // 8, half, 2)
        wide, high = rng.integers(half // 20, half // 2, 2)
        colour = torch.from_numpy(np.clip(rng.uniform(0, 0.8) + rng.normal(0, 0.08, 3), 0, 1)).float()
        image[:, max(top, 0) : top + high, max(left, 0) : left + wide] = colour[:, None, None]
    image = image * torch.exp(float(rng.uniform(0, 0.5)) * _clouds(rng, half, (7, 25, 90)))
    image = _blurred(image, float(rng.uniform(0.0, 1.5)))
    return F.interpolate(image[None], (size_px, size_px), mode="bilinear", align_corners=False)[0]


def soft_things(rng: np.random.Generator, image: Tensor, face: Tensor, number: int) -> tuple[Tensor, Tensor]:
    """Shapes with textures laid over a linear image "3 h w" and the face's share of it "h w": what no model of a thing foresees."""
    size = image.shape[-1]
    axis = (torch.arange(size) + 0.5) / size
    for _ in range(number):
        centre, half = rng.uniform(0.1, 0.9, 2), rng.uniform(0.04, 0.22, 2)
        turn = float(rng.uniform(0, math.pi))
        x, y = axis[None] - float(centre[0]), axis[:, None] - float(centre[1])
        u, v = x * math.cos(turn) + y * math.sin(turn), y * math.cos(turn) - x * math.sin(turn)
        power = float(rng.choice([2.0, 2.0, 6.0]))
        ragged = float(rng.uniform(0, 0.35)) * _clouds(rng, size, (7,))
        radius = ((u.abs() / float(half[0])) ** power + (v.abs() / float(half[1])) ** power) ** (1 / power)
        cover = torch.sigmoid((1 + ragged - radius) / float(rng.uniform(0.015, 0.10)))
        colour = torch.from_numpy(np.clip(rng.uniform(0.01, 0.7) * np.exp(rng.normal(0, 0.3, 3)), 0, 1)).float()  # fmt: skip
        textured = colour[:, None, None] * torch.exp(float(rng.uniform(0, 0.6)) * _clouds(rng, size, (30,)))
        image = torch.lerp(image, textured, cover[None])
        face = face * (1 - cover)
    return image, face


def as_photo(rng: np.random.Generator, linear: Tensor) -> Tensor:
    """A linear picture "3 h w" as a camera and its software leave it: "3 h w" sRGB in 256 levels."""
    tint = torch.exp(torch.from_numpy(rng.normal(0, 0.05, 3)).float())[:, None, None]
    image = linear * tint * float(np.exp(rng.normal(0, 0.2)))
    size = image.shape[-1]
    if rng.random() < 0.3:  # a face that was small in its photo
        small = max(24, round(size / float(rng.uniform(1.3, 5.0))))
        image = F.interpolate(
            image[None], (small, small), mode="bilinear", antialias=True, align_corners=False
        )
        image = F.interpolate(image, (size, size), mode="bicubic", align_corners=False)[0]
    if rng.random() < 0.5:
        image = _blurred(image, float(rng.exponential(0.7)))
    if rng.random() < 0.08:
        image = _smeared(image, int(rng.integers(3, 10)), bool(rng.random() < 0.5))
    grain = float(rng.exponential(0.012))
    noise = _noise(rng, size)
    image = _SRGB[(image.clamp(0, 1) * (len(_SRGB) - 1)).long()]
    if rng.random() < 0.3:
        contrast, middle = float(np.exp(rng.normal(0, 0.15))), float(image.mean())
        image = ((image - middle) * contrast + middle).clamp(0, 1) ** float(np.exp(rng.normal(0, 0.15)))
    if rng.random() < 0.1:
        image = torch.lerp(image.mean(0, keepdim=True).expand_as(image), image, float(rng.choice([0.0, 0.5, 1.3])))  # fmt: skip
    image = ((image + grain * noise).clamp(0, 1) * 255).round() / 255
    return as_jpeg(image, int(rng.integers(35, 96))) if rng.random() < 0.6 else image


@lru_cache(maxsize=2)
def _noise_tile(size_px: int) -> Tensor:
    return torch.randn((3, size_px, size_px), generator=torch.Generator().manual_seed(3))


def _noise(rng: np.random.Generator, size_px: int) -> Tensor:
    """A normal number per pixel and channel "3 s s": a window of a tile that is made once."""
    left, top = (int(v) for v in rng.integers(0, size_px, 2))
    return _noise_tile(2 * size_px)[:, top : top + size_px, left : left + size_px]


def _clouds(rng: np.random.Generator, size_px: int, cells: tuple[int, ...]) -> Tensor:
    """Noise "s s" of about unit variance with so many blobs across."""
    total = torch.zeros(size_px, size_px)
    for n in cells:
        coarse = torch.from_numpy(rng.standard_normal((1, 1, n, n), np.float32))
        total += F.interpolate(coarse, (size_px, size_px), mode="bilinear", align_corners=False)[0, 0]
    return total / math.sqrt(len(cells) * 0.5)


def _blurred(image: Tensor, sigma_px: float) -> Tensor:
    if sigma_px < 0.25:
        return image
    reach = max(1, math.ceil(2.5 * sigma_px))
    x = torch.arange(-reach, reach + 1).float()
    weights = torch.exp(-0.5 * (x / sigma_px) ** 2)
    weights = (weights / weights.sum()).tolist()
    padded = F.pad(image[None], (reach,) * 4, mode="replicate")[0]
    height, width = image.shape[1:]
    # Sums of moved pictures: for so few channels four times as fast as a convolution.
    down = padded[:, :height] * weights[0]
    for k in range(1, len(weights)):
        down.add_(padded[:, k : k + height], alpha=weights[k])
    total = down[..., :width] * weights[0]
    for k in range(1, len(weights)):
        total.add_(down[..., k : k + width], alpha=weights[k])
    return total


def _smeared(image: Tensor, reach: int, sideways: bool) -> Tensor:
    """As by a hand that moved."""
    size = (1, reach) if sideways else (reach, 1)
    pad = (reach // 2, (reach - 1) // 2, 0, 0) if sideways else (0, 0, reach // 2, (reach - 1) // 2)
    return F.avg_pool2d(F.pad(image[None], pad, mode="replicate"), size, 1)[0]
