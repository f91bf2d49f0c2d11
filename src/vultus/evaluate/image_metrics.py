"""How like its photo a drawn picture is, over a mask: L1, PSNR and SSIM."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import correlate1d
from torch import Tensor

_SIGMA_PX, _RADIUS_PX = 1.5, 5
_K1, _K2 = 0.01, 0.03


def masked_l1(image: Tensor, drawn: Tensor, mask: Tensor) -> float:
    """Mean absolute difference of "3 h w" sRGB images in [0, 1] over channels and a mask "h w"; NaN where the mask is empty."""
    if not bool(mask.any()):
        return float("nan")
    return float((image.double() - drawn.double()).abs().mean(0)[mask].mean())


def masked_ssim(image: Tensor, drawn: Tensor, mask: Tensor) -> float:
    """Mean structural similarity of "3 h w" images in [0, 1] over the pixels of a mask "h w"; NaN where it is empty.

    Windows at the border of the mask look up to five pixels past it, so both pictures must mean something there.
    """
    rows, columns = (np.flatnonzero(mask.any(axis).cpu().numpy()) for axis in (1, 0))
    if not len(rows):
        return float("nan")
    # Further away than a window reaches nothing counts; filtering whole photos of 20 million pixels would take a minute.
    inside = tuple(
        slice(max(0, found[0] - _RADIUS_PX), found[-1] + _RADIUS_PX + 1) for found in (rows, columns)
    )
    pair = (picture.detach().double().cpu().numpy()[:, inside[0], inside[1]] for picture in (image, drawn))
    return float(ssim_map(*pair)[mask.cpu().numpy()[inside]].mean())


def ssim_map(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Structural similarity around every pixel, (h, w): of (3, h, w) images in [0, 1], per channel, then the mean of the channels.

    Wang, Bovik, Sheikh and Simoncelli, "Image quality assessment", TIP 2004, eq. 13: windows of 11 x 11 pixels weighted by a Gaussian of 1.5
    pixels, K1 = 0.01, K2 = 0.03, dynamic range 1, population (co)variances. Beyond the border the picture is mirrored.
    """
    c1, c2 = _K1**2, _K2**2
    mean_1, mean_2 = _blurred(first), _blurred(second)
    variance_1 = _blurred(first * first) - mean_1 * mean_1
    variance_2 = _blurred(second * second) - mean_2 * mean_2
    covariance = _blurred(first * second) - mean_1 * mean_2
    similar = (2 * mean_1 * mean_2 + c1) * (2 * covariance + c2)
    return (similar / ((mean_1**2 + mean_2**2 + c1) * (variance_1 + variance_2 + c2))).mean(0)


def _blurred(values: NDArray[np.float64]) -> NDArray[np.float64]:
    offset = np.arange(-_RADIUS_PX, _RADIUS_PX + 1)
    kernel = np.exp(-0.5 * (offset / _SIGMA_PX) ** 2)
    kernel /= kernel.sum()
    return correlate1d(correlate1d(values, kernel, axis=-1), kernel, axis=-2)


def psnr_db(image: Tensor, drawn: Tensor, mask: Tensor) -> float:
    """Peak signal-to-noise ratio of "3 h w" sRGB images over a mask "h w"; NaN where there is nothing to compare."""
    if not bool(mask.any()):
        return float("nan")
    error = float((image - drawn).square().mean(0)[mask].mean())
    return 100.0 if error <= 1e-10 else float(-10 * torch.log10(torch.tensor(error)))


def colour_values(photo: Tensor, image: Tensor, drawn: Tensor, skin: Tensor) -> dict[str, float]:
    """L1, PSNR and SSIM of a picture "3 h w" on a photo's skin "h w", where it is drawn "h w"; and what one colour would score.

    The one colour is the mean of the photo's skin: less than that no method that has seen the photo needs to know.
    """
    both = drawn & skin
    flat = photo[:, skin].double().mean(1).to(photo)[:, None, None].expand_as(photo)
    composed = torch.where(drawn, image, photo)
    return {
        "l1": masked_l1(photo, image, both),
        "psnr_db": psnr_db(photo, image, both),
        "ssim": masked_ssim(photo, composed, both),
        "coverage_percent": 100.0 * float(both.sum()) / float(skin.sum()),
        "whole_l1": masked_l1(photo, torch.where(drawn, image, flat), skin),
        "flat_l1": masked_l1(photo, flat, skin),
        "flat_psnr_db": psnr_db(photo, flat, skin),
    }
