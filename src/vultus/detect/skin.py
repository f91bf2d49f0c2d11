"""Which pixels show bare facial skin: what shading and colour may be fitted to."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vultus.detect.crop import Window, crop, window_around
from vultus.detect.protocol import Landmarks
from vultus.errors import BadInput

_WORK_PX = 192  # the face is judged at this size, about 1 mm a pixel: pores do not matter, eyelids do
_FOREHEAD = 0.22  # how far above the outline's top the forehead may reach, in outline heights
_MAX_DISTANCE = 3.6  # from the skin's colour, in standard deviations (three channels: 99.5 % of a Gaussian)
# Standard deviations are taken no smaller than this (natural logarithms of linear light): a face is never of one colour.
_MIN_SIGMA = np.array([0.32, 0.05, 0.07])
_KIND_TO_LIPS = (
    0.45  # their distance counts this much: lips are redder and darker than skin, lipstick more so
)
_KIND_TO_MIDDLE = (
    0.65  # and so does that of cheeks, nose and chin: what is darker there is more often shadow than hair
)
_MIN_PIXELS = 30  # fewer say nothing about a colour
_DARKEST = 0.005  # added to linear light, so that the noise of dark pixels has no colour


@dataclass(frozen=True)
class _Outline:
    """Landmarks that bound regions, in order around each."""

    face: list[int]
    top: list[int]  # those of ``face`` that move up to include the forehead
    eyes: tuple[list[int], list[int]]
    lips: list[int]
    inner_mouth: list[int]
    samples: tuple[list[int], ...]  # convex hulls of these are skin in nearly every photo
    outer_eyes: tuple[int, int]


# fmt: off
_MEDIAPIPE = _Outline(
    face=[
        10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152,
        148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
    ],
    top=[251, 284, 332, 297, 338, 10, 109, 67, 103, 54, 21],
    eyes=(
        [33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246],
        [263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466],
    ),
    lips=[61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185],
    inner_mouth=[78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191],
    samples=(
        [117, 118, 101, 36, 205, 50], [346, 347, 330, 266, 425, 280],
        [6, 122, 351, 198, 420, 4], [9, 107, 336, 69, 299, 151],
    ),
    outer_eyes=(33, 263),
)
# fmt: on
_IBUG = _Outline(
    face=[*range(17), *range(26, 16, -1)],
    top=[*range(17, 27)],
    eyes=([36, 37, 38, 39, 40, 41], [42, 43, 44, 45, 46, 47]),
    lips=[*range(48, 60)],
    inner_mouth=[*range(60, 68)],
    samples=([40, 41, 2, 31], [46, 47, 14, 35], [27, 31, 35, 30]),
    outer_eyes=(36, 45),
)


def skin_mask(image: Tensor, landmarks: Landmarks) -> Tensor:
    """Pixels of facial skin, "h w" bool: no eyes, open mouth, hair, beard, glasses, hands of another colour, microphones.

    The landmarks bound the region; inside it a pixel is skin when its colour fits the face's own: a Gaussian of lightness
    and chromaticity in logarithms of linear light, estimated robustly from the cheeks, nose and forehead of this photo
    (so that it holds for every skin and every light), with the lightness measured against a smooth shading of the face.
    Lips are judged more kindly, because they are of another colour and yet wanted.

    Args:
        image: "3 h w", sRGB in [0, 1].
        landmarks: of any kind; without a detected forehead (iBUG) the mask reaches a little above the brows.
    """
    outline = _IBUG if landmarks.kind == "ibug68" else _MEDIAPIPE
    points = landmarks.points_px
    if not bool(torch.isfinite(points).all()):
        raise BadInput("the landmarks hold NaN or infinite coordinates")
    window = window_around(points[outline.face], *points[list(outline.outer_eyes)], scale=1.45)
    seen = crop(image.detach(), window, _WORK_PX).permute(1, 2, 0).cpu().numpy()
    xy = window.from_image(points.detach().cpu(), _WORK_PX).numpy()

    region = _face_region(outline, xy)
    samples = _sample_pixels(outline, xy) & region
    if samples.sum() < _MIN_PIXELS:
        samples = region
    features = _lightness_and_chromaticity(seen, samples)
    distance = _colour_distance(features, samples, region)
    distance = np.where(_polygon(xy[outline.lips]), _KIND_TO_LIPS * distance, distance)
    distance = distance * _doubt_of_hair(features[..., 0], samples, outline, xy)
    distance = np.where(_middle(outline, xy), _KIND_TO_MIDDLE * distance, distance)
    skin = _tidy(region, distance)
    return _to_image(torch.from_numpy(skin), window, image)


def _face_region(outline: _Outline, xy: np.ndarray) -> np.ndarray:
    """The outline with a forehead, without eyes and open mouth."""
    raised = xy.copy()
    ys = xy[outline.face, 1]
    raised[outline.top, 1] -= _FOREHEAD * (ys.max() - ys.min()) * _arch(xy[outline.top, 0])
    region = _polygon(raised[outline.face])
    for hole in (*outline.eyes, outline.inner_mouth):
        region &= ~_polygon(xy[hole])
    return region


def _middle(outline: _Outline, xy: np.ndarray) -> np.ndarray:
    """The face from the eyes down, away from its outline."""
    centre = xy[outline.face].mean(0)
    inner = _polygon(centre + 0.82 * (xy[outline.face] - centre))
    eye_line = xy[list(outline.outer_eyes), 1].mean()
    return inner & (np.arange(_WORK_PX)[:, None] > eye_line)


def _arch(x: np.ndarray) -> np.ndarray:
    """1 in the middle of the given range, 0 at its ends."""
    relative = (x - x.min()) / max(float(np.ptp(x)), 1e-6) * 2 - 1
    return np.sqrt(np.clip(1 - relative**2, 0, 1))


def _sample_pixels(outline: _Outline, xy: np.ndarray) -> np.ndarray:
    hulls = [cv2.convexHull(xy[points].astype(np.float32))[:, 0] for points in outline.samples]
    return np.logical_or.reduce([_polygon(hull) for hull in hulls])


def _polygon(xy: np.ndarray) -> np.ndarray:
    """Pixels of the work image inside a polygon, with sixteenths of a pixel; cv2 counts from pixel centres."""
    canvas = np.zeros((_WORK_PX, _WORK_PX), np.uint8)
    corners = np.rint((np.clip(xy, -_WORK_PX, 2 * _WORK_PX) - 0.5) * 16).astype(np.int32)
    return cv2.fillPoly(canvas, [corners], 1, shift=4).astype(bool)


def _lightness_and_chromaticity(image: np.ndarray, samples: np.ndarray) -> np.ndarray:
    """sRGB "h w 3" -> log green, log(red / green), log(blue / green), of linear light.

    The exposure is set so that the samples are of one brightness in every photo, whatever the skin and the light.
    """
    smooth = cv2.GaussianBlur(image, (0, 0), 0.8)
    linear = np.where(smooth <= 0.04045, smooth / 12.92, ((smooth + 0.055) / 1.055) ** 2.4).astype(np.float64)
    usual = float(np.median(linear[samples])) if samples.any() else 0.0
    red, green, blue = np.moveaxis(np.log(linear * (0.3 / max(usual, 0.01)) + _DARKEST), -1, 0)
    return np.stack([green, red - green, blue - green], -1)


def _colour_distance(features: np.ndarray, samples: np.ndarray, region: np.ndarray) -> np.ndarray:
    """How far each pixel of the region is from this face's skin, in standard deviations; infinite elsewhere; "h w"."""
    distance = np.full(region.shape, np.inf)
    features, trusted = features[region], samples[region]
    sampled = trusted
    if trusted.sum() < _MIN_PIXELS:
        return distance
    rows, columns = np.nonzero(region)
    inside = np.full(len(rows), np.inf)
    for _ in range(3):  # once from the samples, then from all that looks like them
        shading = _smooth_shading(rows / _WORK_PX - 0.5, columns / _WORK_PX - 0.5, features[:, 0], trusted)
        shaded = np.column_stack([features[:, 0] - shading, features[:, 1:]])
        mean, whitening = _robust_gaussian(shaded[trusted])
        inside = np.linalg.norm((shaded - mean) @ whitening, axis=1)
        trusted = (inside < 2.5) | (sampled & (inside < _MAX_DISTANCE))
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


def _doubt_of_hair(
    lightness: np.ndarray, samples: np.ndarray, outline: _Outline, xy: np.ndarray
) -> np.ndarray:
    """A factor "h w" for the distance: above the brows, hair as light as the skin is told by its strands.

    It grows with the local spread of lightness, relative to that of the cheeks, from 1 on smooth skin.
    """
    detail = lightness - cv2.GaussianBlur(lightness, (0, 0), 3.0)
    spread = np.sqrt(np.maximum(cv2.GaussianBlur(detail * detail, (0, 0), 2.5), 1e-8))
    usual = max(float(np.median(spread[samples])) if samples.any() else 0.0, 0.02)
    brow = float(xy[list(outline.outer_eyes), 1].mean() * 1.5 - xy[outline.samples[2], 1].mean() * 0.5)
    above = np.clip((brow - np.arange(_WORK_PX)[:, None]) / (0.05 * _WORK_PX), 0, 1)
    return 1 + above * np.clip(np.log(spread / usual) - 0.7, 0, 2)


def _tidy(region: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """Smooth the decision, fill pinholes (nostrils, highlights), drop specks; "h w" float, skin above 0.5."""
    fits = (region & (distance < _MAX_DISTANCE)).astype(np.float32)
    share = cv2.GaussianBlur(fits, (0, 0), 1.2) / np.maximum(
        cv2.GaussianBlur(region.astype(np.float32), (0, 0), 1.2), 1e-3
    )
    skin = (region & (share > 0.5)).astype(np.uint8)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (4, 4))
    skin = cv2.morphologyEx(skin, cv2.MORPH_OPEN, disc)
    skin = 1 - _without_small_parts(1 - skin, 40)
    skin = _without_small_parts(skin, max(300, int(0.15 * skin.sum())))
    return (skin.astype(bool) & region).astype(np.float32)


def _without_small_parts(mask: np.ndarray, min_px: int) -> np.ndarray:
    """A uint8 mask without its connected parts of fewer pixels."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
    small = np.array([k for k in range(1, count) if stats[k, cv2.CC_STAT_AREA] < min_px])
    return np.where(np.isin(labels, small), np.uint8(0), mask) if len(small) else mask


def _to_image(skin: Tensor, window: Window, image: Tensor) -> Tensor:
    """The work mask seen from the photo, "h w" bool."""
    height, width = image.shape[-2:]
    reach = 0.71 * window.side_px
    (left, right), (top, bottom) = (
        (max(0, int(c - reach)), min(side, int(c + reach) + 1))
        for c, side in zip(window.centre_px, (width, height))
    )
    mask = torch.zeros(height, width, dtype=torch.bool)
    if right > left and bottom > top:
        rows, columns = torch.arange(top, bottom) + 0.5, torch.arange(left, right) + 0.5
        position = torch.stack(torch.meshgrid(rows, columns, indexing="ij")[::-1], -1)
        grid = window.from_image(position, 1) * 2 - 1
        mask[top:bottom, left:right] = (
            F.grid_sample(skin[None, None], grid[None], align_corners=False)[0, 0] > 0.5
        )
    return mask.to(image.device)
