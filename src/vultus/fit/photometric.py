"""Light and albedo from the pixels: what the face's surface must look like, given its shape."""

from __future__ import annotations

import weakref
from dataclasses import dataclass

import torch
from torch import Tensor

from ..geometry.light import COSINE_LOBE, frontal_light, in_one_hue, sh_basis
from ..geometry.mesh import vertex_normals
from ..geometry.view import View
from ..model.face import FaceCode
from ..model.morphable import MorphableModel
from ..render.shade import linear_from_srgb
from ..render.visible import facing, visible_vertices

FACE_WIDTH_MM = 140.0


@dataclass(frozen=True)
class PhotometricOptions:
    """Knobs of the photometric fit.

    Attributes:
        iterations: alternations of light, albedo and robust weights.
        outlier: residual, relative to the typical one, beyond which a pixel loses its influence.
        light_smoothness: pull of the second-order terms to zero and of the channels towards each other.
        face_px: the photo is looked at with the face about this wide.
    """

    iterations: int = 5
    outlier: float = 2.5
    light_smoothness: float = 0.001
    face_px: float = 160.0


_kept: list[tuple[weakref.ref[Tensor], tuple[tuple[int, int], int], Tensor]] = []
_MOST_KEPT = 8


@dataclass(frozen=True)
class SkinSamples:
    """What the photo shows at the visible skin vertices.

    Attributes:
        ids: "n" vertices. colour: "n 3" linear RGB. normals: "n 3" in the camera frame. weight: "n" trust.
    """

    ids: Tensor
    colour: Tensor
    normals: Tensor
    weight: Tensor


def shrunk_photo(view: View, face_px: float) -> tuple[float, Tensor]:
    """The photo in linear RGB "1 3 h w", made so small that the face is about ``face_px`` wide, and by what factor."""
    scale = min(
        1.0, face_px * float(view.camera.T_camera_head[2, 3]) / (FACE_WIDTH_MM * float(view.camera.focal_px))
    )
    return scale, linear_from_srgb(_averaged(view.image, view.camera.resized(scale).size_px))


def _averaged(image: Tensor, size_px: tuple[int, int]) -> Tensor:
    """A photo "3 h w" at another size, "1 3 h w"; the last few are kept, because every round of a fit looks at the same ones.

    A tensor's version says whether somebody has written to it since.
    """
    key = (size_px, -1 if image.is_inference() else image._version)
    for place, known, small in _kept:
        if place() is image and known == key and not image.is_inference():
            return small
    small = torch.nn.functional.interpolate(image[None], size_px[::-1], mode="area")
    _kept[:] = [(weakref.ref(image), key, small), *_kept[: _MOST_KEPT - 1]]
    return small


def sample_skin(
    view: View, model: MorphableModel, code: FaceCode, face_px: float, vertices: Tensor | None = None
) -> SkinSamples:
    """Look the photo up at every skin vertex that faces the camera, is not hidden and lies in the skin mask.

    Args:
        vertices: "v 3", head frame, of a face that has more to it than its code; the code's own when omitted.
    """
    vertices = model.vertices(code) if vertices is None else vertices
    scale, image = shrunk_photo(view, face_px)
    camera = view.camera.resized(scale)
    mask = torch.nn.functional.interpolate(view.skin_mask[None, None].float(), image.shape[2:], mode="area")
    position = camera.to_camera(vertices)
    projected = camera.project_camera(position)
    normals = vertex_normals(position, model.triangles)
    seen = visible_vertices(projected[None], model.triangles, camera.size_px)[0]
    grid = 2 * projected[:, :2] / projected.new_tensor(camera.size_px) - 1
    looked = torch.nn.functional.grid_sample(
        torch.cat([image, mask], 1), grid[None, None].to(image), align_corners=False
    )[0, :, 0].T
    weight = facing(position, normals).clamp(0, 1) * seen * looked[:, 3] * model.regions["face"]
    ids = (weight > 0.05).nonzero().squeeze(-1)
    return SkinSamples(ids, looked[ids, :3], normals[ids], weight[ids])


def fit_light_and_albedo(
    view: View,
    model: MorphableModel,
    code: FaceCode,
    options: PhotometricOptions,
    vertices: Tensor | None = None,
) -> tuple[Tensor, Tensor, float]:
    """Spherical-harmonics light "3 9" and albedo coefficients "a", by alternating robust linear least squares.

    Both are linear given the other: colour = albedo(code) * (basis(normal) @ light). Light and skin colour cannot be told apart
    (a bright room and light skin look the same); the unit prior of the albedo and grey light decide.

    Args:
        vertices: as in :func:`sample_skin`.

    Returns:
        light, albedo, and the median absolute residual in linear RGB (NaN when no skin is seen: mean albedo, frontal light).
    """
    num_axes = len(model.albedo)
    samples = sample_skin(view, model, code, options.face_px, vertices)
    albedo = torch.zeros(num_axes)
    if len(samples.ids) < 50:
        return frontal_light(), albedo, float("nan")
    basis = sh_basis(samples.normals) * samples.normals.new_tensor(COSINE_LOBE)
    mean, axes = model.albedo_mean[samples.ids], model.albedo[:, samples.ids]
    robust = torch.ones_like(samples.weight)
    light, residual = frontal_light(), samples.weight
    prior = torch.tensor([1e-4] + [options.light_smoothness] * 3 + [4 * options.light_smoothness] * 5)
    for _ in range(options.iterations):
        reflectance = (mean + torch.einsum("a,anc->nc", albedo, axes)).clamp(0.01, 1)
        weight = samples.weight * robust
        total = weight.sum()
        for channel in range(3):
            design = basis * reflectance[:, channel, None]
            normal = (design * weight[:, None]).T @ design / total + torch.diag(
                prior
            ) * reflectance.mean() ** 2
            # The second and later orders lean towards what all channels share.
            right = (design * weight[:, None]).T @ samples.colour[:, channel] / total
            light[channel] = torch.linalg.solve(normal, right)
        light = 0.5 * light + 0.5 * in_one_hue(light)
        shade = (basis @ light.T).clamp_min(0.02)
        design = (axes * shade).flatten(1)
        target = (samples.colour - mean * shade).flatten()
        doubled = weight[:, None].expand(-1, 3).flatten()
        noise = 0.02
        normal = (design * doubled) @ design.T / noise**2 / total * 30 + torch.eye(num_axes)
        albedo = torch.linalg.solve(normal, (design * doubled) @ target / noise**2 / total * 30).clamp(-3, 3)
        residual = (samples.colour - (mean + torch.einsum("a,anc->nc", albedo, axes)) * shade).abs().mean(1)
        typical = residual.median().clamp_min(1e-4)
        robust = 1 / (1 + (residual / (options.outlier * typical)) ** 2) ** 2
    return light, albedo, float(residual.median())
