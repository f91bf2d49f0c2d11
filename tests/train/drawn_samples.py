"""Samples with the right geometry and the plainest pictures: random heads, each vertex a dot whose colour says where on the face it is."""

from __future__ import annotations

import numpy as np
import torch

from vultus.data.manifest import Manifest
from vultus.data.sample import Sample
from vultus.data.shards import write_shards
from vultus.geometry.camera import Camera
from vultus.geometry.rigid import rotation_from_pose_angles
from vultus.model import bundled
from vultus.model.face import FaceCode
from vultus.model.morphable import MorphableModel

SIZE_PX = 96


def drawn_sample(model: MorphableModel, number: int, people: str = "a") -> Sample:
    rng = np.random.default_rng([ord(people), number])
    mean = model.mean_code()
    identity = torch.from_numpy(rng.normal(0, 1, len(mean.identity))).float()
    vertices = model.vertices(FaceCode(identity, mean.expression, mean.albedo))
    yaw = float(rng.uniform(-80, 80))
    pose = torch.eye(4)
    pose[:3, :3] = rotation_from_pose_angles(
        *map(torch.tensor, (yaw, float(rng.normal(0, 8)), float(rng.normal(0, 8))))
    )
    pose[:3, 3] = torch.tensor([rng.uniform(-20, 20), rng.uniform(-20, 20), 900.0])
    camera = Camera(torch.tensor(270.0), torch.tensor([SIZE_PX / 2, SIZE_PX / 2]), (SIZE_PX, SIZE_PX), pose)
    seen = camera.project(vertices)
    zero = torch.zeros(())
    marks = camera.project(model.landmarks["ibug68"].points(vertices, model.triangles, zero, zero))
    image = rng.integers(0, 40, (SIZE_PX, SIZE_PX, 3)).astype(np.uint8)
    mask = np.zeros((SIZE_PX, SIZE_PX), np.uint8)
    order = torch.argsort(seen[:, 2], descending=True)  # the nearest are drawn last
    x, y = seen[order, :2].long().clamp(0, SIZE_PX - 1).T.numpy()
    low, high = model.mean_mm.amin(0), model.mean_mm.amax(0)
    image[y, x] = (255 * (model.mean_mm[order] - low) / (high - low)).numpy().astype(np.uint8)
    mask[y, x] = 255
    return Sample(
        f"{people}{number:04d}", "dots", image, mask, vertices.numpy(), 270.0, camera.principal_px.numpy(), pose.numpy(),
        marks.numpy(), person=f"{people}{number}", code={"identity": identity.numpy(), "expression": mean.expression.numpy()},
    )  # fmt: skip


def drawn_samples(count: int, people: str = "a") -> list[Sample]:
    model = bundled.load()
    return [drawn_sample(model, number, people) for number in range(count)]


def drawn_set(folder, count: int, people: str = "a", per_shard: int = 8):
    manifest = Manifest("tests", {"count": count, "people": people}, 0, {"dots": "CC0"}, per_shard)
    for _ in write_shards(drawn_samples(count, people), folder, manifest):
        pass
    return folder
