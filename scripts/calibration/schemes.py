"""Which of MediaPipe's 478 points are the iBUG-68 and AFLW-21 landmarks."""

import numpy as np


# AFLW: brows (left, centre, right of each), eyes (corner, centre, corner), ears, nose (left, centre, right), mouth, chin.
AFLW21_FROM_478 = np.array([
    70, 105, 107, 336, 334, 300, 33, 468, 133, 362, 473, 263, 234, 64, 4, 294, 454, 61, 13, 291, 152,
])  # fmt: skip

LIDS_AND_LIPS = np.array([
    33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246,
    263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466,
    61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185,
    78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191,
])  # fmt: skip
