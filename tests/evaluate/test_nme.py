import numpy as np
import pytest
import torch

from vultus.errors import BadInput
from vultus.evaluate.benchmark import FaceMesh, ItemScore, Prediction
from vultus.evaluate.nme import (
    BINS,
    all_row,
    balanced_subset,
    bin_curves,
    bin_rows,
    box_size,
    extent,
    image_points,
    mean_of_bins,
    missing_note,
    percent_errors,
    scored_row,
    subset_row,
    yaw_bin,
)
from vultus.geometry.camera import Camera


def scores_of(values, name="nme"):
    return [ItemScore(key, key, values={name: value}) for key, value in values.items()]


@pytest.mark.parametrize(
    ("yaw", "bin_"),
    [(0, 0), (30, 0), (-30, 0), (30.001, 1), (-60, 1), (60.001, 2), (-114, 2), (-351.2, 2)],
)
def test_bins_are_those_of_the_published_script(yaw, bin_):
    assert yaw_bin(yaw) == BINS[bin_]


def test_the_means_of_prnets_table():
    """(2.75 + 3.51 + 4.61) / 3 = 3.6233, whatever the bins' sizes; the mean over all is another number."""
    sizes, means = [1306, 462, 232], [2.75, 3.51, 4.61]
    ids = np.repeat([0, 1, 2], sizes)
    values = np.repeat(means, sizes)
    assert mean_of_bins(values, ids) == pytest.approx(3.6233, abs=1e-4)
    # (1306 * 2.75 + 462 * 3.51 + 232 * 4.61) / 2000 = 3.1413
    scores = scores_of({str(i): float(value) for i, value in enumerate(values)})
    bins = {str(i): BINS[number] for i, number in enumerate(ids)}
    assert all_row("NME", scores, "nme", bins).value == pytest.approx(3.1413, abs=1e-4)
    rows = bin_rows("NME", scores, "nme", bins)
    assert [r.what for r in rows] == [
        "NME, yaw 0-30", "NME, yaw 30-60", "NME, yaw 60-90", "NME, mean of yaw bins"
    ]  # fmt: skip
    assert [r.value for r in rows] == pytest.approx([2.75, 3.51, 4.61, 3.6233], abs=1e-4)
    assert [r.count for r in rows] == [*sizes, 2000]
    # Equal numbers within a bin leave its mean no spread, however images are drawn.
    assert rows[3].low == pytest.approx(rows[3].high) == pytest.approx(3.6233, abs=1e-4)
    subset = balanced_subset(bins, 232)
    assert len(subset) == 696
    assert subset_row("NME", scores, "nme", bins, subset).value == pytest.approx(3.6233, abs=1e-4)


def test_an_interval_covers_its_value_and_an_empty_bin_has_no_mean():
    rng = np.random.default_rng(0)
    values = {str(i): float(value) for i, value in enumerate(rng.uniform(2, 4, 300))}
    rows = bin_rows("NME", scores_of(values), "nme", {key: BINS[int(key) % 3] for key in values})
    for r in rows:
        assert r.low is not None and r.high is not None
        assert r.low < r.value < r.high
    # The standard error is 2 / sqrt(12) / sqrt(300) = 0.0333: the interval is 3.92 of them wide.
    assert rows[3].low is not None and rows[3].high is not None
    assert rows[3].high - rows[3].low == pytest.approx(3.92 * 0.0333, rel=0.15)
    two = bin_rows("NME", scores_of(values), "nme", {key: BINS[int(key) % 2] for key in values})
    assert np.isnan([two[2].value, two[3].value]).all()
    assert two[2].count == 0


def test_balanced_subset_is_equal_reproducible_and_drawn_from_all():
    bins = {f"{i:03}": BINS[min(i // 10, 2)] for i in range(27)}
    subset = balanced_subset(bins, 232)
    assert sorted(bins[key] for key in subset) == sorted(BINS * 7)
    assert subset == balanced_subset(dict(reversed(bins.items())), 232)
    assert subset != balanced_subset(bins, 232, seed=1)
    assert balanced_subset({"a": BINS[0]}, 232) == frozenset()


def test_normalised_distances_by_hand():
    """Box 40 x 90: sqrt(3600) = 60. One of two points is (3, 4) off: 5 px, 100 * 5 / 60 = 8.333 %."""
    truth = np.array([[10.0, 20, 5], [50, 110, -5]])
    assert extent(truth) == (10, 20, 50, 110)
    assert box_size(truth) == 60
    moved = truth + np.array([[3, 4, 0], [0, 0, 0]])
    assert percent_errors(moved, truth, 60) == pytest.approx([100 * 5 / 60, 0])
    with pytest.raises(BadInput, match="no extent"):
        box_size(truth[:1])


def test_depth_counts_as_each_convention_says():
    truth = np.array([[0.0, 0, 10], [100, 100, 30]])
    points = truth + np.array([[0, 0, 7], [0, 0, 7]])
    assert percent_errors(points, truth, 100, "raw") == pytest.approx([7, 7])
    assert percent_errors(points, truth, 100, "mean") == pytest.approx([0, 0], abs=1e-12)
    assert percent_errors(points, truth, 100, "min") == pytest.approx([0, 0], abs=1e-12)
    # One point 4 nearer: the mean moves by 2, so both are 2 off; the other one's minimum stays, so only one is 4 off.
    points = truth + np.array([[0, 0, 0], [0, 0, 4]])
    assert percent_errors(points, truth, 100, "mean") == pytest.approx([2, 2])
    assert percent_errors(points, truth, 100, "min") == pytest.approx([0, 4])


def posed(landmarks, depth_mm=500.0):
    pose = torch.eye(4)
    pose[1, 1] = pose[2, 2] = -1
    pose[2, 3] = depth_mm
    camera = Camera(torch.tensor(1000.0), torch.tensor([225.0, 225.0]), (450, 450), pose)
    return Prediction(posed=FaceMesh(landmarks, np.zeros((0, 3), int), landmarks), camera=camera)


def test_landmarks_of_a_posed_face_are_projected():
    """At 500 mm and 1000 px a millimetre is 2 px; (10, -20, 0) lands at (225 + 20, 225 + 40)."""
    landmarks = np.zeros((68, 3))
    landmarks[0] = [10, -20, 0]
    landmarks[1, 2], landmarks[2, 2] = 25, -25  # the nose side is nearer: larger z
    points = image_points(posed(landmarks))
    assert points[0] == pytest.approx([245, 265, 0])
    assert points[1:4, 2] == pytest.approx([50, -50, 0])
    with pytest.raises(BadInput, match="behind"):
        image_points(posed(landmarks, depth_mm=-10))


def test_predictions_that_cannot_be_measured():
    with pytest.raises(BadInput, match="points_px, or a posed face"):
        image_points(Prediction())
    with pytest.raises(BadInput, match="points_px, or a posed face"):
        image_points(Prediction(posed=posed(np.zeros((68, 3))).posed))
    with pytest.raises(BadInput, match=r"\(7, 3\)"):
        image_points(posed(np.zeros((7, 3))))
    with pytest.raises(BadInput, match="68 or 21"):
        image_points(Prediction(points_px=np.zeros((5, 3))), (68, 21))
    with pytest.raises(BadInput, match="not finite"):
        image_points(Prediction(points_px=np.full((68, 3), np.nan)))
    assert image_points(Prediction(points_px=np.zeros((68, 2)))).shape == (68, 2)


def test_curves_and_what_is_missing():
    scores = scores_of({"a": 3.0, "b": 1.0, "c": 2.0})
    curves = bin_curves("NME", scores, "nme", {"a": BINS[2], "b": BINS[0], "c": BINS[0]})
    assert [c.name for c in curves] == ["NME, all", "NME, yaw 0-30", "NME, yaw 60-90"]
    assert curves[0].errors.tolist() == [1, 2, 3]
    assert curves[0].share == pytest.approx([1 / 3, 2 / 3, 1])
    assert scored_row(scores, 4).value == 75
    assert missing_note(scores, 3) == ()
    assert missing_note(scores, 5)[0].startswith("2 of 5")
