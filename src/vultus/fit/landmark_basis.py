"""Where a model's landmarks lie as a linear function of its code, for every pose bin: what the landmark fit iterates on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ..errors import BadInput
from ..geometry.rigid import rotation_from_pose_angles
from ..model.landmarks import LandmarkTable, table_of
from ..model.morphable import MorphableModel

FRONTAL = np.diag([1.0, -1.0, -1.0])


@dataclass(frozen=True)
class LandmarkBasis:
    """Landmarks of one scheme per pose bin, float32 for speed of the bin mixture.

    Attributes:
        table: whose bins these are.
        mean_mm: (bins, l, 3). identity_mm: (bins, k, l, 3) per sigma. expression_mm: (bins, e, l, 3) per weight.
        spread_mm: (bins, l). error_modes_mm: (yaw bins, m, l, 2).
        response_mm: (yaw bins, k, l, 2), what the detector shows of each identity mode in the image plane (x right, y down, head
            upright); None where it is taken to follow the surface exactly.
    """

    table: LandmarkTable
    mean_mm: np.ndarray
    identity_mm: np.ndarray
    expression_mm: np.ndarray
    spread_mm: np.ndarray
    error_modes_mm: np.ndarray
    response_mm: np.ndarray | None = None

    @property
    def edges(self) -> np.ndarray:
        """Which landmarks (l,) lie on the rims of lids and lips."""
        edges = self.table.edges
        return np.zeros(self.mean_mm.shape[1], bool) if edges is None else edges.numpy()

    def response(self, yaw_deg: float) -> np.ndarray | None:
        """How the detections answer to identity at this yaw: (k, l, 2) millimetres per sigma, float64."""
        if self.response_mm is None:
            return None
        weight = _hat(yaw_deg, self.table.yaw_deg.numpy()).astype(np.float32)
        active = np.flatnonzero(weight)
        return np.tensordot(weight[active], self.response_mm[active], 1).astype(float)

    def error_modes(self, yaw_deg: float) -> np.ndarray:
        """How the detector errs together at the nearest yaw bin: (m, l, 2) millimetres, float64."""
        nearest = np.abs(self.table.yaw_deg.numpy() - yaw_deg).argmin()
        return self.error_modes_mm[nearest].astype(float)

    def at(
        self, yaw_deg: float, pitch_deg: float, *, identity: bool = True, expression: bool = True
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Mean (l, 3), identity (k, l, 3), expression (e, l, 3) and spread (l,) at one pose, float64.

        What is not asked for is empty: most of the time goes into mixing the bases.
        """
        weight = bin_weight(self.table, yaw_deg, pitch_deg)
        active = np.flatnonzero(weight)
        mix = weight[active].astype(np.float32)
        bases = (
            self.identity_mm if identity else self.identity_mm[:, :0],
            self.expression_mm if expression else self.expression_mm[:, :0],
        )
        parts = (self.mean_mm, *bases, self.spread_mm)
        return tuple(np.tensordot(mix, part[active], 1).astype(float) for part in parts)  # type: ignore[return-value]


def pose_angles_deg(rotation: np.ndarray) -> tuple[float, float, float]:
    """Yaw, pitch, roll as :func:`vultus.geometry.rigid.pose_angles`, in numpy."""
    r = FRONTAL @ rotation
    return (
        float(np.degrees(np.arcsin(np.clip(-r[2, 0], -1, 1)))),
        float(np.degrees(np.arctan2(r[2, 1], r[2, 2]))),
        float(np.degrees(np.arctan2(r[1, 0], r[0, 0]))),
    )


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
        table = table_of(model.landmarks, scheme)
        if table is None:
            raise BadInput(
                f"the model {model.name} has no table of the points {scheme}: choose another --model, or other landmarks"
            )
        _cache[key] = (model, gather(model, table))
    return _cache[key][1]


def gather(model: MorphableModel, table: LandmarkTable) -> LandmarkBasis:
    """Read a model's linear parts off at a table's surface points."""
    triangle_ids = table.triangle_ids.flatten(0, 1)
    corners = model.triangles[triangle_ids].numpy()
    weight = table.barycentric.flatten(0, 1).numpy()
    modes, offset = table.error_modes_mm, table.offset_mm

    def on_surface(values: np.ndarray) -> np.ndarray:  # (..., v, 3) -> (bins, ..., l, 3)
        picked = (values[..., corners, :] * weight[..., None]).sum(-2)
        return np.ascontiguousarray(np.moveaxis(picked, -3, 0))

    return LandmarkBasis(
        table,
        on_surface(model.mean_mm.numpy()) + (0 if offset is None else offset.flatten(0, 1).numpy()),
        on_surface(model.identity_mm.numpy()),
        on_surface(model.expression_mm.numpy()),
        table.spread_mm.flatten(0, 1).numpy(),
        np.zeros((len(table.yaw_deg), 0, table.num_landmarks, 2), np.float32)
        if modes is None
        else modes.numpy(),
        _seen_from(table),
    )


def _seen_from(table: LandmarkTable) -> np.ndarray | None:
    """The table's identity response, turned to each yaw bin and seen in the image plane."""
    if table.response_mm is None:
        return None
    level = torch.zeros_like(table.yaw_deg)
    turns = rotation_from_pose_angles(table.yaw_deg, level, level)
    return torch.einsum("yic,klc->ykli", turns[:, :2], table.response_mm).contiguous().numpy()


def _hat(value: float, centres: np.ndarray) -> np.ndarray:
    return np.stack([np.interp(value, centres, unit) for unit in np.eye(len(centres))])
