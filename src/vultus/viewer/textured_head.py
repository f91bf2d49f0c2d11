"""A head as its textures show it, drawn in two layers: what one sees through lies over the rest."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from ..geometry.camera import Camera
from ..geometry.light import shading
from ..geometry.mesh import vertex_normals
from ..model.face import TexturedFace
from ..model.result import Reconstruction
from ..render import raster
from ..render.interpolate import interpolate
from ..render.shade import sample_texture, srgb_from_linear

SAMPLES = 2
"""Drawn this much larger and averaged, against jagged edges."""


def textured_head(result: Reconstruction, vertices_mm: Tensor, camera: Camera, light: Tensor) -> Tensor:
    """Premultiplied sRGB and coverage "4 h w" of a head, unlit because textures hold the photo's light; without textures lit by ``light``."""
    model = result.model
    drawn = camera.resized(SAMPLES)
    textures = result.face.texture if isinstance(result.face, TexturedFace) else {}
    clear = [name for name, image in textures.items() if len(image) == 4]
    solid = torch.ones_like(model.part_of_triangle, dtype=torch.bool)
    for name in clear:
        solid &= model.part_of_triangle != model.part_names.index(name)
    albedo = model.vertex_albedo(result.coarse.code)
    if not textures:
        normals = vertex_normals(drawn.to_camera(vertices_mm), model.topology.triangles)
        albedo = albedo * shading(normals, light)
    colour, opacity, _ = _layer(result, vertices_mm, drawn, solid.nonzero().squeeze(-1), albedo)
    if clear:
        everything = torch.arange(len(solid))
        above, share, nearest = _layer(result, vertices_mm, drawn, everything, albedo)
        share = share * ~solid[nearest]
        colour = torch.lerp(colour, above, share)
        opacity = torch.maximum(opacity, share)
    return averaged(colour, opacity)


def averaged(colour: Tensor, coverage: Tensor) -> Tensor:
    """Premultiply "3 h w" by coverage "h w" and average the samples of each pixel: "4 h w"."""
    return avg_pool2d(torch.cat([colour * coverage, coverage[None]]), SAMPLES)


def _layer(
    result: Reconstruction, vertices_mm: Tensor, camera: Camera, triangle_ids: Tensor, albedo: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Some of a head's triangles: colour "3 h w" sRGB, opacity "h w" and which triangle is nearest "h w"."""
    model, topology = result.model, result.model.topology
    # Every triangle gets corners of its own, so that a vertex may have several texture coordinates.
    corners = topology.triangles[triangle_ids].flatten()
    vertices_px = camera.project(vertices_mm)[corners][None]
    triangles = torch.arange(len(corners)).reshape(-1, 3)
    uv = torch.zeros(len(corners), 2)
    if topology.uv is not None:
        uv_triangles = topology.triangles if topology.uv_triangles is None else topology.uv_triangles
        uv = topology.uv[uv_triangles[triangle_ids].flatten()]
    fragments = raster.rasterize(vertices_px, triangles, camera.size_px)
    values = interpolate(fragments, vertices_px, triangles, torch.cat([albedo[corners], uv], -1))
    colour = srgb_from_linear(values[0, :3].clamp(0, 1))
    opacity = fragments.mask[0].float()
    nearest = triangle_ids[fragments.triangle_ids[0].clamp_min(0)]
    part = model.part_of_triangle[nearest]
    for name, texture in result.face.texture.items() if isinstance(result.face, TexturedFace) else ():
        here = (part == model.part_names.index(name)) & fragments.mask[0]
        looks = sample_texture(texture, values[:, 3:, here][:, :, None])[0, :, 0]
        colour[:, here] = looks[:3]
        if len(texture) == 4:
            opacity[here] = looks[3]
    return colour, opacity, nearest
