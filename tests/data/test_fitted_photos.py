"""Fits of photos as samples: crops and cameras that agree, gates, records that make a run go on, and sheets that can be looked at."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from heads_in_photos import painted_fit, picture_of
from PIL import Image

from vultus.data import fitted_photos
from vultus.data.fitted_gates import Gates, Measures, face_coverage, measure, reasons
from vultus.data.fitted_photos import RECORDS, FitOptions, FittedPhotos, fit_photos, manifest_of, read_records
from vultus.data.fitted_sheet import contact_sheet
from vultus.data.photo_fit import camera_of, crop_around_head, crop_fit, list_fits, read_fit, write_fit
from vultus.data.scene import look_at_head
from vultus.data.shards import read_samples, write_shards
from vultus.errors import BadFile, BadInput, FaceNotFound
from vultus.geometry.view import View
from vultus.model.bundled import load
from vultus.model.deformation import face_vertices
from vultus.model.face import CoarseFace, DeformedFace
from vultus.model.result import FitReport, Reconstruction

GOOD = Measures("ok", "", 0.02, 0.06, 0.9, 300.0, 4.0, 0.0)


@pytest.fixture(scope="module")
def model():
    return load()


def found_in(model, size_px=300, yaw=8.0, mask=None) -> Reconstruction:
    """A reconstruction of a picture of a bent mean head."""
    camera = look_at_head(yaw, 2.0, 0.0, distance_mm=800, face_px=0.3 * size_px, size_px=size_px, shift_mm=(30.0, -20.0))  # fmt: skip
    coarse = CoarseFace(model.mean_code(), camera.T_camera_head, torch.zeros(3, 9))
    face = DeformedFace(coarse, torch.full((3, 16, 16), 0.7))
    image, head, shown = picture_of(model, face_vertices(model, face), camera)
    view = View(image, camera, torch.zeros(5, 2), "mediapipe478", shown if mask is None else shown & mask, head.float())  # fmt: skip
    return Reconstruction(model, view, face, FitReport("ok", (), {"reprojection": 0.02, "photometric_residual": 0.06}, 1), {}, {})  # fmt: skip


@pytest.mark.parametrize("size_px", [450, 128])
def test_a_crop_and_its_camera_show_the_same(model, size_px):
    found = found_in(model)
    fit = crop_fit(found, "a", size_px)
    sample = fit.sample
    height, width = sample.image.shape[:2]
    assert max(height, width) <= size_px and sample.mask.shape == fit.person.shape == (height, width)
    camera = camera_of(sample)
    vertices = torch.from_numpy(sample.vertices_mm)
    torch.testing.assert_close(vertices, found.mesh.vertices)
    # The crop is the picture of the same head by the crop's camera: exactly without scaling, but for averaging otherwise.
    image, head, face = picture_of(model, vertices, camera)
    again = torch.from_numpy(sample.image).permute(2, 0, 1) / 255
    inside = -torch.nn.functional.max_pool2d(-head.float()[None], 5, 1, 2)[0] > 0
    assert (again - image).abs()[:, inside].mean() < (0.003 if size_px == 450 else 0.02)
    assert ((torch.from_numpy(sample.mask) > 127) ^ face).float().mean() < 0.01
    assert ((torch.from_numpy(fit.person) > 127) ^ head).float().mean() < 0.01
    marks = model.landmarks["ibug68"].points(vertices, model.triangles, torch.zeros(()), torch.zeros(()))
    np.testing.assert_allclose(sample.landmarks_px, camera.project(marks).numpy(), atol=1e-4)
    assert sample.landmarks_px[:, :2].min() > 0 and sample.landmarks_px[:, 2].min() > 600


def test_shrinking_averages():
    camera = look_at_head(0.0, 0, 0, distance_mm=700, face_px=300, size_px=900)
    image = torch.rand(3, 900, 900, generator=torch.Generator().manual_seed(0))
    small, seen, (left, top) = crop_around_head(image, camera, 200)
    scale = float(seen.focal_px / camera.focal_px)
    assert small.shape[1:] == (seen.size_px[1], seen.size_px[0]) and max(small.shape) <= 200
    # One pixel by hand: the mean over its square in the photo, the parts of pixels at its border counted as parts.
    weights = []
    for pixel, corner in ((57, left), (31, top)):
        begin, end = corner + pixel / scale, corner + (pixel + 1) / scale
        weights.append(
            np.clip(np.minimum(np.arange(900) + 1, end) - np.maximum(np.arange(900), begin), 0, None)
        )
    expected = np.einsum("cyx,y,x->c", image.double().numpy(), weights[1], weights[0]) * scale**2
    np.testing.assert_allclose(small[:, 31, 57].numpy(), expected, atol=1e-5)
    # A small face is not enlarged, and a crop ends where the photo does.
    far = look_at_head(0.0, 0, 0, distance_mm=700, face_px=60, size_px=100)
    same, _, corner = crop_around_head(image[:, :100, :100], far, 450)
    assert same.shape == (3, 100, 100) and corner == (0, 0) and torch.equal(same, image[:, :100, :100])


def test_coverage_is_the_share_of_the_face_that_is_bare(model):
    whole = found_in(model)
    share, height = face_coverage(whole)
    assert share > 0.97  # a pixel of rim is drawn at another resolution
    face = whole.view.skin_mask
    rows = face.any(1).nonzero()
    assert height == pytest.approx(float(rows.max() - rows.min() + 1), abs=3)
    middle = int(torch.searchsorted(face.sum(1).cumsum(0), face.sum() // 2))
    upper = torch.zeros_like(face)
    upper[:middle] = True
    assert face_coverage(found_in(model, mask=upper))[0] == pytest.approx(0.5, abs=0.03)
    assert face_coverage(found_in(model, mask=torch.zeros_like(face)))[0] == 0
    measures = measure(whole)
    assert measures.yaw_deg == pytest.approx(8, abs=1e-3) and (measures.landmark_residual, measures.status) == (0.02, "ok")  # fmt: skip
    unknown = replace(whole, report=FitReport("ok", (), {"photometric_residual": float("nan")}, 0))
    assert measure(unknown).photometric_residual == measure(unknown).landmark_residual == 1e6


def test_every_gate_says_why():
    gates = Gates(0.027, 0.1, 0.65, 90, 35)
    assert reasons(GOOD, gates) == ()
    cases: tuple[tuple[dict[str, Any], str], ...] = (
        ({"status": "doubtful", "advice": "look"}, "fit doubtful (look)"), ({"face_px": 50.0}, "face 50 px high, want 90"),
        ({"yaw_deg": -44.0}, "turned by 44 deg, at most 35"), ({"landmark_residual": 0.03}, "landmarks off by 0.030, at most 0.027"),
        ({"photometric_residual": 0.2}, "colours off by 0.200, at most 0.1"), ({"coverage": 0.5}, "50 % of the face is bare, want 65 %"),
    )  # fmt: skip
    for change, reason in cases:
        assert reasons(replace(GOOD, **change), gates) == (reason,)
    assert len(reasons(replace(GOOD, coverage=0.1, yaw_deg=90.0), gates)) == 2


def test_a_fit_is_given_back_as_it_was_kept(model, tmp_path):
    for fit in (painted_fit(model, size_px=96), crop_fit(found_in(model, 120), "b", 450)):
        write_fit(tmp_path, fit)
        again = read_fit(tmp_path / "fits" / f"{fit.sample.key}.npz")
        assert np.array_equal(again.person, fit.person)
        before, after = asdict(fit.sample), asdict(again.sample)
        assert before.keys() == after.keys() and before["code"].keys() == after["code"].keys()
        np.testing.assert_equal(after, before)
        assert isinstance(again.sample.key, str) and isinstance(again.sample.focal_px, float)


@pytest.fixture
def photos(tmp_path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("good.png", "nobody.png", "turned.png"):
        Image.new("RGB", (20, 20), (90, 80, 70)).save(folder / name)
    (folder / "broken.jpg").write_bytes(b"no picture")
    return folder


@pytest.fixture
def fitted(model, monkeypatch):
    """In place of the fits: what photos are fitted to is not the matter here, which are is."""
    asked = []

    def reconstruct(photo: Path, **_: Any) -> Reconstruction:
        asked.append(photo.name)
        if photo.stem == "broken":
            raise BadFile("not a picture")
        if photo.stem == "nobody":
            raise FaceNotFound("nobody")
        return found_in(model, 120, yaw=50.0 if photo.stem == "turned" else 3.0)

    monkeypatch.setattr("vultus.stages.reconstruct.reconstruct", reconstruct)
    return asked


def test_a_run_goes_on_where_it_was(model, photos, fitted, tmp_path):
    options, out = FitOptions(photos, min_face_px=20), tmp_path / "fits"
    run = fit_photos(model, out, options)
    assert [next(run).photo, next(run).photo] == ["broken.jpg", "good.png"]
    del run  # interrupted
    records = list(fit_photos(model, out, options))
    assert fitted == ["broken.jpg", "good.png", "nobody.png", "turned.png"]  # each once
    assert {r.photo: r.reason for r in records} == {
        "broken.jpg": "not a readable picture", "good.png": "", "nobody.png": "no face found", "turned.png": "turned by 50 deg, at most 35",
    }  # fmt: skip
    assert [path.stem[:5] for path in list_fits(out)] == ["good-"]
    # A line that was cut short is made again, with its photo.
    lines = (out / RECORDS).read_text()
    (out / RECORDS).write_text(lines[:-20])
    assert list(fit_photos(model, out, options)) == records and fitted[4:] == ["turned.png"]
    assert (out / RECORDS).read_text() == lines and len(read_records(out)) == 4
    with pytest.raises(BadInput, match="another max_yaw_deg"):
        next(fit_photos(model, out, replace(options, max_yaw_deg=20)))
    (out / RECORDS).write_text(json.dumps({"photo": "x"}) + "\n")
    with pytest.raises(BadFile, match="no record of a photo"):
        read_records(out)


def test_samples_and_a_sheet(model, photos, fitted, tmp_path):
    options, out = FitOptions(photos, min_face_px=20), tmp_path / "fits"
    records = list(fit_photos(model, out, options))
    assert [new for _, new in write_shards(FittedPhotos(out), out / "samples", manifest_of(options))] == [
        True
    ]
    (sample,) = read_samples(out / "samples", shuffle=False)
    assert sample.source == "fitted-photos" and sample.person == sample.key and sample.light is not None
    np.testing.assert_allclose(sample.vertices_mm, FittedPhotos(out)[0].vertices_mm, atol=0.02)
    sheet = contact_sheet(model, out, photos, records, tmp_path / "sheet.png", columns=2)
    with Image.open(sheet) as picture:
        pixels = np.asarray(picture)
    assert pixels.shape[0] > 2 * 180 and (pixels[10:190, 10:190] == 200).any()  # the broken photo comes first
    (photos / "good.png").unlink()
    for path in list_fits(out):
        path.unlink()
    contact_sheet(model, out, photos, records, tmp_path / "sheet.png")  # what is gone leaves its place empty


def test_options_are_checked(photos, tmp_path):
    cases: tuple[dict[str, Any], ...] = (
        {"size_px": 10}, {"max_landmark_residual": -1}, {"min_coverage": 1.2}, {"max_yaw_deg": 100}, {"min_face_px": 2}, {"split": "half"},
    )  # fmt: skip
    for wrong in cases:
        with pytest.raises(BadInput, match=f"--{next(iter(wrong)).replace('_', '-')}"):
            FitOptions(photos, **wrong)
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match="no pictures"):
        FitOptions(tmp_path / "empty")
    with pytest.raises(BadInput, match="no fits"):
        FittedPhotos(tmp_path)
    split = [
        len(fitted_photos.photos_of(replace(FitOptions(photos), split=one)))
        for one in ("all", "train")
        if True
    ]
    assert split[1] <= split[0] == 4 and len(fitted_photos.photos_of(FitOptions(photos, limit=2))) == 2
