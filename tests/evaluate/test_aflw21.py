import numpy as np
import pytest
from PIL import Image

from vultus.errors import BadFile
from vultus.evaluate.aflw21 import AFLW21_OF_68, from_crop, open_aflw21, to_crop
from vultus.evaluate.benchmark import Prediction, evaluation, run_item

YAW_DEG = np.array([5.0, -45.0, 80.0])
ROI = np.array(
    [[100.0, 40, 340, 280], [-20, 0, 100, 120], [10, 20, 250, 140]]
)  # the last: clipped, not square


def faces():
    """(3, 68, 2) in the photos' frame; extents 90 x 40, sqrt(3600) = 60."""
    points = np.random.default_rng(0).uniform(0, 1, (3, 68, 2)) * [90, 40] + [20, 50]
    points[:, 0], points[:, 1] = [20, 50], [110, 90]
    return points


def twenty_one(face):
    return np.stack([face[list(some)].mean(0) for some in AFLW21_OF_68])


def write_set(folder):
    """As 3DDFA's clone has it, test.data.zip unpacked within."""
    crops, arrays = folder / "test.data/AFLW_GT_crop", folder / "test.configs"
    crops.mkdir(parents=True, exist_ok=True)
    arrays.mkdir(exist_ok=True)
    for i in range(3):
        Image.new("RGB", (120, 120)).save(crops / f"image{i}.jpg")
    (folder / "test.data/AFLW_GT_crop.list").write_text("image2.jpg\nimage0.jpg\nimage1.jpg\n")
    face = faces()
    points = np.stack([twenty_one(one) for one in face])
    points[1, [3, 7, 20]] = -1
    np.save(arrays / "AFLW_GT_crop_yaws.npy", YAW_DEG)
    np.save(arrays / "AFLW_GT_crop_roi_box.npy", ROI)
    np.save(arrays / "AFLW_GT_pts68.npy", face.transpose(0, 2, 1))
    np.save(arrays / "AFLW_GT_pts21.npy", points.transpose(0, 2, 1))
    return folder


def row_of(item):
    return ["image2", "image0", "image1"].index(item.key)


def perfect(item, move=(0.0, 0.0)):
    row = row_of(item)
    return Prediction(points_px=to_crop(faces()[row] + move, ROI[row], (120, 120)))


def run(benchmark, method):
    return evaluation(benchmark, "test", [run_item(benchmark, method, item) for item in benchmark.items])


def values(result):
    return {row.what: row.value for row in result.rows}


def test_items_follow_the_list(tmp_path):
    benchmark = open_aflw21(write_set(tmp_path))
    assert [item.key for item in benchmark.items] == ["image2", "image0", "image1"]
    assert [item.group for item in benchmark.items] == ["0-30", "30-60", "60-90"]
    # The face spans 20..110 x 50..90, its crop 100..340 x 40..280 at half its size: -40..5 x 5..25.
    assert benchmark.items[0].box_px == pytest.approx((-40, 5, 5, 25))
    assert benchmark.items[0].photo == tmp_path / "test.data/AFLW_GT_crop/image2.jpg"


def test_crop_to_photo_by_hand():
    """240 px shown in 120: the middle of the crop is the middle of the box."""
    middle = from_crop(np.array([[60.0, 60], [0, 120]]), ROI[0], (120, 120))
    np.testing.assert_allclose(middle, [[220, 160], [100, 280]])
    np.testing.assert_allclose(to_crop(middle, ROI[0], (120, 120)), [[60, 60], [0, 120]])


def test_a_perfect_prediction_scores_zero_with_68_or_21_points(tmp_path):
    benchmark = open_aflw21(write_set(tmp_path))

    def with_21(item):
        return Prediction(points_px=twenty_one(perfect(item).points_px))

    for method in (perfect, with_21):
        found = values(run(benchmark, method))
        assert found.pop("images scored") == 100
        assert len(found) == 5
        assert all(abs(value) < 1e-9 for value in found.values())


def test_offsets_by_hand(tmp_path):
    """Row r is r times (3, 4) px of the photo off: 5 r / 60, so 0, 8.3333 and 16.6667 %, mean 8.3333 %."""
    benchmark = open_aflw21(write_set(tmp_path))
    result = run(benchmark, lambda item: perfect(item, (3 * row_of(item), 4 * row_of(item))))
    found = values(result)
    names = ["NME, yaw 0-30", "NME, yaw 30-60", "NME, yaw 60-90", "NME, mean of yaw bins", "NME, all"]
    assert [found[name] for name in names] == pytest.approx([0, 25 / 3, 50 / 3, 25 / 3, 25 / 3], abs=1e-6)
    assert [c.name for c in result.curves] == ["NME, all", *names[:3]]


def test_only_visible_points_count(tmp_path):
    """Points that nobody saw may be anywhere; of the 18 others one is 6 px off: 6 / 60 / 18 = 0.5556 %."""
    benchmark = open_aflw21(write_set(tmp_path))
    placed = twenty_one(faces()[1])
    placed[[3, 7, 20]] += 500
    placed[0, 0] += 6
    prediction = Prediction(points_px=to_crop(placed, ROI[1], (120, 120)))
    score = benchmark.score(benchmark.items[1], prediction)
    assert score.values["nme"] == pytest.approx(100 * 6 / 60 / 18, abs=1e-6)
    assert np.isnan(score.samples["percent"]).nonzero()[0].tolist() == [3, 7, 20]


def test_eyes_and_mouth_are_means_of_their_rims():
    assert len(AFLW21_OF_68) == 21
    face = np.zeros((68, 2))
    face[36:42, 0] = [0, 1, 2, 3, 2, 1]
    face[60:68, 1] = range(8)
    points = twenty_one(face)
    assert points[7] == pytest.approx([1.5, 0])
    assert points[18] == pytest.approx([0, 3.5])


def test_the_models_own_table_has_the_same_order():
    """On the mean head, seen from the front, the means of the 68 lie near the table's 21."""
    from vultus.model.bundled import load

    model = load()
    places = {}
    for name in ("ibug68", "aflw21"):
        table = model.landmarks[name]
        corners = model.mean_mm[model.triangles[table.triangle_ids[4, 1]]]
        places[name] = (corners * table.barycentric[4, 1, :, :, None]).sum(1).numpy()
    away = np.linalg.norm((twenty_one(places["ibug68"]) - places["aflw21"])[:, :2], axis=1)
    assert np.median(away) < 5
    assert away[[i for i in range(21) if i not in (12, 16)]].max() < 15  # ear lobes: the jaw's ends stand in


def test_what_is_missing_or_broken_is_named(tmp_path):
    folder = write_set(tmp_path)
    arrays = folder / "test.configs"
    np.save(arrays / "AFLW_GT_pts21.npy", np.zeros((2, 2, 21)))
    with pytest.raises(BadFile, match=r"AFLW_GT_pts21\.npy.*expected 3 x 2 x 21"):
        open_aflw21(folder)
    (arrays / "AFLW_GT_pts21.npy").unlink()
    with pytest.raises(BadFile, match=r"AFLW_GT_pts21\.npy not there.*cleardusk/3DDFA"):
        open_aflw21(folder)
    write_set(folder)
    (folder / "test.data/AFLW_GT_crop/image0.jpg").unlink()
    with pytest.raises(BadFile, match=r"1 of 3 crops not there, e\.g\. .*image0\.jpg"):
        open_aflw21(folder)
    write_set(folder)
    np.save(arrays / "AFLW_GT_crop_roi_box.npy", np.zeros((3, 4)))
    with pytest.raises(BadFile, match="no extent"):
        open_aflw21(folder)
    with pytest.raises(BadFile, match="no such folder"):
        open_aflw21(folder / "nowhere")


def test_a_crop_without_a_visible_point_is_a_problem(tmp_path):
    folder = write_set(tmp_path)
    np.save(folder / "test.configs/AFLW_GT_pts21.npy", np.full((3, 2, 21), -1.0))
    benchmark = open_aflw21(folder)
    assert "no visible" in run_item(benchmark, perfect, benchmark.items[0]).problem
