"""BFM_model_front.mat, tried on a file of the same schema."""

import numpy as np
import pytest
import torch
from scipy.io import loadmat, savemat
from synthetic_bfm import SHIFT_DM, TRUE_NUM_VERTICES, write_synthetic_bfm

from vultus.errors import AssetMissing, BadFile, WeightsMismatch
from vultus.geometry.closest import TriangleTree
from vultus.model import bundled
from vultus.model.catalog import load_model
from vultus.model.face import FaceCode
from vultus.model.formats import bfm as bfm_format
from vultus.model.formats.deep3d import code_from_coefficients, coefficients_from_code, papers_camera
from vultus.model.rechart import border_loops, signed_area


def in_bundled_frame(fields) -> np.ndarray:
    return (fields["meanshape"].reshape(-1, 3) - SHIFT_DM) * 100


def test_shape_is_the_files_in_millimetres(bfm, synthetic_bfm):
    fields = synthetic_bfm[1]
    generator = torch.Generator().manual_seed(0)
    code = FaceCode(*(torch.randn(n, generator=generator) for n in (80, 64, 80)))
    shape_dm = (
        fields["meanshape"].ravel()
        + fields["idBase"] @ code.identity.numpy()
        + fields["exBase"] @ code.expression.numpy()
    )
    offset = bfm.vertices(code).double().numpy() - 100 * shape_dm.reshape(-1, 3)
    np.testing.assert_allclose(offset, np.broadcast_to(offset.mean(0), offset.shape), atol=1e-3)
    # The bundled head it was made of has its eyes at the origin; keypoints are off by up to half a grid step.
    np.testing.assert_allclose(offset.mean(0), -100 * SHIFT_DM, atol=1.2)
    assert len(bfm.expression_names) == len(set(bfm.expression_names)) == 64
    assert bfm.expression_range.shape == (64, 2)


def test_albedo_is_the_files_texture_in_linear_light(bfm, synthetic_bfm):
    fields = synthetic_bfm[1]
    linear = lambda srgb: np.where(srgb > 0.04045, ((srgb + 0.055) / 1.055) ** 2.4, srgb / 12.92)  # noqa: E731
    for size, tolerance in ((0.0, 1e-6), (0.05, 3e-4), (0.5, 0.03)):
        code = FaceCode(
            torch.zeros(80),
            torch.zeros(64),
            size * torch.randn(80, generator=torch.Generator().manual_seed(1)),
        )
        srgb = (fields["meantex"].ravel() + fields["texBase"] @ code.albedo.numpy()) / 255
        found = bfm.vertex_albedo(code).numpy()
        np.testing.assert_allclose(found, linear(srgb.clip(0, 1)).reshape(-1, 3), atol=tolerance)


def test_triangles_face_outwards(bfm):
    corners = bfm.mean_mm[bfm.triangles]
    normals = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert (normals[:, 2] > 0).all()


def test_chart_is_proper_and_in_the_right_place(bfm, synthetic_bfm):
    chart, template = bfm.chart, bundled.load()
    uv, triangles = chart.uv.numpy(), chart.triangles.numpy()
    assert (signed_area(uv, triangles) > 0).all()
    assert len(border_loops(triangles)) == 1
    known = np.isfinite(uv[:, 0])
    assert known.mean() > 0.85
    assert np.nanmin(uv) >= 0
    assert np.nanmax(uv) <= 1
    surface = template.chart.triangles.numpy()
    found = TriangleTree(template.mean_mm.double().numpy(), surface).query(in_bundled_frame(synthetic_bfm[1]))
    true = (template.chart.uv.numpy()[surface[found.triangle_ids]] * found.barycentric[:, :, None]).sum(1)
    error = np.linalg.norm(uv - true, axis=1)[known]
    # 0.004 is about 1 mm: registration slides a little; the eye membranes are flat, the eyes are not.
    assert np.median(error) < 0.004
    assert np.percentile(error, 95) < 0.012


def test_landmarks_and_regions(bfm, synthetic_bfm):
    fields, template, zero = synthetic_bfm[1], bundled.load(), torch.tensor(0.0)
    table = bfm.landmarks["ibug68"]
    points = table.points(bfm.mean_mm, bfm.triangles, torch.tensor(20.0), zero)
    torch.testing.assert_close(points, bfm.mean_mm[fields["keypoints"].ravel() - 1])
    for name, theirs in template.landmarks.items():
        if name == "ibug68":
            continue
        own = bfm.landmarks[name].points(bfm.mean_mm, bfm.triangles, zero, zero)
        true = theirs.points(template.mean_mm, template.triangles, zero, zero)
        error = (own - true - (own - true).median(0).values).norm(dim=1)
        assert error.median() < 1.0, name
    np.testing.assert_array_equal(
        bfm.regions["deep3d_front"].nonzero()[:, 0], fields["frontmask2_idx"].ravel() - 1
    )
    np.testing.assert_array_equal(bfm.regions["deep3d_skin"], fields["skinmask"].ravel() > 0)
    assert torch.equal(bfm.regions["face"], ~bfm.chart.uv.isnan().any(1))
    nose, lips = (bfm.mean_mm[bfm.regions[name]] for name in ("nose", "lips"))
    assert nose[:, 1].median() > lips[:, 1].median() + 15
    uv = bfm.topology.uv
    assert uv.shape == (len(bfm.mean_mm), 2)
    assert (uv > 0).all()


def test_projection_is_the_papers(bfm, synthetic_bfm):
    """method: S recentred, v' = v R + t with R = (Rz Ry Rx)^T, z_cam = 10 - z, u = 1015 x / z_cam + 112, rows from below."""
    fields = synthetic_bfm[1]
    rng = np.random.default_rng(5)
    vector = np.concatenate(
        [rng.normal(size=224) * 0.7, [0.2, -0.4, 0.1], rng.normal(size=27) * 0.2, [0.1, -0.2, 0.6]]
    )
    shape = fields["meanshape"].reshape(-1, 3)
    shape = (
        shape
        - shape.mean(0)
        + (fields["idBase"] @ vector[:80] + fields["exBase"] @ vector[80:144]).reshape(-1, 3)
    )
    (cx, cy, cz), (sx, sy, sz) = np.cos(vector[224:227]), np.sin(vector[224:227])
    rx = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    ry = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    rz = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    posed = shape @ (rz @ ry @ rx).T + vector[254:]
    depth = 10 - posed[:, 2]
    u, v = 1015 * posed[:, 0] / depth + 112, 1015 * posed[:, 1] / depth + 112

    face = code_from_coefficients(torch.from_numpy(vector).float(), bfm)
    projected = papers_camera(face.T_camera_head).project(bfm.vertices(face.code)).numpy()
    np.testing.assert_allclose(projected[:, 0], u, atol=0.01)
    np.testing.assert_allclose(projected[:, 1], 224 - v, atol=0.01)
    np.testing.assert_allclose(projected[:, 2], 100 * depth, atol=0.05)
    np.testing.assert_allclose(coefficients_from_code(face, bfm), vector, atol=1e-4)


@pytest.mark.slow
def test_the_true_number_of_vertices(tmp_path):
    path = tmp_path / "BFM_model_front.mat"
    write_synthetic_bfm(path, step_mm=0.85, num_vertices=TRUE_NUM_VERTICES)
    model = bfm_format.load(tmp_path)  # a folder that holds it
    assert model.identity_mm.shape == (80, TRUE_NUM_VERTICES, 3)
    chart = model.chart
    assert (signed_area(chart.uv.numpy(), chart.triangles.numpy()) > 0).all()
    assert (~chart.uv.isnan().any(1)).float().mean() > 0.7


def test_missing_file_says_where_to_ask(tmp_path, monkeypatch):
    monkeypatch.delenv("VULTUS_BFM", raising=False)
    with pytest.raises(AssetMissing, match=r"faces\.dmi\.unibas\.ch"):
        load_model("bfm")
    with pytest.raises(AssetMissing, match=r"faces\.dmi\.unibas\.ch"):
        bfm_format.load(tmp_path)


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        (lambda f: f.pop("exBase"), BadFile, "exBase"),
        (lambda f: [f.pop("idBase"), f.update(shapePC=np.zeros(3))], BadFile, "original Basel"),
        (lambda f: f.update(idBase=f["idBase"][:, :79]), WeightsMismatch, "idBase"),
        (lambda f: f.update(texBase=f["texBase"][:-3]), WeightsMismatch, "texBase"),
        (lambda f: f.update(keypoints=f["keypoints"][:, :67]), WeightsMismatch, "keypoints"),
        (lambda f: f.update(tri=f["tri"] - 1), BadFile, "damaged"),
        (lambda f: f["meanshape"].__setitem__((0, 5), np.nan), BadFile, "damaged"),
    ],
)
def test_another_file_is_refused(synthetic_bfm, tmp_path, change, error, says):
    fields = {name: value for name, value in loadmat(synthetic_bfm[0]).items() if not name.startswith("__")}
    change(fields)
    path = tmp_path / "other.mat"
    savemat(path, fields)
    with pytest.raises(error, match=says) as caught:
        bfm_format.load(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"no matlab", "truncated"])
def test_damaged_file_is_refused(synthetic_bfm, tmp_path, content):
    path = tmp_path / "BFM_model_front.mat"
    path.write_bytes(synthetic_bfm[0].read_bytes()[:100_000] if content == "truncated" else content)
    with pytest.raises(BadFile, match="BFM_model_front"):
        bfm_format.load(path)
