"""Which texels of the skin the photo really shows, and how far to trust them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import label
from torch import Tensor

from ..geometry.view import View
from ..model.morphable import MorphableModel
from ..render.bake import bake
from ..render.raster import Fragments, rasterize
from ..render.visible import visible_texels

_BUFFER_PX = 768  # long side of the z-buffer
_GRAZING, _SQUARE = 0.25, 0.60  # cosines between which trust rises from nothing to full
_ERODED, _SOFTENED = 3, 2  # blend texels of 0.5 mm around eyes and mouth, 1 mm elsewhere
_HAIRLINE = 14  # texels around what is no skin on the forehead, where single hairs go on beyond the mask
_BEARDED = ("lips", "mouth", "chin")
_AROUND_BROWS = 9  # texels of about half a millimetre
_ALIKE = 5  # texels by which the two sides of a face may differ
_TRANSPARENT = (
    "lashes",
)  # a few cards of hair, which hide nothing: the photo's own lashes belong on the lids


@dataclass(frozen=True)
class DepthBuffer:
    """What hides what in the part of a photo where the head is, drawn at a moderate size.

    Attributes:
        fragments: the z-buffer. vertices_px: "1 v 3", in its pixels. triangles: those that hide something.
        corner_px, scale: buffer pixels are (photo pixels - corner) * scale.
        photo_size_px: (width, height) of the photo.
    """

    fragments: Fragments
    vertices_px: Tensor
    triangles: Tensor
    corner_px: tuple[float, float]
    scale: float
    photo_size_px: tuple[int, int]

    def sees(self, texels_px: Tensor) -> Tensor:
        """Which positions "3 h w" of (x_px, y_px, depth_mm) are in the photo and not hidden: "h w" bool."""
        offset = texels_px.new_tensor([*self.corner_px, 0.0])[:, None, None]
        factor = texels_px.new_tensor([self.scale, self.scale, 1.0])[:, None, None]
        texels = ((texels_px - offset) * factor)[None]
        seen = visible_texels(texels, self.fragments, self.vertices_px, self.triangles)[0]
        (width, height), (x, y) = self.photo_size_px, texels_px[:2]
        return seen & (x > 0.5) & (y > 0.5) & (x < width - 0.5) & (y < height - 0.5)


def depth_buffer(view: View, model: MorphableModel, vertices: Tensor) -> DepthBuffer:
    """Draw the depth of a head with vertices "v 3" (head frame) as the photo sees it."""
    width, height = view.camera.size_px
    projected = view.camera.project(vertices)
    ahead = projected[projected[:, 2] > 1, :2]
    limit = ahead.new_tensor([width - 1.0, height - 1.0])
    zero = torch.zeros_like(limit)
    low = (ahead.amin(0) if len(ahead) else zero).floor().clamp(zero, limit)
    high = (ahead.amax(0) if len(ahead) else zero).ceil().clamp(low + 1, limit + 1)
    scale = min(1.0, _BUFFER_PX / float((high - low).max()))
    to_buffer = projected.new_tensor([scale, scale, 1.0])
    vertices_px = ((projected - torch.cat([low, low.new_zeros(1)])) * to_buffer)[None]
    hiding = torch.ones_like(model.part_of_triangle, dtype=torch.bool)
    for name in _TRANSPARENT:
        if name in model.part_names:
            hiding &= model.part_of_triangle != model.part_names.index(name)
    buffer_size = [max(1, round(side * scale)) for side in (high - low).tolist()]
    triangles = model.triangles[hiding]
    fragments = rasterize(vertices_px, triangles, (buffer_size[0], buffer_size[1]))
    corner_px = (float(low[0]), float(low[1]))
    return DepthBuffer(fragments, vertices_px, triangles, corner_px, scale, (width, height))


def observed_weight(
    view: View,
    model: MorphableModel,
    buffer: DepthBuffer,
    texels_px: Tensor,
    facing_map: Tensor,
    covered: Tensor,
) -> Tensor:
    """Trust in the photo, in [0, 1], at half the resolution of the texels: "1 h/2 w/2".

    Zero where something hides the texel (z-buffer), outside the photo, where the surface turns away, where the photo
    shows no skin, and in a margin around all of that; from there it rises smoothly, so that mixing by it leaves no edge.

    Args:
        buffer: what hides what.
        texels_px: "3 h w", where each texel lies in the photo, and its depth in mm.
        facing_map: "h w", cosine between normal and the way to the camera.
        covered: "h w" bool, the texels that lie on the skin.
    """
    visible = buffer.sees(texels_px) & covered
    skin = sample_mask(view.skin_mask, texels_px[:2]) > 0.5
    brows = _brows(model, visible.shape[0])
    shown = visible & (skin | _hair_on_skin(model, visible, skin, brows))
    shown &= ~_near_hairline(model, visible & ~skin, brows)
    slope = ((facing_map - _GRAZING) / (_SQUARE - _GRAZING)).clamp(0, 1)
    ramp = F.avg_pool2d((slope * slope * (3 - 2 * slope))[None], 2)
    sure = -F.max_pool2d(-shown.to(texels_px)[None], 2)  # all four texels
    return _inside(sure) * ramp


def _inside(sure: Tensor) -> Tensor:
    """A 0/1 map "1 h w" -> the same without a margin, with a soft border that stays inside."""
    # Beyond the texture's border is nothing: in the bundled head that is where the neck is cut off.
    eroded = -F.max_pool2d(-F.pad(sure, (_ERODED,) * 4), 2 * _ERODED + 1, 1)
    side = 2 * _SOFTENED + 1
    soft = F.avg_pool2d(F.pad(eroded[None], (_SOFTENED,) * 4, mode="replicate"), side, 1)[0]
    return soft * sure


def _hair_on_skin(model: MorphableModel, visible: Tensor, skin: Tensor, brows: Tensor) -> Tensor:
    """Where what is no skin by its colour still belongs to the face: brows, beard, lips; "h w" bool.

    They are alike on both sides, give or take a few millimetres; a hand, a microphone or a lock of hair is not, and is left out. So are tips
    of a fringe that reach into the surroundings of a brow without touching it.
    """
    known = [model.regions[name] for name in _BEARDED if name in model.regions]
    bearded = torch.stack([torch.zeros_like(model.mean_mm[:, 0], dtype=torch.bool), *known]).any(0)
    if "cheeks" in model.regions and "mouth" in model.regions:
        low = model.mean_mm[:, 1] < model.mean_mm[model.regions["mouth"], 1].max()
        bearded = bearded | (model.regions["cheeks"] & low)
    no_skin = visible & ~skin
    alike = grown(no_skin | ~visible, _ALIKE).flip(-1)
    size = visible.shape[0]
    on_brows = (
        _touching(no_skin & brows, texels_of(model, model.regions["brows"], size)) if brows.any() else brows
    )
    return no_skin & alike & (texels_of(model, bearded, size) | on_brows)


def _touching(mask: Tensor, core: Tensor) -> Tensor:
    """The connected parts of a mask "h w" bool that reach into another."""
    parts = np.zeros(mask.shape, np.int32)
    label(mask.cpu().numpy(), output=parts)
    reaching = np.unique(parts[core.cpu().numpy()])
    return torch.from_numpy(np.isin(parts, reaching[reaching > 0])).to(mask.device)


def _near_hairline(model: MorphableModel, no_skin: Tensor, brows: Tensor) -> Tensor:
    """Texels "h w" of the forehead less than a few millimetres from what is no skin there."""
    if "forehead" not in model.regions:
        return torch.zeros_like(no_skin)
    forehead = texels_of(model, model.regions["forehead"], no_skin.shape[0]) & ~brows
    return forehead & grown(no_skin & forehead, _HAIRLINE)


def _brows(model: MorphableModel, size: int) -> Tensor:
    """Texels "s s" bool of the brows and a few millimetres around them, for brows differ."""
    if "brows" not in model.regions:
        return torch.zeros(size, size, dtype=torch.bool, device=model.mean_mm.device)
    return grown(texels_of(model, model.regions["brows"], size), _AROUND_BROWS)


def grown(mask: Tensor, by: int) -> Tensor:
    """A mask "h w" bool with ``by`` more texels around it on all sides."""
    rows = F.max_pool2d(mask.float()[None], (2 * by + 1, 1), 1, (by, 0))
    return F.max_pool2d(rows, (1, 2 * by + 1), 1, (0, by))[0] > 0


def texels_of(model: MorphableModel, region: Tensor, size: int) -> Tensor:
    """Where in the skin's texture a region "v" bool lies: "s s" bool."""
    skin = (model.part_of_triangle == 0).nonzero().squeeze(-1)
    inside, _ = bake(region.to(model.mean_mm)[:, None], model.topology, skin, size)
    return inside[0] > 0.1


def sample_mask(mask: Tensor, texels_px: Tensor) -> Tensor:
    """A mask "h w" at photo positions "2 h w": "h w" in [0, 1], zero outside."""
    extent = texels_px.new_tensor([mask.shape[1], mask.shape[0]])[:, None, None]
    grid = (texels_px * (2 / extent) - 1).permute(1, 2, 0)
    return F.grid_sample(mask.to(texels_px)[None, None], grid[None], align_corners=False)[0, 0]
