"""Several photos become views of one person: one face each, cut out of its photo, the same photo only once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..detect import Detector
from ..detect.protocol import DetectedFace
from ..errors import BadFile, BadInput, VultusError
from ..geometry.camera import Camera
from ..geometry.view import View
from ..io.cameras import KnownCamera
from ..io.images import ImageInfo, image_from_array, read_image
from .options import ReconstructOptions
from .views import EYES, FocalGuess, guess_focal, make_view

Photo = str | Path | Tensor | np.ndarray
_AROUND = 1.4  # what is kept on each side of the landmarks, in their extents: hair and shoulders tell person from background
_KEPT_PX = 2.6  # side of what is kept, in texels of the texture: more pixels say nothing more
_LEAST_KEPT_PX = 1200
_THUMBNAIL_PX = 48
_SAME_PIXELS, _SAME_POINTS = 0.02, 0.01  # root mean square differences, of contrast and of the face's size
_SHARPNESS_PX = 200  # width of the face on which sharpness is compared


@dataclass(frozen=True, eq=False)
class PersonView:
    """A photo of the person, cut out around the face.

    Attributes:
        name: what the photo is called. source: where it came from, to be read again.
        view: the cut-out; its camera is that of the cut-out.
        detected: in pixels of the whole photo.
        focal: of the whole photo. size_px: of the whole photo.
        corner_px: of the cut-out in the whole photo. scale: pixels of the cut-out per pixel of the photo.
        T_camera_world: (4, 4) millimetres where the camera is known.
        sharpness: how much fine structure the face shows, comparable between photos of one person.
    """

    name: str
    source: Photo
    view: View
    detected: DetectedFace
    focal: FocalGuess
    size_px: tuple[int, int]
    corner_px: tuple[int, int]
    scale: float
    T_camera_world: np.ndarray | None
    sharpness: float

    def whole(self, camera: Camera) -> Camera:
        """A camera of the cut-out as the camera of the whole photo."""
        return replace(
            camera,
            focal_px=camera.focal_px / self.scale,
            principal_px=camera.principal_px / self.scale + camera.principal_px.new_tensor(self.corner_px),
            size_px=self.size_px,
        )


def look_at_photos(
    photos: Sequence[Photo],
    names: Sequence[str],
    cameras: Mapping[str, KnownCamera] | None,
    detector: Detector,
    options: ReconstructOptions,
    progress: Callable[[str], None],
) -> tuple[list[PersonView], dict[str, str]]:
    """The largest face of every photo, and why a photo is left out.

    Raises:
        BadInput: a camera does not belong to its photo.
    """
    views: list[PersonView] = []
    left_out: dict[str, str] = {}
    for photo, name in zip(photos, names):
        progress(f"look at {name}")
        try:
            pixels, info = read_photo(photo)
        except BadFile as error:
            left_out[name] = str(error).removeprefix(f"{photo}: ")
            continue
        faces = detector.detect(pixels)
        if not faces:
            left_out[name] = "no face found"
            continue
        known = None if cameras is None else cameras[name]
        try:
            views.append(_cut_out(photo, name, pixels, info, faces[0], known, options))
        except BadInput:
            raise
        except VultusError as error:
            left_out[name] = str(error)
    return _each_once(views, left_out), left_out


def read_photo(photo: Photo) -> tuple[Tensor, ImageInfo]:
    """A file or an array as "3 h w"."""
    if isinstance(photo, (str, Path)):
        return read_image(photo)
    pixels = image_from_array(photo)
    size_px = (pixels.shape[2], pixels.shape[1])
    return pixels, ImageInfo(None, size_px, size_px, "RGB")


def whole_view(person: PersonView, camera: Camera) -> View:
    """The view of the whole photo, with the camera that was found for the cut-out."""
    pixels, _ = read_photo(person.source)
    return replace(make_view(pixels, person.detected, person.focal), camera=person.whole(camera))


def photo_names(photos: Sequence[Photo]) -> list[str]:
    """What each photo is called: its file's name, with more of the path where two are called alike."""
    names = [Path(p).name if isinstance(p, (str, Path)) else f"photo {i}" for i, p in enumerate(photos)]
    return [
        str(photo) if isinstance(photo, (str, Path)) and names.count(name) > 1 else name
        for photo, name in zip(photos, names)
    ]


def _cut_out(
    photo: Photo,
    name: str,
    pixels: Tensor,
    info: ImageInfo,
    face: DetectedFace,
    known: KnownCamera | None,
    options: ReconstructOptions,
) -> PersonView:
    focal, principal = _intrinsics(name, info, face, known, options)
    height, width = pixels.shape[1:]
    camera = Camera(torch.tensor(focal.focal_px).float(), principal, (width, height), torch.eye(4))
    points = face.landmarks.points_px
    low, high = points.amin(0), points.amax(0)
    reach = _AROUND * float((high - low).max())
    left, top = (max(0, int(side)) for side in (low - reach).tolist())
    right, bottom = (
        min(int(side) + 1, limit) for side, limit in zip((high + reach).tolist(), (width, height))
    )
    size = (max(right - left, 1), max(bottom - top, 1))
    image = pixels[:, top : top + size[1], left : left + size[0]]
    camera = camera.cropped(left, top, size)
    scale = min(1.0, max(_LEAST_KEPT_PX, _KEPT_PX * options.texture_size) / max(size))
    if scale < 1:
        small = camera.resized(scale)
        image = F.interpolate(image[None], small.size_px[::-1], mode="area")[0]
        camera = small
    moved = (points - points.new_tensor([left, top])) * scale
    inside = replace(face, landmarks=replace(face.landmarks, points_px=moved))
    view = replace(make_view(image.clone(), inside, focal), camera=camera)
    pose = None if known is None else known.T_camera_world
    return PersonView(
        name, photo, view, face, focal, (width, height), (left, top), scale, pose, _sharpness(view)
    )


def _intrinsics(
    name: str, info: ImageInfo, face: DetectedFace, known: KnownCamera | None, options: ReconstructOptions
) -> tuple[FocalGuess, Tensor]:
    width, height = info.size_px
    if known is None:
        return guess_focal(info, face, options), torch.tensor([width / 2, height / 2])
    scale = 1.0
    if known.size_px is not None and known.size_px != info.size_px:
        scale = width / known.size_px[0]
        if abs(height / known.size_px[1] / scale - 1) > 0.01:
            raise BadInput(
                f"camera of {name}: is for {known.size_px[0]} x {known.size_px[1]} pixels, the photo has {width} x {height};"
                " give the photo that was calibrated (turned upright)"
            )
    principal = torch.from_numpy(known.principal_px * scale).float()
    if not bool(((principal > 0) & (principal < principal.new_tensor([width, height]))).all()):
        raise BadInput(
            f"camera of {name}: its optical axis {known.principal_px.round().tolist()} is outside the photo of {width} x {height};"
            ' give "size" if the camera was calibrated at another size'
        )
    return FocalGuess(known.focal_px * scale, 0.0, "given"), principal


def _each_once(views: list[PersonView], left_out: dict[str, str]) -> list[PersonView]:
    """Of photos that are the same, scaled or compressed again, the sharpest."""
    kept: list[PersonView] = []
    looks: list[tuple[Tensor, Tensor]] = []
    for view in sorted(views, key=lambda view: -view.sharpness):
        look = _thumbnail(view)
        twin = next((other for other, seen in zip(kept, looks) if _same(look, seen)), None)
        if twin is not None:
            left_out[view.name] = f"the same photo as {twin.name}"
            continue
        kept.append(view)
        looks.append(look)
    return [view for view in views if view in kept]


def _thumbnail(person: PersonView) -> tuple[Tensor, Tensor]:
    """The face in small, and its landmarks in shares of its size."""
    points = person.view.landmarks_px
    low, high = points.amin(0), points.amax(0)
    centre, side = (low + high) / 2, float((high - low).max())
    steps = ((torch.arange(_THUMBNAIL_PX) + 0.5) / _THUMBNAIL_PX - 0.5) * 1.2 * side
    grid = torch.stack(torch.meshgrid(steps, steps, indexing="ij")[::-1], -1) + centre
    small = max(1.0, 1.2 * side / _THUMBNAIL_PX)
    image = F.interpolate(person.view.image[None], scale_factor=1 / small, mode="area")
    size = points.new_tensor(person.view.camera.size_px)
    seen = F.grid_sample(image, (grid / size * 2 - 1)[None], padding_mode="border", align_corners=False)[0]
    return (seen - seen.mean()) / seen.std().clamp_min(1e-3), (points - centre) / side


def _same(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> bool:
    if first[1].shape != second[1].shape:
        return False
    pixels, points = (float((a - b).square().mean().sqrt()) for a, b in zip(first, second))
    return pixels < 5 * _SAME_PIXELS and points < _SAME_POINTS


def _sharpness(view: View) -> float:
    """Fine structure between the eyes' corners and the chin: RMS of what a blur of one pixel takes away, in a face of fixed size."""
    points = view.landmarks_px
    eyes = points[list(EYES[view.landmark_scheme])]
    low, high = points.amin(0).floor(), points.amax(0).ceil()
    left, top, right, bottom = (int(v) for v in (*low.clamp_min(0), *high))
    face = view.image[:, top : max(bottom, top + 4), left : max(right, left + 4)]
    if not face.numel() or not bool(torch.isfinite(eyes).all()):
        return 1e-6
    scale = _SHARPNESS_PX / max(float(high[1] - low[1]), 1.0)
    size = [max(8, round(side * scale)) for side in face.shape[1:]]
    grey = F.interpolate(
        face.mean(0)[None, None], size, mode="bilinear", antialias=scale < 1, align_corners=False
    )
    fine = grey - F.avg_pool2d(grey, 3, 1, 1)
    return max(float(fine[..., 2:-2, 2:-2].square().mean().sqrt() / grey.std().clamp_min(1e-3)), 1e-6)
