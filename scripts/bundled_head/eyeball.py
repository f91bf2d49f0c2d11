"""The eyeball: a sphere with a cornea, the same size for everybody.

Adult eyes differ by a few per cent only (axial length 23-24.5 mm; Bekerman, Gottlieb and Vaiman, "Variations in eyeball diameters of the
healthy adults", J. Ophthalmol. 2014), so identity moves them and leaves their size.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

SCLERA_MM = 12.1
CORNEA_MM = 7.8  # radius of curvature
APEX_MM = 13.0  # the front of the cornea from the sclera's centre
FLATTEN_MM = (
    2.4  # how far a closing eye's front sinks: lids move along chords, half closed they would cut a round eye
)
LIMBUS_MM = 0.15  # how softly one goes over into the other
GAZE_DEG = {  # the left eye's turn at full weight: degrees about x (down) and about y (to the left)
    "eyeLookDownLeft": (20, 0),
    "eyeLookUpLeft": (-16, 0),
    "eyeLookOutLeft": (0, 25),
    "eyeLookInLeft": (0, -25),
}


def eyeball_radius(rays: np.ndarray) -> np.ndarray:
    """Distance (n,) of the surface from the sclera's centre along unit vectors (n, 3) of an eye that looks along +z."""
    before = APEX_MM - CORNEA_MM
    cornea = before * rays[:, 2] + np.sqrt(np.maximum(CORNEA_MM**2 - before**2 * (1 - rays[:, 2] ** 2), 0))
    # A soft maximum: the limbus is a groove, not an edge.
    return SCLERA_MM + LIMBUS_MM * np.logaddexp(0, (cornea - SCLERA_MM) / LIMBUS_MM)


def shape_eyeball(ball: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """The vertices (n, 3) of an eyeball, each moved along its ray from its own middle onto the anatomical shape about ``centre`` (3,)."""
    rays = ball - (ball.min(0) + ball.max(0)) / 2
    rays = rays / np.linalg.norm(rays, axis=1, keepdims=True)
    return centre + eyeball_radius(rays)[:, None] * rays


def flattened(arm: np.ndarray) -> np.ndarray:
    """An eyeball behind closed lids: points (n, 3) about its centre, the front half pressed back towards the equator."""
    depth = np.maximum(arm[:, 2], 0)
    return arm - FLATTEN_MM * (depth / APEX_MM)[:, None] * [0, 0, 1]


def gaze(name: str, weight: float = 1.0) -> Rotation:
    """How an expression unit turns the left eye; most do not."""
    about_x, about_y = GAZE_DEG.get(name, (0, 0))
    return Rotation.from_rotvec(np.radians([weight * about_x, weight * about_y, 0]))
