"""One generated head as it lies in its folder, and what a predicted camera or picture gets wrong about it."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from ..errors import BadFile, BadInput
from ..geometry.camera import Camera
from ..io.images import read_image
from .benchmark import SEVEN, Points, Prediction
from .image_metrics import colour_values
from .scan import align_points

HIDDEN_SHARE = 0.02
"""From this share of the face's visible side hidden on, a head counts as occluded."""


@dataclass(frozen=True)
class SyntheticHead:
    """What is known of one head without opening its surfaces.

    Attributes:
        folder: of the head. camera: of the photo with the true pose. neutral, posed: (68, 3) landmarks, head frame, mm.
        yaw_deg: of the head. occluded: part of the face is hidden.
    """

    folder: Path
    camera: Camera
    neutral: Points
    posed: Points
    yaw_deg: float
    occluded: bool


def read_head(place: Path) -> tuple[SyntheticHead, str]:
    """A head and its group.

    Raises:
        BadFile: a file is damaged.
    """
    try:
        camera = json.loads((place / "camera.json").read_text(encoding="utf-8"))
        marks = json.loads((place / "landmarks.json").read_text(encoding="utf-8"))
        K, pose = np.array(camera["K"], float), np.array(camera["T_camera_head"], float)
        width, height = (int(side) for side in camera["size"])
        neutral, posed = (np.array(marks[name], float).reshape(68, 3) for name in ("neutral", "posed"))
        with np.load(place / "truth.npz", allow_pickle=False) as truth:
            group, hidden = str(truth["group"]), float(truth["occluded_share"])
        yaw = float(camera["yaw_deg"])
        if K.shape != (3, 3) or pose.shape != (4, 4) or not K[0, 0] > 0:
            raise ValueError("K or T_camera_head is no matrix of its size")
        numbers = np.concatenate([part.ravel() for part in (K, pose, neutral, posed)])
        if not np.isfinite(numbers).all():
            raise ValueError("a number is not finite")
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise BadFile(f"{place}: camera.json, landmarks.json or truth.npz is damaged ({error}); delete the folder and make the set again") from error  # fmt: skip
    camera_px = Camera(
        torch.tensor(K[0, 0]), torch.from_numpy(K[:2, 2].copy()), (width, height), torch.from_numpy(pose)
    )
    return SyntheticHead(place, camera_px, neutral, posed, yaw, hidden > HIDDEN_SHARE), group


def camera_errors(prediction: Prediction, head: SyntheticHead) -> dict[str, float]:
    """What a predicted camera gets wrong.

    ``pose_deg``: geodesic angle between the two ``R_camera_head`` as they are, which depends on how a model's makers put it into its
    frame. ``pose_aligned_deg``: the same after the true landmarks have been laid on the predicted ones (68 or 7, with scale, neutral where the
    method has a neutral face), which takes the frame out. ``focal_percent``: 100 |ln(f / f_true)|. ``depth_percent``: 100 |ln(z / z_true)|
    of the mean depth of the posed landmarks.
    """
    camera = prediction.camera
    assert camera is not None
    true, found = (_rotation(c) for c in (head.camera, camera))
    off = float(torch.log(camera.focal_px.double().cpu() / head.camera.focal_px.double()))
    values = {"pose_deg": geodesic_deg(found, true), "focal_percent": 100 * abs(off)}
    mesh, landmarks = (
        (prediction.neutral, head.neutral) if prediction.neutral is not None else (prediction.posed, head.posed)
    )  # fmt: skip
    if mesh is not None and mesh.landmarks is not None:
        same = landmarks if len(mesh.landmarks) == 68 else landmarks[list(SEVEN)]
        frame = align_points(same, mesh.landmarks, with_scale=True).rotation
        values["pose_aligned_deg"] = geodesic_deg(found @ frame, true)
    posed = prediction.posed
    if posed is not None and posed.landmarks is not None:
        same = head.posed if len(posed.landmarks) == 68 else head.posed[list(SEVEN)]
        depth, true_depth = (seen_by(c, p)[:, 2].mean() for c, p in ((camera, posed.landmarks), (head.camera, same)))  # fmt: skip
        if depth > 0:
            values["depth_percent"] = float(100 * abs(np.log(depth / true_depth)))
    return values


def picture_errors(image: torch.Tensor, drawn: torch.Tensor, folder: Path) -> dict[str, float]:
    """:func:`~.photo.colour_values` where the picture "3 h w" is drawn ("h w") and the photo shows bare face skin.

    Raises:
        BadInput: the picture has another size than the photo.
    """
    photo, mask = read_image(folder / "photo.png")[0], read_image(folder / "mask.png")[0][0] > 0.5
    if image.shape != photo.shape or drawn.shape != mask.shape:
        raise BadInput(
            f"the picture drawn is {tuple(image.shape)}, the photo {tuple(photo.shape)}: draw it at the photo's size"
        )
    return colour_values(photo, image.cpu(), drawn.cpu(), mask) if bool(mask.any()) else {}


def geodesic_deg(rotation: Points, other: Points) -> float:
    """Angle in degrees of the rotation between two (3, 3) rotations; from the chord, which is exact for small angles."""
    chord = np.linalg.norm(rotation - other) / np.sqrt(8)
    return float(np.degrees(2 * np.arcsin(np.clip(chord, 0, 1))))


def _rotation(camera: Camera) -> Points:
    """The pose's rotation (3, 3), orthonormal to double precision although it came as float32."""
    u, _, vt = np.linalg.svd(camera.T_camera_head[:3, :3].double().cpu().numpy())
    return u @ vt


def seen_by(camera: Camera, points: Points) -> Points:
    """(n, 3): x and y in pixels, depth in mm."""
    exact = replace(
        camera, focal_px=camera.focal_px.double().cpu(), principal_px=camera.principal_px.double().cpu(),
        T_camera_head=camera.T_camera_head.double().cpu(),
    )  # fmt: skip
    return exact.project(torch.from_numpy(np.array(points, np.float64))).numpy()
