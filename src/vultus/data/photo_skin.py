"""Skin from a photo for another head: the photo is thrown onto the bundled head fitted to it and carried over through the face chart.

No light is taken out: photos under even light, such as studio portraits, look best. A fit that errs shifts the skin along the surface
with it (docs/experiments.md: 0.6 mm per axis).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..geometry.closest import TriangleTree
from ..geometry.mesh import vertex_normals
from ..io.images import read_image
from ..model import bundled
from ..model.morphable import MorphableModel
from ..render.shade import linear_from_srgb, sample_texture

SQUARELY, GRAZING = 0.55, 0.25
"""Cosines between normal and view: from where the photo is believed wholly, and not at all."""


@dataclass(frozen=True)
class PhotoSkin:
    """A photo as the texture of a model: linear "3 h w", where each vertex is in it "v 2", how much it is believed "v", tone "3"."""

    photo: Tensor
    uv: Tensor
    weight: Tensor
    tone: Tensor


@dataclass(frozen=True)
class Correspondence:
    """Places of another model's vertices on the bundled head: triangle corners "v 3", weights "v 3", and whether inside the chart "v"."""

    corners: Tensor
    weights: Tensor
    inside: Tensor


def through_the_chart(model: MorphableModel) -> Correspondence:
    """Where the face chart's vertices of a model lie on the bundled head."""
    ours = bundled.load()
    assert ours.chart is not None and model.chart is not None
    keep = ~ours.chart.is_membrane
    flat = lambda uv: torch.cat([uv, torch.zeros(len(uv), 1)], 1).double().numpy()  # noqa: E731
    found = TriangleTree(flat(ours.chart.uv), ours.chart.triangles[keep].numpy()).query(flat(model.chart.uv))
    inside = (found.triangle_ids >= 0) & (found.distances < 0.01)
    corners = ours.chart.triangles[keep][torch.from_numpy(np.maximum(found.triangle_ids, 0))]
    return Correspondence(
        corners, torch.from_numpy(np.nan_to_num(found.barycentric)).float(), torch.from_numpy(inside)
    )


def photo_skin(path: Path, where: Correspondence) -> PhotoSkin:
    """Fit the bundled head to a photo and look every vertex up in it.

    Raises:
        BadFile: the photo cannot be read. FaceNotFound: nobody is in it.
    """
    from ..stages.reconstruct import reconstruct  # here: the command line is up before the networks are

    found = reconstruct(read_image(path)[0], level="deformed", texture_size=0)
    vertices, camera = found.mesh.vertices, found.camera
    on_head = lambda values: (values[where.corners] * where.weights[..., None]).sum(1)  # noqa: E731
    position = camera.to_camera(vertices)
    normals = vertex_normals(position, found.model.triangles)
    cosine = -(normals * torch.nn.functional.normalize(position, dim=-1)).sum(-1)
    believed = ((cosine - GRAZING) / (SQUARELY - GRAZING)).clamp(0, 1)
    size = torch.tensor(camera.size_px)
    uv = camera.project(on_head(vertices))[:, :2] / size
    photo = linear_from_srgb(found.view.image)
    cheeks = found.model.regions["cheeks"]
    tone = sample_texture(photo, (camera.project(vertices[cheeks])[:, :2] / size).T[None, :, None])
    weight = on_head(believed[:, None])[:, 0] * where.inside
    return PhotoSkin(photo, torch.nan_to_num(uv), weight, tone[0, :, 0].median(1).values)
