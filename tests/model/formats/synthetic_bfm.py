"""A file of BFM_model_front.mat's schema without its data: the bundled face as a height field on a grid, with smooth random modes.

Seen from the front, eyes included, so like the real one it is a single surface without holes. Units and conventions are the file's:
decimetres, sRGB in [0, 255], indices from one.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from scipy.io import savemat

from vultus.geometry.closest import TriangleTree
from vultus.geometry.mesh import surface_points
from vultus.model import bundled
from vultus.model.registered import IBUG68_VERTICES
from vultus.render.raster import rasterize

TRUE_NUM_VERTICES = 35709
SHIFT_DM = np.array([0.02, -0.3, 0.4])  # the file's origin is not the mean vertex


def height_field(step_mm: float) -> tuple[np.ndarray, np.ndarray]:
    """The front of the bundled head sampled on a grid: vertices (n, 3) mm and triangles."""
    model = bundled.load()
    parts = [model.part_names.index(name) for name in ("skin", "eye_left", "eye_right")]
    triangles = model.triangles[torch.isin(model.part_of_triangle, torch.tensor(parts))]
    xs, ys = np.arange(-72, 72.1, step_mm), np.arange(60, -105, -step_mm)
    at = model.mean_mm * torch.tensor([1 / step_mm, -1 / step_mm, -1.0]) + torch.tensor(
        [-xs[0] / step_mm + 0.5, ys[0] / step_mm + 0.5, 500.0]
    )
    drawn = rasterize(at[None], triangles, (len(xs), len(ys)))
    bary = drawn.barycentric[0].permute(1, 2, 0).reshape(-1, 3).to(model.mean_mm)
    points = surface_points(
        model.mean_mm, triangles, drawn.triangle_ids[0].flatten().clamp(min=0).long(), bary
    )
    points = points.double().numpy()
    index = np.arange(len(points)).reshape(len(ys), len(xs))
    a, b, c, d = (
        index[:-1, :-1].ravel(),
        index[1:, :-1].ravel(),
        index[1:, 1:].ravel(),
        index[:-1, 1:].ravel(),
    )
    faces = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    steep = (
        np.ptp(points[faces, 2], axis=1).max(initial=0)
        if not len(faces)
        else np.ptp(points[faces][..., 2], axis=1)
    )
    good = drawn.mask[0].flatten().numpy()[faces].all(1) & (steep < 8 * step_mm)
    used, local = np.unique(faces[good], return_inverse=True)
    return points[used], local.reshape(-1, 3)


def write_synthetic_bfm(
    path: Path, step_mm: float = 2.5, num_vertices: int | None = None
) -> dict[str, np.ndarray]:
    """Write the file; its fields are returned. ``num_vertices`` pads with vertices in no triangle."""
    rng = np.random.default_rng(3)
    points_mm, triangles = height_field(step_mm)
    template = bundled.load().mean_mm.double().numpy()
    keypoints = np.zeros(68, np.int64)
    known = list(IBUG68_VERTICES)
    found = TriangleTree(points_mm, triangles).query(template[list(IBUG68_VERTICES.values())])
    keypoints[known] = triangles[found.triangle_ids, found.barycentric.argmax(1)]
    jaw = [i for i in range(17) if i not in known]
    keypoints[jaw] = triangles[np.linspace(0, len(triangles) - 1, len(jaw)).astype(int), 0]
    if num_vertices is not None:
        points_mm = np.concatenate([points_mm, np.zeros((num_vertices - len(points_mm), 3))])
    n = len(points_mm)

    def smooth(count: int, size: float) -> np.ndarray:
        waves = rng.normal(size=(count, 3, 3)) / 60
        return (
            (size * np.sin(np.einsum("vi,kij->kvj", points_mm, waves) + rng.normal(size=(count, 1, 3))))
            .reshape(count, -1)
            .T
        )

    owners = [[] for _ in range(n)]
    for i, corners in enumerate(triangles[:2000]):
        for corner in corners:
            owners[corner].append(i)
    point_buf = np.array([(own + [len(triangles)] * 8)[:8] for own in owners]) + 1
    front = np.flatnonzero(np.abs(points_mm[:, 0]) < 50)
    fields = {
        "meanshape": (points_mm / 100 + SHIFT_DM).reshape(1, -1),
        "meantex": np.tile([190.0, 140.0, 120.0], n)[None] + smooth(1, 20).T,
        "idBase": smooth(80, 0.02),
        "exBase": smooth(64, 0.01),
        "texBase": smooth(80, 4.0),
        "tri": triangles + 1,
        "point_buf": point_buf,
        "tri_mask2": triangles[np.isin(triangles, front).all(1)] + 1,
        "keypoints": keypoints[None] + 1,
        "frontmask2_idx": front[:, None] + 1,
        "skinmask": (rng.random((1, n)) < 0.5).astype(np.uint8),
    }
    savemat(path, fields)
    return fields
