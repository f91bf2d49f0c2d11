"""The detail stage: wrinkles as a displacement map over the face chart, read from the photo's shading."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ..fit.crease_evidence import EvidenceOptions, crease_evidence
from ..fit.displacement import DisplacementOptions, fit_displacement
from ..fit.line_filter import blurred
from ..fit.map_light import fit_map_light
from ..geometry.chart_map import unit
from ..geometry.light import shading
from ..geometry.mesh import vertex_normals
from ..geometry.view import View
from ..model.deformation import face_vertices
from ..model.face import DeformedFace, DetailedFace
from ..model.morphable import MorphableModel
from ..render.bake import bake, dilate, photo_pyramid, sample_photo
from ..render.shade import linear_from_srgb
from ..render.visible import facing
from .photo_evidence import depth_buffer, grown, sample_mask

_GRAZING, _SQUARE = 0.40, 0.75  # cosines between which trust rises from nothing to full
_DARKEST = 0.004  # linear light that is added, so that the noise of dark pixels is not a signal
_MASK_SIZE = 256  # texels per side on which regions are decided: 0.8 mm each in the middle of the face
# How far around each region, in mm, wrinkles are not believed: lashes, lips' borders, nostrils, hairs of the brows.
_KEPT_OUT_MM = {"lips": 2.5, "nostrils": 3.5, "brows": 4.0, "nose": 0.0}
_AROUND_OPENINGS_MM = 4.5  # of eyes and mouth: lids, tear ducts, lashes
_AROUND_NO_SKIN_MM = 3.0  # hair, beard, glasses, as the skin mask shows them
_SOFT_MM = 2.5
_BORDER = 0.05  # of the chart, over which the displacement fades out
_MIRRORED = 0.5
_SOFT_TEXELS = 3.0  # over which mirrored wrinkles set in
_NOISE = 1.2  # texture of the skin that passes for noise, in standard deviations
_FADING = 0.15  # trust below which wrinkles fade out
_OFF_LINES = 0.005  # of the freedom, where nothing looks like a crease


@dataclass(frozen=True)
class DetailOptions:
    """Knobs of the detail stage; ``mirrored``: how much of a wrinkle its unseen counterpart gets."""

    mirrored: float = _MIRRORED
    evidence: EvidenceOptions = field(default_factory=EvidenceOptions)
    displacement: DisplacementOptions = field(default_factory=DisplacementOptions)


def fit_detail(
    view: View,
    model: MorphableModel,
    face: DeformedFace,
    *,
    size: int = 512,
    options: DetailOptions | None = None,
) -> DetailedFace:
    """Find the wrinkles of one view.

    Args:
        view: posed. face: the level below. size: texels per side of the displacement map.
    """
    vertices, albedo = face_vertices(model, face), model.vertex_albedo(face.coarse.code)
    displacement = wrinkles(view, model, vertices, albedo, face.coarse.light, size=size, options=options)
    return DetailedFace(face, displacement)


@torch.no_grad()
def wrinkles(
    view: View,
    model: MorphableModel,
    vertices: Tensor,
    albedo: Tensor,
    light: Tensor,
    *,
    size: int = 512,
    options: DetailOptions | None = None,
) -> Tensor:
    """The displacement map "s s" in mm of a head with vertices "v 3" (head frame); zeros for a model without a chart."""
    options = options or DetailOptions()
    if model.chart is None:
        return vertices.new_zeros(size, size)
    camera_mm = view.camera.to_camera(vertices)
    normals = vertex_normals(camera_mm, model.triangles)
    values = torch.cat([camera_mm, normals, facing(camera_mm, normals)[:, None], albedo], -1)
    topology = model.chart.topology
    ids = torch.arange(len(topology.triangles))
    drawn, covered = bake(values, topology, ids, size)
    drawn = dilate(drawn, covered)
    position, smooth = drawn[:3], unit(drawn[3:6])
    texels_px = view.camera.project_camera(position.flatten(1).T).T.reshape(position.shape)
    seen = covered & depth_buffer(view, model, vertices).sees(texels_px)
    skin = sample_mask(view.skin_mask, texels_px[:2]) > 0.5
    slope = ((drawn[6] - _GRAZING) / (_SQUARE - _GRAZING)).clamp(0, 1)
    shown = (seen & skin) * slope * slope * (3 - 2 * slope)
    weight = shown * freedom(model, skin, seen)
    if float(weight.sum()) < 100:
        return torch.zeros_like(weight)
    pyramid = photo_pyramid(view.image, texels_px[:2], shown > 0)
    colour = linear_from_srgb(sample_photo(pyramid, texels_px[:2]))
    light = fit_map_light(colour, drawn[7:], smooth, weight, light)
    shade = shading(smooth.permute(1, 2, 0), light).permute(2, 0, 1)
    shade = shade.clamp_min(0.2 * float(shade.mean().clamp_min(1e-3)))
    log_light = torch.log((colour + _DARKEST) / shade)
    evidence = crease_evidence(log_light, position, shown, options.evidence)
    believed = (evidence.weight / shown.clamp_min(1e-3)).clamp(0, 1)
    movable = (weight * believed) ** 0.25 * (_OFF_LINES + (1 - _OFF_LINES) * evidence.hollow.square())
    noise = max(options.displacement.noise, _NOISE * evidence.noise)
    found = fit_displacement(
        position, smooth, light, evidence.brightness, evidence.weight, evidence.hollow, movable,
        replace(options.displacement, noise=noise),
    )  # fmt: skip
    found = found * (weight / _FADING).clamp(0, 1)
    if model.mirror is not None and options.mirrored > 0:
        unseen = (1 - blurred(weight[None], _SOFT_TEXELS)[0]).clamp(0, 1) * ~seen
        found = found + options.mirrored * unseen * (found * weight).flip(-1)
    return found


def freedom(model: MorphableModel, skin: Tensor, seen: Tensor) -> Tensor:
    """Where wrinkles are believed, "h w" in [0, 1]: skin away from eyes, lips, nostrils, brows, hair and the chart's border.

    Args:
        skin: "h w" bool, where the photo shows skin. seen: "h w" bool, where it shows the face at all.
    """
    size = skin.shape[0]
    chart = model.chart
    assert chart is not None
    topology = chart.topology
    texel_mm = 150.0 / _MASK_SIZE
    kept_out = torch.zeros(_MASK_SIZE, _MASK_SIZE, dtype=torch.bool, device=skin.device)
    _, whole = bake(model.mean_mm, topology, (~chart.is_membrane).nonzero().squeeze(-1), _MASK_SIZE)
    kept_out |= grown(~whole, round(_AROUND_OPENINGS_MM / texel_mm))
    everything = torch.arange(len(topology.triangles))
    for name, reach_mm in _KEPT_OUT_MM.items():
        if name in model.regions:
            inside, _ = bake(model.regions[name].to(model.mean_mm)[:, None], topology, everything, _MASK_SIZE)
            kept_out |= grown(inside[0] > 0.3, round(reach_mm / texel_mm))
    no_skin = F.interpolate((seen & ~skin).float()[None, None], (_MASK_SIZE,) * 2, mode="area")[0, 0] > 0.5
    kept_out |= grown(no_skin, round(_AROUND_NO_SKIN_MM / texel_mm))
    sigma = _SOFT_MM / 2 / texel_mm
    soft = blurred(grown(kept_out, round(sigma)).to(model.mean_mm)[None], sigma)[0]
    axis = (torch.arange(_MASK_SIZE, device=skin.device) + 0.5) / _MASK_SIZE
    edge = (torch.minimum(axis, 1 - axis) / _BORDER).clamp(0, 1)
    free = (1 - soft).clamp(0, 1) ** 2 * edge * edge[:, None]
    free = torch.where(kept_out, 0, free)
    return F.interpolate(free[None, None], (size, size), mode="bilinear", align_corners=False)[0, 0]
