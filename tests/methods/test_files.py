"""Predictions of other systems: found by key, turned the right way, and named when missing."""

import numpy as np
import pytest
import torch

from vultus.errors import BadFile, BadInput
from vultus.evaluate.benchmark import Item
from vultus.evaluate.regions import mean_face
from vultus.geometry.mesh import Mesh, Topology
from vultus.io.images import write_png
from vultus.io.ply import write_ply
from vultus.methods.choose import METHODS, choose_method
from vultus.methods.files import Files, read_image_points

ITEM = Item("anna/IMG_1", "anna")


@pytest.fixture
def folder(tmp_path):
    mean = mean_face()
    (tmp_path / "anna").mkdir()
    mesh = Mesh(
        torch.from_numpy(mean.vertices).float(),
        Topology(torch.from_numpy(mean.triangles), len(mean.vertices)),
    )
    write_ply(tmp_path / "anna" / "IMG_1.ply", mesh)  # fmt: skip
    np.save(tmp_path / "anna" / "IMG_1.npy", mean.seven)
    return tmp_path


def test_a_mesh_with_its_landmarks(folder):
    found = Files(folder)(ITEM)
    assert found.points_px is None and found.image is None
    np.testing.assert_allclose(found.posed.seven, mean_face().seven)
    assert found.person is found.posed


def test_points_in_the_photo_beside_a_mesh_and_alone(folder):
    points = np.arange(136.0).reshape(68, 2)
    np.savetxt(folder / "anna" / "IMG_1.points.txt", points)
    found = Files(folder)(ITEM)
    np.testing.assert_allclose(found.points_px, points)
    assert found.posed is not None
    (folder / "anna" / "IMG_1.ply").unlink()
    (folder / "anna" / "IMG_1.points.txt").unlink()
    np.save(folder / "anna" / "IMG_1.npy", points.T)
    alone = Files(folder)(ITEM)
    np.testing.assert_allclose(alone.points_px, points)
    assert alone.posed is None


def test_a_picture_says_where_it_was_drawn(folder):
    image = torch.zeros(4, 8, 8)
    image[:, 2:4, 2:4] = 1
    write_png(folder / "anna" / "IMG_1.png", image)
    found = Files(folder)(ITEM)
    assert found.drawn.sum() == 4 and found.image.shape == (3, 8, 8)
    write_png(folder / "anna" / "IMG_1.png", image[:3])
    with pytest.raises(BadFile, match="alpha"):
        Files(folder)(ITEM)


def test_what_is_missing_is_named(folder):
    with pytest.raises(BadFile, match="IMG_2: no prediction"):
        Files(folder)(Item("anna/IMG_2", "anna"))
    with pytest.raises(BadFile, match="nowhere"):
        Files(folder / "nowhere")


@pytest.mark.parametrize("content", ["1 2 3 4\n", "a b\n", "nan 1\n"])
def test_what_is_no_list_of_points_is_said(tmp_path, content):
    (tmp_path / "a.txt").write_text(content)
    with pytest.raises(BadFile, match=r"a\.txt"):
        read_image_points(tmp_path / "a.txt")


def test_methods_are_chosen_by_name_or_path(folder):
    assert isinstance(choose_method(str(folder)), Files)
    for name in METHODS:
        if name not in ("files", "eos", "vultus:SWITCH"):
            assert callable(choose_method(name))
    assert callable(choose_method("vultus:contour none"))
    with pytest.raises(BadInput, match="no ablation wrinkles"):
        choose_method("vultus:wrinkles")
    with pytest.raises(BadInput, match="no such method"):
        choose_method("magic")
