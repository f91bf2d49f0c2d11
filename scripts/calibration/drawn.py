"""Running the detector on drawn heads, where the true surface under every landmark is known."""

from __future__ import annotations

import time

import numpy as np
import torch
from scipy.spatial import cKDTree

from vultus.detect.crop import Window
from vultus.detect.detector import Candidate, PhotoDetector
from vultus.detect.mesh import AttentionMesh
from vultus.detect.protocol import DetectedFace, FaceBox
from vultus.detect.yunet import YuNet
from vultus.render.raster import rasterize

from random_heads import random_heads


def observe(model, number: int, seed: int, textures, backgrounds) -> dict[str, np.ndarray]:
    """Run the detector on random heads.

    Returns:
        hits (n, 478, 3): where each point fell, carried to the mean head; offset_mm (n, 478, 2) unused by now; and for the statistics
        points_px, poses, cameras, codes.
    """
    detector = PhotoDetector(YuNet(), AttentionMesh())
    skin_and_eyes = torch.cat([model.part_triangles(p) for p in ("skin", "eye_left", "eye_right")])
    mean = model.mean_mm.numpy().astype(float)
    rows: dict[str, list] = {
        key: []
        for key in (
            "hits",
            "points_px",
            "angles",
            "rotation",
            "translation",
            "focal_px",
            "identity",
            "expression",
            "depth",
        )
    }
    start = time.time()
    for index, head in enumerate(
        random_heads(model, number, seed, textures=textures, backgrounds=backgrounds)
    ):
        projected = head.camera.project(head.vertices)
        face = find_face(detector, head.image, projected[model.regions["face"], :2])
        points = face.landmarks.points_px.numpy()
        fragments = rasterize(projected[None], skin_and_eyes, head.camera.size_px)
        hits = cast(points, fragments, projected.numpy(), skin_and_eyes.numpy(), mean, head.camera)
        rows["hits"].append(hits)
        rows["points_px"].append(points)
        rows["depth"].append(face.landmarks.depth_px.numpy())
        rows["angles"].append([head.yaw_deg, head.pitch_deg])
        rows["rotation"].append(head.camera.T_camera_head[:3, :3].numpy())
        rows["translation"].append(head.camera.T_camera_head[:3, 3].numpy())
        rows["focal_px"].append(float(head.camera.focal_px))
        rows["identity"].append(head.code.identity.numpy())
        rows["expression"].append(head.code.expression.numpy())
        if index % 100 == 99:
            print(
                f"{time.time() - start:6.0f} s  {index + 1} heads, {len(rows['hits'])} detected", flush=True
            )
    return {key: np.array(value) for key, value in rows.items()}


def find_face(detector: PhotoDetector, image: torch.Tensor, face_px: torch.Tensor) -> DetectedFace:
    """The landmarks of the head that was drawn: its place is known, so the search for boxes (of a bald head) is left out."""
    (left, top), (right, bottom) = face_px.amin(0).tolist(), face_px.amax(0).tolist()
    window = Window(((left + right) / 2, (top + bottom) / 2), 1.5 * max(right - left, bottom - top), 0.0)
    return detector._find_landmarks(
        image, image, Candidate(FaceBox(left, top, right, bottom, 1.0, 0.0), window)
    )


def cast(points, fragments, projected, triangles, mean, camera) -> np.ndarray:
    """Each point's place on the surface, carried to the mean head (478, 3); beside the head, the nearest visible vertex."""
    width, height = camera.size_px
    ids = fragments.triangle_ids[0].numpy()
    x, y = np.clip(points[:, 0].astype(int), 0, width - 1), np.clip(points[:, 1].astype(int), 0, height - 1)
    seen = ids[y, x]
    weight = fragments.barycentric[0].numpy()[:, y, x].T
    hits = (mean[triangles[seen]] * weight[:, :, None]).sum(1)
    visible = np.unique(triangles[np.unique(ids[ids >= 0])])
    missed = np.flatnonzero(seen < 0)
    if len(missed):
        distance, nearest = cKDTree(projected[visible, :2]).query(points[missed])
        hits[missed] = mean[visible[nearest]]
        far = distance * projected[visible[nearest], 2] / float(camera.focal_px) > 12
        hits[missed[far]] = np.nan
    return hits
