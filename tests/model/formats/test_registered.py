"""The registration is made once, recalled, and made again when its file cannot be trusted."""

import numpy as np
import pytest

from vultus.model import bundled, registered
from vultus.model.registered import IBUG68_VERTICES, align_template, cache_folder, registered_template


@pytest.fixture
def target(tmp_path, monkeypatch):
    """The bundled head turned, sized and shifted, as another model; registering is counted and left out."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    calls = []
    monkeypatch.setattr(registered, "register", lambda template, *_, **__: calls.append(1) or template + 1.0)
    model = bundled.load()
    angle = 0.2
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    points = 1.1 * model.mean_mm.double().numpy() @ turn.T + [3.0, -4.0, 5.0]
    ids = np.zeros(68, np.int64)
    ids[list(IBUG68_VERTICES)] = list(IBUG68_VERTICES.values())
    return (points, model.part_triangles("skin").numpy(), ids), calls


def test_starts_from_the_similarity_of_the_guide_points(target):
    (points, _, ids), _ = target
    start = align_template(points[ids])
    assert start.scale.item() == pytest.approx(1.1)
    np.testing.assert_allclose(start.apply(bundled.load().mean_mm.double()).numpy(), points, atol=1e-4)


def test_made_once_and_recalled_exactly(target):
    arguments, calls = target
    first = registered_template(*arguments)
    assert [file.suffix for file in cache_folder().iterdir()] == [".npz"]  # nothing half-written beside it
    np.testing.assert_array_equal(registered_template(*arguments), first)
    assert len(calls) == 1
    skin = np.unique(arguments[1])
    np.testing.assert_allclose(first[skin], arguments[0][skin] + 1, atol=1e-3)
    points, *others = arguments
    registered_template(points + 0.01, *others)  # another mean
    assert len(calls) == 2


@pytest.mark.parametrize("harm", ["empty", "truncated", "changed", "other shape", "gone"])
def test_a_damaged_file_is_made_anew(target, harm):
    arguments, calls = target
    first = registered_template(*arguments)
    (place,) = cache_folder().iterdir()
    content = place.read_bytes()
    if harm == "gone":
        place.unlink()
    elif harm == "other shape":
        np.savez(place, vertices=np.zeros((5, 3), np.float32))
    elif harm == "changed":
        middle = len(content) // 2
        place.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    else:
        place.write_bytes(content[: 0 if harm == "empty" else 5000])
    np.testing.assert_array_equal(registered_template(*arguments), first)
    assert len(calls) == 2
    np.testing.assert_array_equal(registered_template(*arguments), first)
    assert len(calls) == 2  # and it is remembered again


def test_works_where_nothing_can_be_written(target, tmp_path, monkeypatch):
    arguments, calls = target
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    registered_template(*arguments)
    registered_template(*arguments)
    assert len(calls) == 2
    assert list(tmp_path.iterdir()) == [blocked]


def test_the_cache_is_where_people_expect_it(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "vultus"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "vultus"
