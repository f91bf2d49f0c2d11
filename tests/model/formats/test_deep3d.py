"""Conversion of the papers' 257 coefficients."""

from dataclasses import replace

import pytest
import torch
from synthetic_model import synthetic_model

from vultus.errors import BadInput
from vultus.model.formats.deep3d import NUM_COEFFICIENTS, code_from_coefficients, coefficients_from_code


@pytest.fixture(scope="module")
def model():
    bare = synthetic_model()
    v = len(bare.mean_mm)
    return replace(
        bare,
        identity_mm=torch.zeros(80, v, 3),
        expression_mm=torch.zeros(64, v, 3),
        albedo=torch.zeros(80, v, 3),
    )


def vectors(*shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    return 0.4 * torch.randn(*shape, NUM_COEFFICIENTS, generator=generator, dtype=torch.float64)


def test_there_and_back(model):
    vector = vectors(4)
    face = code_from_coefficients(vector, model)
    assert face.T_camera_head.shape == (4, 4, 4)
    assert face.light.shape == (4, 3, 9)
    torch.testing.assert_close(coefficients_from_code(face, model), vector, atol=1e-10, rtol=0)


def test_batch_is_a_loop(model):
    vector = vectors(2, 3)
    batch = code_from_coefficients(vector, model)
    for i in range(2):
        for j in range(3):
            one = code_from_coefficients(vector[i, j], model)
            torch.testing.assert_close(batch.T_camera_head[i, j], one.T_camera_head)
            torch.testing.assert_close(batch.light[i, j], one.light)
            torch.testing.assert_close(batch.code.albedo[i, j], one.code.albedo)


def test_zero_is_a_frontal_face_a_metre_away_in_white_light(model):
    face = code_from_coefficients(torch.zeros(NUM_COEFFICIENTS), model)
    centre = model.mean_mm.mean(0)
    seen = face.T_camera_head[:3, :3] @ centre + face.T_camera_head[:3, 3]
    torch.testing.assert_close(seen, torch.tensor([0.0, 0.0, 1000.0]), atol=1e-3, rtol=0)
    torch.testing.assert_close(face.T_camera_head[:3, :3], torch.diag(torch.tensor([1.0, -1.0, -1.0])))
    assert (face.light[:, 1:] == 0).all()
    assert (face.light[:, 0] > 0).all()


def test_gradients_flow(model):
    vector = vectors().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: code_from_coefficients(x, model).T_camera_head, vector)


def test_refuses_other_models_and_lengths(model):
    with pytest.raises(BadInput, match="257"):
        code_from_coefficients(torch.zeros(256), model)
    with pytest.raises(BadInput, match="modes"):
        code_from_coefficients(torch.zeros(257), synthetic_model())
