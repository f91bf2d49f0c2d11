"""Where a photo shows the outline of the face: cheeks, jaw and chin, as far as one may believe it.

A mask's border is no face outline everywhere: hair and hands cut into it, the neck has the skin's colour, and what the landmarks
bound follows them and says nothing new. So the outline is looked for in the picture itself, along normals of the landmarks' outline,
and judged: on its inner side must be skin of the mask, on it an edge, and it may not stray far from where the landmarks expect it.
The forehead's border, the hair line, never counts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..geometry.view import View
from .outline_profiles import (
    BAND_MM,
    STEP_MM,
    UNIT,
    band_mean,
    best_path,
    colour_steps,
    profiles,
    running_median,
    smooth_curve,
)

# fmt: off
_ARC_478 = [127, 234, 93, 132, 58, 172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397, 288, 361, 323, 454, 356]
# fmt: on
_MESHES = ("mediapipe478", "mediapipe468", "surface468")
_ARCS = {"ibug68": list(range(17))} | dict.fromkeys(_MESHES, _ARC_478)
_OUTER_EYES = {"ibug68": (36, 45)} | dict.fromkeys(_MESHES, (33, 263))
_OUTER_EYES_MM, _EYES_TO_CHIN_MM = 89.0, 110.0  # of an adult, to tell the scale before the head is posed

_SPACING_MM = 1.5  # between outline points
_SEARCH_MM = (-9.0, 13.0)  # along each normal, from inside to outside
_REFERENCE_MM = (-16.0, -9.0)  # the skin that the inner side is compared with
_STRAY_MM = 5.0  # standard deviation of the outline about that of the landmarks
_STILL_SKIN = 1.5  # cost of an edge with skin of the mask on its outer side: a wrinkle, a shadow
_BACKGROUND = 3.0  # gain of an edge with the background behind it
_BEND = 1.0  # cost of a step of 1 mm between neighbours
_FALL_OFF = np.array(
    [0.5, 0.11, 0.13]
)  # what lightness and chromaticity vary by between the rim and a centimetre inside of it
_CLEAR_EDGE = 2.0  # colour difference in units above which an edge is clear
_SIDEWAYS = 0.75  # cosine between an outline's normal and the way down, below which hair may hang there
_NECK = 0.6  # belief where it is not the background that lies beyond: shadows on the neck have edges too
_LONE_LINE = 0.1  # belief in a line across what seems one skin: a wrinkle, the side of the nose
_EAR_SHARE = 0.18  # of the landmarks' arc lies beside an ear, on either side
_BELOW_EAR_MM = 20.0  # what is looked at below an ear to know the outline's way
_HAIR_DARKER = 0.9  # so much darker (natural logarithm) than the skin beside it: perhaps hair before the face


@dataclass(frozen=True)
class Outline:
    """Points on the outline of a face in a photo.

    Attributes:
        points_px: "n 2", in order along the outline, from the subject's right temple over the chin to the left one.
        normals: "n 2" unit, pointing away from the face.
        weight: "n" in [0, 1], how far each is believed.
        one_sided: "n" bool, where the face reaches at least to here, but may go on behind hair.
        mm_per_px: millimetres at the face's distance per pixel.
    """

    points_px: Tensor
    normals: Tensor
    weight: Tensor
    one_sided: Tensor
    mm_per_px: float


def outline_of_mask(view: View, person: Tensor | None = None) -> Outline:
    """Find the believable outline of the face of a view.

    Along each normal of the landmarks' outline stands a profile of colours. A dynamic programme draws one smooth line through all
    profiles that follows the strongest steps from skin to something else (Amini, Weymouth and Jain, "Using dynamic programming for
    solving variational problems in vision", PAMI 1990). A point's weight says how clear the step is and how surely skin of the
    mask lies inside of it.

    Args:
        view: posed or not.
        person: "h w" in [0, 1], :func:`vultus.detect.person_probability`; with it background is told from hair, and a light background
            needs no guess. What is dark counts as hair without it.

    Returns:
        the outline, empty for landmarks without one (fewer than the scheme's, not finite).
    """
    mm_per_px = _mm_per_px(view)
    arc = view.landmarks_px[_ARCS[view.landmark_scheme]].double().cpu().numpy()
    if not np.isfinite(arc).all() or np.ptp(arc, axis=0).max() * mm_per_px < 20:
        empty = torch.zeros(0, 2)
        return Outline(empty, empty, torch.zeros(0), torch.zeros(0, dtype=torch.bool), mm_per_px)
    points, normals = smooth_curve(arc, _SPACING_MM / mm_per_px)
    offsets = np.arange(_REFERENCE_MM[0], _SEARCH_MM[1] + 5.01, STEP_MM)
    colour, skin, behind = profiles(view, person, points, normals, offsets / mm_per_px, mm_per_px)
    step, inner = colour_steps(colour, offsets)
    reference = np.median(colour[:, _between(offsets, *_REFERENCE_MM)], axis=1)
    foreign = np.linalg.norm((inner - reference[:, None]) / _FALL_OFF, axis=2)
    still_skin = band_mean(skin, 1, 5)
    cost = (
        np.clip(foreign - 1.5, 0, 3)
        + 0.5 * (offsets / _STRAY_MM) ** 2
        - _ridge(step)
        + _STILL_SKIN * still_skin
    )
    if behind is not None:
        cost -= _BACKGROUND * np.clip(band_mean(behind, 0, 4) - band_mean(behind, -4, 0), 0, 1)
    searched = _between(offsets, *_SEARCH_MM)
    chosen = np.flatnonzero(searched)[best_path(cost[:, searched], _BEND * STEP_MM**2)]

    at = np.arange(len(points)), chosen
    shift = offsets[chosen]
    found = points + normals * (shift / mm_per_px)[:, None]
    sideways = np.abs(normals @ _upright(arc)) < _SIDEWAYS
    beyond = np.stack([band_mean(colour[..., i], 1, 5)[at] for i in range(3)], 1)
    background = np.zeros(len(points)) if behind is None else band_mean(behind, 1, 5)[at]
    weight = np.clip(step[at] / _CLEAR_EDGE - 0.5, 0, 1) * np.clip(2 - foreign[at] / 1.5, 0, 1)
    weight *= _skin_inside(skin, offsets, shift) * (1 - still_skin[at])
    weight *= np.exp(-0.5 * ((shift - running_median(shift, 9)) / 1.5) ** 2)
    weight *= np.clip((_SEARCH_MM[1] - shift) / 2, 0, 1) * np.clip((shift - _SEARCH_MM[0]) / 2, 0, 1)
    weight *= _not_the_ear(points, arc, shift, mm_per_px) * _inside_photo(found, view, BAND_MM / mm_per_px)
    weight *= _NECK + (1 - _NECK) * np.clip(background, 0, 1) if behind is not None else 1.0
    # Beside a cheek is no neck: what looks like its skin is its skin.
    goes_on = np.linalg.norm((beyond - reference) / _FALL_OFF, axis=1) < 2
    weight *= np.where(sideways & goes_on & (background < 0.5), _LONE_LINE, 1.0)
    one_sided = sideways & _like_hair(inner[at], beyond) & (background < 0.5)
    return Outline(
        torch.from_numpy(found).float(),
        torch.from_numpy(normals).float(),
        torch.from_numpy(weight).float(),
        torch.from_numpy(one_sided),
        mm_per_px,
    )


def _mm_per_px(view: View) -> float:
    """Millimetres per pixel at the head, from its pose, or from the landmarks where there is none yet."""
    depth_mm = float(view.camera.T_camera_head[2, 3])
    if depth_mm > 1:
        return depth_mm / float(view.camera.focal_px)
    eyes = view.landmarks_px[list(_OUTER_EYES[view.landmark_scheme])].double()
    arc = view.landmarks_px[_ARCS[view.landmark_scheme]].double()
    chin = arc[len(arc) // 2]
    across, down = float((eyes[0] - eyes[1]).norm()), float((eyes.mean(0) - chin).norm())
    return 1 / max(across / _OUTER_EYES_MM, down / _EYES_TO_CHIN_MM, 1e-6)


def _ridge(step: np.ndarray) -> np.ndarray:
    """How much an edge attracts the line: as clear as it is, saturated, where it is the clearest of its surroundings."""
    half = round(BAND_MM / STEP_MM)
    padded = np.pad(step, ((0, 0), (half, half)), mode="edge")
    highest = np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1, axis=1).max(-1)
    return np.minimum(step, 2 * _CLEAR_EDGE) * (step / np.maximum(highest, 1e-6)) ** 2


def _skin_inside(skin: np.ndarray, offsets: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Share "n" of the millimetres inside of the outline, as far as the mask can reach, that are skin."""
    relevant = (offsets < np.minimum(shift, 0)[:, None] - 1) & (offsets > np.minimum(shift, 0)[:, None] - 7)
    share = (skin * relevant).sum(1) / np.maximum(relevant.sum(1), 1)
    return np.clip(2 * share - 0.7, 0, 1)


def _like_hair(inner: np.ndarray, beyond: np.ndarray) -> np.ndarray:
    """Whether the colour "n 3" beyond the outline, much darker than inside of it or of another tint, may be hair before the face: "n"."""
    darker = inner[:, 0] - beyond[:, 0] > _HAIR_DARKER
    return darker | (np.abs(inner - beyond)[:, 1:] > 3 * UNIT[1:]).any(1)


def _inside_photo(points: np.ndarray, view: View, margin_px: float) -> np.ndarray:
    inside = (points > margin_px) & (points < np.array(view.camera.size_px) - margin_px)
    return np.all(inside, axis=1)


def _not_the_ear(points: np.ndarray, arc: np.ndarray, shift: np.ndarray, mm_per_px: float) -> np.ndarray:
    """Doubt "n" where the outline, on the height of an ear, leaves the way that it had below: it went round the ear."""
    trust = np.ones(len(shift))
    count = round(_BELOW_EAR_MM / _SPACING_MM)
    for order in (slice(None), slice(None, None, -1)):
        lobe = arc[order][round(_EAR_SHARE * len(arc))]
        end = int(np.linalg.norm(points[order] - lobe, axis=1)[: len(points) // 3].argmin())
        usual = np.median(shift[order][end : end + count])
        trust[order][:end] = np.clip(1 - (shift[order][:end] - usual - 1) / 2, 0, 1)
    return trust


def _upright(arc: np.ndarray) -> np.ndarray:
    """The unit direction "2" from the ears to the chin in the image."""
    down = arc[len(arc) // 2] - (arc[0] + arc[-1]) / 2
    return down / max(float(np.linalg.norm(down)), 1e-6)


def _between(values: np.ndarray, low: float, high: float) -> np.ndarray:
    return (values >= low) & (values <= high)
