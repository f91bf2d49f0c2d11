"""Random pictures of a morphable model's heads with everything known: what landmark tables are calibrated on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from vultus.geometry.camera import Camera
from vultus.geometry.light import ambient_and_directional
from vultus.geometry.rigid import rigid_transform, rotation_from_pose_angles
from vultus.model.face import FaceCode
from vultus.model.morphable import MorphableModel
from vultus.render.shade import linear_from_srgb, over, render, srgb_from_linear

SIZE_PX = 420


@dataclass(frozen=True)
class RandomHead:
    """One picture: image "3 h w" sRGB, the camera (posed), the code, vertices "v 3" and the pose in degrees."""

    image: torch.Tensor
    camera: Camera
    code: FaceCode
    vertices: torch.Tensor
    yaw_deg: float
    pitch_deg: float


def random_code(model: MorphableModel, rng: np.random.Generator, identity_sigma: float = 1.0) -> FaceCode:
    """A random person with a random expression: a third neutral, a third one or two units, a third a mixture."""
    identity = rng.normal(0, identity_sigma, len(model.identity_mm))
    num = len(model.expression_mm)
    style = rng.integers(3)
    expression = np.zeros(num)
    if style == 1:
        expression[rng.choice(num, 2, replace=False)] = rng.uniform(0.2, 1.0, 2)
    elif style == 2:
        expression = rng.uniform(0, 1, num) ** 6
    pairs = {name: i for i, name in enumerate(model.expression_names)}
    for name, i in pairs.items():  # left and right mostly move together, as in people
        if name.endswith("Left") and rng.uniform() < 0.85:
            expression[pairs[name[:-4] + "Right"]] = expression[i] * rng.uniform(0.85, 1.0)
    if "tongueOut" in pairs:
        expression[pairs["tongueOut"]] = 0.0
    albedo = rng.normal(0, 1, len(model.albedo))
    return FaceCode(*(torch.tensor(value, dtype=torch.float32) for value in (identity, expression, albedo)))


def random_camera(
    rng: np.random.Generator, yaw_deg: float, pitch_deg: float, focal_px: float | None = None
) -> Camera:
    """A camera of :data:`SIZE_PX` that sees the whole face from 35 cm to 2.5 m, slightly off centre."""
    distance = float(np.exp(rng.uniform(np.log(350), np.log(2500))))
    face_px = rng.uniform(0.40, 0.62) * SIZE_PX
    focal = face_px / 130.0 * distance
    roll = float(rng.normal(0, 8))
    angles = torch.tensor([yaw_deg, pitch_deg, roll])
    rotation = rotation_from_pose_angles(*angles)
    shift = torch.tensor([*rng.normal(0, 8, 2), distance]).float()
    centre = torch.tensor([0.0, -25.0, -30.0])
    pose = rigid_transform(rotation, shift - rotation @ centre)
    return Camera(torch.tensor(focal), torch.tensor([SIZE_PX / 2, SIZE_PX / 2]), (SIZE_PX, SIZE_PX), pose)


def random_light(rng: np.random.Generator) -> torch.Tensor:
    """Ambient and one coloured lamp from the camera's side."""
    towards = np.array([rng.normal(0, 0.7), rng.normal(-0.5, 0.5), -1.0])
    warm = np.array([1 + rng.normal(0, 0.08), 1.0, 1 + rng.normal(0, 0.1)])
    lamp = rng.uniform(0.2, 0.9)
    tensor = lambda x: torch.tensor(x, dtype=torch.float32)  # noqa: E731
    return ambient_and_directional(
        tensor(warm * rng.uniform(0.45, 0.8)), tensor(lamp / warm), tensor(towards)
    )


def random_heads(
    model: MorphableModel,
    number: int,
    seed: int,
    *,
    max_yaw_deg: float = 80.0,
    max_pitch_deg: float = 28.0,
    textures: list[torch.Tensor] | None = None,
    backgrounds: list[Path] | None = None,
) -> Iterator[RandomHead]:
    """Yield pictures, reproducibly.

    Args:
        textures: linear "3 h w" skin textures (delit as far as possible) to use instead of the model's albedo.
        backgrounds: photos to put behind.
    """
    parts = [name for name in model.part_names if name != "lashes"]
    triangles = torch.cat([model.part_triangles(name) for name in parts])
    skin = model.part_of_triangle == 0
    for index in range(number):
        rng = np.random.default_rng((seed, index))
        code = random_code(model, rng)
        vertices = model.vertices(code)
        yaw, pitch = (
            float(rng.uniform(-max_yaw_deg, max_yaw_deg)),
            float(rng.uniform(-max_pitch_deg, max_pitch_deg)),
        )
        camera, light = random_camera(rng, yaw, pitch), random_light(rng)
        albedo = model.vertex_albedo(code)
        if textures is None:
            picture = render(vertices, triangles, camera, light, albedo=albedo, samples=2)
        else:
            uv, uv_triangles = model.topology.uv, model.topology.uv_triangles
            others = torch.cat([model.part_triangles(name) for name in parts if name != "skin"])
            texture = textures[rng.integers(len(textures))]
            # Depth decides between skin and the other parts: two passes over the same camera.
            picture = _two_layers(
                vertices,
                model.triangles[skin],
                others,
                camera,
                light,
                albedo,
                texture,
                uv,
                uv_triangles[skin],
            )
        if backgrounds:
            behind = _background(backgrounds[rng.integers(len(backgrounds))])
        else:
            behind = torch.tensor(rng.uniform(0, 0.8, 3), dtype=torch.float32)[:, None, None].expand(
                3, SIZE_PX, SIZE_PX
            )
        image = srgb_from_linear(over(picture, behind[None]).clamp(0, 1))[0]
        image = (image + 0.01 * torch.from_numpy(rng.normal(size=image.shape)).float()).clamp(0, 1)
        yield RandomHead(image, camera, code, vertices, yaw, pitch)


@lru_cache(maxsize=300)
def _background(path: Path) -> torch.Tensor:
    """A photo, upside down so that its own face is not found, linear RGB at the picture's size."""
    from vultus.io.images import read_image

    photo = read_image(path, max_side_px=2 * SIZE_PX)[0]
    small = torch.nn.functional.interpolate(photo[None], (SIZE_PX, SIZE_PX), mode="area")[0]
    return linear_from_srgb(small.flip(1))


def _two_layers(vertices, skin, others, camera, light, albedo, texture, uv, uv_triangles):
    """Textured skin in front of or behind the vertex-coloured parts, by depth."""
    from vultus.render.raster import rasterize

    projected = camera.resized(2).project(vertices)[None]
    near_skin = rasterize(projected, skin, camera.resized(2).size_px).depth_mm
    near_others = rasterize(projected, others, camera.resized(2).size_px).depth_mm
    big = camera.resized(2)
    first = render(vertices, skin, big, light, texture=texture, uv=uv, uv_triangles=uv_triangles)
    second = render(vertices, others, big, light, albedo=albedo)
    front = (near_skin <= near_others)[:, None]
    return torch.nn.functional.avg_pool2d(torch.where(front & (first[:, 3:] > 0), first, second), 2)
