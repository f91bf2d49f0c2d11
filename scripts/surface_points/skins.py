"""Photos as skins: each photo with where every vertex of the head that fits it lies, so that any other head can wear it."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from vultus.detect import Detector
from vultus.fit.landmark_basis import landmark_basis
from vultus.fit.landmarks import fit_landmarks
from vultus.geometry.camera import Camera
from vultus.geometry.mesh import vertex_normals
from vultus.geometry.rigid import rigid_transform
from vultus.io.images import read_image
from vultus.model.face import FaceCode
from vultus.model.morphable import MorphableModel
from vultus.render.visible import facing, visible_vertices
from vultus.stages.coarse import expression_prior
from vultus.stages.options import ReconstructOptions
from vultus.stages.views import guess_focal

FACE_PX, AROUND = 230.0, 0.75
"""A face's width in the kept picture, and how much is kept around it, in face widths."""
SQUARELY, GRAZING = 0.5, 0.15
"""Cosines between normal and view: from where the photo is believed wholly, and not at all."""


@dataclass(frozen=True)
class Skin:
    """A photo worn by a head.

    Attributes:
        name: the file. image: "h w 3" bytes, sRGB. uv: "v 2" float16, where each vertex is in it, [0, 1]. weight: "v" float16, how
            much it is believed. tone: "3" float32, linear RGB of the cheeks.
    """

    name: str
    image: np.ndarray
    uv: np.ndarray
    weight: np.ndarray
    tone: np.ndarray


def read_skins(paths: Iterable[Path], model: MorphableModel, detector: Detector) -> Iterator[Skin]:
    """One skin per photo with a face; what has none is passed over."""
    for path in tqdm(list(paths), desc="skins", leave=False, mininterval=5):
        skin = read_skin(path, model, detector)
        if skin is not None:
            yield skin


def read_skin(path: Path, model: MorphableModel, detector: Detector) -> Skin | None:
    """The largest face of a photo as a skin."""
    image, info = read_image(path, 1000)
    faces = detector.detect(image)
    if not faces:
        return None
    points = faces[0].landmarks.points_px
    height, width = image.shape[1:]
    centre = torch.tensor([width / 2, height / 2])
    focal_px = guess_focal(info, faces[0], ReconstructOptions()).focal_px
    basis = landmark_basis(model, "mediapipe478")
    fit = fit_landmarks(
        basis, points.double().numpy(), centre.double().numpy(), focal_px, expression_prior(model)
    )
    tensor = lambda array: torch.from_numpy(np.ascontiguousarray(array)).float()  # noqa: E731
    code = FaceCode(tensor(fit.identity), tensor(fit.expression), torch.zeros(len(model.albedo)))
    pose = rigid_transform(tensor(fit.rotation), tensor(fit.translation))
    camera = Camera(torch.tensor(fit.focal_px).float(), centre, (width, height), pose)
    vertices = model.vertices(code)
    position = camera.to_camera(vertices)
    projected = camera.project_camera(position)
    cosine = facing(position, vertex_normals(position, model.triangles))
    weight = ((cosine - GRAZING) / (SQUARELY - GRAZING)).clamp(0, 1)
    weight = weight * visible_vertices(projected[None], model.triangles, (width, height))[0]
    low, high = points.amin(0), points.amax(0)
    face_px = float((high - low)[0])
    scale = min(1.0, FACE_PX / face_px)
    left, top = (int(max(x, 0)) for x in (low - AROUND * face_px).tolist())
    right, bottom = (
        int(min(x, side)) for x, side in zip((high + AROUND * face_px).tolist(), (width, height))
    )
    cut = image[:, top:bottom, left:right]
    size = (max(8, round(cut.shape[1] * scale)), max(8, round(cut.shape[2] * scale)))
    small = torch.nn.functional.interpolate(cut[None], size, mode="area")[0]
    uv = (projected[:, :2] - torch.tensor([left, top])) / torch.tensor([right - left, bottom - top])
    weight = weight * ((uv > 0.01) & (uv < 0.99)).all(1)
    cheeks = model.regions["cheeks"] & (weight > 0.5)
    at = (uv[cheeks] * torch.tensor([size[1], size[0]])).long()
    seen = small[:, at[:, 1].clamp(0, size[0] - 1), at[:, 0].clamp(0, size[1] - 1)]
    tone = (seen.median(1).values if seen.shape[1] else torch.full((3,), 0.6)) ** 2.2
    return Skin(
        path.name, np.uint8(small.permute(1, 2, 0).numpy() * 255 + 0.5), uv.half().numpy(), weight.half().numpy(), tone.numpy(),
    )  # fmt: skip


def save_skins(skins: Iterable[Skin], path: Path) -> int:
    """Write skins into one file; returns how many."""
    kept = list(skins)
    path.write_bytes(pickle.dumps(kept))
    return len(kept)
