"""Our own methods on a photo: what each says, and that they agree with what `vultus reconstruct` says."""

from pathlib import Path

import numpy as np
import pytest

import vultus
from vultus.errors import BadInput, FaceNotFound
from vultus.evaluate.benchmark import Item
from vultus.io.images import read_image
from vultus.methods.vultus import LandmarkFitOnly, MeanHead, Switched, Vultus

PHOTO = Path(vultus.__file__).parent / "assets" / "astronaut.jpg"
ITEM = Item("astronaut", "astronaut", photo=PHOTO)


def seen(prediction):
    import torch

    points = torch.from_numpy(prediction.posed.landmarks).float()
    return prediction.camera.project(points)[:, :2].numpy()


@pytest.fixture(scope="module")
def coarse():
    return Vultus("coarse")(ITEM)


def test_a_reconstruction_says_where_the_face_is_and_who_it_is(coarse):
    found = vultus.reconstruct(PHOTO, level="coarse", texture_size=0)
    np.testing.assert_allclose(coarse.posed.vertices, found.mesh.vertices.double().numpy(), atol=1e-4)
    # She smiles: the neutral person's mouth is narrower.
    wide, narrow = (np.ptp(m.landmarks[[48, 54], 0]) for m in (coarse.posed, coarse.neutral))
    assert wide > narrow + 2
    assert coarse.seconds > 0 and coarse.image is None


def test_all_methods_see_the_face_in_the_same_place(coarse):
    for method in (LandmarkFitOnly(), MeanHead()):
        found = method(ITEM)
        assert np.abs(seen(found) - seen(coarse)).mean() < 5
        assert found.seconds < coarse.seconds
    mean = MeanHead()(ITEM)
    np.testing.assert_array_equal(mean.neutral.vertices, mean.posed.vertices)
    np.testing.assert_array_equal(MeanHead()(Item("a", "a")).posed.vertices, mean.posed.vertices)


def test_the_photo_is_drawn_again_when_asked():
    found = Vultus("coarse", colour="model")(ITEM)
    assert found.image.shape == read_image(PHOTO)[0].shape and 2000 < int(found.drawn.sum()) < 40_000


@pytest.mark.slow
def test_a_switch_changes_the_shape_and_detail_is_a_surface(coarse):
    switched = Switched("no deformation")(ITEM)
    assert np.abs(switched.posed.vertices - coarse.posed.vertices).max() < 25
    assert len(Vultus("detail")(ITEM).posed.triangles) > 200_000


def test_the_face_in_the_items_box_counts():
    height, width = read_image(PHOTO)[0].shape[1:]
    with pytest.raises(FaceNotFound, match="box"):
        LandmarkFitOnly()(Item("a", "a", photo=PHOTO, box_px=(0, height - 40, 40, height)))
    assert LandmarkFitOnly()(Item("a", "a", photo=PHOTO, box_px=(0, 0, width, height))).camera is not None


def test_without_a_photo_there_is_nothing_to_reconstruct():
    with pytest.raises(BadInput, match="has no photo"):
        Vultus()(Item("a", "a"))
