"""A scene with its head at another angle, drawn: the photo where it shows the surface, the other side of the face where that is hidden, and what is around."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ..geometry.camera import Camera
from ..geometry.mesh import vertex_normals
from ..geometry.rigid import (
    axis_angle_from_rotation,
    pose_angles,
    rigid_transform,
    rotation_from_axis_angle,
    rotation_from_pose_angles,
)
from ..render.interpolate import interpolate
from ..render.raster import rasterize
from ..render.visible import facing, visible_points
from .profiling_background import ramp, strands
from .profiling_scene import TOLERANCE_MM, Scene, sample_px

_STRETCHED = 0.10, 0.26  # cosine to the photo's camera over that to the new one: below, the photo is smeared
_PLAIN_VIEW = 0.35, 0.75  # the same, over which what is no skin may be shown on the face
_DOUBT_DEG = 6.0  # of turn, over which what may be background on the head stops being shown
_SOFT_PX = 5  # over which sources change
_EDGE_SAMPLES = 2
_NECK_FADES = 0.25, 0.75  # share of the turn over which the neck gives way to the photo, collar and all
_ROUND = 0.35  # how much darker hair is that was made up and turns away: else a head is flat


@dataclass(frozen=True, eq=False)
class Turned:
    """A turned picture.

    Attributes:
        image: "3 h w" sRGB. mask: "h w" bool, skin of the face that is seen. camera: with the new pose.
        vertices_mm: "v 3" head frame, as drawn: the fit's, but for the twisted neck. head: "h w" bool, where the head is seen.
    """

    image: Tensor
    mask: Tensor
    camera: Camera
    vertices_mm: Tensor
    head: Tensor


@torch.no_grad()
def turn(scene: Scene, yaw: float, pitch: float | None = None, roll: float | None = None) -> Turned:
    """Draw a scene with its head at other angles (degrees; None: the photo's own)."""
    camera = scene.camera
    own = pose_angles(camera.T_camera_head[:3, :3])
    angles = [torch.as_tensor(float(own[i] if a is None else a)) for i, a in enumerate((yaw, pitch, roll))]
    rotation = rotation_from_pose_angles(*angles)
    turning = axis_angle_from_rotation(rotation @ camera.T_camera_head[:3, :3].T)
    doubt = min(1.0, float(turning.norm().rad2deg()) / _DOUBT_DEG)
    pivot = scene.pivot_mm
    head = partly_turned(scene.drawn_mm, scene.share, turning, pivot)
    full = rotation_from_axis_angle(turning)
    pose = rigid_transform(full @ camera.T_camera_head[:3, :3], full @ (camera.T_camera_head[:3, 3] - pivot) + pivot)  # fmt: skip
    posed = replace(camera, T_camera_head=pose)

    sheet_colour, sheet_alpha, sheet_depth = _draw_sheet(scene, turning, doubt)
    colour, skin, depth, alpha = _draw_head(scene, head, doubt)
    image = torch.lerp(scene.backdrop, sheet_colour, sheet_alpha)
    image = torch.lerp(image, colour, alpha)
    before = (sheet_depth < depth) * sheet_alpha  # hair beside a cheek may come before it
    image = torch.lerp(image, sheet_colour, before)
    shown = depth.isfinite() & (before < 0.5)
    bare = camera.to_camera(scene.vertices_mm)
    vertices = partly_turned(bare, scene.share, turning, pivot)
    vertices = (vertices - pose[:3, 3]) @ pose[:3, :3]
    return Turned(image.clamp(0, 1), shown & (skin > 0.5), posed, vertices, shown)


def partly_turned(points: Tensor, share: Tensor, turning_rad: Tensor, pivot: Tensor) -> Tensor:
    """Points "n 3" turned about a pivot "3" by a share "n" of a rotation vector "3"."""
    rotations = rotation_from_axis_angle(share[:, None] * turning_rad)
    return (rotations @ (points - pivot)[..., None]).squeeze(-1) + pivot


def _draw_head(scene: Scene, head: Tensor, doubt: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Colours "3 h w", skin "h w", depth "h w" (infinite elsewhere) and soft coverage "h w" of a head "v 3" (camera frame)."""
    camera, triangles = scene.camera, scene.triangles
    points = camera.project_camera(head)[None]
    found = rasterize(points, triangles, camera.size_px)
    square = facing(head, vertex_normals(head, triangles))
    per_vertex = [scene.drawn_mm, scene.mirrored_mm, scene.gain, scene.plain, scene.hair, scene.share, scene.facing, scene.mirrored_facing, square]  # fmt: skip
    attributes = torch.cat([a if a.ndim == 2 else a[:, None] for a in per_vertex], 1)
    pixels = found.mask[0].flatten().nonzero().squeeze(1)
    values = interpolate(found, points, triangles, attributes)[0].flatten(1)[:, pixels]
    own, other, gain, plain, hair, share, facing_own, facing_other, facing_now = values.split(
        [3, 3, 3, 3, 1, 1, 1, 1, 1]
    )
    at_head = (own.T - camera.T_camera_head[:3, 3]) @ camera.T_camera_head[:3, :3]
    plain = plain * (1 + hair * strands(at_head)) * (1 - _ROUND * (hair > 0) * (1 - facing_now.clamp(0, 1)))
    face = scene.is_face[found.triangle_ids[0].flatten()[pixels]]
    photo, weight, skin = _seen(scene, own, facing_own / facing_now.clamp_min(0.05), face, doubt)
    mirrored, mirrored_weight, mirrored_skin = _seen(
        scene, other, facing_other / facing_now.clamp_min(0.05), face, 1.0
    )
    weights = torch.zeros(2, *scene.image.shape[1:])
    weights.flatten(1)[:, pixels] = torch.cat([weight, mirrored_weight])
    weight, mirrored_weight = _softened(weights, found.mask[0]).flatten(1)[:, pixels].split(1)
    rest = torch.lerp(plain, (mirrored * gain).clamp(0, 1), mirrored_weight)
    rest_skin = torch.lerp(torch.ones_like(skin), mirrored_skin, mirrored_weight)
    image = torch.zeros(5, scene.image[0].numel())
    image[4] = 1.0
    image[4, pixels] = ramp(share[0], *_NECK_FADES)
    image[:3, pixels] = torch.lerp(rest, photo, weight)
    image[3, pixels] = torch.lerp(rest_skin, skin, weight)[0] * face
    image = image.reshape(5, *scene.image.shape[1:])
    colour, alpha = _with_edges(image[:3], found.mask[0], points, triangles, camera)
    return colour, image[3], found.depth_mm[0], alpha * image[4]


def _seen(
    scene: Scene, where: Tensor, ratio: Tensor, face: Tensor, doubt: float
) -> tuple[Tensor, Tensor, Tensor]:
    """What the photo shows at surface points: colours "3 p", trust "1 p", skin "1 p".

    Args:
        where: "3 p" camera frame of the photo. ratio: "1 p", cosine to the photo's camera over that to the new one: small, the photo is stretched.
        face: "p" bool, should be skin: strands, collars and frames of glasses are not smeared over it. doubt: in [0, 1], none at rest.
    """
    points = scene.camera.project_camera(where.T)
    colours, trust, skin = sample_px(torch.cat([scene.image, scene.trust[None], scene.skin[None]]), points[:, :2]).split([3, 1, 1])  # fmt: skip
    weight = ramp(ratio, *_STRETCHED)
    smeared = face * (1 - skin) * (1 - ramp(ratio, *_PLAIN_VIEW))
    close = weight[0] > 0
    visible = torch.zeros_like(close)
    seen_px = scene.camera.project_camera(scene.drawn_mm)[None]
    visible[close] = visible_points(points[None, close], scene.seen, seen_px, scene.triangles, tolerance_mm=TOLERANCE_MM)[0]  # fmt: skip
    return colours, weight * visible * (1 - doubt * (1 - trust * (1 - smeared))), skin


def _softened(weights: Tensor, covered: Tensor) -> Tensor:
    """Weights "c h w" that change over some pixels, never above what they were: sources fade where they end, not beyond."""
    covered = covered.to(weights)[None]
    reach = _SOFT_PX // 2
    least = -F.max_pool2d(-torch.where(covered > 0, weights, 1.0)[None], 3, 1, 1)[0] * covered
    total = F.avg_pool2d(torch.cat([least, covered])[None], _SOFT_PX, 1, reach)[0]
    return (total[:-1] / total[-1:].clamp_min(1e-6)).minimum(weights)


def _with_edges(
    image: Tensor, covered: Tensor, points: Tensor, triangles: Tensor, camera: Camera
) -> tuple[Tensor, Tensor]:
    """Colours that go on a pixel beyond the outline, and how much of each pixel the head covers."""
    width, height = camera.size_px
    fine = points * points.new_tensor([_EDGE_SAMPLES, _EDGE_SAMPLES, 1])
    hits = rasterize(fine, triangles, (width * _EDGE_SAMPLES, height * _EDGE_SAMPLES)).mask
    alpha = F.avg_pool2d(hits.float()[None], _EDGE_SAMPLES)[0, 0]
    known = covered.float()[None]
    near = F.avg_pool2d(torch.cat([image * known, known])[None], 3, 1, 1)[0]
    return torch.where(covered, image, near[:3] / near[3:].clamp_min(1e-6)), alpha * (near[3] > 0)


def _draw_sheet(scene: Scene, turning_rad: Tensor, doubt: float) -> tuple[Tensor, Tensor, Tensor]:
    """Colours "3 h w", opacity "h w" and depth "h w" of what is around the head."""
    sheet, camera = scene.sheet, scene.camera
    moved = (sheet.camera_mm - scene.pivot_mm) @ rotation_from_axis_angle(turning_rad).T + scene.pivot_mm
    points = camera.project_camera(moved)[None]
    found = rasterize(points, sheet.triangles, camera.size_px)
    where = interpolate(found, points, sheet.triangles, sheet.camera_mm)[0].flatten(1)
    pixels = found.mask[0].flatten().nonzero().squeeze(1)
    at = camera.project_camera(where[:, pixels].T)[:, :2]
    opacity = torch.lerp(sheet.whole, sheet.person, doubt)
    image = torch.zeros(4, scene.image[0].numel())
    image[:, pixels] = sample_px(torch.cat([scene.image, opacity[None]]), at)
    colour, alpha = image.reshape(4, *scene.image.shape[1:]).split([3, 1])
    return colour, alpha[0], torch.where(alpha[0] > 0, found.depth_mm[0], torch.inf)
