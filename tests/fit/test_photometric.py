"""The photo made small for the photometric fit."""

from dataclasses import replace

import torch

from vultus.fit.photometric import FACE_WIDTH_MM, shrunk_photo
from vultus.geometry.camera import Camera
from vultus.geometry.view import View
from vultus.render.shade import linear_from_srgb


def view_of(image):
    pose = torch.eye(4)
    pose[2, 3] = 500.0
    height, width = image.shape[1:]
    camera = Camera(torch.tensor(1000.0), torch.tensor([width / 2, height / 2]), (width, height), pose)
    return View(image, camera, torch.zeros(0, 2), "none", torch.ones(height, width, dtype=torch.bool))


def test_pixels_of_the_small_photo_are_averages():
    image = torch.rand(3, 60, 80, generator=torch.Generator().manual_seed(0))
    face_px = FACE_WIDTH_MM * 1000 / 500 / 4  # a quarter of what the photo shows
    scale, small = shrunk_photo(view_of(image), face_px)
    assert scale == 0.25
    expected = linear_from_srgb(image.reshape(3, 15, 4, 20, 4).mean((2, 4)))
    torch.testing.assert_close(small[0], expected)


def test_a_photo_that_was_written_to_is_shrunk_again():
    image = torch.rand(3, 60, 80, generator=torch.Generator().manual_seed(0))
    view = view_of(image)
    face_px = FACE_WIDTH_MM * 1000 / 500 / 4
    before = shrunk_photo(view, face_px)[1]
    assert torch.equal(shrunk_photo(view, face_px)[1], before)
    assert shrunk_photo(view, face_px / 2)[1].shape != before.shape
    other = shrunk_photo(replace(view, image=1 - image), face_px)[1]
    image.fill_(0.5)
    after = shrunk_photo(view, face_px)[1]
    torch.testing.assert_close(after, linear_from_srgb(torch.full_like(after, 0.5)))
    assert not torch.equal(other, before)


def test_photos_of_inference_mode_are_shrunk_as_well():
    with torch.inference_mode():
        image = torch.full((3, 60, 80), 0.25)
        for value in (0.25, 0.5):
            image.fill_(value)
            small = shrunk_photo(view_of(image), 70.0)[1]
            torch.testing.assert_close(small, linear_from_srgb(torch.full_like(small, value)))
