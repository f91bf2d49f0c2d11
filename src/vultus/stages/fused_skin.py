"""Wrinkles and textures of several photos of one person, found photo by photo and merged on the skin."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..model.deformation import face_vertices
from ..model.face import DeformedFace, Geometry, TexturedFace
from ..model.morphable import MorphableModel
from .delight import completed_albedo, seen_albedo
from .detail import DetailOptions, fit_detail
from .fused_coarse import FittedView
from .merge import (
    Shown,
    chart_score,
    head_normals,
    merge,
    merge_displacements,
    mirrored_where_hidden,
    unchanged,
)
from .photo_evidence import DepthBuffer, depth_buffer
from .skin_look import BLEND_SIZE, SkinLook, bands, look_at_skin
from .skin_texture import completed_skin
from .texture import part_textures


@torch.no_grad()
def fuse_displacement(
    fitted: Sequence[FittedView], model: MorphableModel, face: DeformedFace, size: int
) -> Tensor:
    """One displacement map "s s" in mm from the wrinkles that each photo shows.

    Args:
        face: the fused face; photos with its expression count most.
    """
    if model.chart is None:
        return torch.zeros(size, size)
    options = DetailOptions()
    target = face_vertices(model, face)
    found, scores = [], []
    for one in fitted:
        own = DeformedFace(one.coarse, face.deformation_mm)
        vertices = face_vertices(model, own)
        alike = unchanged((vertices - target).norm(dim=1))
        detail = fit_detail(one.view, model, own, size=size, options=replace(options, mirrored=0.0))
        found.append(detail.displacement_mm)
        scores.append(one.person.sharpness * chart_score(one.view, model, vertices, alike, size))
    merged, shown = merge_displacements(found, scores)
    return mirrored_where_hidden(merged, shown, options.mirrored) if model.mirror is not None else merged


@torch.no_grad()
def fuse_texture(
    fitted: Sequence[FittedView], model: MorphableModel, face: Geometry, reference: int, size: int
) -> tuple[TexturedFace, list[float]]:
    """Textures in the reference photo's light, the skin's albedo, and each photo's share of the skin that any of them shows.

    Eyes, teeth and tongue are the reference photo's.
    """
    target = face_vertices(model, face)
    offsets = target - model.vertices(face.coarse.code)
    lit: list[Shown] = []
    unlit: list[Shown] = []
    kept: tuple[SkinLook, DepthBuffer, Tensor] | None = None
    for index, one in enumerate(fitted):
        vertices = model.vertices(one.coarse.code) + offsets
        buffer = depth_buffer(one.view, model, vertices)
        look = look_at_skin(one.view, model, vertices, buffer)
        alike = unchanged((vertices - target).norm(dim=1))
        score = _score(look, alike) * one.person.sharpness
        photo = _kept_rows(lambda rows: look.photo_rows(size, rows), size)  # noqa: B023
        lit.append(Shown(look.photo, photo, look.evidence, score))
        small, rows_of = seen_albedo(look, one.coarse, photo, size)
        unlit.append(Shown(small, rows_of, look.evidence, score))
        if index == reference:
            kept = look, buffer, vertices
    assert kept is not None
    look, buffer, vertices = kept
    normals = torch.nn.functional.avg_pool2d(
        head_normals(model, target, look.triangle_ids, 2 * BLEND_SIZE), 2
    )
    merged = merge(lit, normals, size, reference)
    seen = replace(look, evidence=merged.evidence)
    coarse = fitted[reference].coarse
    skin, observed = completed_skin(seen, coarse, merged.small, merged.rows, size)
    own = merge(unlit, normals, size, None)
    albedo = completed_albedo(seen, coarse, own.small, own.rows, size)
    textures = {model.part_names[0]: skin}
    textures |= part_textures(fitted[reference].view, model, coarse, vertices, buffer)
    covered = merged.evidence[0] > 0
    shares = merged.shares[:, covered].mean(1) if bool(covered.any()) else merged.shares.sum((1, 2))
    return TexturedFace(face, textures, observed, albedo), [float(share) for share in shares]


def _score(look: SkinLook, alike: Tensor) -> Tensor:
    """How well a photo shows each texel "1 b b": trust squared, pixels per square millimetre, how squarely, how little the expression moved it."""
    density = float(look.view.camera.focal_px) / look.position[2:].clamp_min(1)
    same = torch.nn.functional.avg_pool2d(look.drawn(alike[:, None]), 2)
    return look.evidence**2 * density**2 * look.facing.clamp(0, 1) * same


def _kept_rows(
    rows_of: Callable[[tuple[int, int]], Tensor], size: int
) -> Callable[[tuple[int, int]], Tensor]:
    """All rows looked up once and kept at half precision: finer than the photo's own 256 levels."""
    everything = torch.cat([rows_of(band).half() for band in bands(size)], 1)
    return lambda rows: everything[:, rows[0] : rows[1]].float()
