"""Which of MediaPipe's 478 points are the iBUG-68 and AFLW-21 landmarks."""

import numpy as np

# The correspondence in common use, checked on renderings: jaw 0-16, brows 17-26, nose 27-35, eyes 36-47, lips 48-67.
IBUG68_FROM_478 = np.array([
    127, 234, 93, 132, 58, 136, 150, 176, 152, 400, 379, 365, 288, 361, 323, 454, 356,
    70, 63, 105, 66, 107, 336, 296, 334, 293, 300,
    168, 197, 5, 4, 75, 97, 2, 326, 305,
    33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,
    61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181,
    78, 82, 13, 312, 308, 317, 14, 87,
])  # fmt: skip

# AFLW: brows (left, centre, right of each), eyes (corner, centre, corner), ears, nose (left, centre, right), mouth, chin.
AFLW21_FROM_478 = np.array([
    70, 105, 107, 336, 334, 300, 33, 468, 133, 362, 473, 263, 234, 64, 4, 294, 454, 61, 13, 291, 152,
])  # fmt: skip
