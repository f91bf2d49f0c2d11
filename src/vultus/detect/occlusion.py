"""What covers skin and has nearly its colour, told by its fine structure: hair, beards, strands, the frames of glasses."""

from __future__ import annotations

import cv2
import numpy as np

from vultus.detect.face_region import WORK_PX, FaceLayout, rows

_THIN_PX = 7  # wider structures are no lines
_GLASSES = (
    0.39  # mean contrast of the clearest line across the bridge of the nose above which it is that of glasses
)
_FRAME = 0.16  # contrast of what belongs to a frame, once there are glasses
_STRAND = 0.42  # contrast of a single strand of hair before skin; a wrinkle has less
_LONG_PX = 14
_GREYER = 0.3  # fall of log(red / blue) from skin to grey hair
_BEARDED = 0.43  # least share of the lower face that is so where there is a beard
_DARK_BEARD = 0.8  # so much darker than the skin (natural logarithm), and a beard is no grey one
_FRINGED = 0.35  # least share of the forehead with streaks where there is a fringe
_SATURATED = 0.6  # contrast beyond which a line is not clearer


def doubt_of_hair(lightness: np.ndarray, samples: np.ndarray, layout: FaceLayout) -> np.ndarray:
    """A factor "h w" for the colour's distance: above the brows, hair as light as the skin is told by its strands.

    It grows with the local spread of lightness, relative to that of the cheeks, from 1 on smooth skin.
    """
    above = np.clip((layout.brow_line - rows()) / (0.05 * WORK_PX), 0, 1)
    return 1 + above * np.clip(_roughness(lightness, samples) - 0.7, 0, 2)


def grey_beard(features: np.ndarray, samples: np.ndarray, layout: FaceLayout) -> np.ndarray:
    """Pixels "h w" of a beard about as light as the skin: greyer than the upper face, and rougher; nothing where few are.

    Skin in shadow is greyer, too, the darker it is the more. So greyness is measured from what the upper face has at the same
    lightness, and what is much darker is left to the colour model, to which dark beards are plain.
    """
    nose = float(layout.xy[layout.sets.samples[2], 1].max())
    face = layout.face()
    upper, lower = face & (rows() < nose) & (rows() > layout.eye_line), layout.lower() & face
    cheeks = samples & (rows() < nose)
    nothing = np.zeros(samples.shape, bool)
    if min(upper.sum(), lower.sum(), cheeks.sum()) < 30:
        return nothing
    lightness, redness = (
        cv2.GaussianBlur(band, (0, 0), 2.5)
        for band in (features[..., 0], features[..., 1] - features[..., 2])
    )
    greyer = _expected(redness[upper], lightness[upper], lightness) - redness
    rough = _roughness(features[..., 0], cheeks)
    grey = lower & (greyer > _GREYER) & (rough > 0)
    if grey.sum() < _BEARDED * lower.sum():
        return nothing
    if np.median(lightness[grey]) < np.median(lightness[cheeks]) - _DARK_BEARD:
        return nothing
    return lower & (greyer > 0.6 * _GREYER) & (rough > -0.3)


def _expected(values: np.ndarray, known_at: np.ndarray, wanted_at: np.ndarray) -> np.ndarray:
    """A robust line through values "n" that rises with "n" places, read at other places "h w" no lower than those."""
    kept = np.ones(len(values), bool)
    slope, offset = 0.0, float(np.median(values))
    for _ in range(4):
        slope, offset = (
            np.polyfit(known_at[kept], values[kept], 1) if np.ptp(known_at[kept]) > 1e-3 else (0.0, offset)
        )
        off = np.abs(values - slope * known_at - offset)
        kept = off < 3 * np.median(off) + 0.02
    slope = float(np.clip(slope, 0, 0.8))
    return slope * np.maximum(wanted_at, known_at.min()) + np.median(values - slope * known_at)


def fringe(lightness: np.ndarray, samples: np.ndarray, layout: FaceLayout) -> np.ndarray:
    """Pixels "h w" of a fringe as light as the skin: streaks that run down the forehead; wrinkles run across. Nothing where few are."""
    across, down = (cv2.Sobel(lightness, cv2.CV_64F, *order, ksize=3) / 8 for order in ((1, 0), (0, 1)))
    across, down = (np.sqrt(cv2.GaussianBlur(slope * slope, (0, 0), 4.0)) + 1e-3 for slope in (across, down))
    cheeks = samples & (rows() > layout.eye_line)
    forehead = layout.face() & (rows() < layout.brow_line - 0.015 * WORK_PX)
    if not (cheeks.any() and forehead.any()):
        return np.zeros(samples.shape, bool)
    streaks = forehead & (np.log(across / np.median(across[cheeks])) > 0.3) & (np.log(across / down) > 0.2)
    return streaks if streaks.sum() > _FRINGED * forehead.sum() else np.zeros_like(streaks)


def _roughness(lightness: np.ndarray, samples: np.ndarray) -> np.ndarray:
    """Logarithm "h w" of the local spread of lightness over that of the samples."""
    detail = lightness - cv2.GaussianBlur(lightness, (0, 0), 3.0)
    spread = np.sqrt(np.maximum(cv2.GaussianBlur(detail * detail, (0, 0), 2.5), 1e-8))
    usual = max(float(np.median(spread[samples])) if samples.any() else 0.0, 0.02)
    return np.log(spread / usual)


def thin_structures(lightness: np.ndarray, layout: FaceLayout) -> np.ndarray:
    """Pixels "h w" of strands of hair on forehead and temples, and of the frame of glasses, if there are any."""
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (_THIN_PX, _THIN_PX))
    image = lightness.astype(np.float32)
    dark = cv2.morphologyEx(image, cv2.MORPH_BLACKHAT, disc)
    light = cv2.morphologyEx(image, cv2.MORPH_TOPHAT, disc)
    strands = _long_parts((dark > _STRAND) & _where_strands_hang(layout))
    line = np.maximum(dark, light)
    frame = np.zeros_like(strands)
    if bridge_contrast(line, layout) > _GLASSES:
        frame = _long_parts((line > _FRAME) & _around_eyes(layout))
    return cv2.dilate((strands | frame).astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)


def bridge_contrast(line: np.ndarray, layout: FaceLayout) -> float:
    """Mean contrast of the clearest line "h w" that runs across the nose between the eyes: the bridge of glasses, if high.

    The best path from left to right that climbs or falls by at most one row per column.
    """
    eyes = layout.eye_centres
    distance = float(np.linalg.norm(eyes[1] - eyes[0]))
    x, y = layout.xy[list(layout.sets.inner_eyes)].mean(0)
    limits = (x - 0.13 * distance, x + 0.13 * distance, y - 0.25 * distance, y + 0.2 * distance)
    left, right, top, bottom = (int(np.clip(v, 0, WORK_PX)) for v in limits)
    strip = np.minimum(line[top:bottom, left:right], _SATURATED)
    if min(strip.shape) < 2:
        return 0.0
    best = strip[:, 0]
    for column in strip.T[1:]:
        padded = np.pad(best, 1, constant_values=-np.inf)
        best = np.maximum(np.maximum(padded[:-2], padded[1:-1]), padded[2:]) + column
    return float(best.max()) / strip.shape[1]


def _around_eyes(layout: FaceLayout) -> np.ndarray:
    """Where a frame sits: from the brows to the middle of the nose, from temple to temple."""
    distance = float(np.linalg.norm(layout.eye_centres[1] - layout.eye_centres[0]))
    offset = rows() - layout.eye_line
    return np.broadcast_to((offset > -0.35 * distance) & (offset < 0.55 * distance), (WORK_PX, WORK_PX))


def _where_strands_hang(layout: FaceLayout) -> np.ndarray:
    """Forehead and sides. Not the middle of the face: what is thin and dark there are brows, lids, nostrils and folds."""
    temple = ~layout.middle() & (rows() > layout.eye_line)
    return temple | np.broadcast_to(rows() < layout.brow_line - 0.02 * WORK_PX, temple.shape)


def _long_parts(mask: np.ndarray) -> np.ndarray:
    """The connected parts of a mask that are longer than a spot."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    long = np.maximum(stats[:, cv2.CC_STAT_WIDTH], stats[:, cv2.CC_STAT_HEIGHT]) >= _LONG_PX
    long[0] = False
    return long[np.asarray(labels, np.int64)]
