"""Before the FaceScape benchmark compares: the frames of its two sets, what their cameras see, and the shift in depth.

Follows the public evaluator (github.com/zhuhao-nju/facescape, benchmark/code: ``optimize_Z``, and the loaders of ``pred_loader.py``).
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from ..errors import BadInput
from ..geometry.camera import Camera
from ..render.raster import rasterize
from .benchmark import FaceMesh, Points

PUPILS_MM = (64.0 + 61.7) / 2
"""The mean distance between the pupils, of men and women, to which every face of the benchmark is scaled."""
SIZE_PX = 256
"""The side of the photos, in which the cameras are given, and of the depth maps."""
_FLIP = np.array(
    [1.0, -1.0, -1.0]
)  # OpenCV's camera (y down, z forward) <-> the orthographic one (y up, z towards the camera)


def orthographic_depth(vertices: Points, triangles: NDArray[np.int64]) -> NDArray[np.float64]:
    """Depth (256, 256) of a surface in [-1, 1], y up, seen along -z; NaN where nothing, and where it turns its back."""
    depth = -vertices[:, 2]
    used = depth[np.unique(triangles)]
    near, reach = used.min(), max(float(np.ptp(used)), 1e-9)
    # The rasteriser interpolates 1/z: depths that are affine in it make its perspective an orthographic one.
    nearness = 0.9 - 0.4 * (depth - near) / reach
    place = (vertices[:, :2] * (1, -1) + 1) * SIZE_PX / 2
    seen = _draw(np.concatenate([place, 1 / np.clip(nearness, 0.1, None)[:, None]], 1), triangles)
    return near + reach * (0.9 - 1 / seen) / 0.4


def perspective_depth(
    vertices: Points, triangles: NDArray[np.int64], intrinsics: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Depth (256, 256) of a surface in mm in OpenCV's camera frame; NaN where nothing, and where it turns its back."""
    z = vertices[:, 2:]
    scale, centre = np.diag(intrinsics)[:2], intrinsics[:2, 2]
    return _draw(
        np.concatenate([vertices[:, :2] / np.where(z == 0, 1e-9, z) * scale + centre, z], 1), triangles
    )


def depth_shift(truth: NDArray[np.float64], predicted: NDArray[np.float64]) -> float:
    """The shift of the prediction that minimises the sum of absolute differences where both are seen: their median.

    Raises:
        BadInput: no pixel shows both.
    """
    gaps = (truth - predicted)[np.isfinite(truth) & np.isfinite(predicted)]
    if not len(gaps):
        raise BadInput(
            "the prediction covers no pixel of the face (or shows its back): check its frame, unit and winding"
        )
    return float(np.median(gaps))


def to_orthographic(mesh: FaceMesh, camera: Camera) -> Points:
    """A face seen by our camera in the frame of the wild set: weak perspective at the mean depth of what the camera sees."""
    points, focal, centre = _in_benchmark_pixels(mesh, camera)
    depth = _seen_depth(points, mesh.triangles, focal, centre)
    moved = (points - (0, 0, depth)) * (focal / depth / (SIZE_PX / 2)) * _FLIP
    return moved + np.append((centre / (SIZE_PX / 2) - 1) * (1, -1), -2.0)


def to_metric_camera(mesh: FaceMesh, camera: Camera, intrinsics: NDArray[np.float64]) -> Points:
    """A face seen by our camera in the frame of the lab's: where ours guessed another focal length, the size in the photo stays."""
    points, focal, centre = _in_benchmark_pixels(mesh, camera)
    depth = _seen_depth(points, mesh.triangles, focal, centre)
    true_focal = float(intrinsics[0, 0])
    # The pupils' distance of the prediction stays as well; the face moves along the axis until it is as large in the photo as before.
    moved = points + np.array([0, 0, depth * (true_focal / focal - 1)])
    moved[:, :2] += moved[:, 2:] / true_focal * (centre - intrinsics[:2, 2])
    return moved


def _in_benchmark_pixels(mesh: FaceMesh, camera: Camera) -> tuple[Points, float, NDArray[np.float64]]:
    """Vertices (v, 3) in the camera's frame, focal length and principal point in pixels of the benchmark's photos."""
    points = (
        camera.to_camera(torch.from_numpy(np.asarray(mesh.vertices)).to(camera.T_camera_head))
        .numpy()
        .astype(np.float64)
    )
    scale = SIZE_PX / camera.size_px[0]
    return points, float(camera.focal_px) * scale, np.asarray(camera.principal_px, np.float64) * scale


def _seen_depth(
    points: Points, triangles: NDArray[np.int64], focal: float, centre: NDArray[np.float64]
) -> float:
    intrinsics = np.array([[focal, 0, centre[0]], [0, focal, centre[1]], [0, 0, 1]])
    depth = perspective_depth(points, triangles, intrinsics)
    if not np.isfinite(depth).any():
        raise BadInput("the camera of the prediction sees nothing of its face: check its pose")
    return float(np.nanmean(depth))


def _draw(vertices_px: Points, triangles: NDArray[np.int64]) -> NDArray[np.float64]:
    seen = rasterize(
        torch.from_numpy(vertices_px)[None],
        torch.from_numpy(triangles),
        (SIZE_PX, SIZE_PX),
        cull_back=True,
        backend="numba",
    )
    return seen.depth_mm[0].double().masked_fill(~seen.mask[0], float("nan")).numpy()
