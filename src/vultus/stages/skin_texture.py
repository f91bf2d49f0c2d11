"""The skin's texture: what the photo shows, its mirror image where that was hidden, and the albedo model for the rest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..fit.poisson import divergence_of, gradient_of, solve_screened_poisson, surface_conductance
from ..geometry.mesh import vertex_normals
from ..geometry.view import View
from ..model.face import CoarseFace
from ..model.morphable import MorphableModel
from ..render.bake import bake, dilate, photo_pyramid, sample_photo
from ..render.shade import srgb_from_linear
from ..render.visible import facing
from .photo_evidence import DepthBuffer, observed_weight
from .surface_colour import mirror_gain, model_colour

WORK_SIZE = 512
"""Texels per side on which visibility is decided; weights and the blending live on half of it."""
BLEND_SIZE = WORK_SIZE // 2
TEXELS_PER_BAND = 2**20
"""The full-size texture is made in bands of rows of about so many texels, which bounds the memory."""
_PHOTO_SCREENING = 1.0  # how firmly the blend stays at the photo, against 1 for one step of its gradient
_TONE_REACH_MM = 80.0  # along the skin: how far beyond the photo its local colour fades into the common tone
_ANCHOR = (
    0.3  # the same for mouth and eye sockets, whose colour has nothing to do with the skin's beside them
)
_TURNING = 0.75  # cosine to the camera below which the cheek begins to turn away
_CYCLES = 6


@dataclass(frozen=True)
class Sources:
    """What a texture can be made of, at one resolution; every weight is smooth over several texels.

    Attributes:
        photo: "3 h w" sRGB, meaningless where ``weight`` is zero. weight: "1 h w", trust in it.
        mirrored: "3 h w", the photo's other side with this side's light. mirrored_weight: "1 h w".
        model: "3 h w", the albedo model in the photo's tone.
    """

    photo: Tensor
    weight: Tensor
    mirrored: Tensor
    mirrored_weight: Tensor
    model: Tensor

    @property
    def rest(self) -> Tensor:
        """Mirror image over model."""
        return torch.lerp(self.model, self.mirrored, self.mirrored_weight)

    @property
    def mixed(self) -> Tensor:
        """Photo over mirror image over model: right but for seams, which :func:`seam_correction` removes."""
        return torch.lerp(self.rest, self.photo, self.weight)


def skin_texture(
    view: View, model: MorphableModel, coarse: CoarseFace, vertices: Tensor, buffer: DepthBuffer, size: int
) -> tuple[Tensor, Tensor]:
    """The skin as lit in the photo, complete: texture "3 s s" sRGB and how much of each texel is observed, "s s" in [0, 1].

    The sources are mixed with smooth weights at full size; the mix lacks only a smooth correction, which a Poisson
    equation gives at a quarter of the size: its gradients are those of the sources, its values the photo's where observed.
    """
    skin = (model.part_of_triangle == 0).nonzero().squeeze(-1)
    camera_mm = view.camera.to_camera(vertices)
    normals = vertex_normals(camera_mm, model.triangles)
    light_gain = mirror_gain(model, normals, coarse.light)
    mirrorable = light_gain is not None
    per_vertex = [
        camera_mm,
        facing(camera_mm, normals)[:, None],
        srgb_from_linear(model_colour(model, coarse, normals)),
        light_gain if light_gain is not None else torch.ones_like(camera_mm),
        _pockets(model).to(camera_mm)[:, None],
    ]
    values, covered = bake(torch.cat(per_vertex, -1), model.topology, skin, WORK_SIZE)
    values = dilate(values, covered)
    texels_px, facing_map = _project(view, values[:3]), values[3]

    evidence = observed_weight(view, model, buffer, texels_px, facing_map, covered)
    small = F.avg_pool2d(torch.cat([texels_px[:2], values]), 2)
    small_px, position, small_facing, small_model, gain, pocket = small.split([2, 3, 1, 3, 3, 1])
    pyramid = photo_pyramid(view.image, small_px, evidence[0] > 0)
    photo = sample_photo(pyramid, small_px)
    tone = common_tone(photo, small_model, evidence[0], small_facing[0])
    small_model = small_model * torch.lerp(tone, torch.ones_like(tone), pocket)
    screening = _ANCHOR * pocket[0] + texel_area(position) / _TONE_REACH_MM**2
    small_sources = _combine(photo, evidence, small_model, gain, mirrorable)
    correction = seam_correction(small_sources, screening, surface_conductance(position))
    model_map = values[4:7] * torch.lerp(tone, torch.ones_like(tone), values[10:])

    texture = vertices.new_empty(3, size, size)
    observed = vertices.new_empty(size, size)
    for rows in _bands(size):
        weight = _resized(evidence, size, rows)
        band = dilate(*bake(camera_mm, model.topology, skin, size, rows=rows))
        photo = sample_photo(pyramid, _project(view, band)[:2])
        models = _resized(model_map, size, rows)
        sources = _combine(photo, weight, models, _resized(gain, size, rows), mirrorable)
        texture[:, rows[0] : rows[1]] = sources.mixed + _resized(correction, size, rows)
        observed[rows[0] : rows[1]] = weight[0]
    return texture.clamp_(0, 1), observed


def common_tone(photo: Tensor, model: Tensor, weight: Tensor, facing_map: Tensor) -> Tensor:
    """What to multiply the model's colours "3 h w" with so that they go on where the photo ends: "3 1 1".

    Read where the face turns away, without the brightest (highlights) and the darkest (hair and its shadow).
    """
    chosen = (weight > 0.3) & (facing_map < _TURNING)
    if int(chosen.sum()) < 200:
        chosen = weight > 0.3
    if int(chosen.sum()) < 50:
        return torch.ones_like(model[:, :1, :1])
    ratio = photo[:, chosen] / model[:, chosen].clamp_min(0.05)
    order = ratio.mean(0).argsort()
    middle = order[int(0.2 * len(order)) : int(0.6 * len(order)) + 1]
    return ratio[:, middle].mean(1).clamp(0.2, 4.0)[:, None, None]


def seam_correction(sources: Sources, screening: Tensor, conductance: tuple[Tensor, Tensor]) -> Tensor:
    """What the mix lacks to have the gradients of its sources, values of the photo where that is trusted: "3 h w", smooth.

    With f = mix + x, minimise c |grad f - g|^2 + weight^2 |f - photo|^2 + screening |f - mix|^2, where g is the gradient of the
    photo where it is trusted, else of the mirror image, else of the model.

    Args:
        sources: at the resolution to solve at.
        screening: "h w", positive: how firmly the mix is kept where the photo says nothing.
        conductance: c, of the edges between texels.
    """
    mixed, rest = sources.mixed, sources.rest
    flow = []
    photo, mirrored, model, actual = (
        gradient_of(image) for image in (sources.photo, sources.mirrored, sources.model, mixed)
    )
    for axis, d in enumerate((-1, -2)):
        weight, mirrored_weight = (_at_edges(w, d) for w in (sources.weight, sources.mirrored_weight))
        wanted = torch.lerp(model[axis], mirrored[axis], mirrored_weight)
        flow.append(conductance[axis] * (torch.lerp(wanted, photo[axis], weight) - actual[axis]))
    firmness = _PHOTO_SCREENING * sources.weight.square()
    target = firmness * (1 - sources.weight) * (sources.photo - rest)
    divergence = divergence_of(flow[0], flow[1]) - target
    return solve_screened_poisson(
        divergence, firmness[0] + screening, conductance=conductance, cycles=_CYCLES
    )


def texel_area(position: Tensor) -> Tensor:
    """Square millimetres of skin under each texel of a position map "3 h w": "h w"."""
    down, right = torch.gradient(position, dim=(1, 2))
    return torch.linalg.cross(right, down, dim=0).norm(dim=0).clamp_min(1e-3)


def _combine(photo: Tensor, weight: Tensor, model: Tensor, gain: Tensor, mirrorable: bool) -> Sources:
    """Sources at any resolution; the atlas is its own mirror image where a model can be mirrored at all."""
    if not mirrorable:
        return Sources(photo, weight, model, torch.zeros_like(weight), model)
    return Sources(photo, weight, photo.flip(-1) * gain, weight.flip(-1), model)


def _pockets(model: MorphableModel) -> Tensor:
    """Vertices "v" of the skin inside the head."""
    known = [model.regions[name] for name in ("inner_mouth", "eye_sockets") if name in model.regions]
    none = torch.zeros(len(model.mean_mm), dtype=torch.bool, device=model.mean_mm.device)
    return torch.stack([none, *known]).any(0)


def _at_edges(weight: Tensor, dim: int) -> Tensor:
    """The smaller weight of the two texels beside each edge."""
    length = weight.shape[dim] - 1
    return torch.minimum(weight.narrow(dim, 0, length), weight.narrow(dim, 1, length))


def _project(view: View, camera_mm: Tensor) -> Tensor:
    """Camera-frame positions "3 h w" -> "3 h w" of (x_px, y_px, depth_mm)."""
    points = camera_mm.flatten(1).T
    return view.camera.project_camera(points).T.reshape(camera_mm.shape)


def _bands(size: int) -> Iterator[tuple[int, int]]:
    step = max(1, TEXELS_PER_BAND // size)
    for first in range(0, size, step):
        yield first, min(first + step, size)


def _resized(image: Tensor, size: int, rows: tuple[int, int]) -> Tensor:
    """Rows of the image "c h w" resized to ``size`` texels per side, bilinear."""
    v = (torch.arange(*rows, device=image.device, dtype=image.dtype) + 0.5) * (2 / size) - 1
    u = (torch.arange(size, device=image.device, dtype=image.dtype) + 0.5) * (2 / size) - 1
    grid = torch.stack(torch.meshgrid(v, u, indexing="ij")[::-1], -1)
    return F.grid_sample(image[None], grid[None], padding_mode="border", align_corners=False)[0]
