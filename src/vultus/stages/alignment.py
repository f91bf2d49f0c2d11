"""What dense alignment says about one face: a position map in the photo, and everything that can be read off it, when it is asked for.

Feng et al., "Joint 3D face reconstruction and dense alignment with position map regression network", ECCV 2018, section 4 lists such uses;
docs/align.md says where ours differ.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import BadInput
from ..geometry.mesh import Mesh
from ..geometry.position_map import (
    FaceCrop,
    MapPose,
    facing_camera,
    pose_from_points,
    sample_map,
)
from ..model.morphable import MorphableModel
from ..render.bake import dilate, photo_pyramid, sample_photo
from ..render.interpolate import interpolate
from ..render.raster import Fragments, rasterize
from ..render.visible import visible_points
from .alignment_surface import FaceSurface, face_surface

TOLERANCE_MM = 1.5
"""What a point may lie behind the surface that is drawn at its pixel, and be seen all the same: a map's texels are up to 2 mm apart."""
_FAR_MM = 2000.0  # where the z-buffer puts a depth of zero; maps know no distance, and at this one perspective is slight
_DRAWN_PX = 256  # side of the z-buffer: a pixel is then about as wide as a texel
_STEEPEST = 0.12  # cosine between surface and camera: where a texture's texels see the photo too obliquely to take colours from it


class FaceTexture(NamedTuple):
    """A photo laid over the face chart.

    Attributes:
        image: "3 s s" sRGB. visible: "s s" bool, texels whose colour the photo shows; the others are black, or filled as asked.
    """

    image: Tensor
    visible: Tensor


@dataclass(frozen=True, eq=False)
class Alignment:
    """One face of a photo, densely aligned. What is not a field is computed on first use and kept.

    Points are (x, y, z): x right and y down in pixels of the photo, centres of pixels at +0.5; z towards the camera in the same pixels, from the mean
    depth of the face chart. How far the face is from the camera a map does not say.

    Attributes:
        model: whose chart the map is over.
        crop: the square of the photo that the network saw.
        position_px: "3 s s" over the chart (u right, v down), where each point of the face lies in the photo, also what is hidden.
        image_size: (width, height) of the photo.
        confidence: in [0, 1]; how plausible the map is as a face (:mod:`.plausible`). Not a probability.
        image: "3 h w" sRGB, the photo itself (not a copy); only :meth:`texture` needs it. None: not kept.
    """

    model: MorphableModel
    crop: FaceCrop
    position_px: Tensor
    image_size: tuple[int, int]
    confidence: float = 1.0
    image: Tensor | None = field(default=None, repr=False)

    @cached_property
    def surface(self) -> FaceSurface:
        """What the chart's vertices are: their places in the model, ``triangles`` "f 3" between them, chart coordinates."""
        return face_surface(self.model)

    @cached_property
    def vertices_px(self) -> Tensor:
        """The chart's vertices "n 3" (7,568 of the bundled model), in the order of ``surface.vertex_ids``."""
        return sample_map(self.position_px, self.surface.uv)

    @cached_property
    def visible(self) -> Tensor:
        """Which of the chart's vertices "n" the photo shows: no part of the face hides them, they face the camera, and they lie in the photo.

        What is not part of the face, hands or glasses, is not known to hide anything.
        """
        return self._seen(self.vertices_px, self.surface.uv)

    @cached_property
    def landmarks68_px(self) -> Tensor:
        """iBUG's 68 points "68 3". They stick to the skin: the jaw line of a turned head is partly hidden."""
        return sample_map(self.position_px, self.surface.points_uv("ibug68"))

    @cached_property
    def landmarks68_visible(self) -> Tensor:
        """Which of the 68 points "68" the photo shows (as :attr:`visible`)."""
        return self._seen(self.landmarks68_px, self.surface.points_uv("ibug68"))

    @cached_property
    def points478_px(self) -> Tensor:
        """MediaPipe's 478 points "478 3" where its detector sees them on a frontal face. The last ten, the irises, are NaN: a map shows no gaze."""
        return sample_map(self.position_px, self.surface.points_uv("mediapipe478"))

    @cached_property
    def points478_visible(self) -> Tensor:
        """Which of the 478 points "478" the photo shows (as :attr:`visible`)."""
        return self._seen(self.points478_px, self.surface.points_uv("mediapipe478"))

    @cached_property
    def pose(self) -> MapPose:
        """How the head stands: rotation "3 3" (determinant +1), yaw, pitch and roll in degrees (docs/conventions.md), scale and place.

        The least-squares similarity to the model's mean head. Perspective makes a near head beside the optical axis look turned, and is not undone.
        """
        return pose_from_points(self.vertices_px, self.surface.mean_mm)

    @cached_property
    def frontal_mesh(self) -> Mesh:
        """The face in the head frame, millimetres of a head of average size, "n 3" on ``surface.triangles``, with chart coordinates.

        :attr:`pose` undone. It is a similarity, so nothing is sheared (the paper's is affine, which hides how people differ).
        """
        return Mesh(self.pose.to_head(self.vertices_px.double()).float(), self.surface.topology)

    def depth_map(self, frame: Literal["photo", "crop"] = "photo") -> Tensor:
        """How far each pixel's surface lies before the chart's mean depth, "h w"; NaN beside the face.

        In pixels of the frame: z of a photo's pixel times (distance / focal length in pixels) is millimetres. Eyes and mouth are closed flatly.

        Args:
            frame: draw it over the "photo", or over the "crop".

        Raises:
            BadInput: another frame.
        """
        if frame not in ("photo", "crop"):
            raise BadInput(f"depth map over '{frame}': choose photo or crop")
        points = self.vertices_px if frame == "photo" else self.crop.to_crop(self.vertices_px)
        size = self.image_size if frame == "photo" else (self.crop.size_px, self.crop.size_px)
        z = points[:, 2:]
        # Any distance draws the same as long as it is the same everywhere: attributes, not the z-buffer, carry z.
        corners = torch.cat([points[:, :2], self._far(z)], 1)[None]
        fragments = rasterize(corners, self.surface.triangles, size)
        drawn = interpolate(fragments, corners, self.surface.triangles, z)[0, 0]
        return torch.where(fragments.mask[0], drawn, torch.nan)

    def texture(
        self, size: int = 512, *, fill: Literal["none", "mirror"] = "none", image: Tensor | None = None
    ) -> FaceTexture:
        """The photo over the face chart. What is hidden, or seen too obliquely, takes no pixel of the photo.

        Args:
            size: texels per side.
            fill: hidden texels stay black ("none"), or show the face's other side where that is seen, and what lies around them elsewhere ("mirror").
            image: the photo "3 h w", if it was not kept.

        Raises:
            BadInput: no photo, one of another size, another fill, or a size that is not positive.
        """
        image = self.image if image is None else image
        if image is None:
            raise BadInput("this alignment does not hold its photo: give texture(image=...)")
        self.check_photo(image)
        if size < 1 or fill not in ("none", "mirror"):
            raise BadInput(f"texture of size {size}, fill '{fill}': choose 1 or more, and none or mirror")
        texels_px = sample_map(self.position_px[:2], _texel_centres(size)).T.reshape(2, size, size)
        visible = self._seen_texels(size)
        colours = torch.zeros(3, size, size)
        if bool(visible.any()):
            colours = sample_photo(photo_pyramid(image, texels_px, visible), texels_px) * visible
        return FaceTexture(_filled(colours, visible) if fill == "mirror" else colours, visible)

    def check_photo(self, image: Tensor) -> None:
        """Raise BadInput unless an image has the size of the photo that was aligned."""
        width, height = self.image_size
        if tuple(image.shape) != (3, height, width):
            raise BadInput(f"an image of shape {tuple(image.shape)} is not the photo of {width} x {height} px that was aligned")  # fmt: skip

    def without_image(self) -> Alignment:
        """The same, without holding on to its photo: to keep many."""
        return Alignment(self.model, self.crop, self.position_px, self.image_size, self.confidence)

    def _seen_texels(self, size: int) -> Tensor:
        """Which texels "s s" of a texture the photo shows.

        Asked of fewer texels than a large texture has, where the map itself has fewer still; a texel is seen when most of what is asked around it is.
        """
        asked = min(size, 2 * self.position_px.shape[-1])
        uv = _texel_centres(asked)
        seen = self._seen(sample_map(self.position_px, uv), uv, _STEEPEST).reshape(1, 1, asked, asked)
        if asked == size:
            return seen[0, 0]
        return F.interpolate(seen.float(), (size, size), mode="bilinear", align_corners=False)[0, 0] > 0.5

    def _seen(self, points_px: Tensor, uv: Tensor, steepest: float = 0.0) -> Tensor:
        """Which points "n 3" of the surface, at "n 2" of the chart, the photo shows: "n" bool."""
        x, y, _ = points_px.unbind(-1)
        inside = (x >= 0) & (x < self.image_size[0]) & (y >= 0) & (y < self.image_size[1])
        facing = sample_map(self._facing[None], uv)[:, 0] > steepest
        corners, fragments = self._drawn
        in_front = visible_points(self._to_drawn(points_px)[None], fragments, corners, self.surface.triangles, tolerance_mm=TOLERANCE_MM)[0]  # fmt: skip
        return inside & facing & in_front

    @cached_property
    def _facing(self) -> Tensor:
        return facing_camera(self.position_px)

    @cached_property
    def _drawn(self) -> tuple[Tensor, Fragments]:
        """The surface's corners "1 n 3" in the z-buffer's pixels and millimetres, and the z-buffer."""
        corners = self._to_drawn(self.vertices_px)[None]
        return corners, rasterize(corners, self.surface.triangles, (_DRAWN_PX, _DRAWN_PX))

    def _to_drawn(self, points_px: Tensor) -> Tensor:
        """Photo points "n 3" -> the z-buffer's square around the face, the same for all sizes of photo."""
        high, low = self.vertices_px[:, :2].amax(0), self.vertices_px[:, :2].amin(0)
        scale = (_DRAWN_PX - 4) / (high - low).max()
        xy = (points_px[:, :2] - (high + low) / 2) * scale + _DRAWN_PX / 2
        return torch.cat([xy, self._far(points_px[:, 2:])], 1)

    def _far(self, z_px: Tensor) -> Tensor:
        """z in pixels towards the camera -> depth in millimetres, far enough that it is positive."""
        return _FAR_MM - z_px / self.pose.scale_px_per_mm.to(z_px)


def _texel_centres(size: int) -> Tensor:
    """Chart coordinates "s*s 2" of the texels of a map, row by row."""
    steps = (torch.arange(size) + 0.5) / size
    v, u = torch.meshgrid(steps, steps, indexing="ij")
    return torch.stack([u, v], -1).reshape(-1, 2)


def _filled(colours: Tensor, visible: Tensor) -> Tensor:
    """Colours "3 s s" with those of the mirror image where only that is seen, then the neighbours' where neither is.

    The chart is mirror-symmetric, so the other side of the face is the other side of the map; what its light does is not corrected.
    """
    other = visible.flip(-1) & ~visible
    both = torch.where(other, colours.flip(-1), colours)
    return dilate(both, visible | other)
