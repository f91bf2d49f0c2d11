"""Which pixels show the head, and so where it ends against the background."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from vultus.detect.crop import crop, window_around
from vultus.detect.face_region import WORK_PX, landmark_sets, mask_in_photo, polygon
from vultus.detect.protocol import Landmarks
from vultus.detect.segment import person_probability
from vultus.errors import BadInput

_WINDOW = 2.4  # of the face's extent: room for hair
_ABOVE, _BESIDE = (
    0.75,
    0.4,
)  # how far a head with its hair may reach above and beside the face, in face heights


def head_mask(image: Tensor, landmarks: Landmarks, person: Tensor | None = None) -> Tensor:
    """Pixels of the head, "h w" bool: face, ears and hair, above the jaw line; no neck, no shoulders, no hair beside the neck.

    Where this mask ends towards the background the photo shows a silhouette. It may be that of hair: which stretches are the face's
    own, :mod:`vultus.fit.outline` judges.

    Args:
        image: "3 h w" sRGB. landmarks: of any kind.
        person: "h w", :func:`~vultus.detect.segment.person_probability` if it is known already.

    Raises:
        BadInput: landmarks that are not finite.
    """
    points = landmarks.points_px
    if not bool(torch.isfinite(points).all()):
        raise BadInput("the landmarks hold NaN or infinite coordinates")
    person = person_probability(image, landmarks) if person is None else person
    sets = landmark_sets(landmarks.kind)
    window = window_around(points[sets.face], *points[list(sets.outer_eyes)], scale=_WINDOW)
    xy = window.from_image(points.detach().cpu(), WORK_PX).numpy()
    inside = crop(person.detach()[None].float(), window, WORK_PX)[0].cpu().numpy()
    allowed = _above_the_jaw(xy[sets.jaw], float(np.ptp(xy[sets.face, 1])))
    head = _part_around(((inside > 0.5) & allowed).astype(np.uint8), xy[sets.face].mean(0))
    return mask_in_photo(torch.from_numpy(np.where(head, inside, 0).astype(np.float32)), window, image)


def _above_the_jaw(jaw: np.ndarray, height: float) -> np.ndarray:
    """Pixels of the work image above the jaw, and beside and above the ears as far as hair reaches."""
    right, left = jaw[0], jaw[-1]
    beside, above = _BESIDE * height, _ABOVE * height
    top = min(right[1], left[1]) - above
    corners = [
        (left[0] + beside, left[1]),
        (left[0] + beside, top),
        (right[0] - beside, top),
        (right[0] - beside, right[1]),
    ]
    return polygon(np.concatenate([jaw, corners]))


def _part_around(mask: np.ndarray, point: np.ndarray) -> np.ndarray:
    """The connected part of a mask that holds a point, else its largest part."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
    x, y = np.clip(point, 0, WORK_PX - 1).astype(int)
    chosen = int(labels[y, x])
    if chosen == 0 and len(stats) > 1:
        chosen = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    return (labels == chosen) & (mask > 0)
