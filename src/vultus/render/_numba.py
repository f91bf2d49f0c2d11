"""The fast rasteriser: numba kernels on the CPU, a z-buffer and one fused interpolation with its gradient.

Threads: as many as ``numba.get_num_threads()`` says; with one thread no parallel region is entered at all, so worker
processes made by fork and plain Python threads (the kernels release the GIL) are safe. Every kernel does the share of one ``task``;
a task writes only what it owns, so results do not depend, bit for bit, on how many there are:

- drawing: a task owns a band of rows and walks the triangles in order; equal depths go to the first.
- interpolation: a task owns rows.
- its gradient: the image is cut into a fixed number of bands, whatever the number of threads. Each is summed in raster order into
  gradients of its own (float64), then the bands are added from first to last. No atomics, no order left to chance.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor

from ..errors import BadInput
from ._kernels_draw import bound, bound_all, draw, draw_all
from ._kernels_mix import add_up, add_up_all, mix, mix_all, pull, pull_all
from .raster import NEAR_MM

GRADIENT_BANDS = 4
"""At least so many bands are summed apart in a batch's gradient: the most threads that help on one image, and its memory."""


def rasterize(
    vertices_px: Tensor, triangles: Tensor, size_px: tuple[int, int], cull_back: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """See :func:`vultus.render.raster.rasterize`."""
    width, height = size_px
    batch, num_vertices, _ = vertices_px.shape
    vertices, faces = vertices_px.numpy(), triangles.numpy()
    ids = torch.empty(batch, height, width, dtype=torch.int32)
    barycentric = vertices_px.new_empty(batch, 3, height, width)
    depth = vertices_px.new_empty(batch, height, width)
    tasks = numba.get_num_threads()
    box = np.empty((batch, len(faces), 4), np.int32)
    work = np.zeros((tasks, batch, height), np.int64)
    wrong = np.zeros(tasks, np.int64)
    _each_task(bound, bound_all, tasks, vertices, faces, width, height, NEAR_MM, cull_back, box, work, wrong)
    _check_indices(wrong, num_vertices)
    bands = _equal_shares(work.sum(0) + width, tasks)
    _each_task(
        draw, draw_all, tasks, vertices, faces, box, bands, ids.numpy(), barycentric.numpy(), depth.numpy()
    )
    return ids, barycentric, depth


def interpolate(ids: Tensor, vertices_px: Tensor, triangles: Tensor, attributes: Tensor) -> Tensor:
    """See :func:`vultus.render.interpolate.interpolate`."""
    return _Interpolation.apply(ids, vertices_px, triangles, attributes)  # type: ignore[no-any-return]


class _Interpolation(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, ids: Tensor, vertices_px: Tensor, triangles: Tensor, attributes: Tensor) -> Tensor:
        ids, triangles = ids.to(torch.int32).contiguous(), triangles.contiguous()
        vertices_px, attributes = vertices_px.contiguous(), attributes.contiguous()
        tasks = numba.get_num_threads()
        image = attributes.new_empty(len(ids), attributes.shape[-1], *ids.shape[1:])
        wrong = np.zeros(tasks, np.int64)
        arrays = [t.detach().numpy() for t in (ids, vertices_px, triangles, attributes, image)]
        _each_task(mix, mix_all, tasks, *arrays, wrong)
        _check_indices(wrong, vertices_px.shape[1])
        ctx.save_for_backward(ids, vertices_px, triangles, attributes)
        return image

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, grad_image: Tensor
    ) -> tuple[None, Tensor | None, None, Tensor | None]:
        ids, vertices_px, triangles, attributes = ctx.saved_tensors
        tasks, bands = numba.get_num_threads(), -(-GRADIENT_BANDS // max(len(ids), 1))
        partial = np.empty((len(ids), bands, vertices_px.shape[1], 3 + attributes.shape[-1]))
        arrays = [
            t.detach().contiguous().numpy() for t in (ids, vertices_px, triangles, attributes, grad_image)
        ]
        _each_task(pull, pull_all, tasks, *arrays, partial)
        grad_vertices, grad_attributes = torch.empty_like(vertices_px), torch.empty_like(attributes)
        _each_task(add_up, add_up_all, tasks, partial, grad_vertices.numpy(), grad_attributes.numpy())
        needed = ctx.needs_input_grad
        return None, grad_vertices if needed[1] else None, None, grad_attributes if needed[3] else None


def _each_task(kernel: Any, in_parallel: Any, tasks: int, *arrays: Any) -> None:
    if tasks == 1:
        kernel(0, 1, *arrays)
    else:
        in_parallel(tasks, *arrays)


def _equal_shares(work: np.ndarray, tasks: int) -> np.ndarray:
    """Cut rows "b h" into ``tasks`` bands of about equal work: first rows "b tasks+1"."""
    goals = np.arange(1, tasks) / tasks
    cuts = [np.searchsorted(done, done[-1] * goals) for done in work.cumsum(1)]
    return np.array([[0, *cut, work.shape[1]] for cut in cuts], np.int64).reshape(-1, tasks + 1)


def _check_indices(wrong: np.ndarray, num_vertices: int) -> None:
    if wrong.any():
        raise BadInput(
            f"triangles refer to vertices outside 0..{num_vertices - 1}: are they of another mesh?"
        )
