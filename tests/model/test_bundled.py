"""The bundled head as anatomy: eyes, lids, teeth and neck, in the mean, under expressions and for random people."""

import numpy as np
import pytest
import torch

from vultus.geometry.camera import Camera
from vultus.geometry.mesh import edges, vertex_normals
from vultus.geometry.rigid import rigid_transform, rotation_from_pose_angles
from vultus.model.bundled import HEAD
from vultus.model.catalog import load_model
from vultus.model.face import FaceCode
from vultus.model.morphable import MorphableModel
from vultus.render.raster import rasterize

EYES, MOUTH = ("eye_left", "eye_right"), ("teeth", "tongue")
PIXEL_MM = 0.3


@pytest.fixture(scope="module")
def model() -> MorphableModel:
    return load_model("vultus")


@pytest.fixture(scope="module")
def people(model) -> torch.Tensor:
    """Identities "n k"; the first is the mean."""
    random = torch.randn(25, len(model.identity_mm), generator=torch.Generator().manual_seed(0))
    return torch.cat([torch.zeros_like(random[:1]), random])


def code(model: MorphableModel, identity: torch.Tensor | None = None, **units: float) -> FaceCode:
    """The names of units may leave their side out."""
    mean = model.mean_code()
    expression = mean.expression.clone()
    for unit, weight in units.items():
        for name in (unit, f"{unit}Left", f"{unit}Right"):
            if name in model.expression_names:
                expression[model.expression_names.index(name)] = weight
    return FaceCode(mean.identity if identity is None else identity, expression, mean.albedo)


def seen_mm2(model: MorphableModel, face: FaceCode, yaw_deg: float = 0.0) -> dict[str, float]:
    """How much of each part a picture shows."""
    rotation = rotation_from_pose_angles(*torch.tensor([yaw_deg, 0.0, 0.0]))
    pose = rigid_transform(
        rotation, torch.tensor([0.0, 0.0, 900.0]) - rotation @ torch.tensor([0.0, -40, 10])
    )
    camera = Camera(torch.tensor(900 / PIXEL_MM), torch.full((2,), 250.0), (500, 500), pose)
    fragments = rasterize(camera.project(model.vertices(face))[None], model.triangles, camera.size_px)
    part = model.part_of_triangle[fragments.triangle_ids[fragments.mask].long()]
    count = torch.bincount(part, minlength=len(model.part_names)) * PIXEL_MM**2
    return dict(zip(model.part_names, count.tolist()))


def eyeball(model: MorphableModel, vertices: torch.Tensor, part: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Centre "3" of the white and distances "n" of the vertices from it; the white is the back half."""
    points = vertices[torch.unique(model.part_triangles(part))].double()
    back = points[points[:, 2] < points[:, 2].mean()]
    design = torch.cat([2 * back, torch.ones(len(back), 1)], 1)
    centre = torch.linalg.lstsq(design, (back**2).sum(1, keepdim=True)).solution[:3, 0]
    return centre, (points - centre).norm(dim=1)


def test_adult_symmetric_and_small(model):
    mean, mirror = model.mean_mm, model.mirror
    assert HEAD.stat().st_size <= 4e6
    torch.testing.assert_close(mean[mirror], mean * torch.tensor([-1, 1, 1]), atol=0.02, rtol=0)
    pairs = edges(model.part_triangles("skin"))
    facing = vertex_normals(mean, model.part_triangles("skin"))[:, 2] > 0.5
    front = pairs[(facing & model.regions["face"])[pairs].all(1)]
    assert (mean[front[:, 0]] - mean[front[:, 1]]).norm(dim=1).median() <= 2.0


def test_eyeballs_are_those_of_adults_whoever_it_is(model, people):
    """White 12.1 mm, cornea 0.9 mm before it, and nobody's is bent."""
    for identity in people[:5]:
        vertices = model.vertices(code(model, identity))
        centres = []
        for part in EYES:
            centre, radius = eyeball(model, vertices, part)
            centres.append(centre)
            assert radius.median() == pytest.approx(12.1, abs=0.05)
            assert radius.min() > 12.0
            assert radius.max() == pytest.approx(13.0, abs=0.1)
        assert 52 < (centres[0] - centres[1]).norm() < 74
    centres = torch.stack([eyeball(model, model.mean_mm, part)[0] for part in EYES])
    assert (centres[0] - centres[1]).norm() == pytest.approx(63.5, abs=1)
    assert centres.mean(0).abs().max() < 0.1  # the origin of the head frame


def test_lids_of_an_open_eye(model):
    """As much of the eyeballs is seen as through an opening of about 10 mm by 20 mm; wide and narrow eyes beside it."""
    area = {
        unit: seen_mm2(model, code(model, **{unit: 1.0}))["eye_left"]
        for unit in ("none", "eyeWide", "eyeSquint")
    }
    assert 120 < area["none"] < 170  # an ellipse of 10 x 20 mm has 157 mm2
    assert area["eyeWide"] > 1.2 * area["none"]
    assert area["eyeSquint"] < 0.8 * area["none"]


@pytest.mark.parametrize("yaw_deg", [0.0, 40.0, -40.0])
def test_a_blink_closes_everybody(model, people, yaw_deg):
    """Nothing of the eyeballs shows between the lids or through them."""
    for identity in people:
        seen = seen_mm2(model, code(model, identity, eyeBlink=1.0), yaw_deg)
        assert seen["eye_left"] + seen["eye_right"] < 0.5


@pytest.mark.parametrize(
    "unit", ["none", "eyeBlink", "eyeWide", "eyeSquint", "eyeLookDown", "eyeLookUp", "eyeLookOut"]
)
@pytest.mark.parametrize("weight", [0.5, 1.0])
def test_eyeballs_stay_behind_the_lids(model, people, unit, weight):
    """Skin beside the eyes' openings lies in front of the eyeball along every ray from its centre, but for 0.35 mm."""
    left = torch.unique(model.part_triangles("eye_left"))
    lids = model.regions["eyes"] & ~model.regions["eye_sockets"] & (model.mean_mm[:, 0] > 0)
    centre, _ = eyeball(model, model.mean_mm, "eye_left")
    lids &= (model.mean_mm - centre.float()).norm(dim=1) < 16
    for identity in people[:10]:
        face = code(model, identity, **{unit: weight})
        vertices = model.vertices(face)
        middle, _ = eyeball(model, model.vertices(code(model, identity)), "eye_left")
        ball, skin = vertices[left] - middle.float(), vertices[lids] - middle.float()
        skin = skin[skin[:, 2] > 0]
        rays = torch.nn.functional.normalize(skin, dim=1) @ torch.nn.functional.normalize(ball, dim=1).T
        near, ids = rays.topk(3, dim=1)
        reach = ball.norm(dim=1)[ids]
        radius = (reach * (1 / (1.0001 - near))).sum(1) / (1 / (1.0001 - near)).sum(1)
        assert (skin.norm(dim=1) - radius).min() > -0.35


def test_a_closed_mouth_shows_neither_teeth_nor_tongue(model, people):
    for identity in people:
        for yaw_deg in (0.0, 45.0):
            seen = seen_mm2(model, code(model, identity), yaw_deg)
            assert seen["teeth"] + seen["tongue"] < 0.5


@pytest.mark.parametrize(
    "unit", ["mouthPucker", "mouthPress", "mouthRollUpper", "mouthRollLower", "mouthSmile", "jawForward"]
)
def test_closed_units_show_no_teeth(model, unit):
    assert seen_mm2(model, code(model, **{unit: 1.0}))["teeth"] < 2


def test_an_open_smile_shows_the_upper_teeth(model, people):
    """Before anything else behind the lips, and not the floor of the mouth."""
    for identity in people[:8]:
        seen = seen_mm2(model, code(model, identity, jawOpen=0.2, mouthSmile=0.6, mouthUpperUp=0.4))
        assert seen["teeth"] > 80
        assert seen["teeth"] > 3 * seen["tongue"]


def test_the_neck_ends_in_a_smooth_loop(model):
    skin = model.part_triangles("skin")
    directed = torch.cat([skin[:, [0, 1]], skin[:, [1, 2]], skin[:, [2, 0]]])
    _, inverse, count = torch.unique(directed.sort(1).values, dim=0, return_inverse=True, return_counts=True)
    rim = torch.unique(directed[count[inverse] == 1])
    rim = rim[model.regions["neck"][rim]].numpy()
    points = model.mean_mm.numpy()[rim]
    plane = np.stack([np.ones(len(rim)), points[:, 2]], 1)
    off = points[:, 1] - plane @ np.linalg.lstsq(plane, points[:, 1], rcond=None)[0]
    assert len(rim) > 80
    assert np.abs(off).max() < 0.3
