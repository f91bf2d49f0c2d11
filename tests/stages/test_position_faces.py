"""Faces that a position map finds: what the coarse stage gets of them, and when it is asked."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import torch
from stages.aligned_heads import all_knowing, head

from vultus.errors import BadInput, FaceNotFound
from vultus.fit.landmark_basis import landmark_basis, pose_angles_deg
from vultus.fit.landmarks import fit_landmarks
from vultus.geometry.rigid import pose_angles
from vultus.model import bundled
from vultus.model.landmarks import SURFACE_SCHEME, SURFACE_SPREAD_MM, table_of
from vultus.stages import reconstruct as stage
from vultus.stages.coarse import expression_prior
from vultus.stages.position_faces import as_detected
from vultus.stages.reconstruct import reconstruct

ASTRONAUT = Path(str(resources.files("vultus") / "assets" / "astronaut.jpg"))


class Blind:
    """A detector that sees nobody."""

    def detect(self, image):
        return ()


def test_points_of_the_skin_stay_where_they_are_as_the_head_turns():
    model = bundled.load()
    table = table_of(model.landmarks, SURFACE_SCHEME)
    assert table is not None and table.num_landmarks == 478 and table.error_modes_mm is None
    assert float(table.spread_mm.min()) == float(table.spread_mm.max()) == SURFACE_SPREAD_MM
    ahead, aside = (
        table.points(model.mean_mm, model.triangles, torch.tensor(yaw), torch.tensor(0.0))
        for yaw in (0.0, 80.0)
    )
    assert torch.equal(ahead, aside)
    detected = model.landmarks["mediapipe478"]
    assert table_of(model.landmarks, "mediapipe468") is detected and table_of({}, SURFACE_SCHEME) is None
    slides = detected.points(model.mean_mm, model.triangles, torch.tensor(80.0), torch.tensor(0.0))
    assert float((slides - ahead).norm(dim=1).max()) > 5


@pytest.mark.parametrize("yaw_deg", [0.0, -50.0, 85.0])
def test_the_pose_of_a_head_is_found_from_its_map_also_from_the_side(monkeypatch, yaw_deg):
    truth = head(yaw_deg, 6.0, -10.0, seed=5)
    aligner = all_knowing(monkeypatch, truth)
    image = torch.zeros(3, 512, 512)
    box = (150.0, 60.0, 300.0, 210.0)
    found = as_detected(aligner.look(image, [aligner.crop_of(box)], looks=2)[0])
    assert found.landmarks.kind == SURFACE_SCHEME and found.landmarks.points_px.shape == (468, 2)
    assert found.box.left_px < found.box.right_px and bool(found.landmarks.points_px.isfinite().all())
    model = bundled.load()
    basis = landmark_basis(model, SURFACE_SCHEME)
    points = np.concatenate([found.landmarks.points_px.double().numpy(), np.zeros((10, 2))])
    trust = np.r_[np.ones(468), np.zeros(10)]
    principal = truth.camera.principal_px.double().numpy()
    fit = fit_landmarks(
        basis, points, principal, float(truth.camera.focal_px), expression_prior(model), trust=trust
    )
    # The prior keeps part of the person back, so the pose is near the truth, not on it.
    np.testing.assert_allclose(pose_angles_deg(fit.rotation), (yaw_deg, 6.0, -10.0), atol=3.0)
    assert np.median(np.linalg.norm(fit.residual_px[:468], axis=1)) < 2.0


def test_a_photo_starts_from_the_map_when_asked_or_when_nobody_was_found(monkeypatch):
    usual = reconstruct(ASTRONAUT, level="coarse", texture_size=0)
    asked = reconstruct(ASTRONAUT, level="coarse", texture_size=0, init="position")
    assert usual.view.landmark_scheme == "mediapipe478" and asked.view.landmark_scheme == SURFACE_SCHEME
    angles = [pose_angles(found.camera.T_camera_head[:3, :3]) for found in (usual, asked)]
    assert abs(float(angles[0].yaw_deg - angles[1].yaw_deg)) < 10 and asked.report.status == "ok"
    monkeypatch.setattr(stage, "default_detector", Blind)
    missed = reconstruct(ASTRONAUT, level="coarse", texture_size=0)
    assert missed.view.landmark_scheme == SURFACE_SCHEME
    with pytest.raises(FaceNotFound):
        reconstruct(ASTRONAUT, init="landmarks")
    with pytest.raises(FaceNotFound):
        reconstruct(ASTRONAUT, detector=Blind())


def test_other_starts_are_refused():
    with pytest.raises(BadInput, match="--init dlib: say auto, landmarks or position"):
        reconstruct(ASTRONAUT, init="dlib")
