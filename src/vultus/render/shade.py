"""From a mesh, a camera and a light to an image in linear light."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, grid_sample

from ..errors import BadInput
from ..geometry.camera import Camera
from ..geometry.light import shading
from ..geometry.mesh import vertex_normals
from .interpolate import interpolate
from .raster import rasterize


def linear_from_srgb(x: Tensor) -> Tensor:
    """Decode sRGB values in [0, 1] to linear light (IEC 61966-2-1); differentiable, linear below the toe and for negatives."""
    return torch.where(x <= 0.04045, x / 12.92, ((x.clamp_min(0.04045) + 0.055) / 1.055) ** 2.4)


def srgb_from_linear(x: Tensor) -> Tensor:
    """Inverse of :func:`linear_from_srgb`."""
    return torch.where(x <= 0.0031308, x * 12.92, 1.055 * x.clamp_min(0.0031308) ** (1 / 2.4) - 0.055)


def render(
    vertices_mm: Tensor,
    triangles: Tensor,
    camera: Camera,
    light: Tensor | None = None,
    *,
    albedo: Tensor | None = None,
    texture: Tensor | None = None,
    uv: Tensor | None = None,
    uv_triangles: Tensor | None = None,
    samples: int = 1,
    cull_back: bool = False,
    backend: str = "auto",
) -> Tensor:
    """Draw a lit mesh; differentiable in everything but the outline.

    Light is evaluated at the vertices and interpolated, which on a face-sized mesh looks the same as per pixel.

    Args:
        vertices_mm: "v 3" or "b v 3" in the head frame.
        triangles: "f 3" int64, counter-clockwise seen from outside.
        camera: where the image is taken from; its tensors with or without the batch axis.
        light: "3 9" or "b 3 9" as in :mod:`vultus.geometry.light` (camera frame); unlit when omitted.
        albedo: "v 3" or "b v 3" linear RGB per vertex; white when neither this nor a texture is given.
        texture: "3 h w" or "b 3 h w" linear RGB, multiplied with the albedo if both are given.
        uv: texture coordinates "v 2", or "t 2" together with ``uv_triangles``: u right, v down, [0, 1].
        uv_triangles: "f 3" int64 indices into ``uv``, for textures whose seams cut through vertices.
        samples: supersampling per axis: the image is drawn ``samples`` times as large and averaged.

    Returns:
        "b 4 h w": linear RGB premultiplied by coverage, and coverage. See :func:`over`.

    Raises:
        BadInput: a texture without coordinates, or shapes that do not belong together.
    """
    if texture is not None and uv is None:
        raise BadInput("a texture needs uv coordinates: pass uv, one row per vertex, or uv and uv_triangles")
    vertices_mm = vertices_mm if vertices_mm.ndim == 3 else vertices_mm[None]
    drawn = camera.resized(samples)
    position = drawn.to_camera(vertices_mm)
    vertices_px = drawn.project_camera(position)
    batch, num_vertices, _ = vertices_px.shape
    colour = torch.ones_like(position)
    if albedo is not None:
        colour = colour * albedo
    if light is not None:
        colour = colour * shading(vertex_normals(position, triangles), light)
    fragments = rasterize(vertices_px, triangles, drawn.size_px, cull_back=cull_back, backend=backend)
    if texture is None or uv is None:
        rgb = interpolate(fragments, vertices_px, triangles, colour, backend=backend)
    else:
        if (
            uv_triangles is not None
        ):  # every triangle gets corners of its own, so that a vertex may have several uv
            corners = triangles.reshape(-1)
            vertices_px, colour, uv = (
                vertices_px[:, corners],
                colour[:, corners],
                uv[uv_triangles.reshape(-1)],
            )
            triangles = torch.arange(len(corners), device=corners.device).reshape(-1, 3)
        elif len(uv) != num_vertices:
            raise BadInput(f"uv has {len(uv)} rows for {num_vertices} vertices: pass uv_triangles as well")
        attributes = torch.cat([colour, uv.expand(batch, *uv.shape)], -1)
        values = interpolate(fragments, vertices_px, triangles, attributes, backend=backend)
        rgb = values[:, :3] * sample_texture(texture, values[:, 3:]) * fragments.mask[:, None]
    image = torch.cat([rgb, fragments.mask[:, None].to(rgb.dtype)], 1)
    return avg_pool2d(image, samples) if samples > 1 else image


def sample_texture(texture: Tensor, uv: Tensor) -> Tensor:
    """Bilinear lookup: texture "3 h w" or "b 3 h w" at uv "b 2 h w" in [0, 1], texel centres at +0.5."""
    texture = texture if texture.ndim == 4 else texture.expand(len(uv), *texture.shape)
    grid = 2 * uv.permute(0, 2, 3, 1) - 1
    return grid_sample(texture, grid, mode="bilinear", padding_mode="border", align_corners=False)


def over(rgba: Tensor, background: Tensor) -> Tensor:
    """Lay a premultiplied image "b 4 h w" over linear RGB "3", "3 1 1" or "b 3 h w": linear "b 3 h w"."""
    background = background[:, None, None] if background.ndim == 1 else background
    return rgba[:, :3] + (1 - rgba[:, 3:]) * background
