"""A face drawn again into its photo: how like the photo it is, where its landmarks and its outline come to lie."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from ..fit.contour import outline_region, outline_vertices, rim_distance
from ..fit.outline import outline_of_mask
from ..geometry.chart_map import detailed_normals, unit
from ..geometry.light import shading
from ..geometry.mesh import vertex_normals
from ..geometry.rigid import pose_angles
from ..geometry.view import View
from ..model.deformation import face_vertices
from ..model.face import DetailedFace, Geometry, TexturedFace
from ..model.landmarks import table_of
from ..model.morphable import MorphableModel
from ..render.bake import bake, dilate
from ..render.interpolate import interpolate
from ..render.raster import rasterize
from ..render.shade import linear_from_srgb, sample_texture, srgb_from_linear
from .image_metrics import psnr_db

Colour = Literal["model", "texture", "relit"]
"""Model albedo under the fitted light; the extracted texture as it is; the delit albedo under the fitted light."""
_BELIEVED = 0.3  # least weight of an outline point that is measured against


@torch.no_grad()
def rerender(
    view: View, model: MorphableModel, face: Geometry | TexturedFace, colour: Colour
) -> tuple[Tensor, Tensor]:
    """The skin of a face drawn with the camera of its photo: sRGB "3 h w", and where it lies "h w" bool.

    Light falls per pixel, with the normals that a displacement makes. Without a delit albedo, ``relit`` lights the texture once more, which is
    what taking a photo for an albedo does. The light's colour is fitted again, one factor per channel.
    """
    geometry = face.geometry if isinstance(face, TexturedFace) else face
    camera_mm = view.camera.to_camera(face_vertices(model, geometry))
    normals = vertex_normals(camera_mm, model.triangles)
    skin = model.part_of_triangle == 0
    everything = view.camera.project_camera(camera_mm)[None]
    fragments = rasterize(everything, model.triangles, view.camera.size_px)
    hit = fragments.triangle_ids[0]
    mask = (hit >= 0) & skin[hit.clamp_min(0)]
    inside = torch.zeros(len(camera_mm), 1)
    chart_uv = torch.zeros(len(camera_mm), 2)
    if model.chart is not None:
        inside = torch.isfinite(model.chart.uv[:, :1]).to(camera_mm)
        chart_uv = torch.nan_to_num(model.chart.uv)
    values = torch.cat([normals, chart_uv, inside, model.vertex_albedo(geometry.coarse.code)], -1)
    drawn = interpolate(fragments, everything, model.triangles, values)[0]
    smooth = drawn[:3]
    if isinstance(geometry, DetailedFace):
        turned = sample_texture(
            _normal_change(model, camera_mm, normals, geometry.displacement_mm), drawn[None, 3:5]
        )
        smooth = smooth + torch.where(drawn[5] > 0.999, turned[0], 0)
    light = shading(unit(smooth).permute(1, 2, 0), geometry.coarse.light).permute(2, 0, 1)
    if colour == "model":
        return srgb_from_linear((drawn[6:] * light).clamp(0, 1)), mask
    if not isinstance(face, TexturedFace):
        raise TypeError("only a textured face can be drawn with its texture")
    texture = face.texture[model.part_names[0]]
    if colour == "relit" and face.albedo is not None:
        texture = face.albedo
    skin_uv = _texture_coordinates(model, fragments.triangle_ids[0], fragments.barycentric[0])
    painted = sample_texture(linear_from_srgb(texture), skin_uv[None])[0]
    if colour == "relit":
        painted = painted * light
        painted = painted * _gain(linear_from_srgb(view.image), painted, mask & view.skin_mask)
    return srgb_from_linear(painted.clamp(0, 1)), mask


def _gain(photo: Tensor, drawn: Tensor, mask: Tensor) -> Tensor:
    """The factor per channel "3 1 1" that brings a drawn picture nearest to a photo over a mask "h w", both linear "3 h w".

    Light and albedo are known up to it only: the light was fitted to the model's albedo, and the delit one has an exposure of its own.
    """
    if not bool(mask.any()):
        return torch.ones(3, 1, 1)
    seen, made = photo[:, mask], drawn[:, mask]
    return ((seen * made).sum(1) / made.square().sum(1).clamp_min(1e-8))[:, None, None]


def rerender_psnr(view: View, model: MorphableModel, face: Geometry | TexturedFace, colour: Colour) -> float:
    """PSNR in dB of the redrawn face inside the photo's skin mask."""
    drawn, mask = rerender(view, model, face, colour)
    return psnr_db(view.image, drawn, mask & view.skin_mask)


def outline_distance_mm(view: View, model: MorphableModel, vertices: Tensor) -> float:
    """Mean distance of the face's silhouette "v 3" from the outline of cheeks and jaw in the photo; NaN where none is believable."""
    outline = outline_of_mask(view, view.person)
    projected = view.camera.project(vertices)
    rim = outline_vertices(projected, model.triangles, outline_region(model))
    distance, weight = rim_distance(projected, rim, outline)
    believed = weight > _BELIEVED
    return float(distance[believed].abs().mean()) if bool(believed.any()) else float("nan")


def landmark_residual_px(view: View, model: MorphableModel, vertices: Tensor) -> float:
    """Median distance between the detected landmarks and those of a head "v 3"; NaN if the model does not know the scheme."""
    table = table_of(model.landmarks, view.landmark_scheme)
    if table is None:
        return float("nan")
    angles = pose_angles(view.camera.T_camera_head[:3, :3])
    points = table.points(vertices, model.triangles, angles.yaw_deg, angles.pitch_deg)
    projected = view.camera.project(points)[:, :2]
    away = (projected[: len(view.landmarks_px)] - view.landmarks_px).norm(dim=1)
    return float(away[torch.isfinite(away)].median())


def _normal_change(
    model: MorphableModel, camera_mm: Tensor, normals: Tensor, displacement_mm: Tensor
) -> Tensor:
    """What a displacement adds to the normals, over the chart: "3 s s" in the camera frame."""
    assert model.chart is not None
    topology = model.chart.topology
    every = torch.arange(len(topology.triangles))
    drawn = dilate(*bake(torch.cat([camera_mm, normals], -1), topology, every, len(displacement_mm)))
    smooth = unit(drawn[3:])
    return detailed_normals(drawn[:3], smooth, displacement_mm) - smooth


def _texture_coordinates(model: MorphableModel, triangle_ids: Tensor, barycentric: Tensor) -> Tensor:
    """Where each pixel looks in the skin's texture: "2 h w"."""
    topology = model.topology
    assert topology.uv is not None
    uv_triangles = topology.triangles if topology.uv_triangles is None else topology.uv_triangles
    corners = topology.uv[uv_triangles[triangle_ids.clamp_min(0)]]
    return torch.einsum("hwkc,khw->chw", corners.to(barycentric), barycentric)
