"""From a photo to its faces: boxes, 478 landmarks, masks of skin, head and person; one thin adapter per outside tool."""

from .detector import default_detector, task_detector
from .face_parser import ColourParser, FaceParser, FaceParts, NetworkParser
from .head import head_mask
from .landmark_file import LandmarkFile
from .protocol import DetectedFace, Detector, FaceBox, Landmarks
from .segment import person_probability
from .skin import skin_mask

__all__ = [
    "ColourParser",
    "DetectedFace",
    "Detector",
    "FaceBox",
    "FaceParser",
    "FaceParts",
    "LandmarkFile",
    "Landmarks",
    "NetworkParser",
    "default_detector",
    "head_mask",
    "person_probability",
    "skin_mask",
    "task_detector",
]
