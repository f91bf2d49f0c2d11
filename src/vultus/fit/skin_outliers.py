"""What a fit cannot explain is no skin: the mask learns from the residual."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

SURE, UNSURE = 3.5, 2.0
"""Smoothed residual, in robust standard deviations, of what is foreign, and of what belongs to it where it touches."""
_SIGMA_MM, _SMALLEST_MM2 = 1.5, 25.0
_LEAST_SCALE = 0.03  # relative brightness: no fit is better than that, and a better one must not cost skin
_MOST = 0.4  # a fit that leaves more of the mask unexplained is itself wrong


def refine_mask(mask: Tensor, residual: Tensor, *, mm_per_px: float = 1.0) -> Tensor:
    """Take out of a skin mask what a fitted face does not explain: hands of the skin's colour, strands, spectacle shadows.

    The residual is smoothed over a few millimetres, so that pores and moles remain, and measured in its own robust standard deviation
    (median absolute deviation). What is surely foreign grows over the unsure pixels that touch it (hysteresis, as in Canny's edges);
    small parts stay skin. Alternate with the fit, each time from the *first* mask, so that what a better fit explains returns.

    Args:
        mask: "h w" bool.
        residual: "h w" or "c h w", photo minus fit relative to the fit's brightness; NaN where the fit says nothing (those pixels
            are judged by their neighbours).
        mm_per_px: scale of the pixels at the face.

    Returns:
        "h w" bool, within the mask; the mask itself if nothing, or too much, is foreign.
    """
    error = residual.detach().double().cpu().numpy()
    error = error if error.ndim == 2 else error.mean(0)  # NaN where any channel is
    inside = mask.cpu().numpy().astype(bool)
    known = inside & np.isfinite(error)
    if known.sum() < 50:
        return mask
    error = np.where(known, error, 0) - np.where(known, np.median(error[known]), 0)
    scale = max(1.4826 * float(np.median(np.abs(error[known]))), _LEAST_SCALE)
    sigma_px = _SIGMA_MM / mm_per_px
    share = ndimage.gaussian_filter(known.astype(float), sigma_px)
    smooth = np.abs(ndimage.gaussian_filter(error, sigma_px)) / np.maximum(share, 1e-3) / scale
    labels = np.zeros(inside.shape, np.int32)
    count = ndimage.label(inside & (smooth > UNSURE), output=labels)
    if count == 0:
        return mask
    index = np.arange(1, int(np.asarray(count)) + 1)
    sure = np.asarray(ndimage.maximum(smooth, labels, index)) > SURE
    large = np.asarray(ndimage.sum_labels(inside, labels, index)) * mm_per_px**2 > _SMALLEST_MM2
    foreign = np.concatenate([[False], sure & large])[labels]
    if foreign.sum() > _MOST * inside.sum():
        return mask
    return mask & ~torch.from_numpy(foreign).to(mask.device)
