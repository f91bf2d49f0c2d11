"""Teeth, tongue and whatever other small parts a model has: plain colours of the model, a little drawing."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..geometry.view import View
from ..model.morphable import MorphableModel
from ..render.bake import bake, dilate
from ..render.shade import linear_from_srgb, srgb_from_linear
from .photo_evidence import DepthBuffer

SMALL_SIZE = 256
_DEPTH_OF_LIGHT_MM = 38.0  # behind the front teeth after which little light is left
_TEETH_MM = (
    0.0,
    8.3,
    14.8,
    22.3,
    29.3,
    36.2,
    46.0,
)  # upper gaps along the arch from the middle (Wheeler's Dental Anatomy)
_ARCH_RADIUS_MM = 26.0


def mouth_texture(
    view: View, model: MorphableModel, vertices: Tensor, part: str, colours: Tensor, buffer: DepthBuffer
) -> Tensor:
    """Teeth or tongue "3 s s" sRGB: the model's colours, darker towards the throat, teeth as bright as in the photo.

    Args:
        vertices: "v 3", head frame. colours: "v 3" linear, as lit. buffer: what hides what in the photo.
    """
    triangle_ids = _triangles_of(model, part)
    used = torch.unique(model.triangles[triangle_ids])
    behind_mm = model.mean_mm[used, 2].max() - model.mean_mm[:, 2:]
    light = (1 - behind_mm / _DEPTH_OF_LIGHT_MM).clamp(0.3, 1)
    values = torch.cat([colours * light, vertices, model.mean_mm], -1)
    baked, covered = bake(values, model.topology, triangle_ids, SMALL_SIZE)
    image, position, mean = baked[:3], baked[3:6], baked[6:]
    if part == "teeth":
        image = image * _brightness_in_photo(view, image, position, covered, buffer) * _gaps(mean)
    return dilate(srgb_from_linear(image), covered).clamp(0, 1)


def plain_texture(model: MorphableModel, part: str, colours: Tensor) -> Tensor:
    """The model's own colours "v 3" (linear, as lit) of any part, "3 s s" sRGB."""
    image, covered = bake(colours, model.topology, _triangles_of(model, part), SMALL_SIZE)
    return dilate(srgb_from_linear(image), covered).clamp(0, 1)


def _brightness_in_photo(
    view: View, image: Tensor, position: Tensor, covered: Tensor, buffer: DepthBuffer
) -> Tensor:
    """How many times brighter the photo's teeth are than the model's, within limits; 1 where none are seen."""
    texels_px = view.camera.project(position.flatten(1).T).T.reshape(position.shape)
    seen = covered & buffer.sees(texels_px)
    extent = texels_px.new_tensor(view.camera.size_px)[:, None, None]
    grid = (texels_px[:2] * (2 / extent) - 1).permute(1, 2, 0)
    photo = linear_from_srgb(F.grid_sample(view.image[None], grid[None], align_corners=False)[0])
    seen &= photo[0] < 1.5 * photo[1]  # not lips
    if int(seen.sum()) < 200:
        return image.new_ones(1, 1, 1)
    ratio = (photo[:, seen].mean(0) / image[:, seen].mean(0).clamp_min(1e-3)).quantile(0.7)
    return ratio.clamp(0.5, 1.3)[None, None, None]


def _gaps(mean_mm: Tensor) -> Tensor:
    """Shade "1 h w" of the lines between teeth, from positions "3 h w" on the mean head."""
    x, _, z = mean_mm
    arc_mm = _ARCH_RADIUS_MM * torch.atan2(x, z - (z.max() - _ARCH_RADIUS_MM)).abs()
    gaps = arc_mm.new_tensor(_TEETH_MM)[:, None, None]
    line = torch.exp(-(((arc_mm - gaps) / 0.35) ** 2)).amax(0)
    return (1 - 0.38 * line)[None]


def _triangles_of(model: MorphableModel, part: str) -> Tensor:
    return (model.part_of_triangle == model.part_names.index(part)).nonzero().squeeze(-1)
