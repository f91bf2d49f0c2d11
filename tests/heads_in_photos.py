"""Fits of photos that nobody took: the mean head, painted, before a plain background."""

import numpy as np
import torch

from vultus.data.person import fixed_of
from vultus.data.photo_fit import PhotoFit, as_sample
from vultus.data.profiling_scene import drawn_triangles
from vultus.data.scene import look_at_head
from vultus.render.interpolate import interpolate
from vultus.render.raster import rasterize

SIZE_PX = 200
GREEN = torch.tensor([0.1, 0.6, 0.2])


def painted(vertices):
    """Colours "v 3" that vary over a few centimetres, symmetric about the middle, never green."""
    x, y, z = vertices.abs().unbind(1)
    return torch.stack(
        [0.6 + 0.2 * (y / 14).cos(), 0.15 + 0.1 * (x / 12).sin(), 0.6 + 0.2 * (z / 14).cos()], 1
    )


def picture_of(model, vertices, camera, colours=None):
    """Image "3 h w", head "h w" and face "h w" bool of a head "v 3" (head frame) before green."""
    triangles, is_face = drawn_triangles(model)
    points = camera.project(vertices)[None]
    found = rasterize(points, triangles, camera.size_px)
    colours = painted(model.mean_mm) if colours is None else colours
    drawn = interpolate(found, points, triangles, colours)[0]
    head = found.mask[0]
    return torch.where(head, drawn, GREEN[:, None, None]), head, head & is_face[found.triangle_ids[0].clamp_min(0)]  # fmt: skip


def painted_fit(model, yaw=5.0, size_px=SIZE_PX, key="a", hair_px=0, colours=None):
    """The fit of a picture of the mean head, with some hair's width of person around it."""
    camera = look_at_head(yaw, 3.0, -4.0, distance_mm=700, face_px=0.36 * size_px, size_px=size_px)
    image, head, face = picture_of(model, model.mean_mm, camera, colours)
    person = head
    if hair_px:
        person = torch.nn.functional.max_pool2d(head.float()[None], 2 * hair_px + 1, 1, hair_px)[0] > 0
        image = torch.where(person & ~head, torch.tensor([0.3, 0.2, 0.1])[:, None, None], image)
    code = {"identity": np.zeros(len(model.identity_mm), np.float32), "expression": np.zeros(len(model.expression_mm), np.float32)}  # fmt: skip
    sample = as_sample(
        model, key=key, source="fitted-photos", image=image, mask=face, vertices=model.mean_mm, camera=camera, person=key,
        code=code, maps={}, light=None,
    )  # fmt: skip
    assert fixed_of(model).is_face.any()
    return PhotoFit(sample, (person.numpy() * 255).astype(np.uint8))
