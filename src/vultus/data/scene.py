"""What surrounds a head in a made picture: camera, light, background, and what a sensor does to it all."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ..geometry.camera import Camera, focal_px_from_mm35
from ..geometry.light import ambient_and_directional
from ..geometry.rigid import rigid_transform, rotation_from_pose_angles
from ..render.shade import linear_from_srgb, over, srgb_from_linear
from .wrinkles import Lamp

FACE_WIDTH_MM = 140.0
FACE_MM = 165.0
"""What the share of the frame is about: the mean of a face's width and its height from chin to hairline."""
FOCAL_MM35 = (20.0, 135.0)
SHARE = (0.25, 0.60)
CLOSEST_MM = 330.0
_CENTRE_MM = (0.0, -25.0, -30.0)  # of the head, in its frame
_MARGIN = 0.03  # of the frame, that the face keeps off its border


@dataclass(frozen=True)
class Light:
    """Environment "3 9" as in :mod:`vultus.geometry.light`, and one lamp that casts shadows; camera frame."""

    environment: Tensor
    lamp: Lamp


def look_at_head(
    yaw_deg: float,
    pitch_deg: float,
    roll_deg: float,
    *,
    distance_mm: float,
    face_px: float,
    size_px: int,
    shift_mm: tuple[float, float] = (0.0, 0.0),
) -> Camera:
    """A square camera that sees a head of our frame from a distance, the face ``face_px`` wide."""
    rotation = rotation_from_pose_angles(*torch.tensor([yaw_deg, pitch_deg, roll_deg]))
    translation = torch.tensor([*shift_mm, distance_mm]) - rotation @ torch.tensor(_CENTRE_MM)
    focal_px = torch.tensor(face_px * distance_mm / FACE_WIDTH_MM)
    return Camera(
        focal_px, torch.full((2,), size_px / 2), (size_px, size_px), rigid_transform(rotation, translation)
    )


def random_camera(rng: np.random.Generator, face_mm: Tensor, size_px: int, max_yaw_deg: float) -> Camera:
    """A square camera somewhere before a head: focal length and share of the frame first, the distance follows.

    Focal lengths are log-uniform; pairs that would bring the camera nearer than 33 cm are drawn anew, so wide lenses show smaller faces,
    as they do in people's albums. The optical axis goes through the centre of the picture; the face lies anywhere in it, but wholly.

    Args:
        face_mm: "n 3" head frame, what must be in the picture.
    """
    while True:
        mm35 = float(np.exp(rng.uniform(*np.log(FOCAL_MM35))))
        share = float(rng.uniform(*SHARE))
        focal_px = focal_px_from_mm35(mm35, (size_px, size_px))
        distance = focal_px * FACE_MM / (share * size_px)
        if distance >= CLOSEST_MM:
            break
    angles = (
        rng.uniform(-max_yaw_deg, max_yaw_deg),
        np.clip(rng.normal(0, 9), -25, 25),
        np.clip(rng.normal(0, 8), -25, 25),
    )
    face_px = focal_px * FACE_WIDTH_MM / distance
    yaw, pitch, roll = (float(angle) for angle in angles)
    look = lambda shift: look_at_head(  # noqa: E731
        yaw, pitch, roll, distance_mm=distance, face_px=face_px, size_px=size_px, shift_mm=shift
    )
    seen = look((0.0, 0.0)).project(face_mm)[:, :2]
    low, high = seen.min(0).values.numpy(), seen.max(0).values.numpy()
    margin = _MARGIN * size_px
    room = np.maximum(size_px - 2 * margin - (high - low), 0)
    # Triangular: people aim at faces, roughly.
    wanted = margin + room * rng.triangular(0, 0.5, 1, 2)
    shift = (wanted - low) * distance / focal_px
    return look((float(shift[0]), float(shift[1])))


def random_light(rng: np.random.Generator, tone: Tensor) -> Light:
    """Sky, a large soft source and a lamp, each with a tint, exposed for a skin of this tone "3" about as a camera would."""
    tint = lambda warmth: torch.tensor([1 + 0.11 * warmth, 1.0, 1 - 0.16 * warmth]).float()  # noqa: E731
    warmth = float(rng.normal(0, 0.8))
    lamp_share = float(rng.uniform(0.0, 0.65))
    soft_share = float(rng.uniform(0.2, 0.6)) * (1 - lamp_share)
    around = 1 - lamp_share - soft_share

    def towards(sideways: float, up: float) -> Tensor:
        return torch.tensor([rng.normal(0, sideways), rng.normal(-up, 0.45), -1.0]).float()

    environment = ambient_and_directional(
        around * tint(warmth), soft_share * tint(float(rng.normal(0, 0.8))), towards(1.2, 0.4)
    )
    lamp = Lamp(F.normalize(towards(0.8, 0.5), dim=0), lamp_share * tint(float(rng.normal(0, 1.0))))
    bright = float(tone @ torch.tensor([0.2126, 0.7152, 0.0722]))
    # Exposure evens skins out by half, and errs by a fifth.
    exposure = float((0.22 / max(bright, 0.03)) ** 0.5 * np.exp(rng.normal(0.25, 0.2)))
    return Light(environment * exposure, Lamp(lamp.towards, lamp.colour * exposure))


def random_backdrop(
    rng: np.random.Generator, size_px: int, photo: Tensor | None = None
) -> tuple[Tensor, str]:
    """A background "3 h w" in linear light and what it is: plain, gradient, or out of focus (a photo where there is one, else shapes)."""
    kind = str(rng.choice(["plain", "gradient", "blurred"], p=[0.25, 0.3, 0.45]))
    if kind == "plain":
        return _colour(rng)[:, None, None].expand(3, size_px, size_px).clone(), kind
    if kind == "gradient":
        turn = float(rng.uniform(0, 2 * math.pi))
        axis = torch.linspace(-0.7, 0.7, size_px)
        along = (0.5 + axis[None] * math.cos(turn) + axis[:, None] * math.sin(turn)).clamp(0, 1)
        return torch.lerp(_colour(rng)[:, None, None], _colour(rng)[:, None, None], along[None]), kind
    if photo is None:
        return _out_of_focus(_shapes(rng, 96), size_px, int(rng.integers(9, 28))), kind
    linear = linear_from_srgb(photo)
    linear = linear.flip(-1) if rng.random() < 0.5 else linear
    # So coarse that nobody in it is anybody: the face to find is the one in front.
    return _out_of_focus(linear, size_px, int(rng.integers(6, 12))), kind


def finished(linear_rgba: Tensor, background: Tensor, noise: float = 0.0, seed: int = 0) -> Tensor:
    """Premultiplied linear "1 4 h w" over a background: sRGB "3 h w" with sensor noise."""
    image = srgb_from_linear(over(linear_rgba, background).clamp(0, 1))[0]
    if noise:
        image = image + noise * torch.randn(image.shape, generator=torch.Generator().manual_seed(seed))
    return image.clamp(0, 1)


def as_jpeg(image: Tensor, quality: int) -> Tensor:
    """An image "3 h w" after a JPEG file: what most photos have been through."""
    levels = (image * 255).round().byte().permute(1, 2, 0).numpy()
    file = io.BytesIO()
    Image.fromarray(levels).save(file, "JPEG", quality=quality)
    return torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1).float() / 255


def _colour(rng: np.random.Generator) -> Tensor:
    """Muted, as walls are."""
    grey = rng.uniform(0.05, 0.95)
    return linear_from_srgb(torch.from_numpy(np.clip(grey + rng.normal(0, 0.05, 3), 0.02, 0.98)).float())


def _shapes(rng: np.random.Generator, size: int) -> Tensor:
    """A room or a street for those who do not look closely: "3 s s" of coloured blocks and lights."""
    image = _colour(rng)[:, None, None].expand(3, size, size).clone()
    for _ in range(int(rng.integers(8, 22))):
        left, top = rng.integers(0, size, 2)
        wide, high = rng.integers(size // 12, size // 2, 2)
        image[:, top : top + high, left : left + wide] = _colour(rng)[:, None, None]
    for _ in range(int(rng.integers(0, 7))):
        x, y = rng.integers(0, size - 4, 2)
        image[:, y : y + 4, x : x + 4] = 3.0 * _colour(rng)[:, None, None]
    return image


def _out_of_focus(linear: Tensor, size_px: int, cells: int) -> Tensor:
    """Averages over so many cells across, drawn large."""
    image = F.interpolate(linear[None], (6 * cells, 6 * cells), mode="area")
    for _ in range(3):
        image = F.avg_pool2d(F.pad(image, (3, 3, 3, 3), mode="replicate"), 7, 1)
    return F.interpolate(image, (size_px, size_px), mode="bilinear", align_corners=False)[0]
