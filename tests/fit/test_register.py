"""Scans that are known: a head of the model with bumps and creases, moved, scaled, and found again."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from vultus.data.capture import scan_mesh
from vultus.data.rig import make_subject, posed_subject
from vultus.errors import BadInput
from vultus.evaluate.scan_levels import level_error, level_surface
from vultus.fit.register import ScanOptions, checked_scan, meet_along, register_scan
from vultus.fit.scan_code import SEVEN, ScanCodeOptions, scan_landmarks, vertex_unit_normals
from vultus.geometry.rigid import Similarity, rotation_from_axis_angle
from vultus.model.bundled import load
from vultus.model.deformation import face_vertices

TURN = rotation_from_axis_angle(torch.tensor([0.3, -1.2, 0.4], dtype=torch.float64))
PLACED = Similarity(
    torch.tensor(1.06, dtype=torch.float64), TURN, torch.tensor([30.0, -200.0, 500.0]).double()
)


@pytest.fixture(scope="module")
def model():
    return load()


@pytest.fixture(scope="module")
def scanned(model):
    """A subject, its scan in another frame and size, and the seven landmarks there."""
    face = posed_subject(model, make_subject(model, 3), "2_smile")
    face = replace(
        face, displacement_mm=F.avg_pool2d(face.displacement_mm[None], 4)[0]
    )  # a coarser scan, for speed
    mesh = scan_mesh(model, face, torch.eye(4))
    vertices, zero = face_vertices(model, face), torch.zeros(())
    seven = model.landmarks["ibug68"].points(vertices, model.triangles, zero, zero)[list(SEVEN)].double()
    return (
        face,
        PLACED.apply(mesh.vertices.double()).numpy(),
        mesh.topology.triangles.numpy(),
        PLACED.apply(seven).numpy(),
    )


@pytest.fixture(scope="module")
def registered(model, scanned):
    _, scan, triangles, seven = scanned
    return register_scan(
        model, scan, triangles, scan_landmarks(model, seven), ScanOptions(ScanCodeOptions(steps=8), size=128)
    )


def test_a_scan_is_reproduced_by_its_maps(model, scanned, registered):
    _, scan, triangles, _ = scanned
    found = registered
    head = found.head_from_scan.apply(torch.from_numpy(scan)).numpy()
    normals = vertex_unit_normals(head, triangles)
    levels = (found.face.coarse, found.face.deformed, found.face)
    coarse, deformed, detail = (level_error(level_surface(model, level), head, normals) for level in levels)
    on_face = np.isfinite(coarse.angles_deg)
    medians = [np.median(error.distances_mm[on_face]) for error in (coarse, deformed, detail)]
    # The truth has 1 mm of shape that no code explains, and creases of up to 2 mm that 64 texels (2.5 mm) cannot hold.
    assert medians[1] < 0.5 * medians[0] and medians[1] < 0.15
    assert medians[2] < 0.5 * medians[1] and medians[2] < 0.03
    angles = [np.nanmean(error.angles_deg[on_face]) for error in (coarse, deformed, detail)]
    assert angles[1] < 0.9 * angles[0] and angles[2] < 0.9 * angles[1]
    assert 0.85 < float(found.known.float().mean()) <= 1
    assert float(found.face.displacement_mm.abs().max()) <= ScanOptions().largest_mm


def test_the_frame_of_a_scan_is_found(model, registered):
    head, code = registered.head_from_scan, registered.face.coarse.code
    # Bumps of 1 mm over a face of 100 mm leave about one part in a hundred of scale and a degree open.
    assert float(head.scale) == pytest.approx(1 / 1.06, rel=0.02)
    turned = head.rotation @ TURN
    assert float(torch.rad2deg(torch.arccos(((turned.trace() - 1) / 2).clamp(-1, 1)))) < 2.0
    smile = [
        code.expression[i] for i, name in enumerate(model.expression_names) if name.startswith("mouthSmile")
    ]
    assert min(map(float, smile)) > 0.3


def test_rays_meet_a_sphere_where_they_should():
    rng = np.random.default_rng(0)
    azimuth, height = np.meshgrid(np.linspace(0, 2 * np.pi, 200), np.linspace(-1, 1, 100))
    points = 50 * np.stack(
        [np.cos(azimuth) * np.cos(height), np.sin(azimuth) * np.cos(height), np.sin(height)], -1
    )
    ids = np.arange(points[..., 0].size).reshape(100, 200)
    quads = np.stack([ids[:-1, :-1], ids[:-1, 1:], ids[1:, 1:], ids[1:, :-1]], -1).reshape(-1, 4)
    triangles = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    normal = points.reshape(-1, 3)[rng.choice(ids[20:80, 20:180].ravel(), 50)] / 50
    offset = rng.uniform(-2, 2, 50)
    distance, met = meet_along(
        normal * (50 - offset)[:, None], normal, points.reshape(-1, 3), triangles, ScanOptions()
    )
    assert met.all()
    np.testing.assert_allclose(distance, offset, atol=0.05)  # the facets' sagitta: 1.6^2 / 8 / 50
    # Beyond 2.5 mm it is another surface, though the ray ends on it; and 10 mm away it does not even end there.
    for away in (3.0, 10.0):
        _, far = meet_along(normal * (50 - away), normal, points.reshape(-1, 3), triangles, ScanOptions())
        assert not far.any()


@pytest.mark.slow
def test_hair_is_no_face(model, scanned):
    """A slab in front of the forehead neither pulls the face out nor becomes displacement."""
    _, scan, triangles, seven = scanned
    local = PLACED.inverse().apply(torch.from_numpy(scan)).numpy()
    fringe = (local[:, 1] > 62) & (local[:, 2] > 0)
    hairy = np.where(fringe[:, None], local + np.array([0, 0, 12.0]), local)
    points = scan_landmarks(model, PLACED.inverse().apply(torch.from_numpy(seven)).numpy())
    found = register_scan(model, hairy, triangles, points, ScanOptions(ScanCodeOptions(steps=8), size=128))
    moved = face_vertices(model, found.face) - model.vertices(found.face.coarse.code)
    top = face_vertices(model, found.face)[:, 1] > 66
    assert float(moved[top].norm(dim=1).max()) < 8
    assert float(found.face.displacement_mm.abs().max()) <= ScanOptions().largest_mm


def test_bad_scans_are_named(model, scanned):
    _, scan, triangles, seven = scanned
    with pytest.raises(BadInput, match="unit"):
        register_scan(model, scan / 1000, triangles, scan_landmarks(model, seven / 1000))
    with pytest.raises(BadInput, match="same frame"):
        register_scan(model, scan + 1000, triangles, scan_landmarks(model, seven))
    with pytest.raises(BadInput, match="finite"):
        checked_scan(np.full_like(scan, np.nan), triangles)
    with pytest.raises(BadInput, match="7 points"):
        scan_landmarks(model, seven[:5])
    with pytest.raises(BadInput, match="one place"):
        scan_landmarks(model, np.ones((7, 3)))


def test_points_that_are_not_finite_are_left_out(scanned):
    _, scan, triangles, _ = scanned
    broken = scan.copy()
    broken[triangles[0]] = np.nan
    kept, left = checked_scan(broken, triangles)
    assert np.isfinite(kept).all() and len(left) < len(triangles)
