"""From a fitted face and its photo to images that wrap around the head."""

from __future__ import annotations

import torch
from torch import Tensor

from ..geometry.mesh import vertex_normals
from ..geometry.view import View
from ..model.deformation import face_vertices
from ..model.face import CoarseFace, Geometry, TexturedFace
from ..model.morphable import MorphableModel
from ..render.bake import bake, dilate
from .deformed import Realign
from .delight import skin_albedo
from .eye_colour import measure_eye, share_colour
from .eye_texture import eye_texture
from .lash_texture import lash_texture
from .mouth_texture import mouth_texture, plain_texture
from .photo_evidence import DepthBuffer, depth_buffer
from .realign import realignment_flow, warp_by_flow
from .skin_look import look_at_skin
from .skin_texture import skin_texture
from .surface_colour import model_colour, white_exposure


def texture(
    view: View,
    model: MorphableModel,
    face: Geometry,
    *,
    size: int = 1024,
    realign: Realign = "on",
    delight: bool = True,
) -> TexturedFace:
    """Texture every part of a head: the photo where it shows the part, what is likely elsewhere.

    The textures show the face as lit in the photo; the skin's albedo comes beside them. Nothing here is differentiable.

    Args:
        view: the photo; its camera is posed (``T_camera_head``).
        model: any with texture coordinates. Only one that mirrors its texture about u = 1/2 gets mirrored completion.
        face: of any level.
        size: texels per side of the skin's texture.
        realign: for ablations, whether the skin is looked up with the deformed shape, or with the coarse one, as is or warped.
        delight: whether to make the albedo.

    Raises:
        BadInput: the model has no texture coordinates.
    """
    with torch.no_grad():
        coarse, vertices = face.coarse, face_vertices(model, face)
        buffer = depth_buffer(view, model, vertices)
        if realign == "on":
            look = look_at_skin(view, model, vertices, buffer)
            skin, observed = skin_texture(look, coarse, size)
        else:
            unmoved = model.vertices(coarse.code)
            look = look_at_skin(view, model, unmoved, depth_buffer(view, model, unmoved))
            skin, observed = skin_texture(look, coarse, size)
            if realign == "flow":
                both = warp_by_flow(
                    torch.cat([skin, observed[None]]), _flow(view, model, unmoved, vertices, size)
                )
                skin, observed = both[:3], both[3]
        albedo = skin_albedo(look, coarse, size) if delight else None
        textures = {model.part_names[0]: skin} | part_textures(view, model, coarse, vertices, buffer)
        return TexturedFace(face, textures, observed, albedo)


def part_textures(
    view: View, model: MorphableModel, coarse: CoarseFace, vertices: Tensor, buffer: DepthBuffer
) -> dict[str, Tensor]:
    """Textures of everything but the skin: eyes, teeth, tongue, lashes; these alone have a fourth channel, their opacity.

    Args:
        vertices: "v 3" of the view, head frame. buffer: of these.
    """
    textures: dict[str, Tensor] = {}
    normals = vertex_normals(view.camera.to_camera(vertices), model.triangles)
    exposure = white_exposure(model, normals, coarse.light)
    colours = model_colour(model, coarse, normals)
    eyes = [name for name in model.part_names[1:] if name.startswith("eye_")]
    measured = share_colour(
        {part: measure_eye(view, model, vertices, part, buffer, exposure) for part in eyes}
    )
    for part in model.part_names[1:]:
        if part in measured:
            textures[part] = eye_texture(model, part, measured[part])
        elif part in ("teeth", "tongue"):
            textures[part] = mouth_texture(view, model, vertices, part, colours, buffer)
        elif part == "lashes":
            textures[part] = lash_texture(model, part, exposure)
        else:
            textures[part] = plain_texture(model, part, colours)
    return textures


def _flow(view: View, model: MorphableModel, unmoved: Tensor, vertices: Tensor, size: int) -> Tensor:
    """The published re-alignment "2 s s" between two shapes, in texels of the skin's texture."""
    skin = (model.part_of_triangle == 0).nonzero().squeeze(-1)
    projected = torch.cat([view.camera.project(points)[:, :2] for points in (unmoved, vertices)], 1)
    before, after = dilate(*bake(projected, model.topology, skin, size)).split(2)
    return realignment_flow(before, after)
