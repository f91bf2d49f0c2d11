import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from vultus.fit.outline import outline_of_mask
from vultus.geometry.camera import Camera
from vultus.geometry.view import View

SIZE = 320
CENTRE, HALF = np.array([160.0, 150.0]), np.array([75.0, 100.0])  # an ellipse of a face, 1 px = 1 mm
SKIN, HAIR, WALL = (0.75, 0.55, 0.45), (0.12, 0.08, 0.06), (0.35, 0.45, 0.6)


def ellipse(half: np.ndarray) -> np.ndarray:
    y, x = np.mgrid[:SIZE, :SIZE] + 0.5
    return ((x - CENTRE[0]) / half[0]) ** 2 + ((y - CENTRE[1]) / half[1]) ** 2


def jaw(half: np.ndarray) -> np.ndarray:
    """17 points from one temple over the chin to the other."""
    angle = np.linspace(np.pi, 0, 17)
    return CENTRE + half * np.stack([np.cos(angle), np.sin(angle)], 1)


def painted(*, astray: float = 0.0, extra=None) -> tuple[View, torch.Tensor]:
    """A face before a wall with a shaded neck; the landmarks' outline is ``astray`` px too small. ``extra(image)`` paints occluders."""
    image = np.broadcast_to(np.array(WALL), (SIZE, SIZE, 3)).copy()
    y, x = np.mgrid[:SIZE, :SIZE] + 0.5
    neck = (np.abs(x - CENTRE[0]) < 50) & (y > CENTRE[1])
    image[neck] = np.array(SKIN) * 0.7
    face = ellipse(HALF) < 1
    shading = np.clip(1.05 - 0.25 * ellipse(HALF), 0.5, 1.1)[..., None]
    image[face] = (np.array(SKIN) * shading)[face]
    person = (face | neck).astype(float)
    clean = image.copy()
    if extra is not None:
        extra(image, person)
    hidden = np.abs(image - clean).max(-1) > 0.05
    rng = np.random.default_rng(0)
    image = gaussian_filter(image, (0.7, 0.7, 0)) + rng.normal(0, 0.01, image.shape)
    landmarks = np.concatenate([jaw(HALF - astray), np.tile(CENTRE, (51, 1))])
    landmarks[[36, 45]] = CENTRE + np.array([[-44.5, -10.0], [44.5, -10.0]])
    mask = (ellipse(HALF - astray) < 1) & ~hidden
    pose = torch.eye(4)
    pose[2, 3] = 400.0
    camera = Camera(torch.tensor(400.0), torch.tensor([160.0, 160.0]), (SIZE, SIZE), pose)
    view = View(
        torch.from_numpy(image).permute(2, 0, 1).float().clamp(0, 1),
        camera,
        torch.from_numpy(landmarks).float(),
        "ibug68",
        torch.from_numpy(mask),
    )
    return view, torch.from_numpy(gaussian_filter(person, 2)).float()


def off_px(points: torch.Tensor) -> np.ndarray:
    """Signed distance to the true outline, first order."""
    p = (points.double().numpy() - CENTRE) / HALF
    return (np.linalg.norm(p, axis=1) - 1) / np.linalg.norm(p / HALF, axis=1) * np.linalg.norm(p, axis=1)


def test_finds_the_outline_that_the_landmarks_miss():
    for person_known in (True, False):
        view, person = painted(astray=4.0)
        found = outline_of_mask(view, person if person_known else None)
        believed = found.weight > 0.4
        assert believed.float().mean() > 0.6
        off = off_px(found.points_px[believed])
        assert np.median(np.abs(off)) < 0.6 and np.quantile(np.abs(off), 0.9) < 1.5
        inner = (found.points_px - torch.from_numpy(CENTRE)).double()
        assert ((inner * found.normals).sum(1) > 0).all()
        assert found.mm_per_px == 1.0


def test_scale_without_a_pose():
    view, _ = painted()
    view.camera.T_camera_head[2, 3] = 0.0
    assert 0.9 < outline_of_mask(view).mm_per_px < 1.2


def test_a_lock_of_hair_may_hide_the_cheek():
    """Hair in front of the subject's right cheek: what is believed there may only hold the face outside, never pull it in."""

    def lock(image, person):
        y, x = np.mgrid[:SIZE, :SIZE]
        hair = (x < 94) & (x > 70) & (y < 215)
        image[hair], person[hair] = HAIR, 1

    view, person = painted(extra=lock)
    found = outline_of_mask(view, person)
    beside = (found.points_px[:, 0] < 100) & (found.points_px[:, 1] < 205)
    pulls_in = beside & ~found.one_sided & (torch.from_numpy(off_px(found.points_px)) < -2)
    assert (found.weight * pulls_in).sum() < 0.05 * found.weight.sum()
    other = (found.points_px[:, 0] > 220) & (found.points_px[:, 1] < 205)
    assert not found.one_sided[other].any() and found.weight[other].mean() > 0.6


def test_a_hand_at_the_chin_does_not_pull():
    """Another colour than the face, from below over the chin: its upper border is no chin."""

    def hand(image, person):
        y, x = np.mgrid[:SIZE, :SIZE]
        fist = (x - 165) ** 2 / 35**2 + (y - 265) ** 2 / 40**2 < 1
        image[fist], person[fist] = (0.5, 0.3, 0.28), 1

    view, person = painted(extra=hand)
    found = outline_of_mask(view, person)
    wrong = (torch.from_numpy(np.abs(off_px(found.points_px))) > 3).float()
    assert (found.weight * wrong).sum() < 0.1 * found.weight.sum()


def test_beard_has_no_outline_of_skin():
    def beard(image, person):
        y = np.mgrid[:SIZE, :SIZE][0]
        hairy = (ellipse(HALF + 4) < 1) & (y > 195)
        image[hairy], person[hairy] = HAIR, 1

    view, person = painted(extra=beard)
    found = outline_of_mask(view, person)
    assert found.weight[found.points_px[:, 1] > 205].max() < 0.2
    assert found.weight[found.points_px[:, 1] < 180].mean() > 0.5


def test_no_landmarks_no_outline():
    view, _ = painted()
    for points in (torch.full_like(view.landmarks_px, float("nan")), torch.zeros_like(view.landmarks_px)):
        nothing = outline_of_mask(View(view.image, view.camera, points, "ibug68", view.skin_mask))
        assert len(nothing.points_px) == 0


def test_a_face_half_off_the_image():
    view, person = painted()
    camera = view.camera.cropped(120, 0, (SIZE - 120, SIZE))
    moved = View(
        view.image[..., 120:],
        camera,
        view.landmarks_px - torch.tensor([120.0, 0.0]),
        "ibug68",
        view.skin_mask[:, 120:],
    )
    found = outline_of_mask(moved, person[:, 120:])
    assert (
        found.weight[found.points_px[:, 0] < -2].sum() == 0
        and found.weight[found.points_px[:, 0] > 100].mean() > 0.5
    )
