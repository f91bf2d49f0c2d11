"""Terms of landmarks and outlines against finite differences."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from vultus.fit.contour import outline_region, outline_vertices, row_extent
from vultus.fit.landmark_basis import landmark_basis
from vultus.fit.linear_terms import LinearTerm
from vultus.fit.outline import Outline
from vultus.fit.projected_terms import contour_term_1d, contour_term_2d, detector_offset_px, landmark_term
from vultus.geometry.camera import Camera
from vultus.geometry.light import ambient_and_directional
from vultus.geometry.rigid import rigid_transform, rotation_from_pose_angles
from vultus.model.bundled import load

LIGHT = ambient_and_directional(torch.full((3,), 0.4), torch.full((3,), 0.7), torch.tensor([0.6, -0.4, -1.0]))


@pytest.fixture(scope="module")
def model():
    return load()


@pytest.fixture(scope="module")
def camera():
    rotation = rotation_from_pose_angles(torch.tensor(20.0), torch.tensor(5.0), torch.tensor(8.0))
    pose = rigid_transform(rotation, torch.tensor([4.0, 10.0, 700.0]))
    return Camera(torch.tensor(900.0), torch.tensor([200.0, 210.0]), (400, 420), pose)


def small_motion(model, scale_mm: float) -> torch.Tensor:
    """A smooth motion of all vertices, in three different directions."""
    x, y = model.mean_mm[:, 0] / 30, model.mean_mm[:, 1] / 40
    return scale_mm * torch.stack([torch.sin(y), torch.cos(x + y), torch.sin(x - 2 * y)], 1)


def along(term: LinearTerm, motion: torch.Tensor) -> np.ndarray:
    return term.jacobian @ motion.double().numpy().T.ravel()


def test_landmarks_against_finite_differences(model, camera):
    basis = landmark_basis(model, "mediapipe478")
    table, yaw, pitch = model.landmarks["mediapipe478"], torch.tensor(20.0), torch.tensor(5.0)
    points = camera.project(table.points(model.mean_mm, model.triangles, yaw, pitch))[:, :2].double().numpy()
    options = {"noise_mm": 0.5, "correlation": 10.0, "outlier_sigma": 4.0}

    def term_at(vertices):
        return landmark_term(model, basis, camera, vertices, points, np.ones(478), **options)

    term, motion = term_at(model.mean_mm), small_motion(model, 0.5)
    assert np.abs(term.residual).max() < 1e-2 and term.residual.shape == (956,)
    moved = term_at(model.mean_mm + motion).residual
    assert np.abs(moved - term.residual - along(term, motion)).max() < 0.02 * np.abs(moved).max()
    # A point far away loses its influence; the detector's own modes move nothing.
    points[7] += 200
    assert term_at(model.mean_mm).weight[14] < 1e-3 * term.weight[14]
    bias = replace(term, residual=2 * term.modes[:, 3])
    assert bias.energy() < 2.1 < 0.2 * replace(bias, modes=np.zeros((956, 0))).energy()


def test_what_the_detector_is_known_to_add_is_taken_off(model, camera):
    basis = landmark_basis(model, "mediapipe478")
    code = replace(model.mean_code(), identity=0.3 * torch.ones(len(model.identity_mm)))
    offset = detector_offset_px(model, basis, camera, code)
    shifted = replace(basis, mean_mm=basis.mean_mm + np.float32([1, 0, 0]))
    change = detector_offset_px(model, shifted, camera, code) - offset
    # One millimetre to the left is 900 / 700 px, seen from 20 degrees a little less.
    assert np.allclose(np.linalg.norm(change, axis=1), 900 / 700, rtol=0.15)
    assert offset.shape == (478, 2) and np.isfinite(offset).all()


def test_outlines_against_finite_differences(model, camera):
    projected = camera.project(model.mean_mm)
    rim = outline_vertices(projected, model.triangles, outline_region(model))
    order = torch.argsort(torch.atan2(projected[rim.ids, 1] - 210, projected[rim.ids, 0] - 200))
    points = projected[rim.ids][order, :2] + 3.0 * rim.normals[order]  # the photo's outline lies 3 px outside
    outline = Outline(
        points, rim.normals[order], torch.ones(len(points)), torch.zeros(len(points)).bool(), 700 / 900
    )
    options = {"noise_mm": 1.0, "scale_mm": 5.0, "correlation_mm": 10.0}
    term = contour_term_2d(camera, model.mean_mm, rim, outline, **options)
    known = term.weight > 0
    assert known.mean() > 0.8
    assert np.median(term.residual[known]) == pytest.approx(-3 * 700 / 900, rel=0.1)
    motion = small_motion(model, 0.05)
    moved = contour_term_2d(camera, model.mean_mm + motion, rim, outline, **options).residual
    error = np.abs(moved - term.residual - along(term, motion))[known]
    assert np.quantile(error, 0.9) < 0.05 * np.abs(along(term, motion)).max()
    nothing = Outline(points[:0], points[:0], points[:0, 0], points[:0, 0].bool(), 1.0)
    assert contour_term_2d(camera, model.mean_mm, rim, nothing, **options).energy() == 0


def test_rows_pull_what_lies_outside_of_the_mask_inwards(model, camera):
    x = camera.project(model.mean_mm)[:, 0]
    face = model.regions["face"]
    right = float(x[face].max()) - 4.0  # the mask ends 4 px before the face does
    mask = (torch.arange(400) < right).float().expand(420, 400)
    term = contour_term_1d(
        camera, model.mean_mm, row_extent(mask), 280.0, face=face, noise_mm=1.0, correlation_mm=10.0
    )
    assert term.residual.max() == pytest.approx(4 * 700 / 900, rel=0.3)
    motion = torch.zeros_like(model.mean_mm)
    motion[:, 0] = 0.1
    moved = contour_term_1d(
        camera, model.mean_mm + motion, row_extent(mask), 280.0, face=face, noise_mm=1.0, correlation_mm=10.0
    )
    assert moved.residual.max() - term.residual.max() == pytest.approx(
        along(term, motion)[term.residual.argmax()], rel=0.1
    )
