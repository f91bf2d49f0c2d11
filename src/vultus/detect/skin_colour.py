"""The colour of one face's skin in one photo, and how far every pixel is from it."""

from __future__ import annotations

import cv2
import numpy as np

from vultus.detect.face_region import WORK_PX

MAX_DISTANCE = 3.6  # from the skin's colour, in standard deviations (three channels: 99.5 % of a Gaussian)
# Standard deviations are taken no smaller than this (natural logarithms of linear light): a face is never of one colour.
_MIN_SIGMA = np.array([0.32, 0.05, 0.07])
_MIN_PIXELS = 30  # fewer say nothing about a colour
_DARKEST = 0.005  # added to linear light, so that the noise of dark pixels has no colour
_PALE = 0.4  # share of the skin's log(red / blue) below which something is no skin
_PARTED = 0.85  # share of the samples on the right side of a row that parts two things
_TWO_THINGS = 0.4  # distance of two chromaticities (natural logarithms) that are not one skin


def lightness_and_chromaticity(image: np.ndarray, samples: np.ndarray) -> np.ndarray:
    """sRGB "h w 3" -> log green, log(red / green), log(blue / green), of linear light.

    The exposure is set so that the samples are of one brightness in every photo, whatever the skin and the light.
    """
    smooth = cv2.GaussianBlur(image, (0, 0), 0.8)
    linear = np.where(smooth <= 0.04045, smooth / 12.92, ((smooth + 0.055) / 1.055) ** 2.4).astype(np.float64)
    usual = float(np.median(linear[samples])) if samples.any() else 0.0
    red, green, blue = np.moveaxis(np.log(linear * (0.3 / max(usual, 0.01)) + _DARKEST), -1, 0)
    return np.stack([green, red - green, blue - green], -1)


def skin_samples(features: np.ndarray, samples: np.ndarray, eye_line: float) -> np.ndarray:
    """The samples "h w" that show skin rather than a mask over nose and mouth.

    Where their chromaticities fall into two groups that no skin has both of, one above a row below the eyes and one below it,
    and the lower is the paler one, it is left out: skin reflects more red than green and more green than blue whatever its tone.
    Highlights and shadows lie on all heights and split nothing.
    """
    chromaticity = features[samples][:, 1:]
    if len(chromaticity) < 2 * _MIN_PIXELS:
        return samples
    red_over_blue = chromaticity[:, 0] - chromaticity[:, 1]
    low, high = np.quantile(red_over_blue, (0.1, 0.9))
    centres = np.stack(
        [np.median(chromaticity[end], axis=0) for end in (red_over_blue <= low, red_over_blue >= high)]
    )
    redder = np.ones(len(chromaticity), bool)
    for _ in range(6):
        distance = np.linalg.norm(chromaticity[:, None] - centres, axis=2)
        redder = distance[:, 1] < distance[:, 0]
        if min(redder.sum(), (~redder).sum()) < _MIN_PIXELS:
            return samples
        centres = np.stack([np.median(chromaticity[group], axis=0) for group in (~redder, redder)])
    pale, red = centres[:, 0] - centres[:, 1]
    apart = np.linalg.norm(centres[1] - centres[0]) > _TWO_THINGS and pale < _PALE * red
    if not (apart and _parting_row(np.nonzero(samples)[0], redder) > eye_line):
        return samples
    kept = samples.copy()
    kept[samples] = redder
    return kept


def _parting_row(rows: np.ndarray, upper: np.ndarray) -> float:
    """The row below which nearly none of the upper ones lie, and above which nearly all of them; minus infinity if there is none."""
    order = np.argsort(rows, kind="stable")
    right = np.cumsum(upper[order]) + (~upper).sum() - np.cumsum(~upper[order])
    best = int(right.argmax())
    return float(rows[order[best]]) if right[best] > _PARTED * len(upper) else -np.inf


def colour_distance(features: np.ndarray, samples: np.ndarray, region: np.ndarray) -> np.ndarray:
    """How far each pixel of the region is from this face's skin, in standard deviations; infinite elsewhere; "h w"."""
    distance = np.full(region.shape, np.inf)
    features, trusted = features[region], samples[region]
    sampled = trusted
    if trusted.sum() < _MIN_PIXELS:
        return distance
    rows, columns = np.nonzero(region)
    inside = np.full(len(rows), np.inf)
    for _ in range(3):  # once from the samples, then from all that looks like them
        shading = _smooth_shading(rows / WORK_PX - 0.5, columns / WORK_PX - 0.5, features[:, 0], trusted)
        shaded = np.column_stack([features[:, 0] - shading, features[:, 1:]])
        mean, whitening = _robust_gaussian(shaded[trusted])
        inside = np.linalg.norm((shaded - mean) @ whitening, axis=1)
        trusted = (inside < 2.5) | (sampled & (inside < MAX_DISTANCE))
        if trusted.sum() < _MIN_PIXELS:
            break
    distance[region] = inside
    return distance


def _smooth_shading(y: np.ndarray, x: np.ndarray, lightness: np.ndarray, trusted: np.ndarray) -> np.ndarray:
    """A quadratic in x and y through the trusted pixels' lightness, outliers discounted: light falls smoothly on a face."""
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], -1)
    design, target = terms[trusted], lightness[trusted]
    ridge = np.diag([1e-9, 0.002, 0.002, 0.02, 0.02, 0.02]) * len(target)
    weight = np.ones(len(target))
    coefficients = np.zeros(6)
    for _ in range(4):
        weighted = design * weight[:, None]
        coefficients = np.linalg.solve(weighted.T @ design + ridge, weighted.T @ target)
        residual = target - design @ coefficients
        scale = 1.4826 * np.median(np.abs(residual)) + 0.05
        weight = 1 / (1 + (residual / (2 * scale)) ** 2) ** 2  # Geman-McClure
    return terms @ coefficients


def _robust_gaussian(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and whitening matrix of the samples' bulk: the worst sixth is left out, three times over."""
    mean, whitening = np.median(samples, 0), np.diag(1 / _MIN_SIGMA)
    for _ in range(3):
        distance = np.linalg.norm((samples - mean) @ whitening, axis=1)
        kept = samples[distance <= np.quantile(distance, 0.83)]
        mean = kept.mean(0)
        covariance = np.cov(kept.T) * 1.6  # what trimming a sixth takes from a Gaussian's variance
        whitening = np.linalg.cholesky(np.linalg.inv(covariance + np.diag(_MIN_SIGMA**2)))
    return mean, whitening
