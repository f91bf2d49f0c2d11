"""Position maps: where in a crop of a photo each point of the face chart lies, and how far before the others (docs/position.md).

Feng et al., "Joint 3D face reconstruction and dense alignment with position map regression network", ECCV 2018. Every texel holds (x, y, z) of its
surface point: x right and y down in pixels of the crop (centres at +0.5), z towards the camera in the same unit, zero at the mean of the chart.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import BadInput
from .chart_map import grid_normals
from .rigid import PoseAngles, Similarity, pose_angles, umeyama

CROP_PX = 256
"""Side of the crops that networks see."""
CROP_FACTOR = 1.6
"""Side of a crop over the mean of width and height of the face's 68 points: PRNet's, for boxes around landmarks."""
SPAN = 1.5
"""How much a network's output from 0 to 1 covers, in sides of the crop, on each axis: x and y from -25 % to 125 %, z from -75 % to 75 %.

The original covers 0 to 110 % and clips what lies left of or above the crop. Our chart reaches up to the hairline, which the 68 points do not: it
leaves a crop of the usual size through the top on most photos. One span for all axes keeps distances what they are.
"""
_MIDDLE = (0.5, 0.5, 0.0)  # of the covered range, in sides of the crop


def normalised(map_px: Tensor, crop_px: int = CROP_PX) -> Tensor:
    """A map "... 3 h w" in crop pixels -> what a network puts out: 0 to 1 over :data:`SPAN` sides of the crop."""
    middle = map_px.new_tensor(_MIDDLE)[:, None, None]
    return (map_px / crop_px - middle) / SPAN + 0.5


def in_pixels(output: Tensor, crop_px: int = CROP_PX) -> Tensor:
    """The inverse of :func:`normalised`."""
    middle = output.new_tensor(_MIDDLE)[:, None, None]
    return ((output - 0.5) * SPAN + middle) * crop_px


@dataclass(frozen=True)
class FaceCrop:
    """A square of a photo, turned and resampled: the similarity between photo and crop, for points with depth.

    Attributes:
        centre_px: (x, y) in the photo. side_px: in photo pixels.
        roll_rad: by how much the square is turned, clockwise as seen; 0 is upright.
        size_px: pixels of the crop per side.

    Raises:
        BadInput: a side that is not positive.
    """

    centre_px: tuple[float, float]
    side_px: float
    roll_rad: float = 0.0
    size_px: int = CROP_PX

    def __post_init__(self) -> None:
        if not (self.side_px > 0 and math.isfinite(self.side_px) and self.size_px > 0):
            raise BadInput(f"a crop of {self.side_px} px drawn at {self.size_px} px: both must be positive")

    @property
    def scale(self) -> float:
        """Crop pixels per photo pixel."""
        return self.size_px / self.side_px

    def to_crop(self, points_px: Tensor) -> Tensor:
        """Photo points "... n 2" or "... n 3" (z in photo pixels) -> crop pixels; z is scaled as x and y are."""
        offset = (points_px[..., :2] - points_px.new_tensor(self.centre_px)) @ self._rotation(points_px)
        xy = offset * self.scale + self.size_px / 2
        return torch.cat([xy, points_px[..., 2:] * self.scale], -1)

    def to_photo(self, points: Tensor) -> Tensor:
        """The inverse of :meth:`to_crop`."""
        turned = (points[..., :2] - self.size_px / 2) / self.scale @ self._rotation(points).T
        return torch.cat([turned + points.new_tensor(self.centre_px), points[..., 2:] / self.scale], -1)

    def _rotation(self, like: Tensor) -> Tensor:
        cos, sin = math.cos(self.roll_rad), math.sin(self.roll_rad)
        return like.new_tensor([[cos, -sin], [sin, cos]])


def crop_around(points_px: Tensor, factor: float = CROP_FACTOR, size_px: int = CROP_PX) -> FaceCrop:
    """The upright crop around points "l 2" as PRNet places it: on the middle of their box, ``factor`` times the mean of its sides.

    Raises:
        BadInput: the points are one point, or not finite.
    """
    high, low = points_px[..., :2].amax(0), points_px[..., :2].amin(0)
    x, y = ((high + low) / 2).tolist()
    return FaceCrop((x, y), factor * float((high - low).mean()), 0.0, size_px)


def weak_perspective(points_px: Tensor, focal_px: float | Tensor, anchor_mm: float | Tensor) -> Tensor:
    """Projected points "... n 3" (x_px, y_px, depth_mm) -> depth in pixels, towards the camera, from an anchor.

    One scale for all depths, focal_px / anchor_mm, because a network that sees a crop cannot know the distance; x and y keep their perspective.

    Args:
        anchor_mm: the depth that becomes zero; for maps the mean over the chart, which the map shows itself. (The original's zero is the farthest
            point of a head with ears and neck, which its map does not show.)
    """
    z = (anchor_mm - points_px[..., 2:]) * (focal_px / anchor_mm)
    return torch.cat([points_px[..., :2], z], -1)


def sample_map(values: Tensor, uv: Tensor) -> Tensor:
    """A map "... c s s" at chart coordinates "n 2" -> "... n c"; NaN where a coordinate is NaN.

    Bilinear; the outer half texel, where there is no neighbour, continues the slope (vertices of the chart's border lie there).
    """
    flat = values.reshape(-1, *values.shape[-3:])
    flat = torch.cat([2 * flat[..., :1] - flat[..., 1:2], flat, 2 * flat[..., -1:] - flat[..., -2:-1]], -1)
    flat = torch.cat([2 * flat[..., :1, :] - flat[..., 1:2, :], flat, 2 * flat[..., -1:, :] - flat[..., -2:-1, :]], -2)  # fmt: skip
    size = values.new_tensor([values.shape[-1], values.shape[-2]])
    grid = (uv.to(values) * size + 1) / (size + 2) * 2 - 1
    found = F.grid_sample(
        flat, torch.nan_to_num(grid).expand(len(flat), 1, -1, -1), align_corners=False
    ).squeeze(-2)
    found = found.transpose(-1, -2).reshape(*values.shape[:-3], len(uv), values.shape[-3])
    return torch.where(uv.isnan().any(-1)[:, None], torch.nan, found)


def mirrored(output: Tensor) -> Tensor:
    """The normalised map "... 3 s s" of the mirrored crop: the chart is mirror-symmetric, and so is the covered range."""
    x, yz = output.flip(-1).split([1, 2], -3)
    return torch.cat([1 - x, yz], -3)


def facing_camera(position: Tensor) -> Tensor:
    """The cosine between surface and camera at each texel of a map "... 3 s s" (pixels or normalised): "... s s", positive where it faces it.

    Says what turns its back, not what something else hides: a z-buffer (:mod:`vultus.render.visible`) says that.
    """
    return -grid_normals(_z_forward(position, -3)).select(-3, 2)


class MapPose(NamedTuple):
    """How a map's face stands.

    Attributes:
        rotation_camera_head: "3 3" proper rotation, head frame -> x right, y down, z forward. angles: the same in degrees.
        scale_px_per_mm: "". translation_px: "3", of the head frame's origin: x, y, and z forward.
    """

    rotation_camera_head: Tensor
    angles: PoseAngles
    scale_px_per_mm: Tensor
    translation_px: Tensor

    def to_head(self, points_px: Tensor) -> Tensor:
        """The map's points "n 3" with the pose undone: head frame, millimetres of the mean head's size."""
        forward = Similarity(self.scale_px_per_mm, self.rotation_camera_head, self.translation_px)
        return forward.inverse().apply(_z_forward(points_px, -1))


def pose_from_points(points_px: Tensor, mean_mm: Tensor) -> MapPose:
    """Pose of points "v 3" (x right, y down, z towards the camera; crop or photo pixels) against a mean head "v 3" in the head frame.

    The least-squares similarity (Umeyama 1991) over the points that are finite; float64 inside. The angles are those of a weak perspective: of a
    face beside the optical axis, as it looks from the camera. Of a crop that is turned they are the crop's: give photo pixels.

    Raises:
        BadInput: fewer than four points are finite.
    """
    usable = (points_px.isfinite() & mean_mm.isfinite()).all(-1)
    if int(usable.sum()) < 4:
        raise BadInput(
            f"{int(usable.sum())} of {len(points_px)} points are finite: a pose needs four at least"
        )
    found = umeyama(mean_mm[usable].double(), _z_forward(points_px[usable], -1).double())
    return MapPose(found.rotation, PoseAngles(*pose_angles(found.rotation)), found.scale, found.translation)


def _z_forward(points: Tensor, axis: int) -> Tensor:
    """Coordinates (x, y, z) along an axis, z turned round: left-handed -> the camera's right-handed frame."""
    xy, z = points.split([2, 1], axis)
    return torch.cat([xy, -z], axis)
