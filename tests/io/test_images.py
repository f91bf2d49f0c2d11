import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from vultus.errors import BadFile, BadInput
from vultus.io.images import image_from_array, list_images, read_image, write_png

RED = (200, 40, 30)


def two_colours(width=24, height=16) -> np.ndarray:
    """Red on the left, blue on the right: tells turned pictures apart."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, : width // 2] = RED
    pixels[:, width // 2 :] = (20, 60, 180)
    return pixels


def save(path: Path, image: Image.Image, **options) -> Path:
    image.save(path, **options)
    return path


def test_a_plain_photo_keeps_its_values(tmp_path):
    pixels = two_colours()
    image, info = read_image(save(tmp_path / "a.png", Image.fromarray(pixels)))
    assert image.shape == (3, 16, 24) and image.dtype == torch.float32 and image.is_contiguous()
    assert torch.equal((image * 255).round().to(torch.uint8), torch.from_numpy(pixels).permute(2, 0, 1))
    assert (
        info.size_px == (24, 16) and info.orientation == 1 and info.focal_mm35 is None and not info.has_alpha
    )


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(tmp_path, orientation):
    undo = {2: 0, 3: 1, 4: 5, 5: 2, 6: 3, 7: 6, 8: 4}
    upright = Image.fromarray(two_colours())
    transposes = [
        Image.Transpose.FLIP_LEFT_RIGHT,
        Image.Transpose.ROTATE_180,
        Image.Transpose.TRANSPOSE,
        Image.Transpose.ROTATE_90,  # stored so, a viewer turns it by 270 degrees: orientation 6
        Image.Transpose.ROTATE_270,
        Image.Transpose.FLIP_TOP_BOTTOM,
        Image.Transpose.TRANSVERSE,
    ]
    stored = upright if orientation == 1 else upright.transpose(transposes[undo[orientation]])
    exif = Image.Exif()
    exif[0x0112] = orientation
    image, info = read_image(save(tmp_path / "a.png", stored, exif=exif))
    assert info.orientation == orientation
    assert info.size_px == (24, 16) and info.file_size_px == stored.size
    assert torch.equal(image, image_from_array(two_colours()))


def test_focal_length_is_read(tmp_path):
    exif = Image.Exif()
    exif.get_ifd(0x8769).update({0x920A: 4.25, 0xA405: 26, 0xA002: 4032, 0xA003: 3024})
    _, info = read_image(save(tmp_path / "a.jpg", Image.fromarray(two_colours()), exif=exif))
    assert info.focal_mm == pytest.approx(4.25) and info.focal_mm35 == 26
    assert info.exif_size_px == (4032, 3024)


def test_grey_sixteen_bit_and_cmyk(tmp_path):
    grey, _ = read_image(save(tmp_path / "g.png", Image.new("L", (5, 4), 51)))
    assert torch.allclose(grey, torch.full((3, 4, 5), 0.2))
    deep = Image.fromarray(np.full((4, 5), 13107, np.uint16))
    deep_image, info = read_image(save(tmp_path / "d.png", deep))
    assert torch.allclose(deep_image, torch.full((3, 4, 5), 0.2), atol=1e-5) and info.mode.startswith("I")
    tiff, _ = read_image(save(tmp_path / "d.tif", deep))
    assert torch.equal(tiff, deep_image)
    cmyk, info = read_image(
        save(tmp_path / "c.jpg", Image.new("RGB", (32, 32), RED).convert("CMYK"), quality=95)
    )
    assert info.mode == "CMYK"
    assert (cmyk[:, 16, 16] * 255 - torch.tensor(RED)).abs().max() < 12


def test_transparency_lies_over_grey(tmp_path):
    rgba = np.dstack([two_colours(), np.full((16, 24), 255, np.uint8)])
    rgba[:8, :, 3] = 0
    image, info = read_image(save(tmp_path / "a.png", Image.fromarray(rgba)))
    assert info.has_alpha
    assert (
        torch.allclose(image[:, :8], torch.tensor(128 / 255))
        and (image[0, 8:, 0] * 255 - RED[0]).abs().max() < 1
    )
    assert torch.allclose(image, image_from_array(rgba))


def test_palette_gif_and_webp(tmp_path):
    frames = [Image.new("P", (12, 10), 1), Image.new("P", (12, 10), 2)]
    for frame in frames:
        frame.putpalette([0, 0, 0, *RED, 0, 255, 0])
    gif = save(tmp_path / "a.gif", frames[0], save_all=True, append_images=frames[1:])
    image, _ = read_image(gif)
    assert torch.allclose(image[:, 5, 5] * 255, torch.tensor(RED, dtype=torch.float32), atol=1)
    clear = save(tmp_path / "b.gif", frames[0], transparency=1)
    image, info = read_image(clear)
    assert info.has_alpha and torch.allclose(image, torch.tensor(128 / 255))
    image, _ = read_image(save(tmp_path / "a.webp", Image.fromarray(two_colours()), lossless=True))
    assert torch.equal(image, image_from_array(two_colours()))


def test_colour_profiles_become_srgb(tmp_path):
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image, info = read_image(save(tmp_path / "s.png", Image.fromarray(two_colours()), icc_profile=srgb))
    assert info.has_profile
    assert (image - image_from_array(two_colours())).abs().max() < 2 / 255
    image, info = read_image(
        save(tmp_path / "x.png", Image.fromarray(two_colours()), icc_profile=b"no profile")
    )
    assert not info.has_profile and torch.equal(image, image_from_array(two_colours()))
    lab = ImageCms.ImageCmsProfile(
        ImageCms.createProfile("LAB")
    ).tobytes()  # for other pixels than the file has
    image, info = read_image(save(tmp_path / "l.png", Image.fromarray(two_colours()), icc_profile=lab))
    assert not info.has_profile and torch.equal(image, image_from_array(two_colours()))


def test_a_large_picture_can_be_shrunk_while_reading(tmp_path):
    path = save(tmp_path / "wide.png", Image.new("RGB", (10_000, 100), RED))
    image, info = read_image(path)
    assert image.shape == (3, 100, 10_000)
    image, info = read_image(path, max_side_px=1000)
    assert image.shape == (3, 10, 1000) and info.size_px == (1000, 10) and info.file_size_px == (10_000, 100)
    assert torch.allclose(image[:, 5, 500] * 255, torch.tensor(RED, dtype=torch.float32), atol=1)


def test_pictures_that_cannot_be_read_say_why(tmp_path):
    good = save(
        tmp_path / "good.jpg",
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)),
    )
    short, text, empty = tmp_path / "short.jpg", tmp_path / "text.jpg", tmp_path / "empty.jpg"
    short.write_bytes(good.read_bytes()[:1500])
    text.write_text("this is no photo")
    empty.write_bytes(b"")
    for path, reason in [
        (short, "cut short"),
        (text, "not a picture"),
        (empty, "empty"),
        (tmp_path, "folder"),
        (tmp_path / "none.jpg", "no such file"),
        (good / "inside.jpg", "cannot be read"),
    ]:
        with pytest.raises(BadFile, match=reason) as caught:
            read_image(path)
        message = str(caught.value)
        assert str(path) in message and ";" in message and "\n" not in message
    with pytest.raises(BadFile, match="cannot be read"):
        list_images(tmp_path / "nowhere")
    assert [path.name for path in list_images(tmp_path)] == ["empty.jpg", "good.jpg", "short.jpg", "text.jpg"]


def test_any_damage_is_a_bad_file(tmp_path):
    """Cut and scrambled files of every format: never anything else than BadFile, or a picture."""
    rng = np.random.default_rng(1)
    picture = Image.fromarray(rng.integers(0, 255, (40, 40, 3), np.uint8))
    for suffix in ("jpg", "png", "gif", "webp", "tif", "bmp"):
        content = save(tmp_path / f"a.{suffix}", picture).read_bytes()
        for k in range(12):
            damaged = bytearray(content)
            for place in rng.integers(4, len(content), 30):
                damaged[place] = rng.integers(256)
            path = tmp_path / f"damaged.{suffix}"
            path.write_bytes(damaged if k % 2 else damaged[: rng.integers(10, len(content))])
            try:
                image, _ = read_image(path)
            except BadFile as error:
                assert "\n" not in str(error)
            else:
                assert image.shape[0] == 3 and torch.isfinite(image).all()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_no_permission(tmp_path):
    path = save(tmp_path / "a.png", Image.fromarray(two_colours()))
    path.chmod(0)
    with pytest.raises(BadFile, match="permission"):
        read_image(path)


def test_arrays_of_every_common_shape():
    expected = image_from_array(two_colours())
    chw = two_colours().transpose(2, 0, 1)
    for array in (
        chw,
        torch.from_numpy(chw.copy()),
        torch.from_numpy(two_colours()),
        two_colours() / 255,
        two_colours().astype(np.uint16) * 257,
    ):
        assert torch.allclose(image_from_array(array), expected, atol=1e-6)
    assert image_from_array(np.full((4, 5), 255, np.uint8)).shape == (3, 4, 5)
    assert image_from_array(torch.zeros(3, 4, 3)).shape == (3, 4, 3)
    assert image_from_array(np.zeros((4, 5), bool)).max() == 0


@pytest.mark.parametrize(
    "array",
    [
        np.full((4, 4, 3), np.nan),
        np.full((4, 4, 3), np.inf),
        np.full((4, 4, 3), 255.0),
        np.full((4, 4, 3), -0.5),
        np.zeros((5, 4, 2), np.uint8),
        np.zeros((2, 3, 4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros(7),
        np.zeros((4, 4, 3), complex),
    ],
)
def test_arrays_that_are_no_image(array):
    with pytest.raises(BadInput):
        image_from_array(array)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_png_round_trip(tmp_path, channels):
    image = torch.rand(channels, 7, 9, generator=torch.Generator().manual_seed(0))
    path = tmp_path / "a.png"
    write_png(path, image)
    back = np.asarray(Image.open(path)).reshape(7, 9, channels)
    assert (image.permute(1, 2, 0) * 255 - torch.from_numpy(back.copy())).abs().max() <= 0.501
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.png"]


def test_png_of_sixteen_bits_read_by_another_decoder(tmp_path):
    cv2 = pytest.importorskip("cv2")
    image = torch.rand(3, 7, 9, generator=torch.Generator().manual_seed(0))
    write_png(tmp_path / "a.png", image, bits=16)
    back = cv2.imread(str(tmp_path / "a.png"), cv2.IMREAD_UNCHANGED)[..., ::-1].astype(np.float64)
    assert back.shape == (7, 9, 3)
    assert np.abs(image.permute(1, 2, 0).double().numpy() * 65535 - back).max() <= 0.501
    write_png(tmp_path / "g.png", image[:1], bits=16)
    grey, _ = read_image(tmp_path / "g.png")
    assert (grey - image[:1]).abs().max() < 1 / 65535


def test_a_png_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a.png"
    write_png(path, torch.zeros(3, 2, 2))
    before = path.read_bytes()
    with pytest.raises(BadInput):
        write_png(path, torch.full((3, 2, 2), float("nan")))
    with pytest.raises(BadInput):
        write_png(path, torch.zeros(2, 2))
    with pytest.raises(BadFile, match="cannot be written"):
        write_png(tmp_path / "missing" / "a.png", torch.zeros(3, 2, 2))
    assert path.read_bytes() == before
