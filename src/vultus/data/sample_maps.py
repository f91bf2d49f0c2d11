"""From a stored sample to what a position network learns from: a crop, its mask, the position map and the 68 points, in milliseconds.

What does not depend on the sample, which triangle of the chart each texel lies in, is found once per size (:class:`ChartLattice`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from scipy.sparse import csr_matrix
from torch import Tensor

from ..errors import BadInput
from ..geometry.position_map import FaceCrop, normalised, weak_perspective
from ..model.morphable import MorphableModel
from ..nets.position_input import crop_picture, network_input
from ..render.raster import rasterize
from .sample import Sample


@dataclass(frozen=True, eq=False)
class ChartLattice:
    """The texels of a chart as mixtures of three vertices each.

    Attributes:
        size: texels per side. num_vertices: of the whole model.
        vertex_ids: "n" the model's vertices inside the chart, ascending.
        matrix: "s*s n" sparse float32, barycentric weights at texel centres, rows sum to one; a texel without a triangle has its nearest neighbour's.
        share: "n" float32, which part of the chart's area each vertex stands for; sums to one.
    """

    size: int
    num_vertices: int
    vertex_ids: Tensor
    matrix: csr_matrix
    share: Tensor

    def spread(self, values: Tensor) -> Tensor:
        """Values "n c" of the chart's vertices -> map "c s s" float32."""
        texels = self.matrix @ np.ascontiguousarray(values.numpy(), np.float32)
        return torch.from_numpy(np.ascontiguousarray(texels.T)).unflatten(1, (self.size, self.size))


@dataclass(frozen=True)
class PositionSample:
    """One item of training, all in the crop.

    Attributes:
        image: "3 c c" float32 sRGB, black beyond the photo. mask: "c c" float32, 1 where the skin of the face is seen.
        position: "3 s s" float32, normalised as a network puts it out; where it leaves 0 to 1 no sigmoid can follow.
        landmarks_px: "68 3" crop pixels, z as in the map.
    """

    image: Tensor
    mask: Tensor
    position: Tensor
    landmarks_px: Tensor


def chart_lattice(model: MorphableModel, size: int) -> ChartLattice:
    """Find the triangle of every texel. It takes as long as a hundred samples: keep the result.

    Raises:
        BadInput: the model has no chart, or the size is not positive.
    """
    if model.chart is None:
        raise BadInput(
            f"the model {model.name} has no face chart: position maps need one, choose another --model"
        )
    if size < 2:
        raise BadInput(f"a position map of {size} texels: choose 2 at least")
    used, corners = torch.unique(model.chart.triangles, return_inverse=True)
    uv = model.chart.uv[used]
    flat = torch.cat([uv * size, torch.full((len(uv), 1), 2.0)], 1)  # any depth before the near plane
    found = rasterize(flat[None], corners, (size, size))
    ids = found.triangle_ids[0].long()
    weight = found.barycentric[0].permute(1, 2, 0)
    if bool((ids < 0).any()):
        nearest = distance_transform_edt((ids < 0).numpy(), return_distances=False, return_indices=True)
        row, column = torch.from_numpy(np.asarray(nearest)).long()
        ids, weight = ids[row, column], weight[row, column]
    weight = weight / weight.sum(-1, keepdim=True)
    rows = np.arange(0, 3 * size * size + 1, 3)
    matrix = csr_matrix(
        (weight.reshape(-1).numpy(), corners[ids].reshape(-1).numpy().astype(np.int32), rows),
        shape=(size * size, len(used)),
    )
    return ChartLattice(size, len(model.chart.uv), used, matrix, _share(uv, corners))


def position_sample(sample: Sample, crop: FaceCrop, lattice: ChartLattice) -> PositionSample:
    """Everything that a position network learns from one sample seen through one crop.

    Raises:
        BadInput: the sample's vertices are not the lattice's model's, or lie behind the camera.
    """
    points, landmarks = points_in_crop(sample, crop, lattice)
    mask = torch.from_numpy(crop_picture(sample.mask, crop)).float() / 255
    position = normalised(lattice.spread(points), crop.size_px)
    return PositionSample(network_input(sample.image, crop), mask, position, landmarks)


def points_in_crop(sample: Sample, crop: FaceCrop, lattice: ChartLattice) -> tuple[Tensor, Tensor]:
    """The chart's vertices "n 3" and the 68 points "68 3" in crop pixels, z from the mean depth over the chart's area.

    Raises:
        BadInput: as :func:`position_sample`.
    """
    if len(sample.vertices_mm) != lattice.num_vertices:
        raise BadInput(
            f"sample {sample.key}: {len(sample.vertices_mm)} vertices, but the chart's model has {lattice.num_vertices}: make the sample with that model"
        )
    pose = torch.tensor(sample.T_camera_head).float()  # copies: what a shard holds may be read-only
    face = torch.from_numpy(sample.vertices_mm[lattice.vertex_ids.numpy()]).float()
    camera = face @ pose[:3, :3].T + pose[:3, 3]
    depth = camera[:, 2:]
    if not float(depth.min()) > 0:
        raise BadInput(
            f"sample {sample.key}: the face reaches behind the camera, or is not finite: leave it out"
        )
    xy = camera[:, :2] * (sample.focal_px / depth) + torch.tensor(sample.principal_px).float()
    anchor_mm = lattice.share @ depth[:, 0]
    seen = torch.cat([xy, depth], 1)
    both = torch.cat([seen, torch.tensor(sample.landmarks_px).float()])
    points = crop.to_crop(weak_perspective(both, sample.focal_px, anchor_mm))
    return points[: len(seen)], points[len(seen) :]


def _share(uv: Tensor, corners: Tensor) -> Tensor:
    """A third of the area of the adjacent triangles, of the whole: "n". With it a sum over vertices is the integral over the chart."""
    a, b, c = uv.double()[corners].unbind(1)
    one, two = b - a, c - a
    area = (one[:, 0] * two[:, 1] - one[:, 1] * two[:, 0]).abs()
    total = torch.zeros(len(uv), dtype=torch.float64).index_add(
        0, corners.reshape(-1), area.repeat_interleave(3)
    )
    return (total / total.sum()).float()
