"""cameras.json: what is accepted, and what each mistake is told."""

import json

import numpy as np
import pytest

from vultus.errors import BadFile, BadInput
from vultus.io.cameras import cameras_from, read_cameras

GOOD = {"K": [[900.0, 0, 320], [0, 900.0, 240], [0, 0, 1]], "R": np.eye(3).tolist(), "t": [0.1, 0.2, 1.5]}


def document(**changes):
    return {"unit": "m", "cameras": {"a.jpg": {**GOOD, **changes}}}


def test_metres_become_millimetres():
    camera = cameras_from(document(size=[640, 480]))["a.jpg"]
    np.testing.assert_allclose(camera.T_camera_world[:3, 3], [100, 200, 1500])
    assert camera.focal_px == 900
    assert camera.size_px == (640, 480)
    np.testing.assert_array_equal(camera.principal_px, [320, 240])


def test_translation_may_be_a_column():
    np.testing.assert_allclose(
        cameras_from(document(t=[[1], [2], [3]]))["a.jpg"].T_camera_world[:3, 3], [1000, 2000, 3000]
    )


MIRROR = np.diag([1.0, 1.0, -1.0]).tolist()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"K": [[float("nan"), 0, 1], [0, 1, 1], [0, 0, 1]]}, "not finite"),
        ({"K": [[-900, 0, 1], [0, -900, 1], [0, 0, 1]]}, "f > 0"),
        ({"K": np.array(GOOD["K"]).T.tolist()}, "transposed"),
        ({"K": [[900, 0, 320], [0, 700, 240], [0, 0, 1]]}, "square"),
        ({"K": [900, 900, 320, 240]}, "3 x 3"),
        ({"R": MIRROR}, "no rotation"),
        ({"R": (2 * np.eye(3)).tolist()}, "no rotation"),
        ({"t": [0, 1]}, "t must be 3"),
        ({"t": ["x", 0, 0]}, "t must be 3"),
        ({"size": [0, 10]}, "width"),
    ],
)
def test_mistakes_name_the_photo_and_the_remedy(changes, said):
    with pytest.raises(BadInput, match=r"a\.jpg") as error:
        cameras_from(document(**changes))
    assert said in str(error.value)


def test_unit_cameras_and_files_are_checked(tmp_path):
    with pytest.raises(BadInput, match="unit"):
        cameras_from({"cameras": {"a.jpg": GOOD}})
    with pytest.raises(BadInput, match=r"docs/fuse\.md"):
        cameras_from({"unit": "mm"})
    with pytest.raises(BadFile, match="cannot be read"):
        read_cameras(tmp_path / "none.json")
    path = tmp_path / "cameras.json"
    path.write_text("{")
    with pytest.raises(BadFile, match="JSON"):
        read_cameras(path)
    path.write_text(json.dumps(document(R=MIRROR)))
    with pytest.raises(BadInput, match=r"cameras\.json"):
        read_cameras(path)
