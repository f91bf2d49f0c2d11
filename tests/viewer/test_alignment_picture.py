"""The picture of an alignment: things are drawn where they are, and nothing breaks beside or without a photo."""

from dataclasses import replace

import torch
from stages.aligned_heads import aligned, head

from vultus.viewer.alignment_picture import _SEEN, alignment_picture

PANEL = 120


def panels(picture):
    assert picture.shape == (3, PANEL, 4 * PANEL) and float(picture.min()) >= 0 and float(picture.max()) <= 1
    return picture.split(PANEL, -1)


def test_points_and_mesh_lie_on_the_face(monkeypatch):
    face = aligned(monkeypatch, head(), image=torch.full((3, 512, 512), 0.5))
    marks, mesh, depth, frontal = panels(alignment_picture(face, panel_px=PANEL))
    low, high = face.vertices_px[:, :2].amin(0), face.vertices_px[:, :2].amax(0)
    scale = PANEL / (1.3 * float((high - low).max()))
    corner = (low + high) / 2 - PANEL / scale / 2
    x, y = ((face.landmarks68_px[39, :2] - corner) * scale).long().tolist()  # an inner corner of an eye
    seen = torch.tensor(_SEEN)[:, None, None]
    near = (marks[:, y - 2 : y + 3, x - 2 : x + 3] - seen).abs().sum(0).min()
    assert near < 0.4 and (marks[:, :4] - 0.5).abs().max() < 1e-4  # and the margin is the photo
    assert ((mesh - 0.5).abs().amax(0) > 1e-3).float().mean() > 0.3
    for panel in (depth, frontal):
        drawn = (panel - 0.11).abs().amax(0) > 0.02
        assert (
            0.25 < drawn.float().mean() < 0.8
            and bool(drawn[PANEL // 2, PANEL // 2])
            and not bool(drawn[:3].any())
        )
    nose = depth[:, PANEL // 2 + 5, PANEL // 2].sum()
    assert nose > depth[:, PANEL // 2, PANEL // 4].sum()  # near is bright


def test_beside_the_photo_and_without_one(monkeypatch):
    face = aligned(monkeypatch, head(20, 0, 0, centre_px=(-400.0, 256.0)), image=torch.rand(3, 512, 512))
    panels(alignment_picture(face, panel_px=PANEL))
    panels(alignment_picture(replace(face, image=None), panel_px=PANEL))
