"""The bundled mean head: MakeHuman's topology bent onto the average of two independent scan-based mean heads.

Registering by nearest points alone slides (lips onto chin, eyelids onto brows). So the template is guided by picks on
both surfaces and by the face detector: both heads are drawn the same way from nine angles, and wherever the detector puts the same
point on both, the surfaces correspond. Its biases are equal on both and cancel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scans import ICT_EYES, IctHeads
from scipy.spatial import cKDTree
from warp import Warp, farthest_points

from vultus.detect.protocol import Detector
from vultus.evaluate.scan import Alignment, align_points
from vultus.geometry.camera import Camera
from vultus.geometry.mesh import surface_points, vertex_normals
from vultus.geometry.register import RegisterOptions, register
from vultus.geometry.rigid import rigid_transform, rotation_from_pose_angles
from vultus.render.interpolate import interpolate
from vultus.render.raster import rasterize

# iBUG-68 index -> (x, y) on the front of MakeHuman's average adult, millimetres, picked by eye on a rendering with a grid.
PICKS = {
    27: (0, 719), 33: (0, 673.2), 31: (-12, 674.5), 35: (12, 674.5), 48: (-22.5, 652.5), 54: (22.5, 652.5),
    51: (0, 660.6), 50: (-6, 662), 52: (6, 662), 57: (0, 641), 8: (0, 617),
    39: (-17, 716.8), 42: (17, 716.8), 36: (-41.5, 719), 45: (41.5, 719),
}  # fmt: skip
NOSE_TIP = 30
YAWS_DEG = (-60, -45, -30, -15, 0, 15, 30, 45, 60)
SKIN, EYE, IRIS = (0.85, 0.65, 0.55), (0.95, 0.95, 0.95), (0.25, 0.15, 0.1)
NUM_CONTROLS, FRONT, BLEND_MM = 300, 0.3, 30.0  # FRONT: least z of a normal
MEDIAPIPE_SHARE = 0.5  # two means of equal standing; not tuned on any scan


@dataclass(frozen=True)
class Surface:
    """A head to draw: vertices (v, 3) mm, triangles, per-vertex colour."""

    vertices: np.ndarray
    triangles: np.ndarray
    colour: np.ndarray


def picked_vertices(fine_mm: np.ndarray, skin: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The template's vertices at :data:`PICKS` and the nose tip: (iBUG indices, vertex ids)."""
    used = np.unique(skin)
    normals = vertex_normals(torch.from_numpy(fine_mm), torch.from_numpy(skin)).numpy()
    front = used[normals[used, 2] > 0.2]
    # The frontmost of the candidates near the pick: the mouth bag and the sockets lie behind.
    ids = []
    for pick in PICKS.values():
        near = front[np.linalg.norm(fine_mm[front, :2] - pick, axis=1) < 3.0]
        near = near[fine_mm[near, 2] > fine_mm[near, 2].max() - 4.0]
        ids.append(near[np.linalg.norm(fine_mm[near, :2] - pick, axis=1).argmin()])
    middle = used[np.abs(fine_mm[used, 0]) < 0.5]
    ids.append(middle[fine_mm[middle, 2].argmax()])
    return np.array([*PICKS, NOSE_TIP]), np.array(ids)


def corresponding_points(
    detector: Detector, first: Surface, second: Surface
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs (n, 3), (n, 3) of surface points where the detector sees the same landmark from the same angle, made symmetric."""
    pairs = []
    for yaw in YAWS_DEG:
        a, b = (_landmarks_on(detector, surface, yaw) for surface in (first, second))
        both = np.isfinite(a[:, 0]) & np.isfinite(b[:, 0]) & (np.linalg.norm(a - b, axis=1) < 12)
        pairs.append((a[both], b[both]))
    a, b = (np.concatenate(points) for points in zip(*pairs))
    mirror = np.array([-1.0, 1, 1])
    return np.concatenate([a, a * mirror]), np.concatenate([b, b * mirror])


def make_mean(
    fine_mm: np.ndarray,
    triangles_of_part: dict[str, np.ndarray],
    ict: IctHeads,
    canonical: tuple[np.ndarray, np.ndarray],
    detector: Detector,
    outside: np.ndarray,
    face: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, Alignment, np.ndarray]:
    """Bend MakeHuman's average adult onto the average of the two scan-based means.

    Args:
        fine_mm: (v, 3). triangles_of_part: part name -> (f, 3). detector: finds the 478 points.
        outside: (v,) skin that can be seen: not in the mouth bag, not behind the lids. face: (v,) inside the chart.

    Returns:
        template (v, 3), MakeHuman's adult in ICT's frame; on_ict (v, 3), bent onto ICT's neutral head; the alignment that made the
        template; mean (v, 3). Only skin is moved: eyes, teeth, tongue and lashes stay at the template.
    """
    skin = triangles_of_part["skin"]
    picks, pick_ids = picked_vertices(fine_mm, skin)
    alignment = align_points(fine_mm[pick_ids], ict.neutral_mm[ict.ibug68[picks]], with_scale=True)
    template = alignment.apply(fine_mm)

    shown = Surface(template, np.concatenate([triangles_of_part[p] for p in ("skin", "eye_left", "eye_right")]),
                    _paint_eyes(template, [np.unique(triangles_of_part[p]) for p in ("eye_left", "eye_right")]))  # fmt: skip
    ict_shown = Surface(
        ict.neutral_mm, ict.visible, _paint_eyes(ict.neutral_mm, [np.array(eye) for eye in ICT_EYES])
    )
    here, there = corresponding_points(detector, shown, ict_shown)
    candidates = np.flatnonzero(outside)
    nearest = candidates[cKDTree(template[candidates]).query(here)[1]]
    offset, count = np.zeros_like(template), np.zeros(len(template))
    np.add.at(offset, nearest, there - here)
    np.add.at(count, nearest, 1)
    seen = np.setdiff1d(np.flatnonzero(count), pick_ids)
    neck_rim = template[:, 1] < np.percentile(template[np.unique(skin), 1], 4)
    on_ict = register(
        template,
        skin,
        ict.neutral_mm,
        ict.skin,
        landmark_ids=np.concatenate([pick_ids, seen]),
        landmark_points=np.concatenate(
            [ict.neutral_mm[ict.ibug68[picks]], template[seen] + offset[seen] / count[seen, None]]
        ),
        landmark_weight=np.concatenate([np.full(len(pick_ids), 5.0), np.full(len(seen), 0.6)]),
        weight=(outside & ~neck_rim).astype(float),
        options=RegisterOptions(stiffness=(300, 100, 30, 10, 5), max_distance_mm=15),
    )
    normals = vertex_normals(_tensor(on_ict), _tensor(skin)).numpy()
    front = np.flatnonzero(face & (normals[:, 2] > FRONT))
    on_canonical = _bend_onto_canonical(on_ict, template, skin, front, shown, canonical, detector)
    # The canonical mesh is a coarse mask: only its low frequencies are taken, through a field that cannot part the lips, and the
    # back of the head stays.
    back = candidates[cKDTree(on_ict[front]).query(on_ict[candidates])[0] > BLEND_MM]
    front, back = (ids[farthest_points(on_ict[ids], NUM_CONTROLS)] for ids in (front, back))
    low_frequencies = Warp(
        on_ict[np.concatenate([front, back])],
        np.concatenate([on_canonical[front], on_ict[back]]),
        smoothing=1.0,
    )
    mean = (1 - MEDIAPIPE_SHARE) * on_ict + MEDIAPIPE_SHARE * low_frequencies(on_ict)
    return template, on_ict, alignment, mean


def _bend_onto_canonical(on_ict, template, skin, front, shown, canonical, detector) -> np.ndarray:
    """The detector's own canonical mesh says where each of its points lies on its mean face; take them smoothly (it is coarse)."""
    points, triangles = canonical
    seen = np.ma.masked_invalid([_landmarks_on(detector, shown, yaw)[:468] for yaw in (-30, -15, 0, 15, 30)])
    seen = np.ma.median(seen, 0).filled(np.nan)
    known = np.flatnonzero(np.isfinite(seen).all(1))
    distance, nearest = cKDTree(template[front]).query(seen[known])
    known, nearest = known[distance < 3], nearest[distance < 3]
    ids, first = np.unique(front[nearest], return_index=True)
    known = known[first]
    points = align_points(points[known], on_ict[ids], with_scale=True).apply(points)
    pull = np.zeros(len(template))
    pull[front] = 0.3
    return register(
        on_ict,
        skin,
        points,
        triangles,
        landmark_ids=ids,
        landmark_points=points[known],
        landmark_weight=0.5,
        weight=pull,
        options=RegisterOptions(stiffness=(300, 100, 30), max_distance_mm=8),
    )


def _landmarks_on(detector: Detector, surface: Surface, yaw_deg: float) -> np.ndarray:
    """Where on the surface (478, 3) the detector's points fall seen from one angle; NaN beside it or at a grazing angle."""
    camera = _camera(yaw_deg, 0)
    vertices, triangles = _tensor(surface.vertices), _tensor(surface.triangles)
    projected = camera.project(vertices)[None]
    fragments = rasterize(projected, triangles, camera.size_px)
    normals = vertex_normals(camera.to_camera(vertices), triangles)
    bright = 0.2 + 0.8 * (-normals[:, 2:]).clamp(0, 1)
    image = (
        interpolate(fragments, projected, triangles, _tensor(surface.colour) * bright)[0]
        + 0.15 * ~fragments.mask
    )
    faces = detector.detect(image.float().clamp(0, 1))
    points = np.full((478, 3), np.nan)
    if not faces:
        return points
    x, y = faces[0].landmarks.points_px.long().T
    inside = (x >= 0) & (y >= 0) & (x < camera.size_px[0]) & (y < camera.size_px[1])
    ids = fragments.triangle_ids[
        0, y.clamp(0, camera.size_px[1] - 1), x.clamp(0, camera.size_px[0] - 1)
    ].long()
    hit = (inside & (ids >= 0)).nonzero().squeeze(-1)
    bary = fragments.barycentric[0, :, y[hit], x[hit]].T.to(vertices)
    facing = -(surface_points(normals, triangles, ids[hit], bary)[:, 2]) > 0.5
    points[hit[facing].numpy()] = surface_points(vertices, triangles, ids[hit], bary)[facing].numpy()
    points[468:] = np.nan  # irises move
    return points


def _camera(yaw_deg: float, pitch_deg: float) -> Camera:
    angles = torch.tensor([float(yaw_deg), float(pitch_deg), 0.0], dtype=torch.float64)
    pose = rigid_transform(
        rotation_from_pose_angles(*angles), torch.tensor([0.0, 0.0, 900.0], dtype=torch.float64)
    )
    focal = torch.tensor(3200.0, dtype=torch.float64)
    return Camera(focal, torch.tensor([500.0, 470.0], dtype=torch.float64), (1000, 1000), pose)


def _paint_eyes(vertices: np.ndarray, eyes: list[np.ndarray]) -> np.ndarray:
    colour = np.tile(SKIN, (len(vertices), 1))
    for eye in eyes:
        ball = vertices[eye]
        radius = np.linalg.norm((ball - ball.mean(0))[:, :2], axis=1)
        iris = (radius < 5.5) & (ball[:, 2] > ball[:, 2].mean())
        colour[eye] = np.where(iris[:, None], IRIS, EYE)
    return colour


def _tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))
