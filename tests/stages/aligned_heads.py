"""Heads whose position map is known, and an aligner that says exactly that map of whatever crop it is shown: what a perfect network would say."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from torch import Tensor

from vultus.data.sample_maps import chart_lattice
from vultus.geometry.camera import Camera
from vultus.geometry.position_map import FaceCrop, normalised, weak_perspective
from vultus.geometry.rigid import rotation_from_pose_angles
from vultus.model import bundled
from vultus.model.face import FaceCode
from vultus.stages import align as align_module
from vultus.stages.align import Aligner

TEXELS, CROP_PX = 128, 256


@dataclass(frozen=True, eq=False)
class Head:
    """vertices_mm: "v 3", the whole head. camera: posed. points_px: "n 3" of the chart's vertices, as a map holds them."""

    vertices_mm: Tensor
    camera: Camera
    points_px: Tensor


def head(
    yaw_deg: float = 0.0,
    pitch_deg: float = 0.0,
    roll_deg: float = 0.0,
    *,
    centre_px: tuple[float, float] = (223.0, 130.0),
    size_px: tuple[int, int] = (512, 512),
    focal_px: float = 8000.0,
    face_px: float = 90.0,
    seed: int | None = 3,
) -> Head:
    """A random head (seed None: the mean one) about ``face_px`` wide at a place of a photo; far away unless the focal length is short."""
    model, mean = bundled.load(), bundled.load().mean_code()
    code = mean
    if seed is not None:
        generator = torch.Generator().manual_seed(seed)
        identity = torch.randn(len(mean.identity), generator=generator)
        expression = torch.rand(len(mean.expression), generator=generator) * 0.15
        code = FaceCode(identity, expression, mean.albedo)
    angles = [torch.tensor(float(angle)) for angle in (yaw_deg, pitch_deg, roll_deg)]
    pose = torch.eye(4)
    pose[:3, :3] = rotation_from_pose_angles(*angles)
    pose[2, 3] = focal_px * 140.0 / face_px
    camera = Camera(torch.tensor(focal_px), torch.tensor(centre_px), size_px, pose)
    vertices = model.vertices(code)
    lattice = chart_lattice_of()
    seen = camera.project(vertices[lattice.vertex_ids])
    return Head(vertices, camera, weak_perspective(seen, focal_px, lattice.share @ seen[:, 2]))


@functools.lru_cache(maxsize=2)
def chart_lattice_of(size: int = TEXELS):
    return chart_lattice(bundled.load(), size)


def true_map(of: Head, crop: FaceCrop) -> Tensor:
    return normalised(chart_lattice_of().spread(crop.to_crop(of.points_px)), crop.size_px)


def all_knowing(monkeypatch, *heads: Head) -> Aligner:
    """An aligner that answers with the true map of the head that is nearest to the crop; ``crops`` of its run lists what it was shown."""
    shown: list[FaceCrop] = []

    def show(image: Tensor, crop: FaceCrop) -> Tensor:
        shown.append(crop)
        return torch.full((3, CROP_PX, CROP_PX), float(len(shown) - 1))

    def run(crops: Tensor) -> Tensor:
        answers = []
        for number in crops[:, 0, 0, 0].long().tolist():
            crop = shown[number]
            centre = torch.tensor(crop.centre_px)
            nearest = min(heads, key=lambda h: float((h.points_px[:, :2].mean(0) - centre).norm()))
            answers.append(true_map(nearest, crop))
        return torch.stack(answers)

    run.crops = shown  # type: ignore[attr-defined]
    monkeypatch.setattr(align_module, "seen_through", show)
    return Aligner(bundled.load(), CROP_PX, 1.6, run)


def aligned(monkeypatch, of: Head, *, looks: int = 1, image: Tensor | None = None):
    """A head's alignment through a crop around it."""
    aligner = all_knowing(monkeypatch, of)
    low, high = of.points_px[:, :2].amin(0), of.points_px[:, :2].amax(0)
    crop = FaceCrop(tuple(((low + high) / 2).tolist()), 1.5 * float((high - low).mean()))
    width, height = of.camera.size_px
    return aligner.look(torch.zeros(3, height, width) if image is None else image, [crop], looks=looks)[0]
