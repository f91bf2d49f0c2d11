"""What counts as a face's own hair, and what only hangs into it."""

import torch

from vultus.model.bundled import load
from vultus.stages.photo_evidence import _brows, _hair_on_skin, grown, texels_of

SIZE = 512


def test_brows_are_kept_and_the_tips_of_a_fringe_above_them_are_not():
    model = load()
    core, zone = texels_of(model, model.regions["brows"], SIZE), _brows(model, SIZE)
    tips = zone & ~grown(core, 6)
    assert tips.sum() > 200
    skin = ~(core | tips)
    visible = torch.ones_like(core)
    kept = _hair_on_skin(model, visible, skin, zone)
    assert kept[core].all()
    bearded = texels_of(model, model.regions["mouth"] | model.regions["lips"] | model.regions["chin"], SIZE)
    assert not kept[tips & ~bearded].any()


def test_one_lock_over_one_brow_is_no_brow_and_no_brows_at_all_are_fine():
    model = load()
    core, zone = texels_of(model, model.regions["brows"], SIZE), _brows(model, SIZE)
    left = torch.zeros_like(core)
    left[:, : SIZE // 2] = True
    visible = torch.ones_like(core)
    assert not _hair_on_skin(model, visible, ~(core & left), zone)[core & left].any()
    assert not _hair_on_skin(model, visible, visible, torch.zeros_like(zone)).any()
