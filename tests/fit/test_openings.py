"""Eyes stay whole and lips stay closed."""

import pytest
import torch

from vultus.fit.openings import damage_of, lid_term, lip_term, openings_of
from vultus.model.bundled import load


@pytest.fixture(scope="module")
def model():
    return load()


@pytest.fixture(scope="module")
def openings(model):
    return openings_of(model, model.mean_mm)


def test_lids_lie_around_the_eyeballs_and_lips_touch(model, openings):
    assert len(openings.lid_ids) > 200 and set(openings.eyeball.tolist()) == {0, 1}
    clearance, ray = openings.clearance_mm(model.mean_mm)
    assert torch.allclose(ray.norm(dim=1), torch.ones(len(ray)), atol=1e-5)
    assert clearance.median() > 0.3  # most of a lid lies free of the ball
    ball = model.part_triangles("eye_left").unique()
    away = (model.mean_mm[ball] - openings.centres_mm[0]).norm(dim=1)
    assert away.std() < 0.1 * away.mean()  # nearly a sphere
    upper, lower = openings.lip_pairs.unbind(1)
    assert len(upper) > 5
    assert (model.mean_mm[upper] - model.mean_mm[lower]).norm(dim=1).max() < 1.5


def test_only_lids_that_go_too_deep_are_pushed_and_outwards(model, openings):
    assert len(lid_term(openings, model.mean_mm).residual) == 0
    pushed = model.mean_mm.clone()
    _, ray = openings.clearance_mm(model.mean_mm)
    deepest = openings.clearance_mm(model.mean_mm)[0].argsort()[:10]
    pushed[openings.lid_ids[deepest]] -= 1.0 * ray[deepest]
    term = lid_term(openings, pushed)
    assert len(term.residual) >= 10 and (term.residual < 0).all()
    out = torch.zeros_like(pushed)
    out[openings.lid_ids[deepest]] = ray[deepest]
    change = term.jacobian @ out.double().numpy().T.ravel()
    assert change.sum() == pytest.approx(10, rel=0.05)


def test_lips_may_move_together_but_not_apart(model, openings):
    together = torch.ones_like(model.mean_mm)
    assert lip_term(openings, together).energy() == 0
    apart = torch.zeros_like(model.mean_mm)
    apart[openings.lip_pairs[:, 0], 1] = 0.5
    term = lip_term(openings, apart)
    assert term.energy() > 10
    change = term.jacobian @ apart.double().numpy().T.ravel()
    assert change == pytest.approx(term.residual)


def test_damage_is_counted(model):
    assert damage_of(model, model.mean_mm, model.mean_mm + 1.0).flipped_triangles == 0
    broken = model.mean_mm.clone()
    openings = openings_of(model, model.mean_mm)
    broken[openings.lip_pairs[:, 0], 1] += 2.0
    damage = damage_of(model, model.mean_mm, broken)
    assert 1.0 < damage.lip_gap_mm < 2.1  # a pair need not stand exactly one above the other
    mirrored = model.mean_mm * torch.tensor([-1.0, 1.0, 1.0])
    assert damage_of(model, model.mean_mm, mirrored).flipped_triangles > 10000


def test_an_open_mouth_has_no_lips_to_keep_together(model):
    code = model.mean_code()
    code.expression[model.expression_names.index("jawOpen")] = 1.0
    assert (
        len(openings_of(model, model.vertices(code)).lip_pairs)
        < len(openings_of(model, model.mean_mm).lip_pairs) / 2
    )
