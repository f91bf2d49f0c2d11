import numpy as np
import pytest
from scanned_faces import write_picked

from vultus.errors import BadFile
from vultus.io.picked_points import read_picked_points


def test_points_come_in_order_whatever_the_order_of_their_attributes(tmp_path):
    points = np.random.default_rng(0).normal(size=(9, 3)) * 50
    write_picked(tmp_path / "a.pp", points)
    np.testing.assert_allclose(read_picked_points(tmp_path / "a.pp"), points, atol=1e-6)


@pytest.mark.parametrize(
    "text",
    [
        "<PickedPoints>",
        "<PickedPoints/>",
        '<PickedPoints><point x="1" y="2"/></PickedPoints>',
        '<PickedPoints><point x="1" y="2" z="nan"/></PickedPoints>',
        '<PickedPoints><point x="1" y="2" z="high"/></PickedPoints>',
        "1 2 3",
    ],
)
def test_what_is_not_such_a_file_is_named(tmp_path, text):
    (tmp_path / "a.pp").write_text(text)
    with pytest.raises(BadFile, match=r"a\.pp"):
        read_picked_points(tmp_path / "a.pp")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(BadFile, match=r"none\.pp: cannot be read"):
        read_picked_points(tmp_path / "none.pp")
