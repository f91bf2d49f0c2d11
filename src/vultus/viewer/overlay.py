"""One picture that tells whether a reconstruction worked: photo, landmarks, mesh and head side by side."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ..geometry.camera import Camera
from ..geometry.chart_map import detailed_normals, unit
from ..geometry.light import ambient_and_directional, shading
from ..geometry.mesh import vertex_normals
from ..geometry.rigid import pose_angles, rigid_transform, rotation_from_pose_angles
from ..model.deformation import face_vertices
from ..model.face import CoarseFace, DetailedFace, Geometry, TexturedFace
from ..model.morphable import MorphableModel
from ..model.result import Reconstruction
from ..render import raster
from ..render.bake import bake, dilate
from ..render.interpolate import interpolate as interpolate_attributes
from ..render.shade import sample_texture, srgb_from_linear
from .textured_head import SAMPLES, averaged, textured_head

_MARGIN = 1.35  # panels show this much more than the face
_DISTANCE_MM = 900.0  # of the virtual cameras: a portrait's perspective
_BACKGROUND = 0.11  # sRGB grey
_CLAY = 0.45  # linear reflectance
_DETECTED = (0.25, 0.95, 0.85)
_MODEL = (1.0, 0.55, 0.1)
_LINES = (0.75, 0.95, 1.0)


@torch.no_grad()
def overlay(result: Reconstruction, panel_px: int = 384) -> Tensor:
    """Draw a contact picture of a result; the result itself is only read.

    First row: the photo; the detected landmarks (turquoise) and where the model has its 68 (orange); the mesh over the photo; the
    textured head over the photo. Second row: the textured head turned 45 degrees, from the front and turned the other way; its own
    colour without the photo's light, or, where there is none, its shape. Third row, of a face beyond the coarse level: the shapes of the
    levels side by side, then the last one turned. A result loaded without its photo lacks the first row.

    Args:
        result: one face.
        panel_px: side of each panel, four to a row.

    Returns:
        "3 h w" sRGB in [0, 1].
    """
    rows = from_all_sides(result, panel_px)
    if result.view.image.numel():
        rows.insert(0, over_photo(result, panel_px))
    return torch.cat([torch.cat(row, -1) for row in rows], -2)


def over_photo(result: Reconstruction, panel_px: int) -> list[Tensor]:
    """The panels "3 p p" of the first row: photo, landmarks, mesh and textured head over the photo."""
    vertices_mm = result.mesh.vertices
    photo, camera = _crop(result, panel_px)
    clay, lines = _clay(result, vertices_mm, camera)
    mesh = _over(lines, _over(0.4 * clay, photo))
    textured = _over(_textured(result, vertices_mm, camera), photo)
    return [photo, _landmarks(result, photo, camera), mesh, textured]


def from_all_sides(result: Reconstruction, panel_px: int) -> list[list[Tensor]]:
    """The rows of panels "3 p p" below the first: the textured head, then the shapes of the levels."""
    vertices_mm = result.mesh.vertices
    sides = [_portrait_camera(result, yaw_deg, panel_px) for yaw_deg in (-45.0, 0.0, 45.0)]
    background = torch.full((3, panel_px, panel_px), _BACKGROUND)
    over_grey = lambda drawn: _over(drawn, background)  # noqa: E731
    lower = [over_grey(_textured(result, vertices_mm, camera)) for camera in sides]
    albedo = result.face.albedo if isinstance(result.face, TexturedFace) else None
    if albedo is None:
        lower.append(over_grey(_clay(result, vertices_mm, sides[1])[0]))
    else:
        lower.append(over_grey(_textured(_recoloured(result, albedo), vertices_mm, sides[1])))
    rows = [lower]
    if not isinstance(result.geometry, CoarseFace):
        levels = [over_grey(_shape(result, face, sides[1])) for face in _levels(result.geometry)]
        levels += [torch.zeros_like(background) + _BACKGROUND] * (3 - len(levels))
        rows.append([*levels, over_grey(_shape(result, result.geometry, sides[2]))])
    return rows


def _levels(geometry: Geometry) -> list[Geometry]:
    """A face's levels from the coarse one upwards."""
    deformed = geometry.deformed if isinstance(geometry, DetailedFace) else geometry
    return [geometry.coarse, deformed, *([geometry] if geometry is not deformed else [])]


def _recoloured(result: Reconstruction, albedo: Tensor) -> Reconstruction:
    """The result with its skin's albedo for its skin's texture."""
    assert isinstance(result.face, TexturedFace)
    texture = {**result.face.texture, result.model.part_names[0]: albedo}
    return replace(result, face=replace(result.face, texture=texture))


def _shape(result: Reconstruction, face: Geometry, camera: Camera) -> Tensor:
    """One level's shape in grey, wrinkles in its normals: premultiplied sRGB and coverage "4 h w"."""
    model = result.model
    drawn = camera.resized(SAMPLES)
    position = drawn.to_camera(face_vertices(model, face))
    vertices_px = drawn.project_camera(position)[None]
    triangles = model.triangles
    attributes = vertex_normals(position, triangles)
    if isinstance(face, DetailedFace) and model.chart is not None:
        inside = torch.isfinite(model.chart.uv).all(-1, keepdim=True).to(position)
        attributes = torch.cat([attributes, torch.nan_to_num(model.chart.uv), inside], -1)
    fragments = raster.rasterize(vertices_px, triangles, drawn.size_px)
    values = interpolate_attributes(fragments, vertices_px, triangles, attributes)
    normals = unit(values[0, :3])
    if isinstance(face, DetailedFace):
        turned = sample_texture(_turned_normals(model, position, face.displacement_mm), values[:, 3:5])[0]
        normals = unit(normals + turned * (values[0, 5] > 0.999))
    shade = _CLAY * shading(normals.permute(1, 2, 0), _studio_light()).permute(2, 0, 1)
    mask = fragments.mask[0].float()
    return averaged(srgb_from_linear(shade.clamp(0, 1)), mask)


def _turned_normals(model: MorphableModel, position: Tensor, displacement_mm: Tensor) -> Tensor:
    """What a displacement "h w" adds to the smooth normals of a head with vertices "v 3", over the face chart: "3 h w"."""
    assert model.chart is not None
    topology = model.chart.topology
    values = torch.cat([position, vertex_normals(position, model.triangles)], -1)
    everything = torch.arange(len(topology.triangles))
    drawn = dilate(*bake(values, topology, everything, displacement_mm.shape[0]))
    smooth = unit(drawn[3:])
    return detailed_normals(drawn[:3], smooth, displacement_mm) - smooth


def _face_points(result: Reconstruction) -> Tensor:
    """What a panel must show: the face "n 3", or all of a model that does not say where its face is."""
    vertices = result.mesh.vertices
    face = result.model.regions.get("face")
    return vertices if face is None else vertices[face]


def _portrait_camera(result: Reconstruction, yaw_deg: float, panel_px: int) -> Camera:
    """A virtual camera that sees the whole face turned by an angle."""
    points = _face_points(result)
    low, high = points.amin(0), points.amax(0)
    centre = (low + high) / 2
    # Turned, the face swings about the middle of the head rather than about its own.
    centre[2] -= (high - low)[2] / 2
    rotation = rotation_from_pose_angles(torch.tensor(yaw_deg), torch.zeros(()), torch.zeros(()))
    translation = torch.tensor([0.0, 0.0, _DISTANCE_MM]) - rotation @ centre
    focal_px = torch.tensor(panel_px * _DISTANCE_MM) / (_MARGIN * (high - low)[:2].max())
    principal_px = torch.full((2,), panel_px / 2)
    return Camera(focal_px, principal_px, (panel_px, panel_px), rigid_transform(rotation, translation))


def _crop(result: Reconstruction, panel_px: int) -> tuple[Tensor, Camera]:
    """The photo around the face "3 p p" and the camera of that window; grey where the window leaves the photo."""
    points_px = result.camera.project(_face_points(result))[:, :2]
    low, high = points_px.amin(0), points_px.amax(0)
    image = result.view.image
    side = math.ceil(_MARGIN * float((high - low).max()))
    side = max(8, min(side, 2 * max(image.shape[1:])))  # a failed fit may claim any size
    left, top = (int(c) for c in ((low + high) / 2 - side / 2).round().tolist())
    left, top = (
        max(-side, min(offset, size)) for offset, size in ((left, image.shape[2]), (top, image.shape[1]))
    )
    inside = image[:, max(top, 0) : max(top + side, 0), max(left, 0) : max(left + side, 0)]
    window = torch.full((3, side, side), _BACKGROUND)
    y, x = max(-top, 0), max(-left, 0)
    window[:, y : y + inside.shape[1], x : x + inside.shape[2]] = inside
    panel = interpolate(window[None], (panel_px, panel_px), mode="bilinear", antialias=True)[0]
    camera = result.camera.cropped(left, top, (side, side)).resized(panel_px / side)
    return panel, camera


def _textured(result: Reconstruction, vertices_mm: Tensor, camera: Camera) -> Tensor:
    """The head with its textures, or lit where it has none: premultiplied sRGB and coverage "4 h w"."""
    return textured_head(result, vertices_mm, camera, _studio_light())


def _clay(result: Reconstruction, vertices_mm: Tensor, camera: Camera) -> tuple[Tensor, Tensor]:
    """The shape in grey under a studio light, and its visible edges; both premultiplied sRGB and coverage "4 h w"."""
    triangles = result.model.triangles
    drawn = camera.resized(SAMPLES)
    position = drawn.to_camera(vertices_mm)
    vertices_px = drawn.project_camera(position)
    shade = _CLAY * shading(vertex_normals(position, triangles), _studio_light())
    fragments = raster.rasterize(vertices_px[None], triangles, drawn.size_px)
    colour = interpolate_attributes(fragments, vertices_px[None], triangles, shade)[0]
    mask = fragments.mask[0].float()
    # How far a pixel is from the nearest edge of its triangle: barycentric weight times height above that edge.
    a, b, c = vertices_px[triangles, :2].unbind(1)
    doubled_area = ((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]).abs()
    lengths = torch.stack([(c - b).norm(dim=-1), (a - c).norm(dim=-1), (b - a).norm(dim=-1)], -1)
    heights = doubled_area[:, None] / lengths.clamp_min(1e-6)
    distance_px = fragments.barycentric[0] * heights[fragments.triangle_ids[0].clamp_min(0)].permute(2, 0, 1)
    # Thin enough that the photo shows through where triangles are but a few pixels wide.
    line = 0.55 * mask * (0.9 - distance_px.amin(0)).clamp(0, 1)
    lines = torch.tensor(_LINES)[:, None, None].expand(3, *line.shape)
    return averaged(srgb_from_linear(colour.clamp(0, 1)), mask), averaged(lines, line)


def _studio_light() -> Tensor:
    """Soft light from all around and a lamp to the upper left of the camera."""
    return ambient_and_directional(
        torch.full((3,), 0.35), torch.full((3,), 0.9), torch.tensor([-0.7, -0.6, -0.5])
    )


def _landmarks(result: Reconstruction, photo: Tensor, camera: Camera) -> Tensor:
    """The photo with the detected landmarks and, a little larger, the model's own 68."""
    scale = float(camera.focal_px / result.camera.focal_px)
    offset_px = camera.principal_px - scale * result.camera.principal_px
    panel = _dots(photo, scale * result.view.landmarks_px + offset_px, 1.2, _DETECTED)
    table = result.model.landmarks.get("ibug68")
    if table is None:
        return panel
    angles = pose_angles(result.camera.T_camera_head[:3, :3])
    points_mm = table.points(result.mesh.vertices, result.model.triangles, angles.yaw_deg, angles.pitch_deg)
    return _dots(panel, camera.project(points_mm)[:, :2], 2.2, _MODEL)


def _dots(image: Tensor, points_px: Tensor, radius_px: float, colour: tuple[float, float, float]) -> Tensor:
    """Lay anti-aliased discs over an image "3 h w"."""
    height, width = image.shape[1:]
    reach = math.ceil(radius_px) + 1
    steps = torch.arange(-reach, reach + 1)
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    pixels = points_px.floor().long()[:, None] + torch.stack([x, y], -1).reshape(1, -1, 2)
    distance_px = (pixels + 0.5 - points_px[:, None]).norm(dim=-1)
    inside = ((pixels >= 0) & (pixels < torch.tensor([width, height]))).all(-1)
    coverage = torch.zeros(height * width)
    index = (pixels[..., 1] * width + pixels[..., 0])[inside]
    coverage.scatter_reduce_(0, index, (radius_px + 0.5 - distance_px).clamp(0, 1)[inside], "amax")
    alpha = coverage.reshape(1, height, width)
    return (1 - alpha) * image + alpha * torch.tensor(colour)[:, None, None]


def _over(rgba: Tensor, background: Tensor) -> Tensor:
    """Lay a premultiplied "4 h w" over an image "3 h w"."""
    return rgba[:3] + (1 - rgba[3:]) * background
