"""Where each texel of the skin lies in the photo and how far to trust it: looked up once, for the lit texture and for the albedo."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..geometry.mesh import vertex_normals
from ..geometry.view import View
from ..model.morphable import MorphableModel
from ..render.bake import PhotoPyramid, bake, dilate, photo_pyramid, sample_photo
from ..render.visible import facing
from .photo_evidence import DepthBuffer, observed_weight, sample_mask

WORK_SIZE = 512
"""Texels per side on which visibility is decided; weights and the blending live on half of it."""
BLEND_SIZE = WORK_SIZE // 2
TEXELS_PER_BAND = 2**20
"""The full-size texture is made in bands of rows of about so many texels, which bounds the memory."""


@dataclass(frozen=True)
class SkinLook:
    """A head's skin and its photo; maps are in the skin's texture, at :data:`BLEND_SIZE` unless said otherwise.

    Attributes:
        view, model: what is looked at.
        triangle_ids: "f" of the skin. camera_mm: "v 3" all vertices, camera frame. normals: "v 3" unit, camera frame.
        hair: "1 b b" in [0, 1], where what the photo shows on the face is no skin: brows and beard, nothing that goes on beyond them.
        evidence: "1 b b" in [0, 1], trust in the photo. photo: "3 b b" sRGB, meaningless without evidence.
        position: "3 b b" camera frame, mm. facing: "1 b b", cosine to the camera. pocket: "1 b b", inside the head.
        pyramid: the photo at falling resolutions.
    """

    view: View
    model: MorphableModel
    triangle_ids: Tensor
    camera_mm: Tensor
    normals: Tensor
    evidence: Tensor
    hair: Tensor
    photo: Tensor
    position: Tensor
    facing: Tensor
    pocket: Tensor
    pyramid: PhotoPyramid

    def drawn(self, per_vertex: Tensor) -> Tensor:
        """Values "v c" of the vertices as a map "c w w" of :data:`WORK_SIZE`, filled beyond the skin."""
        return dilate(*bake(per_vertex, self.model.topology, self.triangle_ids, WORK_SIZE))

    def photo_rows(self, size: int, rows: tuple[int, int]) -> Tensor:
        """The photo's colours "3 r s" (sRGB) in rows of a texture of ``size``."""
        band = dilate(*bake(self.camera_mm, self.model.topology, self.triangle_ids, size, rows=rows))
        return sample_photo(self.pyramid, _project(self.view, band)[:2])


def look_at_skin(view: View, model: MorphableModel, vertices: Tensor, buffer: DepthBuffer) -> SkinLook:
    """Look the skin of a head with vertices "v 3" (head frame) up in its photo."""
    skin = (model.part_of_triangle == 0).nonzero().squeeze(-1)
    camera_mm = view.camera.to_camera(vertices)
    normals = vertex_normals(camera_mm, model.triangles)
    per_vertex = [camera_mm, facing(camera_mm, normals)[:, None], _pockets(model).to(camera_mm)[:, None]]
    values, covered = bake(torch.cat(per_vertex, -1), model.topology, skin, WORK_SIZE)
    values = dilate(values, covered)
    texels_px = _project(view, values[:3])
    evidence = observed_weight(view, model, buffer, texels_px, values[3], covered)
    small = F.avg_pool2d(torch.cat([texels_px[:2], values]), WORK_SIZE // BLEND_SIZE)
    small_px, position, small_facing, pocket = small.split([2, 3, 1, 1])
    hair = (1 - sample_mask(view.skin_mask, small_px)) * (evidence > 0)
    pyramid = photo_pyramid(view.image, small_px, evidence[0] > 0)
    photo = sample_photo(pyramid, small_px)
    return SkinLook(
        view, model, skin, camera_mm, normals, evidence, hair, photo, position, small_facing, pocket, pyramid
    )


def bands(size: int) -> Iterator[tuple[int, int]]:
    """The rows of a texture in pieces of about :data:`TEXELS_PER_BAND` texels."""
    step = max(1, TEXELS_PER_BAND // size)
    for first in range(0, size, step):
        yield first, min(first + step, size)


def resized(image: Tensor, size: int, rows: tuple[int, int]) -> Tensor:
    """Rows of the image "c h w" resized to ``size`` texels per side, bilinear."""
    v = (torch.arange(*rows, device=image.device, dtype=image.dtype) + 0.5) * (2 / size) - 1
    u = (torch.arange(size, device=image.device, dtype=image.dtype) + 0.5) * (2 / size) - 1
    grid = torch.stack(torch.meshgrid(v, u, indexing="ij")[::-1], -1)
    return F.grid_sample(image[None], grid[None], padding_mode="border", align_corners=False)[0]


def _pockets(model: MorphableModel) -> Tensor:
    """Vertices "v" of the skin inside the head."""
    known = [model.regions[name] for name in ("inner_mouth", "eye_sockets") if name in model.regions]
    none = torch.zeros(len(model.mean_mm), dtype=torch.bool, device=model.mean_mm.device)
    return torch.stack([none, *known]).any(0)


def _project(view: View, camera_mm: Tensor) -> Tensor:
    """Camera-frame positions "3 h w" -> "3 h w" of (x_px, y_px, depth_mm)."""
    points = camera_mm.flatten(1).T
    return view.camera.project_camera(points).T.reshape(camera_mm.shape)
