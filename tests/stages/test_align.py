"""From a photo to alignments: which faces, which crops, what is refused; the network is one that knows the truth, or none at all."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from stages.aligned_heads import all_knowing, head

import vultus
from vultus.cli.doctor import sample_photo
from vultus.detect.boxes import FoundBox, find_boxes
from vultus.errors import AssetMissing, BadInput, FaceNotFound
from vultus.geometry.crop_motion import turned_crop
from vultus.geometry.position_map import FaceCrop
from vultus.io.images import read_image
from vultus.model import bundled
from vultus.nets.position import make_network
from vultus.nets.position_input import network_input
from vultus.nets.runtime import runner
from vultus.stages import align as align_module
from vultus.stages.align import Aligner, align, align_all, seen_through
from vultus.stages.first_crop import crop_of_box, crop_of_corners, is_near, next_crop

BOX = (180.0, 50.0, 270.0, 175.0)  # of the face in the sample photo


@pytest.fixture(scope="module")
def photo() -> torch.Tensor:
    return read_image(sample_photo())[0]


@pytest.fixture
def knowing(monkeypatch):
    """Make :func:`align` ask a network that knows these heads."""

    def know(*heads):
        aligner = all_knowing(monkeypatch, *heads)
        monkeypatch.setattr(align_module, "load_aligner", lambda *_a, **_k: aligner)
        return aligner.run.crops  # pyright: ignore[reportFunctionMemberAccess]

    return know


def forbidden(*_arguments, **_options):
    raise AssertionError("a box was given: nothing is to be detected")


def test_a_photo_is_aligned(knowing):
    of = head(centre_px=(223.0, 108.0), face_px=100.0, focal_px=800_000.0)
    crops = knowing(of)
    face = vultus.align(sample_photo())
    assert (face.vertices_px - of.points_px).norm(dim=1).mean() < 0.1
    assert face.image is not None and face.image_size == (512, 512)
    assert face.confidence > 0.5 and len(crops) <= 2
    x, y = crops[0].centre_px
    assert math.dist((x, y), of.points_px[:, :2].mean(0).tolist()) < 15
    assert isinstance(face, vultus.Alignment)


def test_a_second_look_follows_the_points_and_is_left_out_where_it_would_see_the_same(knowing):
    of = head(centre_px=(215.0, 120.0), face_px=100.0)
    crops = knowing(of)
    face = align(sample_photo(), (190.0, 70.0, 290.0, 190.0))
    assert len(crops) == 2
    assert is_near(turned_crop(face.landmarks68_px), face.crop) and not is_near(crops[0], crops[1])
    crops.clear()
    align(sample_photo(), (190.0, 70.0, 290.0, 190.0), refine=False)
    assert len(crops) == 1
    crops.clear()
    crop = face.crop
    left, top = crop.centre_px[0] - 37, crop.centre_px[1] - 50 - 13
    align(sample_photo(), (left, top, left + 74 * 1.35, top + 100 * 1.0))
    assert len(crops) <= 2


def test_nothing_is_detected_where_a_box_is_given(knowing, monkeypatch):
    monkeypatch.setattr(align_module, "find_boxes", forbidden)
    knowing(head())
    assert align(sample_photo(), BOX).confidence > 0.5
    for wrong in ((10.0, 10.0, 10.0, 50.0), (50.0, 10.0, 20.0, 40.0), (0.0, 0.0, math.nan, 5.0)):
        with pytest.raises(BadInput, match="right beyond left"):
            align(sample_photo(), wrong)


def test_two_faces_go_through_the_network_together(knowing, photo):
    wide = torch.full((3, 512, 900), 0.35)
    wide[:, :, :512] = photo
    wide[:, 100:460, 530:890] = F.interpolate(photo[None], (360, 360), mode="bilinear", antialias=True)[0]
    scale = 360 / 512
    one = head(20, 0, 0, centre_px=(223.0, 108.0), face_px=100.0, size_px=(900, 512))
    other = head(-20, 0, 0, centre_px=(530 + 223 * scale, 100 + 108 * scale), face_px=70.0, size_px=(900, 512), seed=5)  # fmt: skip
    knowing(one, other)
    aligner = align_module.load_aligner()
    batches = []
    run = aligner.run

    def counting(crops):
        batches.append(len(crops))
        return run(crops)

    object.__setattr__(aligner, "run", counting)
    found = align_all(wide)
    assert len(found) == 2 and batches[0] == 2
    for face, of in zip(found, (one, other)):
        assert (face.vertices_px - of.points_px).norm(dim=1).mean() < 0.2
    assert (align(wide).vertices_px - one.points_px).norm(dim=1).mean() < 0.2  # the largest


def kinds(photo):
    array = (photo.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    grey = array.mean(-1).astype(np.uint8)
    return {
        "bytes": array,
        "floats": array.astype(np.float32) / 255,
        "sixteen bits": array.astype(np.uint16) * 257,
        "grey": grey,
        "rgba": np.dstack([array, np.full(grey.shape, 255, np.uint8)]),
        "pillow": Image.fromarray(array),
        "pillow grey": Image.fromarray(grey),
        "pillow palette": Image.fromarray(array).quantize(200),
        "small": Image.fromarray(array).crop((150, 30, 300, 200)).resize((66, 75)),
    }


@pytest.mark.parametrize("kind", ["bytes", "floats", "sixteen bits", "grey", "rgba", "pillow", "pillow grey", "pillow palette", "small"])  # fmt: skip
def test_pictures_of_all_kinds(knowing, photo, kind):
    picture = kinds(photo)[kind]
    small = kind == "small"
    of = head(centre_px=(32.0, 35.0) if small else (223.0, 108.0), face_px=42.0 if small else 100.0, size_px=(66, 75) if small else (512, 512))  # fmt: skip
    knowing(of)
    face = align(picture)
    assert face.image_size == ((66, 75) if small else (512, 512))
    assert (face.vertices_px - of.points_px).norm(dim=1).mean() < 0.2


def test_nobody(knowing, tmp_path):
    knowing(head())
    with pytest.raises(FaceNotFound, match=r"image: no face found; say where it is with a box \(--box"):
        align(torch.full((3, 100, 120), 0.5))
    Image.new("RGB", (80, 60), (10, 90, 30)).save(tmp_path / "meadow.png")
    with pytest.raises(FaceNotFound, match=r"meadow\.png: no face found"):
        align_all(tmp_path / "meadow.png")


def test_missing_weights_are_said(monkeypatch, tmp_path):
    monkeypatch.setattr(
        "vultus.nets.position_weights.DEFAULT_WEIGHTS", tmp_path / "position_light.safetensors"
    )
    with pytest.raises(AssetMissing, match="not installed"):
        align(sample_photo())


def test_crops_are_those_of_training(photo):
    """The part that is turned into bytes is the whole picture's: to Pillow's rounding, where it shrinks too."""
    picture = (photo.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    for crop in (
        FaceCrop((223.0, 110.0), 170.0),
        FaceCrop((300.5, 250.2), 900.0, 0.4),  # beyond the border, shrunk by four
        FaceCrop((3.0, 500.0), 200.0, -1.0),
    ):
        ours, theirs = seen_through(photo, crop), network_input(picture, crop)
        assert (ours - theirs).abs().mean() < 1.5 / 255
        assert (ours - theirs).abs().quantile(0.99) < 0.02
    assert not seen_through(photo, FaceCrop((-900.0, 100.0), 100.0)).any()


def test_any_network_runs(photo):
    """Untrained: what it says is no face, and that is what the confidence says."""
    torch.manual_seed(0)
    aligner = Aligner(bundled.load(), 64, 1.6, runner(make_network("light", crop_px=64)))
    assert aligner.look(photo, []) == ()
    (face,) = aligner.look(photo, aligner.detect(photo), looks=2)
    assert face.position_px.shape == (3, 32, 32) and face.confidence < 0.1
    again = aligner.look(photo, [FaceCrop(face.crop.centre_px, face.crop.side_px, face.crop.roll_rad, 256)])[
        0
    ]
    torch.testing.assert_close(again.position_px, face.position_px)  # crops for other networks will do
    assert bool(face.vertices_px.isfinite().all()) and face.landmarks68_visible.shape == (68,)


def test_first_crops_are_around_the_face(photo):
    """Where the full detector's landmarks are on the sample photo; and the same turned, mirrored, and scaled."""
    (found,) = find_boxes(photo)
    crop = crop_of_box(found, 1.6, 256)
    assert math.dist(crop.centre_px, (224.3, 133.3)) < 8 and crop.side_px == pytest.approx(146.5, rel=0.12)
    assert abs(crop.roll_rad) < math.radians(5)
    assert crop_of_box(found, 3.2, 256).side_px == pytest.approx(2 * crop.side_px)
    left, top, right, bottom = found.corners_px
    flipped = found.points_px[[1, 0, 2, 4, 3]].clone()
    flipped[:, 0] = 512 - flipped[:, 0]
    mirrored = crop_of_box(FoundBox((512 - right, top, 512 - left, bottom), flipped, 0.9), 1.6, 256)
    assert mirrored.centre_px == pytest.approx((512 - crop.centre_px[0], crop.centre_px[1]), abs=1e-3)
    assert mirrored.roll_rad == pytest.approx(-crop.roll_rad, abs=1e-5)
    alone = crop_of_corners(found.corners_px, 1.6, 256)
    assert math.dist(alone.centre_px, crop.centre_px) < 0.1 * crop.side_px
    assert abs(math.log(alone.side_px / crop.side_px)) < 0.1
    (turned,) = find_boxes(photo.rot90(1, (1, 2)))
    assert math.degrees(crop_of_box(turned, 1.6, 256).roll_rad) == pytest.approx(-90, abs=6)


def test_where_points_are_no_face_there_is_no_next_crop():
    points = torch.zeros(68, 2)
    assert next_crop(points, 1.6, 256) is None
    assert next_crop(points + torch.nan, 1.6, 256) is None


@pytest.mark.parametrize("yaw_deg", [0, 50, 85, -85])
def test_first_crops_of_turned_and_tilted_heads(yaw_deg):
    """From the five points of a model's head; its box goes as far as the skin does, as detectors draw it."""
    of = head(yaw_deg, 0, 25, focal_px=800_000.0, seed=None)
    model, zero = bundled.load(), torch.zeros(())
    marks = of.camera.project(model.landmarks["ibug68"].points(of.vertices_mm, model.triangles, zero, zero))[:, :2]  # fmt: skip
    five = torch.stack([marks[36:42].mean(0), marks[42:48].mean(0), marks[30], marks[48], marks[54]])
    low, high = of.points_px[:, :2].amin(0), of.points_px[:, :2].amax(0)
    crop = crop_of_box(FoundBox((*low.tolist(), *high.tolist()), five, 0.9), 1.6, 256)
    true = turned_crop(marks)
    assert (
        math.degrees(abs(crop.roll_rad - true.roll_rad)) < 16
    )  # eyes before the mouth: 13 degrees in profile
    assert math.dist(crop.centre_px, true.centre_px) < 0.15 * true.side_px
    # A face that looks aside has more of it behind the points than before them.
    x = (crop.centre_px[0] - float(low[0] + high[0]) / 2) * math.cos(crop.roll_rad)
    x += (crop.centre_px[1] - float(low[1] + high[1]) / 2) * math.sin(crop.roll_rad)
    assert yaw_deg == 0 or x * yaw_deg < 0
