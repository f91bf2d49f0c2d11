"""Which pixels show bare facial skin: what shading and colour may be fitted to."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from vultus.detect.crop import crop, window_around
from vultus.detect.face_region import WORK_PX, FaceLayout, landmark_sets, mask_in_photo
from vultus.detect.occlusion import doubt_of_hair, fringe, grey_beard, thin_structures
from vultus.detect.protocol import Landmarks
from vultus.detect.skin_colour import MAX_DISTANCE, colour_distance, lightness_and_chromaticity, skin_samples
from vultus.errors import BadInput

_KIND_TO_LIPS = (
    0.45  # their distance counts this much: lips are redder and darker than skin, lipstick more so
)
# And so does that of cheeks, nose and chin: what is darker there is more often shadow than hair.
_KIND_TO_MIDDLE = 0.65
_MIN_PIXELS = 30  # fewer samples say nothing
_NOBODY = 0.2  # a pixel is of no person when the segmentation says less


def skin_mask(image: Tensor, landmarks: Landmarks, person: Tensor | None = None) -> Tensor:
    """Pixels of facial skin, "h w" bool: no eyes, open mouth, hair, beard, glasses, masks, hands of another colour, microphones.

    The landmarks bound the region; inside it a pixel is skin when its colour fits the face's own: a Gaussian of lightness
    and chromaticity in logarithms of linear light, estimated robustly from the cheeks, nose and forehead of this photo
    (so that it holds for every skin and every light), with the lightness measured against a smooth shading of the face.
    Lips are judged more kindly, because they are of another colour and yet wanted. Hair of the skin's colour, single strands and
    the frames of glasses are told by their fine structure. A hand of the same skin before the face is not told apart: the residual
    of a fit does that (:func:`vultus.fit.skin_outliers.refine_mask`).

    Args:
        image: "3 h w", sRGB in [0, 1].
        landmarks: of any kind; without a detected forehead (iBUG) the mask reaches a little above the brows.
        person: "h w" in [0, 1], :func:`~vultus.detect.segment.person_probability`: what is surely background then falls out
            even where the landmarks reach over it.

    Raises:
        BadInput: landmarks that are not finite, or a person of another size than the image.
    """
    points = landmarks.points_px
    if not bool(torch.isfinite(points).all()):
        raise BadInput("the landmarks hold NaN or infinite coordinates")
    if person is not None and person.shape != image.shape[-2:]:
        raise BadInput(
            f"person has the size {tuple(person.shape)}, the image {tuple(image.shape[-2:])}: segment the same image"
        )
    sets = landmark_sets(landmarks.kind)
    window = window_around(points[sets.face], *points[list(sets.outer_eyes)], scale=1.45)
    seen = crop(image.detach(), window, WORK_PX).permute(1, 2, 0).cpu().numpy()
    layout = FaceLayout(sets, window.from_image(points.detach().cpu(), WORK_PX).numpy())

    region = layout.face()
    if person is not None:
        region &= crop(person.detach()[None], window, WORK_PX)[0].cpu().numpy() > _NOBODY
    samples = layout.samples() & region
    if samples.sum() < _MIN_PIXELS:
        samples = region
    features = lightness_and_chromaticity(seen, samples)
    skin_like = skin_samples(features, samples, layout.eye_line)
    masked = bool((skin_like != samples).any())
    distance = colour_distance(features, skin_like, region)
    samples = _undisturbed(skin_like, distance)
    distance = np.where(layout.lips(), _KIND_TO_LIPS * distance, distance)
    distance = distance * doubt_of_hair(features[..., 0], samples, layout)
    if not masked:
        distance = np.where(layout.middle(), _KIND_TO_MIDDLE * distance, distance)
    covered = grey_beard(features, samples, layout) | fringe(features[..., 0], samples, layout)
    skin = _tidy(region & ~covered, distance) * ~thin_structures(features[..., 0], layout)
    return mask_in_photo(torch.from_numpy(skin), window, image)


def _undisturbed(samples: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """The samples away from what covers the skin, whose edges would make the skin seem rough; all if those are few."""
    clean = cv2.erode((distance < MAX_DISTANCE).astype(np.uint8), np.ones((13, 13), np.uint8)).astype(bool)
    return samples & clean if (samples & clean).sum() > 0.2 * samples.sum() else samples


def _tidy(region: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """Smooth the decision, fill pinholes (nostrils, highlights), drop specks; "h w" float, skin above 0.5."""
    fits = (region & (distance < MAX_DISTANCE)).astype(np.float32)
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
