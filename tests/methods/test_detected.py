import json
from importlib import resources

import numpy as np
import pytest
import torch

from vultus.detect.protocol import DetectedFace, FaceBox, Landmarks
from vultus.errors import BadInput, FaceNotFound
from vultus.evaluate.benchmark import SEVEN, Item
from vultus.io.images import write_png
from vultus.methods.detected import IBUG68_FROM_478, see_face
from vultus.methods.mediapipe import canonical_face


class Seen:
    """A detector that sees given faces: points "478 2" each."""

    def __init__(self, *faces, kind="mediapipe478"):
        box = FaceBox(0, 0, 9, 9, 1.0, 0.0)
        depth = torch.arange(478.0)
        self.faces = tuple(
            DetectedFace(box, Landmarks(torch.as_tensor(points).float(), depth, 1.0, kind))
            for points in faces
        )

    def detect(self, image):
        return self.faces


def square(left, top, side):
    """478 points that fill a square."""
    grid = np.stack(np.meshgrid(np.linspace(0, 1, 22), np.linspace(0, 1, 22)), -1).reshape(-1, 2)
    return np.concatenate([grid[:477], grid[-1:]]) * side + [left, top]


@pytest.fixture
def photo(tmp_path):
    write_png(tmp_path / "someone.png", torch.zeros(3, 48, 64))
    return tmp_path / "someone.png"


def test_the_largest_face_or_the_one_in_the_box(photo):
    large, small = square(0, 0, 40), square(42, 2, 12)
    detector = Seen(large, small)
    seen = see_face(Item("a", "a", photo=photo), detector)
    np.testing.assert_allclose(seen.points[:, :2], large, atol=1e-5)
    assert seen.size_px == (64, 48)
    assert seen.seconds >= 0
    # Overlaps of the box (30, 0, 56, 16): with the large face 10 x 16 of 26 x 16 + 40 x 40 - 160 = 1856, 0.09; with the small one 144 of 416, 0.35.
    seen = see_face(Item("a", "a", photo=photo, box_px=(30, 0, 56, 16)), detector)
    np.testing.assert_allclose(seen.points[:, :2], small, atol=1e-5)
    # iBUG's z is towards the camera, the detector's away from it.
    np.testing.assert_allclose(seen.ibug68[:, 2], -IBUG68_FROM_478)


def test_what_cannot_be_seen_names_the_photo(photo):
    item = Item("a", "a", photo=photo)
    with pytest.raises(FaceNotFound, match=r"someone\.png: no face found"):
        see_face(item, Seen())
    with pytest.raises(FaceNotFound, match=r"someone\.png: 1 face\(s\) found, but none in the box"):
        see_face(Item("a", "a", photo=photo, box_px=(50, 40, 60, 48)), Seen(square(0, 0, 20)))
    with pytest.raises(BadInput, match="a/1: has no photo"):
        see_face(Item("a/1", "a"), Seen())
    with pytest.raises(BadInput, match="468 points"):
        see_face(item, Seen(square(0, 0, 40), kind="ibug68"))


def test_ibug_points_mirror_each_other_and_lie_where_they_should():
    """The table has iBUG's symmetry (from 0: jaw 0-16, brows 17-26, nose 27-35, eyes 36-47, lips 48-67), image's left to right."""
    mirror = json.loads((resources.files("vultus") / "detect/assets/landmark_mirror.json").read_text())
    other = [*range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, 35, 34, 33, 32, 31]
    other += [45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40]
    other += [54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65]
    assert [mirror[i] for i in IBUG68_FROM_478] == IBUG68_FROM_478[other].tolist()
    assert len(set(IBUG68_FROM_478.tolist())) == 68
    places = canonical_face().vertices[IBUG68_FROM_478]
    assert (np.diff(places[list(SEVEN[:4]), 0]) > 0).all()
    assert places[:, 2].argmax() == 30  # the tip of the nose
    assert places[:, 1].argmin() == 8  # the chin
    assert (np.diff(places[:9, 1]) < 0).all()  # the jaw goes down
