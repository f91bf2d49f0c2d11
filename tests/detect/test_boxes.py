"""The cheap half of detection: boxes of faces in any turn and number, and nothing where there is nobody."""

import math

import pytest
import torch
import torch.nn.functional as F

from vultus.cli.doctor import sample_photo
from vultus.detect.boxes import find_boxes, shrunk
from vultus.io.images import read_image

MIDDLE = (223.0, 116.0)  # of the face in the sample photo, between eyes and mouth


@pytest.fixture(scope="module")
def photo() -> torch.Tensor:
    return read_image(sample_photo())[0]


def middle(box) -> list[float]:
    left, top, right, bottom = box.corners_px
    return [(left + right) / 2, (top + bottom) / 2]


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_a_face_is_found_whichever_way_the_photo_lies(photo, turns):
    turned = photo.rot90(turns, (1, 2))
    (box,) = find_boxes(turned)
    x, y = MIDDLE
    place = [(x, y), (y, 512 - x), (512 - x, 512 - y), (512 - y, x)][turns]
    assert math.dist(middle(box), place) < 12
    eyes = (
        box.points_px[1] - box.points_px[0]
    )  # from the subject's right to its left: to the right in an upright photo
    expected = [(1, 0), (0, -1), (-1, 0), (0, 1)][turns]
    assert float(F.normalize(eyes, dim=0) @ torch.tensor(expected, dtype=eyes.dtype)) > 0.98


def test_places_do_not_depend_on_the_size_of_the_photo(photo):
    (box,) = find_boxes(photo)
    large = F.interpolate(photo[None], scale_factor=3, mode="bilinear")[0]
    (same,) = find_boxes(large)
    assert math.dist(middle(same), [3 * c for c in middle(box)]) < 6
    assert same.area_px2 == pytest.approx(9 * box.area_px2, rel=0.06)


def test_several_faces_come_largest_first_small_ones_when_asked(photo):
    wide = torch.full((3, 1024, 2400), 0.4)
    wide[:, :512, :512] = F.interpolate(photo[None], (512, 512))[0]
    wide[:, 100:1000, 600:1500] = F.interpolate(photo[None], (900, 900), mode="bilinear")[0]
    tiny = F.interpolate(photo[None], (110, 110), mode="bilinear", antialias=True)[0]
    wide[:, 800:910, 2000:2110] = tiny  # a face of 24 px: 5 px at the first size
    found = find_boxes(wide, small_too=True)
    assert [round(box.area_px2**0.5 / 60) for box in found[:2]] == [2 if i else 3 for i in (0, 1)]
    assert len(find_boxes(wide)) == 2 <= len(found)


def test_nobody_is_found_where_nobody_is():
    y, x = torch.meshgrid(torch.linspace(0, 1, 240), torch.linspace(0, 1, 320), indexing="ij")
    hills = torch.stack([x, 1 - y / 2, 0.5 + 0.2 * torch.sin(8 * x + torch.sin(6 * y))])
    assert find_boxes(hills) == ()
    assert find_boxes(torch.rand(3, 1, 1)) == ()


def test_shrinking_averages(photo):
    exact = F.avg_pool2d(photo[None], 4)[0]
    assert (shrunk(photo, 128) - exact).abs().max() < 1e-5
    assert shrunk(photo[:, :300], 256).shape == (3, 150, 256)
    assert shrunk(photo[:, :50, :70], 140).shape == (3, 100, 140)
