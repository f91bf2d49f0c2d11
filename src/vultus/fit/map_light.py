"""The light on a known shape, firmly: what delighting and shading need, where a timid light leaves its own shadows behind.

The light of the coarse level is held back by a prior, because there shape, albedo and light are all unknown and a strong lamp may be a wrong
cheek. Over the texels of a whole face the nine numbers of a second-order light are well determined; the prior here only decides
what no normal tells.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..geometry.light import COSINE_LOBE, in_one_hue, sh_basis

_RIDGE = (1e-5, 2e-4, 2e-4, 2e-4, 2e-3, 2e-3, 2e-3, 2e-3, 2e-3)  # of the mean squared albedo
_HUE_SHARED = 0.7  # higher orders lean this far towards what all channels share
_OUTLIER = 2.5
_ENOUGH = 200


def fit_map_light(colour: Tensor, albedo: Tensor, normals: Tensor, weight: Tensor, start: Tensor) -> Tensor:
    """The light "3 9" (camera frame) that makes an albedo look like a photo, by robust linear least squares.

    Args:
        colour: "3 h w" linear RGB, what the photo shows. albedo: "3 h w" linear RGB, what the model thinks.
        normals: "3 h w" unit, camera frame. weight: "h w" in [0, 1], trust in the texel as plain skin.
        start: "3 9", returned where too little is seen.
    """
    chosen = weight > 0.05
    if int(chosen.sum()) < _ENOUGH:
        return start
    step = max(
        1, int(chosen.sum()) // 20000
    )  # a light has 27 numbers: more texels than that tell nothing new
    basis = sh_basis(normals[:, chosen].T[::step]) * normals.new_tensor(COSINE_LOBE)
    seen, reflectance = colour[:, chosen].T[::step], albedo[:, chosen].T[::step].clamp_min(0.01)
    trust = weight[chosen][::step]
    robust = torch.ones_like(trust)
    light = start
    for _ in range(6):
        strength = trust * robust
        rows = []
        for channel in range(3):
            design = basis * reflectance[:, channel, None]
            normal = (design * strength[:, None]).T @ design / strength.sum()
            ridge = basis.new_tensor(_RIDGE) * reflectance[:, channel].square().mean()
            right = (design * strength[:, None]).T @ seen[:, channel] / strength.sum()
            rows.append(torch.linalg.solve(normal + torch.diag(ridge), right))
        light = torch.stack(rows)
        light = torch.cat([light[:, :1], torch.lerp(light[:, 1:], in_one_hue(light)[:, 1:], _HUE_SHARED)], 1)
        residual = (seen - reflectance * (basis @ light.T)).mean(1).abs()
        brightness = seen.mean(1).clamp_min(0.02)
        relative = residual / brightness
        typical = relative.median().clamp_min(0.02)
        robust = 1 / (1 + (relative / (_OUTLIER * typical)) ** 2) ** 2
    return light if bool(torch.isfinite(light).all()) else start
