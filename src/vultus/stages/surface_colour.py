"""What the model alone says about the head's colour as lit in the photo: albedo, light, and what is always in shadow."""

from __future__ import annotations

import torch
from torch import Tensor

from ..geometry.light import shading
from ..model.face import CoarseFace
from ..model.morphable import MorphableModel

# Linear-light factors of regions that a second-order light without occlusion shows too bright.
_OCCLUDED = {"nostrils": 0.30, "inner_mouth": 0.45, "eye_sockets": 0.45}
_RED_INSIDE = {"eye_sockets": (1.0, 0.80, 0.78)}
_LASH_LINE_MM, _UPPER_LINE, _LOWER_LINE = 1.0, 0.75, 0.30
_LIDS_MM = 22.0  # from the centre of an eye to the farthest corner of its lids
_LOWEST_FACING = 0.55  # cosine between normal and camera axis
_DARKEST, _BRIGHTEST = 0.35, 1.6  # of the mean shading of the face: beyond, the fitted light is a guess
_HUE_OF_LIGHT = 0.15
_GAMMA = 2.2  # of sRGB, near enough for a gain


def model_colour(model: MorphableModel, coarse: CoarseFace, normals: Tensor) -> Tensor:
    """Linear colours "v 3" of all vertices, lit: albedo times shading, darker where little light gets in.

    Args:
        normals: "v 3" in the camera frame.
    """
    shade = plausible_shading(model, normals, coarse.light)
    shade = shade * (white_exposure(model, normals, coarse.light) / _mean_over_face(model, shade))
    return occluded_albedo(model, coarse) * shade


def occluded_albedo(model: MorphableModel, coarse: CoarseFace) -> Tensor:
    """Linear albedo "v 3" of all vertices, darker and redder where little light gets in: no light model of ours knows about that."""
    colour = model.vertex_albedo(coarse.code)
    for name, factor in _OCCLUDED.items():
        if name in model.regions:
            tint = colour.new_tensor(_RED_INSIDE.get(name, (1.0, 1.0, 1.0))) * factor
            colour = torch.where(model.regions[name][:, None], colour * tint, colour)
    return colour * (1 - _lash_line(model))[:, None]


def _lash_line(model: MorphableModel) -> Tensor:
    """How much the roots of the lashes darken each vertex "v": the rims of the lids, the upper ones more.

    The photo is not believed there, for lids are never within half a millimetre of where the fit has them; and eyes without that line stare.
    """
    mean = model.mean_mm
    line = torch.zeros_like(mean[:, 0])
    eyes = [model.part_triangles(name).unique() for name in model.part_names if name.startswith("eye_")]
    if not eyes or model.chart is None:
        return line
    rim = model.chart.triangles[model.chart.is_membrane].unique()
    for centre in (mean[ids].mean(0) for ids in eyes):
        lids = mean[rim[(mean[rim] - centre).norm(dim=1) < _LIDS_MM]]
        near = ((mean - centre).norm(dim=1) < _LIDS_MM + 4 * _LASH_LINE_MM).nonzero().squeeze(-1)
        for above, darkness in ((True, _UPPER_LINE), (False, _LOWER_LINE)):
            half = lids[(lids[:, 1] > centre[1]) == above]
            if len(half):
                distance = torch.cdist(mean[near], half).amin(1)
                line[near] = line[near].maximum(darkness * torch.exp(-((distance / _LASH_LINE_MM) ** 2)))
    return line


def plausible_shading(model: MorphableModel, normals: Tensor, light: Tensor) -> Tensor:
    """Shading "v 3" kept near that of the face, also where the photo says nothing about the light.

    Surfaces that the camera sees at a grazing angle, or not at all, were lit by what the photo does not show. They get the light of
    the nearest direction that it does show, in the hue of the face's mean: nothing changes abruptly there, nothing is extrapolated.
    """
    ahead = (-normals[:, 2]).clamp_min(_LOWEST_FACING)[:, None]
    sideways = torch.nn.functional.normalize(normals[:, :2], dim=-1) * (1 - ahead**2).clamp_min(0).sqrt()
    lit = shading(torch.cat([sideways, -ahead], -1), light)
    mean = _mean_over_face(model, lit)
    level = (lit.mean(-1, keepdim=True) / mean.mean()).clamp(_DARKEST, _BRIGHTEST)
    return level * mean


def white_exposure(model: MorphableModel, normals: Tensor, light: Tensor) -> Tensor:
    """The linear colour "3" that a white surface shows where the face is.

    Photographers do not let it burn out, and much of a fitted light's hue is skin that the albedo model did not explain.
    """
    mean = _mean_over_face(model, plausible_shading(model, normals, light))
    mean = torch.lerp(mean.mean().expand(3), mean, _HUE_OF_LIGHT)
    return mean / mean.max().clamp_min(1.0)


def _mean_over_face(model: MorphableModel, values: Tensor) -> Tensor:
    face = model.regions.get("face")
    return (values if face is None else values[face]).mean(0).clamp_min(1e-3)


def mirror_gain(model: MorphableModel, normals: Tensor, light: Tensor) -> Tensor | None:
    """What to multiply sRGB colours of the opposite side with, for this side's light: "v 3"; None for models without a mirror map.

    The texture must be its own mirror image about u = 1/2 as well.
    """
    uv, uv_triangles = model.topology.uv, model.topology.uv_triangles
    if model.mirror is None or uv is None:
        return None
    skin = model.part_of_triangle == 0
    triangles = model.triangles[skin]
    of_vertex = uv.new_full((len(normals), 2), torch.nan)
    of_vertex[triangles] = uv[triangles if uv_triangles is None else uv_triangles[skin]]
    used = torch.unique(triangles)
    flipped = of_vertex[model.mirror[used]] * uv.new_tensor([-1, 1]) + uv.new_tensor([1, 0])
    if not torch.allclose(flipped, of_vertex[used], atol=1e-3, rtol=0):
        return None
    shade = plausible_shading(model, normals, light)
    return (shade / shade[model.mirror]).clamp(0.4, 2.5) ** (1 / _GAMMA)
