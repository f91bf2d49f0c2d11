"""What every pixel sees: the only door to the rasterisers.

Two backends ship and give the same triangle ids: ``numba`` (fast, CPU) and ``torch`` (readable, any device). Others can
be plugged in by name, see :func:`register_backend`.

Coverage follows the fill rule of GPUs (top-left): a pixel whose centre lies on an edge shared by two triangles belongs to
exactly one of them, so neighbours neither overlap nor leave holes. The edge function is evaluated as a cross product
of the two corners *relative to the pixel centre*, in float64. Swapping the corners then changes the sign and nothing else, bit
for bit, so both neighbours agree on every pixel; and because rounding is monotone the sign is never wrong, at worst zero,
which the fill rule decides.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ..errors import AssetMissing, BadInput

NEAR_MM = 1.0
"""Triangles with a corner at or in front of this depth are dropped, not clipped: no face is that close."""
MAX_SIZE_PX = 32768


@dataclass(frozen=True)
class Fragments:
    """What each pixel sees.

    Attributes:
        triangle_ids: "b h w" int32, -1 where nothing.
        barycentric: "b 3 h w", perspective-correct weights of the triangle's corners, 0 where nothing.
        depth_mm: "b h w", camera z of the surface at the pixel centre, inf where nothing.
    """

    triangle_ids: Tensor
    barycentric: Tensor
    depth_mm: Tensor

    @property
    def mask(self) -> Tensor:
        """Where a triangle is seen: "b h w" bool."""
        return self.triangle_ids >= 0


class Backend(Protocol):
    """What a rasteriser must offer; arguments arrive checked, detached and contiguous."""

    def rasterize(
        self, vertices_px: Tensor, triangles: Tensor, size_px: tuple[int, int], cull_back: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Triangle ids, barycentric weights and depth, as in :class:`Fragments`."""
        ...

    def interpolate(self, ids: Tensor, vertices_px: Tensor, triangles: Tensor, attributes: Tensor) -> Tensor:
        """Attributes "b v c" -> "b c h w", with gradients to vertices and attributes."""
        ...


def _module(name: str) -> Callable[[], Backend]:
    return lambda: importlib.import_module(name, __package__)  # type: ignore[return-value]


_BACKENDS: dict[str, Callable[[], Backend]] = {"numba": _module("._numba"), "torch": _module("._torch")}
_PLUGINS = {
    "warp": "pip install warp-lang",
    "drtk": "build it from github.com/facebookresearch/DRTK (the package of that name on PyPI is something else)",
    "nvdiffrast": "build it from github.com/NVlabs/nvdiffrast (its licence allows research and evaluation only)",
}


def register_backend(name: str, load: Callable[[], Backend]) -> None:
    """Make a further rasteriser known by name; ``load`` is called when the name is first asked for.

    The outside library stays out of this package: the adapter is a module or object with the two functions of
    :class:`Backend`, in our conventions (pixel centres at +0.5, row 0 on top, id -1 for nothing).
    """
    _BACKENDS[name] = load


def find_backend(name: str, device: torch.device) -> Backend:
    """The backend called ``name``; "auto" is numba on the CPU and torch elsewhere.

    Raises:
        AssetMissing: a known plug-in without its library or adapter.
        BadInput: an unknown name, or numba asked to work off the CPU.
    """
    name = name if name != "auto" else ("numba" if device.type == "cpu" else "torch")
    if name == "numba" and device.type != "cpu":
        raise BadInput(
            f"raster backend 'numba' works on the CPU only, got tensors on {device}: use backend='auto'"
        )
    if name in _BACKENDS:
        try:
            return _BACKENDS[name]()
        except ImportError as error:
            remedy = _PLUGINS.get(name, "install the library that its adapter imports")
            raise AssetMissing(f"raster backend '{name}' cannot be loaded ({error}): {remedy}") from error
    if name in _PLUGINS:
        raise AssetMissing(
            f"raster backend '{name}' has no adapter: {_PLUGINS[name]}, then vultus.render.raster.register_backend('{name}', ...)"
        )
    raise BadInput(f"unknown raster backend '{name}': choose one of auto, {', '.join(sorted(_BACKENDS))}")


def rasterize(
    vertices_px: Tensor,
    triangles: Tensor,
    size_px: tuple[int, int],
    *,
    cull_back: bool = False,
    backend: str = "auto",
) -> Fragments:
    """Find the nearest triangle at every pixel centre.

    Nothing here carries a gradient; :func:`~vultus.render.interpolate.interpolate` evaluates attributes (and depth, if
    wanted as one) differentiably at the pixels found here. A constant depth makes everything affine, so a mesh drawn in
    texture space is this same function with z = 1. Equal depths (after rounding 1/z to float32) go to the smaller
    triangle id, so the result does not depend on threads or backend.

    Args:
        vertices_px: "b v 3" float32 or float64: x and y in pixels (pixel centres at +0.5), camera z in mm.
        triangles: "f 3" int64, shared by the batch.
        size_px: (width, height).
        cull_back: leave out triangles that run clockwise in the image, that is, turn their back to the camera.
        backend: "auto", "numba", "torch" or a registered plug-in.

    Triangles without area, with a corner that is not finite, or at z <= 1 mm, are skipped.

    Raises:
        BadInput: shapes, types or triangle indices are wrong.
        AssetMissing: the backend is not installed.
    """
    width, height = size_px
    if not (0 < width <= MAX_SIZE_PX and 0 < height <= MAX_SIZE_PX):
        raise BadInput(f"size_px must be two numbers from 1 to {MAX_SIZE_PX}, got {size_px}")
    check_mesh(vertices_px, triangles)
    chosen = find_backend(backend, vertices_px.device)
    with torch.no_grad():
        return Fragments(
            *chosen.rasterize(
                vertices_px.detach().contiguous(),
                triangles.contiguous(),
                (int(width), int(height)),
                cull_back,
            )
        )


def check_mesh(vertices_px: Tensor, triangles: Tensor) -> None:
    """Raise BadInput unless vertices are "b v 3" float and triangles "f 3" int64 on one device."""
    if (
        vertices_px.ndim != 3
        or vertices_px.shape[-1] != 3
        or vertices_px.dtype not in (torch.float32, torch.float64)
    ):
        raise BadInput(
            f"vertices_px must be float32 or float64 of shape (batch, vertices, 3), got {vertices_px.dtype} {tuple(vertices_px.shape)}"
        )
    if triangles.ndim != 2 or triangles.shape[-1] != 3 or triangles.dtype != torch.int64:
        raise BadInput(
            f"triangles must be int64 of shape (triangles, 3), got {triangles.dtype} {tuple(triangles.shape)}"
        )
    if triangles.device != vertices_px.device:
        raise BadInput(
            f"triangles are on {triangles.device}, vertices on {vertices_px.device}: move one of them"
        )
