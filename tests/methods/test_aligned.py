"""Dense alignment as a method of the benchmarks."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vultus.errors import BadInput, FaceNotFound
from vultus.evaluate.benchmark import Item
from vultus.evaluate.nme import box_size, extent
from vultus.methods.aligned import Aligned
from vultus.methods.choose import choose_method
from vultus.methods.detected import see_face

ASTRONAUT = Path(str(resources.files("vultus") / "assets" / "astronaut.jpg"))


def apart(one, other):
    return 100 * np.linalg.norm(one[:, :2] - other[:, :2], axis=1).mean() / box_size(other)


def test_the_points_lie_where_other_networks_see_them():
    item = Item("astronaut", "astronaut", photo=ASTRONAUT)
    theirs = see_face(item).ibug68
    found = choose_method("align")(item)
    assert found.points_px is not None and found.posed is not None and apart(found.points_px, theirs) < 7
    boxed = Item("astronaut", "astronaut", photo=ASTRONAUT, box_px=extent(theirs))
    assert apart(choose_method("align-box")(boxed).points_px, found.points_px) < 5
    marks = found.posed.landmarks
    assert (
        marks.shape == (68, 3) and 70 < np.linalg.norm(marks[36] - marks[45]) < 110
    )  # mm, outer eye corners
    assert marks[30, 2] > marks[36, 2] + 20 and marks[27, 1] > marks[8, 1] + 60  # nose in front, chin below


def test_boxes_choose_and_help(tmp_path):
    item = Item("astronaut", "astronaut", photo=ASTRONAUT, box_px=(10.0, 10.0, 60.0, 60.0))
    elsewhere = Aligned()(item)  # nobody is there: the box itself is looked at
    assert elsewhere.points_px[:, :2].max() < 200
    with pytest.raises(BadInput, match="gives no box"):
        Aligned(by_box=True)(Item("astronaut", "astronaut", photo=ASTRONAUT))
    Image.new("RGB", (64, 64)).save(tmp_path / "black.png")
    with pytest.raises(FaceNotFound, match=r"black\.png"):
        Aligned()(Item("black", "black", photo=tmp_path / "black.png"))
    with pytest.raises(BadInput, match="no photo"):
        Aligned()(Item("none", "none"))
