"""One training sample: a picture of one face with the whole truth behind it, small enough to store a hundred thousand of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Sample:
    """What a data maker writes and training reads; dense maps are made from it when they are needed (:mod:`.sample_maps`).

    Shape is said by the head's vertices in the head frame, because that is what holds for every maker: fitted, turned out of plane, drawn.

    Attributes:
        key: unique within a set. source: which maker and which terms, a key of the manifest. person: whom it shows, "" unknown.
        image: (h, w, 3) uint8 sRGB.
        mask: (h, w) uint8, 255 where the skin of the face is seen (not covered by hair, hands, glasses).
        vertices_mm: (v, 3) float32, the bundled model's vertices as in the picture, head frame: code and deformation applied.
        focal_px, principal_px (2,), T_camera_head (4, 4): the camera, as :class:`~vultus.geometry.camera.Camera` has it.
        landmarks_px: (68, 3) float32, iBUG's points: x, y in pixels and depth in mm.
        code: name -> coefficients: identity, expression, albedo, where the maker knows them.
        maps: name -> map over the face chart, where the maker knows them: deformation_mm (3, m, m), displacement_mm (s, s), albedo (3, s, s).
        light: (3, 9) spherical harmonics, or None.
    """

    key: str
    source: str
    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    vertices_mm: NDArray[np.float32]
    focal_px: float
    principal_px: NDArray[np.float32]
    T_camera_head: NDArray[np.float32]
    landmarks_px: NDArray[np.float32]
    person: str = ""
    code: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    maps: Mapping[str, NDArray[np.floating]] = field(default_factory=dict)
    light: NDArray[np.float32] | None = None
