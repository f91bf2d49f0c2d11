"""Landmarks of a scan: picked ones, or those that the face detector finds on pictures of it, from whichever side its face is."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..detect import Detector, default_detector
from ..errors import FaceNotFound
from ..fit.scan_code import ScanLandmarks, scan_landmarks
from ..geometry.camera import Camera
from ..geometry.light import frontal_light
from ..geometry.mesh import surface_points
from ..geometry.rigid import FRONTAL, rigid_transform, rotation_from_axis_angle
from ..model.morphable import MorphableModel
from ..render.raster import rasterize
from ..render.shade import over, render, srgb_from_linear

_SIZE_PX = 640
_SURE = 0.5  # score of a face beyond which no other side is looked at
_DISTANCES = 4.0  # of the camera, in scan radii
_TURNS_DEG = (0.0, -25.0, 25.0)
_CLAY = (0.55, 0.36, 0.28)  # linear; detectors know skin better than grey


def known_scan_landmarks(model: MorphableModel, points: NDArray[np.floating]) -> ScanLandmarks:
    """7 or 68 picked points (n, 3), in millimetres, paired with the model."""
    return scan_landmarks(model, points, "seven" if len(points) == 7 else "ibug68")


def find_scan_landmarks(
    model: MorphableModel,
    vertices: NDArray[np.floating],
    triangles: NDArray[np.integer],
    detector: Detector | None = None,
) -> ScanLandmarks:
    """What :func:`find_scan_points` finds, paired with the model."""
    return scan_landmarks(model, find_scan_points(vertices, triangles, detector), "mediapipe478")


def find_scan_points(
    vertices: NDArray[np.floating], triangles: NDArray[np.integer], detector: Detector | None = None
) -> NDArray[np.float64]:
    """The face detector's points (478, 3) on a scan, from clay renderings of it; NaN where a ray passes it by.

    The scan is looked at along all six axes, with every axis up, the usual way first; the surest face wins, and is looked at again squarely and from
    25 degrees to both sides. Points are where their rays meet the surface; of three looks the middle one counts.

    Args:
        vertices: (n, 3) mm, finite. triangles: (m, 3).

    Raises:
        FaceNotFound: from no side.
    """
    detector = detector or default_detector()
    surface = (
        torch.from_numpy(np.asarray(vertices, np.float32)),
        torch.from_numpy(np.asarray(triangles, np.int64)),
    )
    used = surface[0][surface[1].unique()]
    centre, radius = (used.amax(0) + used.amin(0)) / 2, float((used.amax(0) - used.amin(0)).max()) / 2
    found = _first_face(surface, centre, radius, detector)
    if found is None:
        raise FaceNotFound(
            "no face found on pictures of the scan: is it a head, in triangles that face outwards? Give --landmarks"
        )
    turn, points = found
    face = np.nanmedian(points, axis=0)
    spread = float(np.nanmax(np.linalg.norm(points - face, axis=1)))
    middle = torch.from_numpy(face).float()
    # Squarely: the eyes' line to the right, the nose out of the picture.
    turn = _squared(points) if np.isfinite(points[[33, 263, 152, 10, 1]]).all() else turn
    looks = [points]
    for yaw_deg in _TURNS_DEG:
        side = rotation_from_axis_angle(torch.tensor([0.0, np.radians(yaw_deg), 0.0])).float()
        again = _look(surface, middle, 1.6 * spread, side @ turn, detector)
        if again is not None:
            looks.append(again[1])
    with np.errstate(all="ignore"):
        return np.nanmedian(np.stack(looks), axis=0)


def _first_face(
    surface: tuple[Tensor, Tensor], centre: Tensor, radius: float, detector: Detector
) -> tuple[Tensor, NDArray[np.float64]] | None:
    """How a scan must be turned to show its face upright, and the face's 478 points; None if none of 24 ways shows one."""
    best = None
    for turn in _orientations():
        found = _look(surface, centre, radius, turn, detector)
        if found is None:
            continue
        score, points, roll_deg = found[0], found[1], found[2]
        if abs(roll_deg) > 50:  # seen, but lying on its side: another of the ways shows it upright
            continue
        if best is None or score > best[0]:
            best = score, turn, points
        if score > _SURE:
            break
    return None if best is None else best[1:]


def _look(
    surface: tuple[Tensor, Tensor], centre: Tensor, radius: float, turn: Tensor, detector: Detector
) -> tuple[float, NDArray[np.float64], float] | None:
    """Draw a scan turned by ``turn`` into the head's axes and detect: the score, the points (478, 3) on it (NaN: beside it), the roll."""
    vertices, triangles = surface
    head = (vertices - centre) @ turn.T
    distance = _DISTANCES * radius
    focal_px = 0.42 * _SIZE_PX * distance / radius
    pose = rigid_transform(FRONTAL, torch.tensor([0.0, 0.0, distance]))
    camera = Camera(torch.tensor(focal_px), torch.full((2,), _SIZE_PX / 2), (_SIZE_PX, _SIZE_PX), pose)
    clay = torch.tensor(_CLAY).expand_as(head)
    drawn = render(head, triangles, camera, frontal_light(), albedo=clay, cull_back=True)
    image = srgb_from_linear(over(drawn, torch.full((3,), 0.25)).clamp(0, 1))[0]
    faces = [face for face in detector.detect(image) if face.landmarks.kind == "mediapipe478"]
    if not faces:
        return None
    face = faces[0]
    fragments = rasterize(camera.project(head)[None], triangles, camera.size_px, cull_back=True)
    ids, weight = fragments.triangle_ids[0], fragments.barycentric[0]
    column, row = (face.landmarks.points_px.floor().long().clamp(0, _SIZE_PX - 1)).unbind(1)
    hit = ids[row, column]
    shares = weight[:, row, column].T if weight.shape[0] == 3 else weight[row, column]
    points = surface_points(vertices, triangles, hit.clamp_min(0), shares).double()
    points[hit < 0] = torch.nan
    return face.landmarks.score * face.box.score, points.numpy(), face.box.roll_deg


def _squared(points: NDArray[np.float64]) -> Tensor:
    """The rotation scan -> head axes of a face's 478 points: x along the eyes, y from the chin to the forehead."""
    right = points[263] - points[33]
    up = points[10] - points[152]
    x = right / np.linalg.norm(right)
    up = up - (up @ x) * x
    y = up / np.linalg.norm(up)
    return torch.from_numpy(np.stack([x, y, np.cross(x, y)])).float()


def _orientations() -> list[Tensor]:
    """The 24 rotations that permute the axes; y up and z forwards first, then z up and -y forwards."""
    axes = torch.eye(3)
    signed = [sign * axes[i] for i in (1, 2, 0) for sign in (1.0, -1.0)]
    ways = []
    for up in signed:
        for forward in [
            sign * axes[i] for i in (2, 1, 0) for sign in ((1.0, -1.0) if i == 2 else (-1.0, 1.0))
        ]:
            if abs(float(up @ forward)) < 0.5:
                ways.append(torch.stack([torch.linalg.cross(up, forward), up, forward]))
    return ways
