"""The colours of iris and sclera, read from the photo where the lids leave them visible."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..geometry.view import View
from ..model.morphable import MorphableModel
from ..render.bake import bake
from ..render.shade import linear_from_srgb
from .photo_evidence import DepthBuffer

IRIS_RADIUS_MM = 5.85  # of adults, nearly the same for all
_SAMPLES = 96  # texels per side on which the eye is looked at
# In iris radii: neither pupil nor limbus, and beyond the limbus.
_IRIS_ZONE, _WHITE_ZONE = (0.42, 0.85), (1.15, 1.9)
_WHITE_HEIGHT = 0.5  # in iris radii above and below the middle: beside the iris, where lids are far
# Without highlights, and without the lids' shadow on the white. A cornea mirrors windows and faces over half of the iris: the darker half is the eye's.
_IRIS_RANKS, _WHITE_RANKS = (0.05, 0.55), (0.72, 0.97)
_ENOUGH_PX = 25.0
_IRIS_LANDMARK = {"eye_right": 468, "eye_left": 473}  # of MediaPipe's 478
_BRIGHTEST_WHITE = 0.75
_BROWN = (0.085, 0.042, 0.020)
_WHITE = (0.60, 0.555, 0.52)  # linear light, in the light that shows a white face as 1


@dataclass(frozen=True)
class EyeColour:
    """Linear-light RGB "3" as lit in the photo, mixed with a guess where the photo shows little.

    Attributes:
        iris: its typical colour. white: of the sclera. trust: in [0, 1], how much of ``iris`` was seen.
    """

    iris: Tensor
    white: Tensor
    trust: float


def measure_eye(
    view: View, model: MorphableModel, vertices: Tensor, part: str, buffer: DepthBuffer, exposure: Tensor
) -> EyeColour:
    """The colours of one eye.

    Args:
        vertices: "v 3", head frame. part: ``eye_left`` or ``eye_right``.
        exposure: "3", linear colour that a white surface on the face shows in this photo.
    """
    triangle_ids = (model.part_of_triangle == model.part_names.index(part)).nonzero().squeeze(-1)
    position, covered = bake(vertices, model.topology, triangle_ids, _SAMPLES)
    texels_px = view.camera.project(position.flatten(1).T).T.reshape(position.shape)
    radius, angle = polar(_SAMPLES, vertices)
    radius = radius / iris_radius(model, part)
    seen = covered & buffer.sees(texels_px)
    centre = _SAMPLES // 2
    landmark = _IRIS_LANDMARK.get(part)
    if view.landmark_scheme == "mediapipe478" and landmark is not None:
        where = view.landmarks_px[landmark].to(texels_px)
        texels_px = texels_px.clone()
        texels_px[:2] += (where - texels_px[:2, centre, centre])[:, None, None]
    extent = texels_px.new_tensor(view.camera.size_px)[:, None, None]
    grid = (texels_px[:2] * (2 / extent) - 1).permute(1, 2, 0)
    sampled = F.grid_sample(view.image[None], grid[None], padding_mode="border", align_corners=False)[0]
    light = linear_from_srgb(sampled)

    guess, white_guess = exposure.new_tensor(_BROWN) * exposure, exposure.new_tensor(_WHITE) * exposure
    iris_zone, white_zone = (seen & (radius > a) & (radius < b) for a, b in (_IRIS_ZONE, _WHITE_ZONE))
    white_zone &= (radius * torch.sin(angle)).abs() < _WHITE_HEIGHT
    trust = min(1.0, _pixels_under(texels_px, iris_zone) / _ENOUGH_PX)
    iris = torch.lerp(guess, _mean_between(light[:, iris_zone], _IRIS_RANKS, guess), trust)
    seen_white = _mean_between(light[:, white_zone], _WHITE_RANKS, white_guess)
    level = (seen_white.mean() / white_guess.mean()).clamp(0.35, 3.0)
    hue = torch.lerp(white_guess / white_guess.mean(), seen_white / seen_white.mean().clamp_min(1e-4), 0.55)
    white_trust = 0.85 * min(1.0, _pixels_under(texels_px, white_zone) / _ENOUGH_PX)
    white = torch.lerp(white_guess, white_guess.mean() * level * hue, white_trust)
    white = white * (_BRIGHTEST_WHITE / white.max()).clamp_max(1)
    return EyeColour(iris.minimum(0.8 * white), white, trust)


def share_colour(eyes: dict[str, EyeColour]) -> dict[str, EyeColour]:
    """Eyes of one person are mostly alike: each takes some of the other's colour, all of it when it was not seen itself."""
    shared = {}
    for part, own in eyes.items():
        other = next((eye for name, eye in eyes.items() if name != part), own)
        share = (0.3 + 0.2 * own.trust) * own.trust + 0.02
        share = share / (share + (0.5 - 0.2 * own.trust) * other.trust + 1e-6)
        white = 0.5 * (own.white + other.white)
        shared[part] = EyeColour(torch.lerp(other.iris, own.iris, min(share, 1.0)), white, own.trust)
    return shared


def polar(size: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Distance from the centre in texture widths and angle of every texel, "h w" each."""
    axis = (torch.arange(size, dtype=like.dtype, device=like.device) + 0.5) / size - 0.5
    v, u = torch.meshgrid(axis, axis, indexing="ij")
    return torch.hypot(u, v), torch.atan2(v, u)


def iris_radius(model: MorphableModel, part: str) -> float:
    """Radius of the iris in texture widths: Lambert's projection, 120 degrees from the centre at half a width."""
    ids = torch.unique(model.part_triangles(part))
    points = model.mean_mm[ids]
    ball_mm = float((points - points.mean(0)).norm(dim=-1).median())
    height = (1 - min(IRIS_RADIUS_MM / ball_mm, 0.9) ** 2) ** 0.5
    return 0.5 * ((1 - height) / 1.5) ** 0.5


def _mean_between(colours: Tensor, ranks: tuple[float, float], otherwise: Tensor) -> Tensor:
    """The mean of the colours "3 n" whose brightness lies between two ranks in [0, 1]."""
    if colours.shape[1] < 8:
        return otherwise
    order = colours.mean(0).argsort()
    low, high = (int(rank * colours.shape[1]) for rank in ranks)
    return colours[:, order[low : max(high, low + 1)]].mean(1)


def _pixels_under(texels_px: Tensor, chosen: Tensor) -> float:
    """How many photo pixels the chosen texels cover."""
    (dx_dv, dx_du), (dy_dv, dy_du) = torch.gradient(texels_px[0]), torch.gradient(texels_px[1])
    return float((dx_du * dy_dv - dx_dv * dy_du).abs()[chosen].clamp_max(25).sum())
