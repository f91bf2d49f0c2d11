"""Pictures from the chart in the photo, and swapped faces: colours go where they belong, and nowhere else."""

from dataclasses import replace
from functools import lru_cache

import pytest
import torch
import torch.nn.functional as F

from vultus.data.sample_maps import chart_lattice
from vultus.data.scene import look_at_head
from vultus.errors import BadInput
from vultus.fit.seamless import smooth_offset
from vultus.geometry.position_map import FaceCrop, weak_perspective
from vultus.model import bundled
from vultus.stages.alignment import Alignment
from vultus.stages.chart_in_photo import chart_window, mirrored_values, mirrored_vertices
from vultus.stages.face_swap import paste_texture, swap_face

SIZE = (240, 200)
RED = torch.tensor([1.0, 0.0, 0.0])[:, None, None]


@lru_cache
def lattice():
    return chart_lattice(bundled.load(), 128)


def aligned(yaw=0.0, roll=0.0, centre=(120.0, 80.0), face_px=90.0) -> Alignment:
    """The mean head's true alignment, from afar; its photo is for the tests to paint."""
    model = bundled.load()
    camera = look_at_head(yaw, 0.0, roll, distance_mm=8000.0, face_px=face_px, size_px=200)
    seen = camera.project(model.mean_mm[lattice().vertex_ids])
    points = weak_perspective(seen, float(camera.focal_px), lattice().share @ seen[:, 2])
    points = points + torch.tensor([centre[0] - 100, centre[1] - 100, 0.0])
    return Alignment(model, FaceCrop(centre, 1.6 * face_px), lattice().spread(points), SIZE)


def picture(seed=0, low=0.2, high=0.8) -> torch.Tensor:
    """Smooth colours with some grain, "3 h w"."""
    generator = torch.Generator().manual_seed(seed)
    rough = F.interpolate(torch.rand(1, 3, 10, 12, generator=generator), (SIZE[1], SIZE[0]), mode="bicubic")[
        0
    ]
    return (low + (high - low) * rough + 0.02 * torch.randn(3, SIZE[1], SIZE[0], generator=generator)).clamp(0, 1)  # fmt: skip


def left_half(size=64) -> torch.Tensor:
    """Opaque on the chart's left, which is the subject's right."""
    mask = torch.zeros(size, size)
    mask[:, : size // 2] = 1
    return mask


def test_a_texture_lands_where_the_map_says():
    face, photo = aligned(20.0, 15.0), picture()
    # A texture that holds its own coordinates; every texel's centre must show them at its place in the photo.
    steps = (torch.arange(128) + 0.5) / 128
    texture = torch.stack([steps.expand(128, 128), steps[:, None].expand(128, 128), torch.zeros(128, 128)])
    pasted = paste_texture(photo, face, texture)
    places = face.position_px[:2, 8:-8:5, 8:-8:5].flatten(1).T
    seen = face._seen(face.position_px[:, 8:-8:5, 8:-8:5].flatten(1).T, texture[:2, 8:-8:5, 8:-8:5].flatten(1).T, 0.3)  # fmt: skip
    grid = places / torch.tensor([SIZE[0], SIZE[1]]) * 2 - 1
    found = F.grid_sample(pasted[None], grid[None, None], align_corners=False)[0, :2, 0]
    apart = (found - texture[:2, 8:-8:5, 8:-8:5].flatten(1)).abs()[:, seen]
    assert seen.float().mean() > 0.6
    # A quarter of a texel; beside the nose's outline pixels mix what lies before and behind.
    assert apart.quantile(0.95) < 0.002 and (apart > 0.02).float().mean() < 0.01
    window = chart_window(face)
    outside = torch.ones(SIZE[1], SIZE[0], dtype=torch.bool)
    outside[window.rows, window.columns] = ~window.covered
    assert torch.equal(pasted[:, outside], photo[:, outside]) and outside.float().mean() > 0.5


def test_masks_and_opacity():
    face, photo = aligned(), picture()
    red = RED.expand(3, 64, 64)
    by_mask = paste_texture(photo, face, red, left_half())
    by_opacity = paste_texture(photo, face, torch.cat([red, left_half()[None]]))
    assert torch.equal(by_mask, by_opacity)
    middle = int(face.landmarks68_px[30, 0])
    changed = (by_mask - photo).abs().sum(0) > 0.3
    # The subject's right is the picture's left.
    assert changed[:, : middle - 3].sum() > 1000 and changed[:, middle + 4 :].sum() == 0
    assert torch.equal(paste_texture(photo, face, red, torch.zeros(64, 64)), photo)
    half = paste_texture(photo, face, red, torch.full((64, 64), 0.5))
    nose = (slice(None), int(face.landmarks68_px[30, 1]), middle)
    assert torch.allclose(half[nose], (photo[nose] + RED[:, 0, 0]) / 2, atol=1e-3)


def test_what_is_hidden_is_not_painted():
    # Yaw 75: the face turns to the image's right and hides the subject's left, the chart's right half, but for what lies beyond the nose.
    face, photo = aligned(75.0), picture()
    hidden, shown = (paste_texture(photo, face, RED.expand(3, 64, 64), mask) for mask in (1 - left_half(), left_half()))  # fmt: skip
    area = [float(((image - photo).abs().sum(0) > 0.2).sum()) for image in (hidden, shown)]
    assert area[0] < 0.12 * area[1] and area[1] > 1500
    # Far round, only the back of the face's surface would be seen, and nothing is painted.
    behind = aligned(170.0)
    assert not chart_window(behind).covered.float().mean() > 0.05


def test_paint_is_shaded_and_gradients_fit_in():
    face = aligned()
    photo = torch.full((3, SIZE[1], SIZE[0]), 0.6)
    photo[:, :, 120:] = 0.3  # light from the side
    grey = torch.full((3, 64, 64), 0.5)
    painted = paste_texture(photo, face, grey, blend="paint")
    row, column = (int(c) for c in face.landmarks68_px[30, [1, 0]])
    assert painted[0, row, column + 15] < 0.6 * painted[0, row, column - 15]
    # A texture that is brighter than the photo, by the same everywhere, has no gradient: it vanishes.
    even = torch.full((3, SIZE[1], SIZE[0]), 0.4)
    fitted = paste_texture(even, face, grey + 0.2, blend="gradient", border=0.08)
    assert (fitted - even).abs().max() < 0.02 < (paste_texture(even, face, grey + 0.2) - even).abs().max()


@pytest.mark.parametrize("yaw", [0.0, 35.0])
def test_a_face_swapped_with_itself_is_the_photo(yaw):
    face, photo = aligned(yaw, 10.0), picture()
    swapped = swap_face(photo, face, photo, face)
    window = chart_window(face)
    inner = window.trust > 0.99
    apart = (swapped - photo)[:, window.rows, window.columns].abs() * 255
    apart = apart[:, inner].amax(0)
    # Bilinear at places that are the pixels' own to a hundredth; along the nose's outline a few pixels come from the other side.
    assert inner.float().mean() > 0.3 and apart.quantile(0.99) < 0.5 and (apart > 2).float().mean() < 0.002
    outside = torch.ones(SIZE[1], SIZE[0], dtype=torch.bool)
    outside[window.rows, window.columns] = ~window.covered
    assert torch.equal(swapped[:, outside], photo[:, outside])


def test_the_sources_face_arrives_in_the_targets_place():
    # Both photos hold their own face's chart coordinates (paste puts them there), so after the swap gradients must be those of the target's chart.
    steps = (torch.arange(128) + 0.5) / 128
    waves = torch.stack([torch.sin(40 * steps).expand(128, 128), torch.sin(40 * steps)[:, None].expand(128, 128), torch.zeros(128, 128)])  # fmt: skip
    waves = 0.5 + 0.2 * waves
    target, source = aligned(-15.0, 10.0, (110.0, 85.0), 70.0), aligned(20.0, -10.0, (130.0, 90.0), 100.0)
    plain = torch.full((3, SIZE[1], SIZE[0]), 0.5)
    swapped = swap_face(plain, target, paste_texture(plain, source, waves), source)
    expected = paste_texture(plain, target, waves)
    window = chart_window(target)
    inner = (window.soft(0.2) > 0.99) & (window.trust > 0.99)
    apart = (swapped - expected)[:, window.rows, window.columns][:, inner]
    assert apart.abs().mean() < 0.04 < 0.1 < (plain - expected)[:2, window.rows, window.columns][:, inner].abs().mean()  # fmt: skip


def test_what_the_source_hides_comes_from_its_other_side():
    source, target = aligned(60.0), aligned()
    steps = (torch.arange(128) + 0.5) / 128
    waves = 0.5 + 0.2 * torch.cos(40 * (steps - 0.5)).expand(3, 128, 128)  # the same on both sides
    plain = torch.full((3, SIZE[1], SIZE[0]), 0.5)
    swapped = swap_face(plain, target, paste_texture(plain, source, waves), source)
    window = chart_window(target)
    far = (window.soft(0.2) > 0.99) & (window.trust > 0.99) & (window.uv[0] > 0.65)
    pixels = [image[0, window.rows, window.columns][far] for image in (swapped, paste_texture(plain, target, waves))]  # fmt: skip
    # At 60 degrees the far cheek is hidden; without its other side there would be plain grey.
    assert far.sum() > 400 and torch.corrcoef(torch.stack(pixels))[0, 1] > 0.9


def test_openings_may_stay(monkeypatch):
    target, source, photo = aligned(), aligned(), picture(1)
    other = picture(2)
    kept = swap_face(photo, target, other, source, keep_openings=True)
    window = chart_window(target)
    part = (kept - photo)[:, window.rows, window.columns].abs()
    assert window.membrane.sum() > 20 and part[:, window.membrane].max() < 0.02 < part[:, window.trust > 0.99].mean()  # fmt: skip


def test_the_mirror_finds_the_other_side():
    face = aligned()
    marks = face.surface.points_uv("ibug68")
    nearest = torch.cdist(marks, face.surface.uv).argmin(1)
    mirror = mirrored_vertices(face)
    # Outer corners of the eyes: 36 and 45.
    assert (mirror[nearest[36]] - face.landmarks68_px[45]).norm() < 2.5
    values = face.surface.uv[:, 0].clone()
    assert (mirrored_values(face, values) - (1 - values)).abs().max() < 0.02


def test_the_smooth_offset_agrees_where_it_is_known_and_is_smooth_elsewhere():
    y, x = torch.meshgrid(torch.arange(40.0), torch.arange(50.0), indexing="ij")
    linear = (0.01 * x - 0.02 * y)[None]
    weight = torch.zeros(40, 50)
    weight[:3], weight[-3:], weight[:, :3], weight[:, -3:] = 10.0, 10.0, 10.0, 10.0
    difference = torch.where(weight > 0, linear, torch.nan)  # what is not known is not read
    assert (smooth_offset(difference, weight) - linear)[:, 3:-3, 3:-3].abs().max() < 0.02
    assert not smooth_offset(difference, torch.zeros(40, 50)).any()


def test_bad_values():
    face, photo = aligned(), picture()
    red = RED.expand(3, 64, 64)
    with pytest.raises(BadInput, match="240 x 200"):
        paste_texture(photo[:, :100], face, red)
    with pytest.raises(BadInput, match="over the face chart"):
        paste_texture(photo, face, red[:, :32])
    with pytest.raises(BadInput, match="mask"):
        paste_texture(photo, face, red, torch.ones(32, 32))
    with pytest.raises(BadInput, match="over, paint or gradient"):
        paste_texture(photo, face, red, blend="glue")  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="240 x 200"):
        swap_face(photo, face, photo[:, :100], face)
    with pytest.raises(BadInput, match="different models"):
        swap_face(photo, face, photo, replace(face, model=replace(face.model, name="other")))
    away = replace(face, position_px=face.position_px + 1000)
    with pytest.raises(BadInput, match="outside of its photo"):
        paste_texture(photo, away, red)
