"""Landmarks of your own instead of the built-in detector: any object with ``detect(image)``, or points from a file.

    python examples/02_bring_landmarks.py [PHOTO] [OUT]

The file holds 478 or 468 (MediaPipe's order) or 68 (iBUG) points, x and y in pixels. This example makes one with the built-in detector, as
another program would, and then reconstructs from the file.
"""

import sys
from pathlib import Path

import numpy as np

import vultus
from vultus.detect.detector import default_detector
from vultus.detect.landmark_file import LandmarkFile
from vultus.io.images import read_image

ROOT = Path(__file__).parents[1]
photo = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "src/vultus/assets/astronaut.jpg"
out = Path(sys.argv[2]) if len(sys.argv) > 2 else Path("out")
out.mkdir(parents=True, exist_ok=True)

image, _ = read_image(photo)
points_px = default_detector().detect(image)[0].landmarks.points_px
np.save(out / "landmarks.npy", points_px.numpy())

face = vultus.reconstruct(photo, detector=LandmarkFile(out / "landmarks.npy"))
print("status", face.report.status, "with", len(face.view.landmarks_px), "landmarks of our own")
