"""Between surface, texture and photo: vertex values at texels, photo colours at texels, and colour for texels in between."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import BadInput
from ..geometry.mesh import Topology
from .interpolate import interpolate
from .raster import Fragments, rasterize
from .shade import linear_from_srgb, srgb_from_linear

_FLAT_DEPTH = 2.0  # any constant beyond the near plane makes rasterising affine


def bake(
    attributes: Tensor,
    topology: Topology,
    triangle_ids: Tensor,
    size: int,
    *,
    rows: tuple[int, int] | None = None,
    backend: str = "auto",
) -> tuple[Tensor, Tensor]:
    """Draw vertex attributes into a square texture.

    Args:
        attributes: "v c" per vertex of the mesh.
        topology: with texture coordinates.
        triangle_ids: "n" int64, which triangles (those of one part) own this texture.
        size: texels per side.
        rows: the first row and the one after the last, to draw a band of the texture; all by default.

    Returns:
        "c h w" values at the texel centres, zero where no triangle lies, and "h w" bool, where one does.

    Raises:
        BadInput: the topology has no texture coordinates.
    """
    if topology.uv is None:
        raise BadInput("this model has no texture coordinates (topology.uv): it cannot be textured")
    found = _spread(topology, triangle_ids, size, rows or (0, size), attributes, backend)
    values = interpolate(
        found.fragments, found.corner, found.triangles, attributes[found.vertex_of_uv], backend=backend
    )
    return values[0], found.fragments.mask[0]


@dataclass(frozen=True, eq=False)
class _Spread:
    """Some triangles of a mesh laid out in their texture.

    Attributes:
        key: of what it was made, by identity. triangle_ids: which triangles.
        vertex_of_uv: "n" the mesh's vertex at each corner. corner: "1 n 3" texels. triangles: "f 3" of corners. fragments: of them.
    """

    key: tuple[object, ...]
    triangle_ids: Tensor
    vertex_of_uv: Tensor
    corner: Tensor
    triangles: Tensor
    fragments: Fragments


_kept: list[_Spread] = []
_MOST_KEPT = 4  # 20 MB each at 1,024 texels


def _spread(
    topology: Topology, triangle_ids: Tensor, size: int, rows: tuple[int, int], like: Tensor, backend: str
) -> _Spread:
    """The last few are kept: a reconstruction draws dozens of things into the same texture, and a batch does it again for every photo."""
    key = (
        topology.triangles,
        topology.uv,
        topology.uv_triangles,
        size,
        rows,
        like.dtype,
        like.device,
        backend,
    )
    for found in list(_kept):
        same = all(a is b or (not isinstance(a, Tensor) and a == b) for a, b in zip(key, found.key))
        if same and torch.equal(found.triangle_ids, triangle_ids):
            _kept.remove(found)
            _kept.insert(0, found)
            return found
    assert topology.uv is not None
    first, last = rows
    triangles = topology.triangles[triangle_ids]
    uv_triangles = triangles if topology.uv_triangles is None else topology.uv_triangles[triangle_ids]
    used, inverse = torch.unique(uv_triangles, return_inverse=True)
    vertex_of_uv = torch.empty(len(used), dtype=torch.int64, device=used.device)
    vertex_of_uv[inverse.reshape(-1)] = triangles.reshape(-1)
    corner = topology.uv[used].to(like) * size
    corner = torch.stack(
        [corner[:, 0], corner[:, 1] - first, torch.full_like(corner[:, 0], _FLAT_DEPTH)], -1
    )[None]
    fragments = rasterize(corner, inverse, (size, last - first), backend=backend)
    spread = _Spread(key, triangle_ids.clone(), vertex_of_uv, corner, inverse, fragments)
    _kept[:] = [spread, *_kept[: _MOST_KEPT - 1]]
    return spread


@dataclass(frozen=True)
class PhotoPyramid:
    """A part of a photo at falling resolutions, so that texels larger than a pixel see its average.

    Attributes:
        levels: "3 h w" sRGB each; a pixel of level k is 2^k pixels of the photo wide.
        corner_px: (x, y) of the part's corner in the photo, a multiple of the coarsest pixel.
    """

    levels: tuple[Tensor, ...]
    corner_px: tuple[int, int]


def photo_pyramid(image: Tensor, texels_px: Tensor, wanted: Tensor) -> PhotoPyramid:
    """The part of a photo "3 h w" that the wanted texels see, with as many levels as they, and any finer texels, need.

    Averages are of light, so they are taken in linear light; level 0 is the photo as it is.

    Args:
        image: sRGB.
        texels_px: "2 h w", where each texel's centre lies in the photo.
        wanted: "h w" bool; texels outside the photo are passed over.
    """
    height, width = image.shape[-2:]
    x, y = texels_px
    chosen = wanted & (x > 0) & (x < width) & (y > 0) & (y < height)
    if not bool(chosen.any()):
        return PhotoPyramid((image[:, :1, :1],), (0, 0))
    needed = texel_level(texels_px)[chosen].sort().values
    num_finer = math.ceil(float(needed[int(0.98 * (len(needed) - 1))]))
    step = 2**num_finer
    border = 2 + step
    left, top = (max(int(c[chosen].min()) - border, 0) // step * step for c in (x, y))
    right, bottom = min(int(x[chosen].max()) + border, width), min(int(y[chosen].max()) + border, height)
    levels = [image[:, top:bottom, left:right]]
    light = linear_from_srgb(levels[0]) if num_finer > 0 else levels[0]
    for _ in range(num_finer):
        odd = (0, light.shape[-1] % 2, 0, light.shape[-2] % 2)
        light = F.avg_pool2d(F.pad(light[None], odd, mode="replicate"), 2)[0]
        levels.append(srgb_from_linear(light))
    return PhotoPyramid(tuple(levels), (left, top))


def sample_photo(pyramid: PhotoPyramid, texels_px: Tensor) -> Tensor:
    """Colours "3 h w" (sRGB) at photo positions "2 h w": bilinear, and between levels where texels are larger than pixels."""
    corner = texels_px.new_tensor(pyramid.corner_px)[:, None, None]
    level = texel_level(texels_px).clamp_max(len(pyramid.levels) - 1) if len(pyramid.levels) > 1 else None
    total: Tensor | None = None
    for index, image in enumerate(pyramid.levels):
        extent = texels_px.new_tensor([image.shape[-1], image.shape[-2]])[:, None, None] * 2**index
        grid = ((texels_px - corner) * (2 / extent) - 1).permute(1, 2, 0)
        colour = F.grid_sample(image[None], grid[None], padding_mode="border", align_corners=False)[0]
        if level is None:
            return colour
        share = (1 - (level - index).abs()).clamp_min(0)
        total = colour * share if total is None else total.addcmul_(colour, share)
    assert total is not None
    return total


def texel_level(texels_px: Tensor) -> Tensor:
    """The pyramid level whose pixels are as large as the texels "2 h w" are in the photo: "h w", zero where they are smaller."""
    x, y = texels_px
    (dx_dv, dx_du), (dy_dv, dy_du) = torch.gradient(x), torch.gradient(y)
    area = (dx_du * dy_dv - dx_dv * dy_du).abs()
    return (0.5 * torch.log2(area.clamp_min(1e-6))).clamp_min(0)


def dilate(image: Tensor, covered: Tensor) -> Tensor:
    """Fill the texels outside ``covered`` "h w" with the colours beside them, so that no filter ever reads black.

    Averages of known texels on ever coarser grids fill what is still unknown, finest first ("pull-push").
    """
    if bool(covered.all()) or not bool(covered.any()):
        return image
    known = covered.to(image)[None]
    height, width = covered.shape
    odd = (0, width % 2, 0, height % 2)
    weight = F.avg_pool2d(F.pad(known, odd), 2)
    colour = F.avg_pool2d(F.pad(image * known, odd), 2) / weight.clamp_min(1e-6)
    coarse = dilate(colour, weight[0] > 0)
    filled = F.interpolate(coarse[None], scale_factor=2, mode="bilinear", align_corners=False)[0]
    return torch.where(covered, image, filled[:, :height, :width])
