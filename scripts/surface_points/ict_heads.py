"""Pictures of ICT-FaceKit heads in studio skins: people, shapes and topology that the network was not taught."""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from draw import NUM_POINTS, surface_table
from measure import identity_shown
from network import find_surface_points

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import shape_ict
from vultus.data.photo_skin import photo_skin

from vultus.detect import default_detector
from vultus.detect.network import Network
from vultus.fit.landmark_basis import pose_angles_deg
from vultus.model.face import FaceCode
from vultus.model.morphable import MorphableModel

FIRST, MAX_YAW_DEG = 100, 25.0
"""The benchmark takes heads 0 to 99."""


def answers(shared: Path, model: MorphableModel, network: Network, number: int) -> str:
    """How much of identity MediaPipe's points and the network's show on near-frontal and on turned heads."""
    ict, where = shape_ict.ict_model(shared)
    people = sorted((shared / "photos" / "studio" / "neutral_front").glob("*.jpg"))
    zero = torch.zeros(())
    mean_mm = surface_table(model).points(model.mean_mm, model.triangles, zero, zero).numpy()
    table = ict.landmarks["mediapipe478"].exact()
    rows: dict[tuple[str, str], list[np.ndarray]] = defaultdict(list)
    yaws = []
    for i in range(FIRST, FIRST + number):
        code = shape_ict.random_code(ict, np.random.default_rng((0, i)), mild=i % 2 == 1)
        shot = shape_ict.draw(
            ict, photo_skin(people[i % len(people)], where), f"ict{i}", code, np.random.default_rng((1, i))
        )
        faces = default_detector().detect(shot.image)
        if not faces:
            continue
        camera, landmarks = shot.camera, faces[0].landmarks.points_px
        yaw, pitch, roll = pose_angles_deg(camera.T_camera_head[:3, :3].double().numpy())
        cosine, sine = np.cos(np.radians(roll)), np.sin(np.radians(roll))
        upright = np.array([[cosine, sine], [-sine, cosine]])
        average = FaceCode(torch.zeros_like(code.identity), code.expression, code.albedo)
        found = find_surface_points(shot.image, landmarks, network).points_px
        # MediaPipe's points slide over the surface as the head turns; the network's are meant to stay.
        for name, points, pose in (
            ("MediaPipe", landmarks[:NUM_POINTS], (yaw, pitch)),
            ("network", found, (0.0, 0.0)),
        ):
            angles = [torch.tensor(angle).float() for angle in pose]
            true, mean = (
                camera.project(table.points(ict.vertices(c), ict.triangles, *angles)[:NUM_POINTS])
                for c in (code, average)
            )
            mm_per_px = float(true[:, 2].mean() / camera.focal_px)
            for row, values in (("true", true[:, :2]), ("found", points)):
                rows[name, row].append(mm_per_px * (values - mean[:, :2]).numpy() @ upright)
        yaws.append(shot.yaw_deg)
    lines = []
    for name in ("MediaPipe", "network"):
        for side, chosen in (("front", np.abs(yaws) < MAX_YAW_DEG), ("turned", np.abs(yaws) >= MAX_YAW_DEG)):
            true, found = (np.array(rows[name, key])[chosen] for key in ("true", "found"))
            lines.append(f"{name:10} {side:7} " + identity_shown(true, found, mean_mm))
    return "\n".join(lines)
