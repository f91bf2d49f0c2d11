import dataclasses

import pytest
import torch
from synthetic_model import synthetic_model, synthetic_reconstruction

from vultus.model.face import TexturedFace
from vultus.model.result import Reconstruction
from vultus.viewer.overlay import _crop, _dots, _portrait_camera, overlay

PANEL = 96


@pytest.fixture(scope="module")
def result() -> Reconstruction:
    return synthetic_reconstruction(texture_size=16)


def panel(picture: torch.Tensor, row: int, column: int) -> torch.Tensor:
    return picture[:, row * PANEL : (row + 1) * PANEL, column * PANEL : (column + 1) * PANEL]


def test_four_panels_to_a_row(result):
    """Over the photo, from all sides, and the shapes of the levels."""
    picture = overlay(result, PANEL)
    assert picture.shape == (3, 3 * PANEL, 4 * PANEL)
    assert torch.isfinite(picture).all() and picture.min() >= 0 and picture.max() <= 1 + 1e-5
    blind = dataclasses.replace(result, view=dataclasses.replace(result.view, image=torch.empty(3, 0, 0)))
    torch.testing.assert_close(overlay(blind, PANEL), picture[:, PANEL:])
    assert overlay(synthetic_reconstruction(level="coarse"), PANEL).shape == (3, 2 * PANEL, 4 * PANEL)
    assert overlay(synthetic_reconstruction(level="deformed"), PANEL).shape == (3, 3 * PANEL, 4 * PANEL)


def test_each_level_shows_what_it_adds(result):
    """Coarse and deformed shapes differ, and wrinkles show in the third; a displacement of nothing changes nothing."""
    rough = dataclasses.replace(result.geometry, displacement_mm=20 * result.geometry.displacement_mm)
    result = dataclasses.replace(result, face=dataclasses.replace(result.face, geometry=rough))
    coarse, deformed, detail = (panel(overlay(result, PANEL), 2, column) for column in range(3))
    assert (coarse - deformed).abs().max() > 0.02 and (deformed - detail).abs().max() > 0.02
    flat = dataclasses.replace(result.geometry, displacement_mm=torch.zeros(32, 32))
    smooth = dataclasses.replace(result, face=dataclasses.replace(result.face, geometry=flat))
    torch.testing.assert_close(panel(overlay(smooth, PANEL), 2, 2), deformed, atol=2e-3, rtol=0)


def test_looking_changes_nothing(result):
    before = [
        result.view.image.clone(),
        result.coarse.code.expression.clone(),
        result.face.texture["skin"].clone(),
    ]
    overlay(result, PANEL)
    after = [result.view.image, result.coarse.code.expression, result.face.texture["skin"]]
    assert all(torch.equal(a, b) for a, b in zip(before, after))


def test_the_crop_and_its_camera_agree(result):
    # Where the crop's camera projects a point, the panel shows what the photo shows at the photo camera's projection.
    width, height = result.camera.size_px
    x = (torch.arange(width) + 0.5) / width
    y = (torch.arange(height) + 0.5) / height
    image = torch.stack(
        [x.expand(height, width), y[:, None].expand(height, width), torch.zeros(height, width)]
    )
    gradient = dataclasses.replace(result, view=dataclasses.replace(result.view, image=image))
    window, camera = _crop(gradient, PANEL)
    points = result.mesh.vertices[result.model.regions["face"]]
    photo_px, panel_px = result.camera.project(points)[:, :2], camera.project(points)[:, :2]
    grid = (panel_px / PANEL * 2 - 1)[None, None]
    seen = torch.nn.functional.grid_sample(window[None], grid, align_corners=False)[0, :2, 0].T
    torch.testing.assert_close(seen, photo_px / torch.tensor([width, height]), atol=2e-3, rtol=0)


@pytest.mark.parametrize("offset_mm", [(0.0, 0.0), (-70.0, 0.0), (5000.0, 0.0), (0.0, -5000.0)])
def test_a_face_partly_or_wholly_outside_the_photo(result, offset_mm):
    pose = result.camera.T_camera_head.clone()
    pose[:2, 3] += torch.tensor(offset_mm)
    camera = dataclasses.replace(result.camera, T_camera_head=pose)
    moved = dataclasses.replace(result, view=dataclasses.replace(result.view, camera=camera))
    assert torch.isfinite(overlay(moved, PANEL)).all()


def test_the_head_turns_and_stays_in_the_panel(result):
    for yaw_deg in (-45.0, 0.0, 45.0):
        camera = _portrait_camera(result, yaw_deg, PANEL)
        points = camera.project(result.mesh.vertices[result.model.regions["face"]])[:, :2]
        assert points.min() > 0 and points.max() < PANEL
    nose_mm = torch.tensor([[0.0, -20.0, 20.0]])
    x_px = [float(_portrait_camera(result, yaw, PANEL).project(nose_mm)[0, 0]) for yaw in (-45.0, 0.0, 45.0)]
    assert x_px[0] < x_px[1] < x_px[2]  # positive yaw looks to the right of the image


def test_each_part_shows_its_own_texture(result):
    colours = {"skin": (1.0, 0.0, 0.0), "eye_left": (0.0, 1.0, 0.0), "eye_right": (0.0, 0.0, 1.0)}
    texture = {part: torch.tensor(rgb)[:, None, None].expand(3, 4, 4) for part, rgb in colours.items()}
    assert isinstance(result.face, TexturedFace)
    painted = dataclasses.replace(result, face=dataclasses.replace(result.face, texture=texture))
    front = panel(overlay(painted, PANEL), 1, 1)
    camera = _portrait_camera(painted, 0.0, PANEL)
    for part, rgb in colours.items():
        ids = result.model.part_triangles(part).unique()
        tip = result.mesh.vertices[ids][result.mesh.vertices[ids, 2].argmax()]
        x, y = (int(c) for c in camera.project(tip[None])[0, :2])
        torch.testing.assert_close(front[:, y, x], torch.tensor(rgb), atol=1e-3, rtol=0)


def test_one_sees_through_what_is_transparent(result):
    """The photo's own lids show between lashes: an eye of glass shows what lies behind it, a half clear one both."""
    red, green = (torch.tensor(rgb)[:, None, None] for rgb in ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0)))
    vertices, camera = result.mesh.vertices, _portrait_camera(result, 0.0, PANEL)

    def tip_with(opacity):
        looks = torch.cat([green, torch.full((1, 1, 1), opacity)]).expand(4, 4, 4)
        behind = {part: red.expand(3, 4, 4) for part in result.model.part_names}
        face = dataclasses.replace(result.face, texture=behind | {"eye_left": looks})
        ids = result.model.part_triangles("eye_left").unique()
        x, y = (int(c) for c in camera.project(vertices[ids][vertices[ids, 2].argmax()][None])[0, :2])
        return panel(overlay(dataclasses.replace(result, face=face), PANEL), 1, 1)[:, y, x]

    torch.testing.assert_close(tip_with(1.0), green[:, 0, 0], atol=1e-3, rtol=0)
    clear, half = tip_with(0.0), tip_with(0.5)
    assert clear[1] < 0.2  # nothing of the eye, whatever is behind
    torch.testing.assert_close(half, (clear + green[:, 0, 0]) / 2, atol=0.02, rtol=0)


def test_without_textures_chart_regions_and_landmark_tables():
    bare = synthetic_reconstruction(textured=False, level="coarse")
    model = dataclasses.replace(synthetic_model(), chart=None, regions={}, landmarks={})
    picture = overlay(dataclasses.replace(bare, model=model), PANEL)
    assert torch.isfinite(picture).all() and panel(picture, 1, 1).std() > 0.05


def test_dots_lie_where_the_landmarks_are_and_may_leave_the_picture():
    points = torch.tensor([[10.5, 20.5], [-50.0, 3.0], [31.9, 31.9], [1e6, 1e6]])
    image = _dots(torch.zeros(3, 32, 32), points, 1.5, (1.0, 1.0, 1.0))
    assert image[:, 20, 10].min() == 1
    ys, xs = torch.meshgrid(torch.arange(32) + 0.5, torch.arange(32) + 0.5, indexing="ij")
    near = image[0, 15:26, 5:16]
    centre = torch.stack([(xs[15:26, 5:16] * near).sum(), (ys[15:26, 5:16] * near).sum()]) / near.sum()
    torch.testing.assert_close(centre, points[0])
    assert near.sum() == pytest.approx(torch.pi * 1.5**2, rel=0.05)
