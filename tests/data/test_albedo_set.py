"""The albedo basis from textures: who counts how much, what is symmetric, and that it comes back from its file."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from vultus.data.albedo_set import AlbedoOptions, fits_of, learn_basis, write_basis
from vultus.data.albedo_texture import ChartAlbedo, face_skin
from vultus.errors import BadInput
from vultus.model.albedo_basis import read_albedo_basis
from vultus.model.bundled import load

SIZE = 32


@pytest.fixture(scope="module")
def model():
    return load()


@pytest.fixture
def options(tmp_path):
    (tmp_path / "fits" / "fits").mkdir(parents=True)
    (tmp_path / "fits" / "fits" / "a.npz").touch()
    return lambda **changes: AlbedoOptions(
        **({"fits": (tmp_path / "fits",), "components": 2, "size_px": SIZE} | changes)
    )


def people(count, *, dark=2, seed=0, asymmetry=0.03):
    """Textures of one tone each, a few of them dark, with a stripe of varying strength on the forehead; a corner is not seen."""
    rng = np.random.default_rng(seed)
    found = []
    for i in range(count):
        tone = 0.08 if i < dark else 0.45
        albedo = torch.tensor([1.0, 0.7, 0.55])[:, None, None] * tone * torch.ones(3, SIZE, SIZE)
        albedo = albedo * float(np.exp(rng.normal(0, 0.05)))
        albedo[:, 4:8] *= float(np.exp(rng.normal(0, 0.3)))
        confidence = torch.ones(SIZE, SIZE)
        confidence[20:, 20:] = float(i % 2)
        albedo[:, confidence == 0] = 0.9
        found.append(ChartAlbedo(f"p{i}", albedo, confidence, asymmetry, -40.0 if i < dark else 35.0))
    return found


def test_a_basis_is_symmetric_and_knows_how_skins_differ(model, options):
    basis = learn_basis(model, people(24), options(), iterations=8)
    torch.testing.assert_close(basis.mean, basis.mean.flip(-1))
    assert (
        basis.known.sum() > 0.5 * face_skin(model, SIZE).sum()
        and not basis.known[~face_skin(model, SIZE)].any()
    )
    assert torch.isfinite(basis.components).all() and basis.noise < 0.05
    # What was not seen of every other person (white in the picture) is skin-coloured in all textures.
    assert basis.texture(torch.zeros(2))[:, 24:28, 24:28].max() < 0.6
    # Two things vary: the whole tone, and the stripe.
    stripe = torch.zeros(SIZE, SIZE, dtype=torch.bool)
    stripe[4:8] = True
    contrast = [abs(float(c[:, stripe & basis.known].mean() - c[:, ~stripe & basis.known].mean())) / float(c.abs().mean()) for c in basis.components]  # fmt: skip
    assert max(contrast) > 1 > 0.3 > min(contrast)
    person = people(40, seed=5)[39]
    code = basis.fit(person.albedo, person.confidence)
    assert (basis.texture(code) / person.albedo - 1)[
        :, basis.known & (person.confidence > 0)
    ].abs().mean() < 0.03


def test_people_count_mirrored_as_well(model, options):
    rng = np.random.default_rng(7)
    spotted = []
    for person in people(24, dark=0):
        albedo = person.albedo.clone()
        albedo[:, 18:24, 22:28] *= float(np.exp(rng.normal(0, 0.5)))
        spotted.append(replace(person, albedo=albedo, confidence=torch.ones(SIZE, SIZE)))
    basis = learn_basis(model, spotted, options(components=4), iterations=6)
    both = basis.known & basis.known.flip(-1)
    alike = [float((c * c.flip(-1))[:, both].sum() / c.square()[:, both].sum()) for c in basis.components]
    # What is on one side of some people may be on either: together and apart.
    assert min(abs(value) for value in alike) > 0.97 and min(alike) < -0.97 and max(alike) > 0.97


def test_seldom_tones_count_for_more_and_uneven_light_for_less(model, options):
    even = learn_basis(model, people(24), options(), iterations=2)
    assert even.card["tones_of_photos"]["dark"] == pytest.approx(2 / 24, abs=1e-3)
    assert even.card["tones_as_weighed"]["dark"] == pytest.approx(0.5, abs=1e-3)
    assert 6 < even.card["effective_photos"] < 12 and even.card["dropped_for_uneven_light"] == 0
    # Never by more than six: one in forty would count twenty times.
    one = learn_basis(model, people(40, dark=1), options(), iterations=1)
    assert one.card["tones_as_weighed"]["dark"] == pytest.approx(6 / (6 + 40 / 2), abs=0.01)
    lit = learn_basis(
        model, people(24) + people(3, asymmetry=0.4) + people(4, asymmetry=0.1), options(), iterations=1
    )
    assert lit.card["dropped_for_uneven_light"] == 3 and lit.card["counted_by_half_or_less"] == 4


def test_a_basis_comes_back_from_its_file(model, options, tmp_path):
    basis = learn_basis(model, people(20), options(space="linear"), iterations=2)
    write_basis(tmp_path / "b.npz", basis)
    back = read_albedo_basis(tmp_path / "b.npz")
    assert back.offset is None and back.card == basis.card and torch.equal(back.known, basis.known)
    steps = basis.components.flatten(1).abs().amax(1) / 127
    assert ((back.components - basis.components).abs().flatten(1).amax(1) <= 0.501 * steps).all()
    torch.testing.assert_close(back.mean, basis.mean, atol=5e-4, rtol=1e-3)


def test_too_few_people_and_wrong_options_are_told(model, options, tmp_path):
    with pytest.raises(BadInput, match="fewer --components"):
        learn_basis(model, people(3), options(components=6))
    for wrong in ({"components": 0}, {"size_px": 33}, {"size_px": 8}, {"fits": (tmp_path,)}):
        with pytest.raises(BadInput):
            options(**wrong)
    both = options(fits=(tmp_path / "fits", tmp_path / "fits"))
    assert len(fits_of(both)) == 1
