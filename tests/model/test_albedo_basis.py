"""The albedo basis: codes to textures and back, what little is known, and the file that ships."""

import numpy as np
import pytest
import torch

from vultus.errors import AssetMissing, BadFile, BadInput
from vultus.model import albedo_basis
from vultus.model.albedo_basis import (
    ALBEDO,
    AlbedoBasis,
    fields_of,
    load_albedo_basis,
    random_code,
    read_albedo_basis,
)

SIZE, COUNT = 12, 5


def made(offset=0.02, noise=0.03) -> AlbedoBasis:
    random = torch.Generator().manual_seed(0)
    rows = torch.linalg.qr(torch.randn(3 * SIZE**2, COUNT, generator=random)).Q.T.reshape(
        COUNT, 3, SIZE, SIZE
    )
    mean = torch.full((3, SIZE, SIZE), -1.0 if offset else 0.4)
    known = torch.ones(SIZE, SIZE, dtype=torch.bool)
    known[:, :2] = False
    sigma = torch.tensor([3.0, 2.0, 1.5, 1.0, 0.5]) * (1 if offset else 0.2)
    return AlbedoBasis(mean, rows, sigma, known, noise, offset, {"photos": 3})


@pytest.mark.parametrize("offset", [0.02, None])
def test_codes_come_back_from_textures(offset):
    basis = made(offset, noise=1e-4)
    code = torch.tensor([1.0, -0.5, 0.8, 0.3, -1.2])
    texture = basis.texture(code)
    assert texture.shape == (3, SIZE, SIZE) and texture.min() > 0 and texture.max() < 1
    torch.testing.assert_close(basis.fit(texture, torch.ones(SIZE, SIZE)), code, atol=2e-3, rtol=0)
    # Half of it is enough, and what is not believed may be anything.
    half = torch.ones(SIZE, SIZE)
    half[: SIZE // 2] = 0
    texture[:, : SIZE // 2] = 0.9
    torch.testing.assert_close(basis.fit(texture, half), code, atol=5e-3, rtol=0)
    pair = torch.stack([code, 0 * code])
    torch.testing.assert_close(basis.texture(pair)[0], basis.texture(code))
    torch.testing.assert_close(basis.texture(code[:2]), basis.texture(code * torch.tensor([1.0, 1, 0, 0, 0])))


def test_the_most_probable_code_minimises_what_it_says():
    basis = made(noise=0.004)
    random = torch.Generator().manual_seed(1)
    texture = torch.rand(3, SIZE, SIZE, generator=random) * 0.3 + 0.3
    confidence = torch.rand(SIZE, SIZE, generator=random)

    def cost(code):
        change = (code * basis.sigma) @ basis.components.flatten(1).double()
        rest = ((texture + 0.02).log() - basis.mean - change.reshape(basis.mean.shape))[:, basis.known]
        return (confidence[basis.known] * rest.square()).sum() / (256 * basis.noise**2) + code.square().sum()

    code = basis.fit(texture, confidence).double().requires_grad_()
    (slope,) = torch.autograd.grad(cost(code), code)
    scale = torch.autograd.functional.hessian(cost, code.detach()).diagonal().sqrt()
    assert (slope / scale).abs().max() < 1e-2
    assert len(basis.fit(texture, confidence, number=2)) == 2


def test_nothing_seen_is_the_mean_and_wrong_shapes_are_told():
    basis = made()
    code = basis.fit(torch.rand(3, SIZE, SIZE), torch.zeros(SIZE, SIZE))
    assert code.abs().max() == 0
    torch.testing.assert_close(basis.texture(code), basis.mean.exp() - 0.02)
    with pytest.raises(BadInput, match="12 texels"):
        basis.fit(torch.rand(3, 8, 8), torch.ones(8, 8))
    with pytest.raises(BadInput, match="6 numbers"):
        basis.texture(torch.zeros(6))


def test_random_codes_are_normal_within_limits():
    basis, rng = made(), np.random.default_rng(0)
    codes = torch.stack([random_code(basis, rng, within=2.0) for _ in range(2000)])
    assert codes.abs().max() <= 2.0
    # A standard normal cut off at two has the variance 1 - 4 phi(2) / (2 Phi(2) - 1) = 0.774.
    assert codes.square().mean() == pytest.approx(0.774, abs=0.03) and codes.mean().abs() < 0.03


def test_another_size_means_the_same():
    basis = made()
    assert basis.resized(SIZE) is basis
    large = basis.resized(2 * SIZE)
    code = torch.tensor([0.5, 1.0, 0.0, -1.0, 0.2])
    again = torch.nn.functional.avg_pool2d(large._coded(large.texture(code)), 2)
    smooth = torch.nn.functional.interpolate(
        basis._coded(basis.texture(code))[None], scale_factor=2, mode="bilinear"
    )
    torch.testing.assert_close(again, torch.nn.functional.avg_pool2d(smooth[0], 2), atol=1e-4, rtol=0)


def test_a_damaged_file_is_told_in_a_line(tmp_path, monkeypatch):
    fields = fields_of(made())
    for name, wrong in (
        ("short", {key: value for key, value in fields.items() if key != "sigma"}),
        ("sizes", fields | {"known": np.ones((4, 4), bool)}),
        ("nan", fields | {"mean": np.full((3, SIZE, SIZE), np.nan, np.float16)}),
    ):
        np.savez(tmp_path / f"{name}.npz", allow_pickle=False, **wrong)
        with pytest.raises(BadFile, match="not an albedo basis"):
            read_albedo_basis(tmp_path / f"{name}.npz")
    (tmp_path / "cut.npz").write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(BadFile, match="not an albedo basis"):
        read_albedo_basis(tmp_path / "cut.npz")
    monkeypatch.setattr(albedo_basis, "ALBEDO", tmp_path / "nowhere.npz")
    load_albedo_basis.cache_clear()
    with pytest.raises(AssetMissing, match="reinstall"):
        load_albedo_basis()


def test_the_shipped_basis_is_small_symmetric_and_skin_coloured():
    load_albedo_basis.cache_clear()
    basis = load_albedo_basis()
    assert ALBEDO.stat().st_size <= 4_000_000 and len(basis.sigma) == 80
    assert load_albedo_basis() is basis
    mean = basis.texture(torch.zeros(0))
    torch.testing.assert_close(mean, mean.flip(-1), atol=2e-3, rtol=0)
    red, green, blue = mean[:, basis.known].mean(1).tolist()
    assert 0.25 < red < 0.75 and red > green > blue > 0.05
    assert (basis.sigma.diff() <= 1e-6).all() and basis.sigma[-1] > 0
    length = basis.components.flatten(1).norm(dim=1)
    assert ((length > 0.8) & (length < 1.3)).all()
    assert {"photos", "tones_of_photos", "licence"} <= set(basis.card)
