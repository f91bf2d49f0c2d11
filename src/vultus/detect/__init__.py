"""From a photo to its faces: boxes, 478 landmarks, skin and person masks; one thin adapter per outside tool."""

from .detector import default_detector, task_detector
from .landmark_file import LandmarkFile
from .protocol import DetectedFace, Detector, FaceBox, Landmarks
from .segment import person_probability
from .skin import skin_mask

__all__ = [
    "DetectedFace",
    "Detector",
    "FaceBox",
    "LandmarkFile",
    "Landmarks",
    "default_detector",
    "person_probability",
    "skin_mask",
    "task_detector",
]
