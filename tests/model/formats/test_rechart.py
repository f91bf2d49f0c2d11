"""Folded, holed and frayed charts become proper ones."""

import numpy as np
import pytest

from vultus.model.rechart import _triangulate, border_loops, clean_chart, close_holes, signed_area


def grid(n: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """The unit square as n x n vertices (u right, v down) and triangles that face the viewer."""
    v, u = np.meshgrid(np.linspace(0, 1, n), np.linspace(0, 1, n), indexing="ij")
    index = np.arange(n * n).reshape(n, n)
    a, b, c, d = (part.ravel() for part in (index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]))
    return np.stack([u, v], -1).reshape(-1, 2), np.concatenate(
        [np.stack([a, b, c], 1), np.stack([a, c, d], 1)]
    )


def test_a_good_chart_is_left_alone():
    uv, triangles = grid()
    cleaned, kept, flipped = clean_chart(uv, triangles)
    np.testing.assert_array_equal(cleaned, uv)
    assert len(kept) == len(triangles)
    assert flipped == 0


def test_folds_are_undone_without_moving_the_rest():
    uv, triangles = grid()
    folded = uv.copy()
    folded[5 * 12 + 5] += [0.25, 0.1]  # two cells to the right
    cleaned, kept, flipped = clean_chart(folded, triangles)
    assert flipped > 0
    assert len(kept) == len(triangles)
    assert (signed_area(cleaned, kept) > 0).all()
    far = np.linalg.norm(uv - uv[5 * 12 + 5], axis=1) > 0.5
    np.testing.assert_array_equal(cleaned[far], uv[far])


def test_an_enclosed_patch_without_coordinates_is_filled_but_the_outside_is_not():
    uv, triangles = grid(30)
    known = uv.copy()
    inner = (np.abs(uv - 0.5) < 0.1).all(1)
    known[inner] = np.nan
    known[uv[:, 0] > 0.95] = np.nan
    cleaned, kept, _ = clean_chart(known, triangles)
    assert np.isin(np.flatnonzero(inner), kept).all()
    assert not np.isin(np.flatnonzero(uv[:, 0] > 0.95), kept).any()
    np.testing.assert_allclose(cleaned[inner], uv[inner], atol=0.02)  # averages of a regular grid
    assert signed_area(cleaned, kept).sum() / 2 == pytest.approx(27 / 29)


def test_pinched_borders_and_loose_pieces_go():
    uv, triangles = grid()
    centre = uv[triangles].mean(1)
    left, right = centre[:, 0] < 0.3, centre[:, 0] > 0.4
    touching = np.flatnonzero((np.abs(centre - [0.35, 0.5]) < 0.05).all(1))[:1]
    _, kept, _ = clean_chart(uv, triangles[np.union1d(np.flatnonzero(left | right), touching)])
    assert (uv[kept][..., 0] > 0.35).any(1).all()  # the larger piece only
    loops = border_loops(kept)
    assert len(loops) == 1
    assert len(np.unique(loops[0])) == len(loops[0])


def test_membranes_fill_holes_of_any_shape_exactly():
    uv, triangles = grid(16)
    centre = uv[triangles].mean(1)
    # Not star-shaped: a U.
    hole = (np.abs(centre - 0.5) < 0.3).all(1) & ~((np.abs(centre[:, 0] - 0.5) < 0.1) & (centre[:, 1] < 0.6))
    rest = triangles[~hole]
    kept, membranes = close_holes(uv, rest)
    assert len(kept) == len(rest)
    assert (signed_area(uv, membranes) > 0).all()
    assert signed_area(uv, np.concatenate([kept, membranes])).sum() / 2 == pytest.approx(1)
    assert len(border_loops(np.concatenate([kept, membranes]))) == 1


def test_a_hole_whose_outline_crosses_itself_loses_triangles_around_the_crossing():
    uv, triangles = grid(16)
    hole = (np.abs(uv[triangles].mean(1) - 0.5) < 0.2).all(1)
    _, rest, _ = clean_chart(uv, triangles[~hole])
    crossed = uv.copy()
    loop = min(border_loops(rest), key=len)
    crossed[loop[3]] = uv[loop].mean(0) + 0.4 * (uv[loop].mean(0) - uv[loop[3]])
    crossed[loop[4]] = uv[loop].mean(0) + 0.6 * (uv[loop].mean(0) - uv[loop[3]])
    cleaned, kept, _ = clean_chart(crossed, rest)
    kept, membranes = close_holes(cleaned, kept)
    every = np.concatenate([kept, membranes])
    assert (signed_area(cleaned, every) > 0).all()
    assert signed_area(cleaned, every).sum() / 2 == pytest.approx(1)


def test_membranes_are_the_best_shaped_ones():
    """A long thin strip is cut across, not along."""
    x = np.linspace(0, 1, 9)
    uv = np.concatenate([np.stack([x, 0 * x], 1), np.stack([x[::-1], 0 * x + 0.1], 1)])
    triangles = _triangulate(uv, np.arange(len(uv))[::-1])
    assert len(triangles) == len(uv) - 2
    assert (signed_area(uv, triangles) > 0).all()
    assert signed_area(uv, triangles).sum() / 2 == pytest.approx(0.1)
    assert np.ptp(uv[triangles][..., 0], axis=1).max() < 0.13  # one step wide
