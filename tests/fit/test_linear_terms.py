"""Residuals and derivatives of the deformation's terms, against finite differences and dense algebra."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import sparse

from vultus.fit.linear_terms import LinearTerm, normal_jacobian, photometric_term
from vultus.fit.photometric import SkinSamples
from vultus.geometry.camera import Camera
from vultus.geometry.light import ambient_and_directional, shading
from vultus.geometry.mesh import vertex_normals
from vultus.geometry.rigid import rigid_transform, rotation_from_pose_angles
from vultus.model.bundled import load
from vultus.model.face import CoarseFace

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


def test_shared_errors_are_integrated_out_exactly():
    rng = np.random.default_rng(0)
    modes, weight, values = rng.normal(size=(12, 3)), rng.uniform(0.5, 2, 12), rng.normal(size=12)
    term = LinearTerm(values, sparse.csr_matrix((12, 6)), weight, modes)
    covariance = np.diag(1 / weight) + modes @ modes.T
    assert np.allclose(term.precise(values), np.linalg.solve(covariance, values))
    plain = replace(term, modes=np.zeros((12, 0)))
    assert np.allclose(plain.precise(values), weight * values)
    # What a mode explains costs next to nothing, however large the residuals are counted.
    shared = replace(term, residual=modes[:, 0], weight=1e6 * weight)
    assert shared.energy() < 0.51
    assert replace(shared, modes=np.zeros((12, 0))).energy() > 1e5


def test_normals_against_autograd():
    generator = torch.Generator().manual_seed(1)
    vertices = torch.randn(8, 3, generator=generator, dtype=torch.float64).requires_grad_()
    triangles = torch.tensor([[0, 1, 2], [0, 2, 3], [0, 3, 4], [1, 5, 2], [2, 5, 6], [2, 6, 3], [3, 6, 7]])
    ids, slope = torch.tensor([2, 0, 3]), torch.randn(3, 3, generator=generator, dtype=torch.float64)
    jacobian = normal_jacobian(vertices.detach(), triangles, ids, slope).toarray()
    values = (vertex_normals(vertices, triangles)[ids] * slope).sum(1)
    for row, value in enumerate(values):
        (expected,) = torch.autograd.grad(value, vertices, retain_graph=True)
        assert np.allclose(jacobian[row], expected.numpy().T.ravel(), atol=1e-9)


def test_shading_predicts_its_own_change(model, camera):
    code = model.mean_code()
    face = CoarseFace(code, camera.T_camera_head, LIGHT)
    ids = model.regions["cheeks"].nonzero()[::9, 0]
    albedo = model.vertex_albedo(code)

    def colour(vertices):
        return albedo[ids] * shading(vertex_normals(camera.to_camera(vertices), model.triangles)[ids], LIGHT)

    def term_at(vertices):
        normals = vertex_normals(camera.to_camera(vertices), model.triangles)[ids]
        samples = SkinSamples(ids, colour(model.mean_mm), normals, torch.ones(len(ids)))
        return photometric_term(
            model, face, vertices, samples, noise=0.1, outlier=2, correlation_mm=8, light_error=0.1
        )

    term, motion = term_at(model.mean_mm), small_motion(model, 0.2)
    assert np.abs(term.residual).max() < 0.05  # only the floor of the brightness is missing
    change = (
        (colour(model.mean_mm + motion) - colour(model.mean_mm)).mean(1)
        / (colour(model.mean_mm).mean(1) + 0.01)
    ).numpy()
    assert np.abs(change).max() > 5e-4
    assert np.abs(along(term, motion) - change).max() < 0.05 * np.abs(change).max()
    # Light that is brighter on one side as a whole is explained without any motion.
    tilted = term.modes[:, 0] * 0.5
    assert replace(term, residual=tilted).energy() < 0.2
