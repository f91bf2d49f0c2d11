"""A fitted photo as a scene that can be turned: the head with the photo on it, and what lies around (:mod:`.profiling_background`).

Zhu et al., "Face alignment across large poses: a 3D solution", CVPR 2016, section 4, lift a photo to depth (the face by its fit, the rest by
anchors around it) and rotate that. Here the whole head is known, so it is drawn whole, wearing the photo as light thrown on it by the photo's own camera.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage, sparse
from scipy.sparse.linalg import splu
from scipy.spatial import KDTree
from torch import Tensor

from ..geometry.camera import Camera
from ..geometry.mesh import edges, vertex_normals
from ..geometry.rigid import transform_points
from ..model.morphable import MorphableModel
from ..render.interpolate import interpolate
from ..render.raster import Fragments, rasterize
from ..render.visible import facing, visible_points
from ..stages.surface_colour import mirror_gain
from .person import fixed_of
from .photo_fit import CENTRE_MM, REACH_MM, PhotoFit, camera_of
from .profiling_background import Sheet, fill_hole, make_sheet, ramp

PIVOT_MM = (0.0, -45.0, -85.0)
"""What a head turns about: the middle of the neck below the skull, head frame."""
_NECK_MM = 32.0  # from the head, over which the neck is twisted; below it stands still
_MOUTH_MM = 28.0  # above the chin: below it hair lies on shoulders
_SEEN_WELL = (
    0.18,
    0.40,
)  # cosine to the photo's camera from which on a vertex' colour may be spread over what is not seen
_HAIR_SEEN, _ACROSS_HAIRLINE = (0.12, 0.40), 0.01
_KEEP, _SPREAD = 30.0, 1e-4  # of a seen colour against one step of the spreading; of the mean colour
_HIGHEST_HAIR_MM, _ANGLES = 55.0, 72
_TRUST, _RIM_PX = (0.5, 0.8), 7  # person probability; width of what is not trusted at an outline
TOLERANCE_MM = 1.5


@dataclass(frozen=True, eq=False)
class Scene:
    """One photo, ready to be turned; "v" are the model's vertices, pixels those of the scene's camera.

    Attributes:
        model, key: whose. camera: posed as in the photo. code_light: "3 9".
        image: "3 h w" sRGB. skin: "h w" in [0, 1]. trust: "h w" in [0, 1], that a pixel shows the person.
        vertices_mm: "v 3" head frame, as fitted. drawn_mm: "v 3" camera frame, with hair. share: "v", of the turn.
        triangles: "f 3" that are drawn. is_face: "f", which are skin of the face.
        mirrored_mm: "v 3", where the photo shows the vertex of the other side. gain: "v 3", for its light.
        facing, mirrored_facing: "v", cosines to the photo's camera, of the vertex and of that of the other side.
        plain: "v 3" sRGB, colour for what the photo does not show on either side. hair: "v", how much strands show there.
        seen: the drawn head in the photo. sheet, backdrop: what is around.
    """

    model: MorphableModel
    camera: Camera
    image: Tensor
    skin: Tensor
    trust: Tensor
    vertices_mm: Tensor
    drawn_mm: Tensor
    share: Tensor
    triangles: Tensor
    is_face: Tensor
    mirrored_mm: Tensor
    facing: Tensor
    mirrored_facing: Tensor
    gain: Tensor
    plain: Tensor
    hair: Tensor
    seen: Fragments
    sheet: Sheet
    backdrop: Tensor

    @property
    def pivot_mm(self) -> Tensor:
        """Where the head turns, "3" camera frame."""
        return transform_points(self.camera.T_camera_head, torch.tensor([PIVOT_MM]))[0]


@torch.no_grad()
def build_scene(model: MorphableModel, fit: PhotoFit) -> Scene:
    """Lift the crop of a fitted photo to depth; about half a second, once per photo."""
    camera, image, skin, person = _canvas(fit)
    vertices = torch.from_numpy(fit.sample.vertices_mm)
    triangles, is_face = drawn_triangles(model)
    bare = camera.to_camera(vertices)
    drawn = with_hair(model, camera, bare, triangles, person)
    seen_px = camera.project_camera(drawn)[None]
    seen = rasterize(seen_px, triangles, camera.size_px)
    normals = vertex_normals(drawn, triangles)
    square = facing(drawn, normals)
    mirror = model.mirror if model.mirror is not None else torch.arange(len(vertices))
    gain = _gain(model, normals, fit)
    trust = _trusted(person, seen.mask[0])
    plain = spread_colours(model, image, person, seen_px, seen, triangles, square, trust, gain)
    share = neck_share(model, vertices)
    share_map = interpolate(seen, seen_px, triangles, share[:, None])[0, 0]
    down = -camera.T_camera_head[:3, 1]
    chin = float((bare @ down)[model.regions["face"]].max())
    sheet, hole = make_sheet(camera, seen.depth_mm[0], share_map, person, down, chin - _MOUTH_MM)
    return Scene(
        model, camera, image, skin, trust, vertices, drawn, share, triangles, is_face, drawn[mirror],
        square, square[mirror], gain, plain, _strand_strength(model, image, seen, triangles), seen, sheet, fill_hole(image, hole),
    )  # fmt: skip


def drawn_triangles(model: MorphableModel) -> tuple[Tensor, Tensor]:
    """Triangles "f 3" of all parts but the lashes, and which are skin of the face, "f" bool."""
    parts = [i for i, name in enumerate(model.part_names) if name != "lashes"]
    ids = torch.cat([(model.part_of_triangle == i).nonzero().squeeze(1) for i in parts])
    return model.triangles[ids], fixed_of(model).is_face[ids]


def neck_share(model: MorphableModel, vertices: Tensor) -> Tensor:
    """How much of the head's turn each vertex takes part in, "v": all, but for the neck, which stands still at its lower end."""
    neck = model.regions["neck"]
    rest = vertices[~neck & fixed_of(model).outer]
    apart = torch.from_numpy(KDTree(rest.numpy()).query(vertices[neck].numpy())[0]).float()
    share = torch.ones(len(vertices))
    share[neck] = ramp(apart, min(_NECK_MM, float(apart.max())), 0.0)
    return share


def with_hair(
    model: MorphableModel, camera: Camera, bare: Tensor, triangles: Tensor, person: Tensor
) -> Tensor:
    """The head "v 3" (camera frame) with its scalp lifted as far as the photo shows hair around it; below the ears nothing is known.

    Args:
        person: "h w" probability.
    """
    head = rasterize(camera.project_camera(bare)[None], triangles, camera.size_px).mask[0]
    depth = fixed_of(model).hairline.clamp(0, 1)
    scalp = depth > 0
    middle = bare[model.regions["scalp"]].mean(0)
    centre = camera.project_camera(middle[None])[0]
    up = camera.T_camera_head[:2, 1]
    gap_px, reach_px = _hair_around(head.numpy(), person.numpy(), centre[:2].numpy(), up.numpy())
    arm = camera.project_camera(bare)[:, :2] - centre[:2]
    angle = torch.atan2(arm[:, 1], arm[:, 0])
    place = (angle / (2 * np.pi) * _ANGLES) % _ANGLES
    low = place.long() % _ANGLES
    around = torch.lerp(gap_px[low], gap_px[(low + 1) % _ANGLES], place - place.floor())
    # Towards the middle of the picture, front and back of the head, no direction is any better than another.
    outer = (arm.norm(dim=1) / reach_px).clamp(0, 1)
    lift = torch.lerp(gap_px[gap_px > 0].mean().nan_to_num(0.0), around, outer)
    lift_mm = (lift * centre[2] / camera.focal_px).clamp(0, _HIGHEST_HAIR_MM) * ramp(depth, 0.0, 0.6)
    away = F.normalize(bare - middle, dim=1)
    return torch.where(scalp[:, None], bare + lift_mm[:, None] * away, bare)


def spread_colours(
    model: MorphableModel, image: Tensor, person: Tensor, seen_px: Tensor, seen: Fragments, triangles: Tensor, square: Tensor, trust: Tensor,
    gain: Tensor,
) -> Tensor:  # fmt: skip
    """Colours "v 3" for every vertex: the photo's where it is seen well, else the other side's, else spread over the surface from there.

    Hair is spread over the scalp and skin over the rest: little crosses the hairline. The scalp is mostly seen at a grazing angle, so that will do for it.
    """
    blurred = F.avg_pool2d(image[None], 5, 1, 2, count_include_pad=False)[0]
    hair_trust = ramp(_least(person), *_TRUST)
    looked_up = sample_px(torch.cat([blurred, trust[None], hair_trust[None]]), seen_px[0, :, :2]).T
    visible = visible_points(seen_px, seen, seen_px, triangles, tolerance_mm=TOLERANCE_MM)[0]
    scalp = fixed_of(model).hairline > 0
    well = torch.where(
        scalp, ramp(square, *_HAIR_SEEN) * looked_up[:, 4], ramp(square, *_SEEN_WELL) * looked_up[:, 3]
    )
    weight = well * visible
    mirror = model.mirror if model.mirror is not None else torch.arange(len(weight))
    other = weight[mirror] * (1 - weight)
    colour = (
        (looked_up[:, :3] * weight[:, None] + looked_up[mirror, :3] * gain * other[:, None]).double().numpy()
    )
    total = (weight + other).double().numpy()
    pairs = edges(triangles)
    flow = torch.where(scalp[pairs[:, 0]] == scalp[pairs[:, 1]], 1.0, _ACROSS_HAIRLINE).double().numpy()
    graph = sparse.coo_matrix((flow, pairs.T.numpy()), shape=(len(total), len(total))).tocsr()
    graph = graph + graph.T
    mean = (colour.sum(0) / max(total.sum(), 1e-9)).clip(0, 1)
    system = sparse.diags(np.asarray(graph.sum(1)).ravel() + _KEEP * total + _SPREAD) - graph
    found = splu(system.tocsc()).solve(_KEEP * colour + _SPREAD * mean)
    return torch.from_numpy(found).float().clamp(0, 1)


def sample_px(image: Tensor, points_px: Tensor) -> Tensor:
    """Bilinear values "c p" of an image "c h w" at "p 2" (x, y); beyond the border it goes on as at it."""
    size = points_px.new_tensor([image.shape[-1], image.shape[-2]])
    grid = (points_px / size * 2 - 1)[None, None]
    return F.grid_sample(image[None], grid, padding_mode="border", align_corners=False)[0, :, 0]


def _canvas(fit: PhotoFit) -> tuple[Camera, Tensor, Tensor, Tensor]:
    """Camera, image, skin and person of a crop, made wide enough for the head to turn: what lies beyond the photo is filled in."""
    sample, camera = fit.sample, camera_of(fit.sample)
    image = torch.from_numpy(sample.image).permute(2, 0, 1).float() / 255
    skin, person = (torch.from_numpy(bits).float() / 255 for bits in (sample.mask, fit.person))
    x, y, depth = camera.project(torch.tensor([CENTRE_MM]))[0].tolist()
    reach = REACH_MM * float(camera.focal_px) / depth
    width, height = camera.size_px
    left, top = max(0, round(reach - x)), max(0, round(reach - y))
    right, bottom = max(0, round(x + reach) - width), max(0, round(y + reach) - height)
    if not left + top + right + bottom:
        return camera, image, skin, person
    sides = (left, right, top, bottom)
    wide = replace(camera.cropped(-left, -top, (width + left + right, height + top + bottom)))
    beyond = F.pad(torch.zeros_like(skin)[None, None], sides, value=1.0)[0, 0] > 0
    image = fill_hole(F.pad(image[None], sides)[0], beyond)
    # A person goes on below the photo, not beside or above it.
    person = F.pad(person[None, None], (left, right, top, 0))
    person = F.pad(person, (0, 0, 0, bottom), mode="replicate")[0, 0]
    return wide, image, F.pad(skin[None, None], sides)[0, 0], person


def _strand_strength(model: MorphableModel, image: Tensor, seen: Fragments, triangles: Tensor) -> Tensor:
    """How strongly strands show on each vertex "v", relative to the hair's colour: as in the photo's hair, nothing on skin."""
    depth = fixed_of(model).hairline.clamp(0, 1)
    shown = (depth[triangles].amin(1)[seen.triangle_ids[0].clamp_min(0)] > 0.2) & seen.mask[0]
    if int(shown.sum()) < 50:
        return torch.zeros_like(depth)
    grey = image.mean(0)
    fine = grey - F.avg_pool2d(grey[None, None], 9, 1, 4, count_include_pad=False)[0, 0]
    contrast = fine[shown].std() / grey[shown].mean().clamp_min(0.05)
    return ramp(depth, 0.0, 0.3) * contrast.clamp(0.0, 0.25)


def _gain(model: MorphableModel, normals: Tensor, fit: PhotoFit) -> Tensor:
    """Factors "v 3" from the light on the other side to that on this one; one where no light is known."""
    if fit.sample.light is None:
        return torch.ones_like(normals)
    gain = mirror_gain(model, normals, torch.from_numpy(fit.sample.light))
    return torch.ones_like(normals) if gain is None else gain


def _trusted(person: Tensor, head: Tensor) -> Tensor:
    """Where a pixel surely shows the person, and so do its neighbours: at an outline, of the photo's person or of the head, the background shines through."""
    both = torch.stack([person, F.max_pool2d(head.float()[None], 3, 1, 1)[0]])
    least = _least(both)
    return ramp(F.avg_pool2d(least, 3, 1, 1, count_include_pad=False), *_TRUST).prod(0)


def _least(values: Tensor) -> Tensor:
    """The least value of "... h w" within some pixels."""
    return -F.max_pool2d(-values.reshape(1, -1, *values.shape[-2:]), _RIM_PX, 1, _RIM_PX // 2).reshape(
        values.shape
    )


def _hair_around(
    head: np.ndarray, person: np.ndarray, centre: np.ndarray, up: np.ndarray
) -> tuple[Tensor, float]:
    """How far the person reaches beyond the head in each direction (radians, from +x over +y), in pixels, smooth; and the head's mean radius.

    Zero in directions that look down, where ears, neck and shoulders are.
    """
    height, width = head.shape
    steps = np.arange(max(height, width))
    angles = np.arange(_ANGLES) * 2 * np.pi / _ANGLES
    towards = np.stack([np.cos(angles), np.sin(angles)], 1)
    x = (centre[0] + np.outer(towards[:, 0], steps)).round().astype(int)
    y = (centre[1] + np.outer(towards[:, 1], steps)).round().astype(int)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    x, y = x.clip(0, width - 1), y.clip(0, height - 1)
    edge = np.where(head[y, x] & inside, steps, 0).max(1)
    # The first step beyond the head that shows nobody; hair that the photo's border cuts off ends there.
    nobody = (~((person[y, x] > 0.5) & inside)) & (steps > edge[:, None])
    gap = np.where(nobody.any(1), nobody.argmax(1) - 1, edge) - edge
    upwards = np.clip((towards @ (up / np.linalg.norm(up)) + 0.1) / 0.5, 0, 1)
    gap = ndimage.gaussian_filter1d(gap * upwards, 1.5, mode="wrap")
    return torch.from_numpy(gap.clip(0)).float(), float(max(edge[upwards > 0].mean(), 1.0))
