"""Landmark tables: where on a morphable model's surface a detector really puts each of its points."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

SURFACE_SCHEME = "surface468"
"""MediaPipe's first 468 points as points of the skin: they do not slide as the head turns. What position maps give."""
SURFACE_SPREAD_MM = 3.0
"""How far such points err, each as if alone. They err together, so that 468 of them are worth a few dozen; 3 and 4 did alike on drawn heads, 6 and 12 less well (docs/align.md)."""


@dataclass(frozen=True)
class LandmarkTable:
    """Surface positions of one landmark scheme, per pose bin.

    A detector's points slide over the surface as the head turns (the jaw contour most of all), so the position
    is calibrated on a grid of poses and interpolated between them: a mixture of surface points, hence still linear in the vertices.

    Attributes:
        name: ``mediapipe478``, ``ibug68`` or ``aflw21``.
        yaw_deg: "y" ascending bin centres. pitch_deg: "p" ascending bin centres.
        triangle_ids: "y p l" int64, index into the model's triangles.
        barycentric: "y p l 3" weights, non-negative, sum one.
        spread_mm: "y p l" root mean square distance, per axis, between the table's position and where the detector put the point,
            over people and expressions, beyond what ``error_modes_mm`` explains; large means "trust it less".
        error_modes_mm: "y m l 2" how the detector errs *together* (a whole jaw line too wide, both brows too high): principal
            components of its error in the image plane (x right, y down, head upright), per unit of a standard normal. None: not calibrated.
        edges: "l" bool, points on the rims of lids and lips, which a detector sees sharply and places one by one. None: none.
        offset_mm: "y p l 3" head frame: how far from the surface point the detector puts the landmark on photos of average people.
            None: nowhere measured.
        response_mm: "k l 3" head frame: how far the *detection* moves per sigma of each identity mode. Networks draw faces towards
            the mean, so it moves less than the surface does (docs/model.md). None: as far as the surface.
    """

    name: str
    yaw_deg: Tensor
    pitch_deg: Tensor
    triangle_ids: Tensor
    barycentric: Tensor
    spread_mm: Tensor
    error_modes_mm: Tensor | None = None
    edges: Tensor | None = None
    offset_mm: Tensor | None = None
    response_mm: Tensor | None = None

    @property
    def num_landmarks(self) -> int:
        """How many points the scheme has."""
        return self.triangle_ids.shape[-1]

    def exact(self) -> LandmarkTable:
        """The same places for points that lie on the surface themselves: no detector, hence no bias, no error, full response."""
        return replace(
            self,
            spread_mm=torch.zeros_like(self.spread_mm),
            error_modes_mm=None,
            edges=None,
            offset_mm=None,
            response_mm=None,
        )

    def on_surface(self, spread_mm: float = SURFACE_SPREAD_MM) -> LandmarkTable:
        """The points of a frontal face as points of the skin, at every pose, each as uncertain as the other."""
        yaw, pitch = (int(centres.abs().argmin()) for centres in (self.yaw_deg, self.pitch_deg))
        frontal = (slice(yaw, yaw + 1), slice(pitch, pitch + 1))
        return replace(
            self.exact(),
            name=SURFACE_SCHEME,
            yaw_deg=self.yaw_deg.new_zeros(1),
            pitch_deg=self.pitch_deg.new_zeros(1),
            triangle_ids=self.triangle_ids[frontal],
            barycentric=self.barycentric[frontal],
            spread_mm=torch.full_like(self.spread_mm[frontal], spread_mm),
        )

    def bin_weight(self, yaw_deg: Tensor, pitch_deg: Tensor) -> Tensor:
        """Bilinear weights "... y p" of the pose bins at angles "..." (clamped to the calibrated range)."""
        return _hat(yaw_deg, self.yaw_deg)[..., :, None] * _hat(pitch_deg, self.pitch_deg)[..., None, :]

    def vertex_weight(self, triangles: Tensor, yaw_deg: Tensor, pitch_deg: Tensor) -> tuple[Tensor, Tensor]:
        """Vertices that make up each landmark at one pose: ids "l m" and weights "l m" (rows sum to one).

        ``m`` is three times the number of pose bins that take part (at most four).
        """
        bins = self.bin_weight(yaw_deg, pitch_deg).flatten()
        active = bins.nonzero().squeeze(-1)
        triangle_ids = self.triangle_ids.flatten(0, 1)[active]
        weight = self.barycentric.flatten(0, 1)[active] * bins[active][:, None, None]
        ids = triangles[triangle_ids].permute(1, 0, 2).flatten(1)
        return ids, weight.permute(1, 0, 2).flatten(1)

    def spread_at(self, yaw_deg: Tensor, pitch_deg: Tensor) -> Tensor:
        """Expected detector error "l" in millimetres at one pose."""
        return (self.bin_weight(yaw_deg, pitch_deg)[..., None] * self.spread_mm).sum((0, 1))

    def points(self, vertices: Tensor, triangles: Tensor, yaw_deg: Tensor, pitch_deg: Tensor) -> Tensor:
        """Landmarks "... l 3" of vertices "... v 3" for a head seen at this pose."""
        ids, weight = self.vertex_weight(triangles, yaw_deg, pitch_deg)
        return (vertices[..., ids, :] * weight[..., None]).sum(-2)


def table_of(tables: Mapping[str, LandmarkTable], scheme: str) -> LandmarkTable | None:
    """The table of a scheme among a model's; schemes that are parts or forms of another have that one's. None: the model does not know it."""
    if scheme == SURFACE_SCHEME:
        detected = tables.get("mediapipe478")
        return None if detected is None else detected.on_surface()
    return tables.get("mediapipe478" if scheme == "mediapipe468" else scheme)


def _hat(value: Tensor, centres: Tensor) -> Tensor:
    """Piecewise linear interpolation weights "... n" of values "..." between ascending centres "n"."""
    if len(centres) == 1:
        return torch.ones_like(value)[..., None]
    value = value.clamp(centres[0], centres[-1])[..., None]
    step = (centres[1:] - centres[:-1]).to(value)
    fraction = ((value - centres[:-1]) / step).clamp(0, 1)
    one, zero = torch.ones_like(value), torch.zeros_like(value)
    return torch.cat([one, fraction], -1) - torch.cat([fraction, zero], -1)
