"""Where a model's landmarks lie as a linear function of its code, for every pose bin: what the landmark fit iterates on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..model.landmarks import LandmarkTable
from ..model.morphable import MorphableModel


@dataclass(frozen=True)
class LandmarkBasis:
    """Landmarks of one scheme per pose bin, float32 for speed of the bin mixture.

    Attributes:
        table: whose bins these are.
        mean_mm: (bins, l, 3). identity_mm: (bins, k, l, 3) per sigma. expression_mm: (bins, e, l, 3) per weight.
        spread_mm: (bins, l). error_modes_mm: (yaw bins, m, l, 2).
    """

    table: LandmarkTable
    mean_mm: np.ndarray
    identity_mm: np.ndarray
    expression_mm: np.ndarray
    spread_mm: np.ndarray
    error_modes_mm: np.ndarray

    def error_modes(self, yaw_deg: float) -> np.ndarray:
        """How the detector errs together at the nearest yaw bin: (m, l, 2) millimetres, float64."""
        nearest = np.abs(self.table.yaw_deg.numpy() - yaw_deg).argmin()
        return self.error_modes_mm[nearest].astype(float)

    def at(
        self, yaw_deg: float, pitch_deg: float, *, moving: bool = True
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Mean (l, 3), identity (k, l, 3), expression (e, l, 3) and spread (l,) at one pose, float64.

        With ``moving=False`` identity and expression are empty: most of the time goes into mixing them.
        """
        weight = bin_weight(self.table, yaw_deg, pitch_deg)
        active = np.flatnonzero(weight)
        mix = weight[active].astype(np.float32)
        count = None if moving else 0
        parts = (self.mean_mm, self.identity_mm[:, :count], self.expression_mm[:, :count], self.spread_mm)
        return tuple(np.tensordot(mix, part[active], 1).astype(float) for part in parts)  # type: ignore[return-value]


def bin_weight(table: LandmarkTable, yaw_deg: float, pitch_deg: float) -> np.ndarray:
    """Bilinear weights (bins,) of the table's pose bins, yaw-major."""
    hats = (_hat(yaw_deg, table.yaw_deg.numpy()), _hat(pitch_deg, table.pitch_deg.numpy()))
    return np.outer(*hats).ravel()


_cache: dict[tuple[int, str], tuple[MorphableModel, LandmarkBasis]] = {}


def landmark_basis(model: MorphableModel, scheme: str) -> LandmarkBasis:
    """The basis of one landmark scheme of a model; kept, because gathering it takes longer than a fit."""
    key = (id(model), scheme)
    if key not in _cache or _cache[key][0] is not model:
        _cache.clear()
        _cache[key] = (model, gather(model, model.landmarks[scheme]))
    return _cache[key][1]


def gather(model: MorphableModel, table: LandmarkTable) -> LandmarkBasis:
    """Read a model's linear parts off at a table's surface points."""
    triangle_ids = table.triangle_ids.flatten(0, 1)
    corners = model.triangles[triangle_ids].numpy()
    weight = table.barycentric.flatten(0, 1).numpy()
    modes = table.error_modes_mm

    def on_surface(values: np.ndarray) -> np.ndarray:  # (..., v, 3) -> (bins, ..., l, 3)
        picked = (values[..., corners, :] * weight[..., None]).sum(-2)
        return np.ascontiguousarray(np.moveaxis(picked, -3, 0))

    return LandmarkBasis(
        table,
        on_surface(model.mean_mm.numpy()),
        on_surface(model.identity_mm.numpy()),
        on_surface(model.expression_mm.numpy()),
        table.spread_mm.flatten(0, 1).numpy(),
        np.zeros((len(table.yaw_deg), 0, table.num_landmarks, 2), np.float32)
        if modes is None
        else modes.numpy(),
    )


def _hat(value: float, centres: np.ndarray) -> np.ndarray:
    return np.stack([np.interp(value, centres, unit) for unit in np.eye(len(centres))])
