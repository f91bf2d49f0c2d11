"""The perspective camera: OpenCV frame (x right, y down, z forward), pixel centres at +0.5."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .rigid import transform_points

FULL_FRAME_DIAGONAL_MM = math.hypot(36.0, 24.0)


@dataclass(frozen=True)
class Camera:
    """A pinhole without distortion, and where it stands relative to the head.

    Attributes:
        focal_px: "...", one focal length for both axes, in pixels.
        principal_px: "... 2", (x, y) of the optical axis in pixels; the image centre is (w / 2, h / 2).
        size_px: (width, height) of the image.
        T_camera_head: "... 4 4", takes head-frame millimetres to camera-frame millimetres.
    """

    focal_px: Tensor
    principal_px: Tensor
    size_px: tuple[int, int]
    T_camera_head: Tensor

    def to_camera(self, points_head_mm: Tensor) -> Tensor:
        """Head frame "... n 3" -> camera frame "... n 3", millimetres."""
        return transform_points(self.T_camera_head, points_head_mm)

    def project(self, points_head_mm: Tensor) -> Tensor:
        """Head-frame points "... n 3" -> "... n 3" of (x_px, y_px, depth_mm): what the rasteriser takes."""
        return self.project_camera(self.to_camera(points_head_mm))

    def project_camera(self, points_camera_mm: Tensor) -> Tensor:
        """Camera-frame points "... n 3" -> "... n 3" of (x_px, y_px, depth_mm)."""
        z = points_camera_mm[..., 2:]
        xy = self.focal_px[..., None, None] * points_camera_mm[..., :2] / z + self.principal_px[..., None, :]
        return torch.cat([xy, z], -1)

    @property
    def centre_head_mm(self) -> Tensor:
        """The optical centre in the head frame, "... 3"."""
        rotation, translation = self.T_camera_head[..., :3, :3], self.T_camera_head[..., :3, 3]
        return -(rotation.transpose(-1, -2) @ translation[..., None]).squeeze(-1)

    def resized(self, scale: float) -> Camera:
        """The same view on an image ``scale`` times as large (sizes rounded)."""
        width, height = (max(1, round(side * scale)) for side in self.size_px)
        return replace(
            self,
            focal_px=self.focal_px * scale,
            principal_px=self.principal_px * scale,
            size_px=(width, height),
        )

    def cropped(self, left_px: float, top_px: float, size_px: tuple[int, int]) -> Camera:
        """The same view through a window of the image whose corner is at (left, top)."""
        offset = self.principal_px.new_tensor([left_px, top_px])
        return replace(self, principal_px=self.principal_px - offset, size_px=size_px)


def focal_px_from_mm35(focal_mm35: float, size_px: tuple[int, int]) -> float:
    """Pixels from a 35 mm equivalent focal length, which by CIPA DC-008 (Exif) compares diagonals."""
    return focal_mm35 / FULL_FRAME_DIAGONAL_MM * math.hypot(*size_px)
