"""Heads of one person against heads of others: distances by hand, the trivial method, and what does not matter."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from vultus.errors import BadFile, BadInput
from vultus.evaluate.benchmark import FaceMesh, Prediction, evaluation, run_item
from vultus.evaluate.consistency import measured_pairs, open_consistency, pair_distances_mm
from vultus.evaluate.separation import Pairs, PairTable, separation_rows
from vultus.geometry.rigid import rotation_from_axis_angle
from vultus.io.images import write_png


@pytest.fixture()
def folder(tmp_path):
    """Three people with three photos each, a fourth with one."""
    for person, photos in {"anna": 3, "ben": 3, "carl": 3, "dora": 1}.items():
        (tmp_path / person).mkdir()
        for i in range(photos):
            write_png(tmp_path / person / f"{i}.png", torch.zeros(3, 4, 4))
    return tmp_path


def head(shape=0.0, seed=None, noise_mm=0.0, scale=1.0):
    """A bumpy sheet around the nose tip at the origin; ``shape`` is how far every second point lies forward."""
    x, y = (part.ravel() for part in np.meshgrid(np.linspace(-60, 60, 16), np.linspace(-70, 70, 16)))
    z = -(x**2 + y**2) / 160 + 3 * np.sin(x / 9 + y / 13)
    z = z + shape * (np.arange(len(x)) % 2)
    points = np.stack([x, y, z], -1)
    if seed is not None:
        points += noise_mm * np.random.default_rng(seed).normal(size=points.shape)
    nose = np.zeros((1, 3))
    vertices = np.concatenate([points, [[0, 0, 400.0]]])  # the last belongs to no triangle, and to no face
    triangles = np.array([[i, i + 1, i + 16] for i in range(239)])
    return FaceMesh(scale * vertices, triangles, np.repeat(nose, 7, 0))


def results(folder, mesh_of, order=1):
    benchmark = open_consistency(folder)
    scores = [
        run_item(benchmark, lambda item: Prediction(neutral=mesh_of(item)), item)
        for item in benchmark.items[::order]
    ]
    return evaluation(benchmark, "test", scores)


def by_name(result):
    return {row.what: row.value for row in result.rows}


SHAPES = {"anna": 0.0, "ben": 2.0, "carl": 4.0, "dora": 6.0}


def test_folders_are_people(folder):
    items = open_consistency(folder).items
    assert [(item.key, item.person) for item in items[2:4]] == [("anna/2", "anna"), ("ben/0", "ben")]
    assert len(items) == 10


def test_what_is_missing_is_named(folder):
    with pytest.raises(BadFile, match=r"nowhere: no such folder; .*FOLDER/PERSON/NAME"):
        open_consistency(folder / "nowhere")
    write_png(folder / "loose.png", torch.zeros(3, 4, 4))
    with pytest.raises(BadFile, match=r"loose\.png lie in no person's folder"):
        open_consistency(folder)
    lonely = folder / "lonely"
    (lonely / "one").mkdir(parents=True)
    write_png(lonely / "one" / "1.png", torch.zeros(3, 4, 4))
    with pytest.raises(BadFile, match="nobody in it has two photos"):
        open_consistency(lonely)


def test_perfect_consistency_of_different_heads(folder):
    rows = by_name(results(folder, lambda item: head(SHAPES[item.person])))
    assert rows["within a person"] == 0 and rows["between people"] > 0.5
    assert rows["between / within"] == np.inf
    assert rows["ROC AUC of same person"] == 1 and rows["d' of same person"] > 1


def test_always_the_mean_head_is_consistent_and_useless(folder):
    """In whatever frame: turned heads in float32 must tie, or their rounding would tell people apart."""

    def mean_head(item):
        rng = np.random.default_rng(sum(map(ord, item.key)))
        turn = rotation_from_axis_angle(torch.from_numpy(rng.normal(size=3))).numpy()
        mesh, shift = head(), rng.normal(size=3) * 500
        moved = (np.float32(p @ turn.T + shift).astype(float) for p in (mesh.vertices, mesh.landmarks))
        vertices, landmarks = moved
        return replace(mesh, vertices=vertices, landmarks=landmarks)

    result = results(folder, mean_head)
    rows = by_name(result)
    assert rows["within a person"] == rows["between people"] == 0
    assert np.isnan(rows["between / within"])
    assert rows["ROC AUC of same person"] == 0.5 and rows["d' of same person"] == 0
    assert any("every head is the same" in note for note in result.notes)


def test_the_distance_is_the_median_after_the_best_similarity():
    """Points on a cube's corners of side 2, and the same stretched by e in z alone: the best scale is the mean of the three, weighted.

    With corners (+-1, +-1, +-1) to (+-1, +-1, +-h): scale s = (1 + 1 + h) / 3 there, every point off by sqrt(2 (1 - s)^2 + (h - s)^2), and back
    s' = (1 + 1 + h) / (1 + 1 + h^2), off by sqrt(2 (1 - s')^2 + (1 - s' h)^2). For h = 2.5: s = 1.5, s' = 4.5 / 8.25.
    """
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)
    tall = corners * [1, 1, 2.5]
    there = np.sqrt(2 * 0.5**2 + 1.0**2)
    back = 4.5 / 8.25
    back = np.sqrt(2 * (1 - back) ** 2 + (1 - 2.5 * back) ** 2)
    faces = np.stack([1000 * corners, 1000 * tall])
    (found,) = pair_distances_mm(faces, np.array([[0, 1]]))
    assert found == pytest.approx(1000 * (there + back) / 2, abs=1e-3)


def test_neither_order_nor_frames_nor_what_is_no_face_matters(folder):
    def noisy(item):
        return head(SHAPES[item.person], seed=sum(map(ord, item.key)), noise_mm=0.3)

    def moved(item):
        mesh, rng = noisy(item), np.random.default_rng(len(item.key))
        turn = rotation_from_axis_angle(torch.from_numpy(rng.normal(size=3))).numpy()
        loose = (
            mesh.vertices + [0, 0, 1] * (np.arange(len(mesh.vertices)) == 256)[:, None] * rng.normal() * 50
        )
        assert mesh.landmarks is not None
        return replace(mesh, vertices=loose @ turn.T + 70, landmarks=mesh.landmarks @ turn.T + 70)

    first, second = results(folder, noisy), results(folder, moved, order=-1)
    assert 0.2 < by_name(first)["within a person"] < by_name(first)["between people"]
    for a, b in zip(first.rows, second.rows, strict=True):
        assert a.value == pytest.approx(b.value, abs=2e-3)
        assert a.low is not None and a.high is not None
        assert a.low == pytest.approx(b.low, abs=5e-3) and a.low <= a.value <= a.high


def test_numbers_of_people_by_hand():
    """Two people: pairs of the first at 1, 1, 4, of the second at 3; between them 2 and 5."""
    people = np.array([[0, 0], [0, 0], [0, 0], [1, 1], [0, 1], [1, 0]])
    pairs = Pairs(people, np.array([1.0, 1, 4, 3, 2, 5]))
    found = PairTable(pairs).separation()
    assert found.within_mm == 2  # medians 1 and 3
    assert found.between_mm == 3.5
    assert found.ratio == 1.75
    # Weights: 1/3 each of the first person's pairs, 1 of the second's. 2 is above two thirds of 2, 5 above all.
    assert found.auc == pytest.approx(((2 / 3) / 2 + 1) / 2)
    # Within: mean (2 + 3) / 2 = 2.5, variance ((1 + 1 + 16) / 3 + 9) / 2 - 6.25 = 1.25; between: mean 3.5, variance 2.25.
    assert found.d_prime == pytest.approx(1 / np.sqrt(1.75))
    # The first person twice, the second not at all: nobody to compare with.
    alone = PairTable(pairs).separation(np.array([2.0, 0.0]))
    assert alone.within_mm == 1 and np.isnan([alone.between_mm, alone.auc, alone.d_prime]).all()


def test_ties_count_half():
    pairs = Pairs(np.array([[0, 0], [1, 1], [0, 1], [0, 1]]), np.array([1.0, 2.0, 2.0, 1.0]))
    # 1 < 2 yes, 1 = 1 half, 2 = 2 half, 2 < 1 no
    assert PairTable(pairs).separation().auc == 0.5
    assert [row.count for row in separation_rows(pairs, 4)] == [4] * 5


def test_many_pairs_are_thinned_evenly_and_reproducibly():
    names = [f"{i // 6}" for i in range(36)]
    faces = np.random.default_rng(0).normal(size=(36, 5, 3)) * 10
    few = measured_pairs(faces, names, limit=30)
    # 6 people, 15 couples, 30 of each kind: 5 of 15 pairs of each person, 2 of 36 of each couple
    assert len(few.distance_mm) == 60 and int(few.is_same.sum()) == 30
    assert set(np.unique(few.people, axis=0, return_counts=True)[1]) == {5, 2}
    np.testing.assert_array_equal(few.distance_mm, measured_pairs(faces, names, limit=30).distance_mm)
    assert len(measured_pairs(faces, names).distance_mm) == 36 * 35 // 2


def test_what_is_no_surface_of_every_head_is_not_compared(folder):
    """An eyeball's vertex near the nose, and a triangle that one head lacks because a corner of it is not finite."""

    def torn(item):
        mesh = head(SHAPES[item.person])
        vertices = mesh.vertices.copy()
        vertices[256] = [0, 0, 900.0 * (item.key == "ben/1")]
        if item.key != "ben/1":
            return replace(mesh, vertices=vertices)
        vertices[0] = np.nan
        return replace(mesh, vertices=vertices, triangles=mesh.triangles[1:])

    rows = by_name(results(folder, torn))
    assert rows["within a person"] == 0 and rows["ROC AUC of same person"] == 1
    benchmark = open_consistency(folder)
    face = benchmark.score(benchmark.items[0], Prediction(neutral=torn(benchmark.items[0]))).samples[
        "face_mm"
    ]
    assert face.dtype == np.float32 and len(face) == 257
    assert np.isnan(face[255:]).all() and np.isfinite(face[:255]).all()  # triangles reach to 254


def test_meshes_that_do_not_correspond_are_refused(folder):
    def odd(item):
        mesh = head()
        more = np.concatenate([mesh.vertices, np.zeros((1, 3))])
        return replace(mesh, vertices=more) if item.key == "ben/1" else mesh

    with pytest.raises(BadInput, match=r"ben/1 has 258 vertices, anna/0 257: .*corresponding meshes"):
        results(folder, odd)
    with pytest.raises(BadInput, match=r"ben/1 has 258 vertices, anna/0 257"):
        results(folder, odd, order=-1)
    with pytest.raises(BadInput, match="millimetres"):
        results(folder, lambda item: replace(head(scale=100), landmarks=np.full((7, 3), 9e4)))


def test_what_a_prediction_lacks_is_said(folder):
    benchmark = open_consistency(folder)
    item = benchmark.items[0]
    for prediction in (Prediction(), Prediction(posed=replace(head(), landmarks=None))):
        with pytest.raises(BadInput, match="nose tip"):
            benchmark.score(item, prediction)
    bad = head()
    bad.vertices[3, 1] = np.nan
    with pytest.raises(BadInput, match="not finite"):
        benchmark.score(item, Prediction(neutral=bad))
    scores = [benchmark.score(item, Prediction(posed=head())) for item in benchmark.items]
    assert any("10 of 10 heads come without a neutral one" in note for note in benchmark.summarise(scores)[2])
    one = benchmark.summarise([score for score in scores if score.person == "anna"])
    assert (
        np.isnan(one[0][1].value) and one[0][0].low is None and any("two people" in note for note in one[2])
    )
