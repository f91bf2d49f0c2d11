import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from vultus.errors import BadFile, BadInput
from vultus.evaluate.aflw2000 import FITTED_YAW, LABEL_YAW, REANNOTATED, open_aflw2000
from vultus.evaluate.benchmark import Prediction, evaluation, run_item

YAW_DEG = [0.0, -29.0, 45.0, -59.0, 61.0, -351.0]


def landmarks(seed):
    """(3, 68) in Matlab's pixels, their extent 100 x 144: sqrt(14400) = 120."""
    points = np.random.default_rng(seed).uniform(0, 1, (3, 68)) * [[100], [144], [80]] + [[170], [150], [-60]]
    points[:2, 0], points[:2, 1] = [170, 150], [270, 294]
    return points


def write_set(folder, yaws=YAW_DEG):
    folder.mkdir(exist_ok=True)
    for i, yaw in enumerate(yaws):
        Image.new("RGB", (8, 8)).save(folder / f"image{i:05}.jpg")
        pose = np.array([[0.1, np.radians(yaw), 0.2, 1, 2, 3, 0.001]])
        savemat(
            folder / f"image{i:05}.mat", {"pt3d_68": landmarks(i), "Pose_Para": pose, "roi": [[1, 2, 3, 4]]}
        )
    return folder


def perfect(item, move=(0.0, 0.0, 0.0)):
    """Matlab's first pixel has its centre at 1, ours at 0.5."""
    points = landmarks(int(item.key[-5:])).T - [0.5, 0.5, 0]
    return Prediction(points_px=points + move)


def run(benchmark, method):
    return evaluation(benchmark, "test", [run_item(benchmark, method, item) for item in benchmark.items])


def values(result):
    return {row.what: row.value for row in result.rows}


def test_items_tell_box_bin_and_photo(tmp_path):
    benchmark = open_aflw2000(write_set(tmp_path))
    assert benchmark.name == "aflw2000"
    assert [item.group for item in benchmark.items] == ["0-30"] * 2 + ["30-60"] * 2 + ["60-90"] * 2
    first = benchmark.items[0]
    assert (first.key, first.person, first.photo) == ("image00000", "image00000", tmp_path / "image00000.jpg")
    assert first.box_px == pytest.approx((169.5, 149.5, 269.5, 293.5))


def test_a_perfect_prediction_scores_zero(tmp_path):
    benchmark = open_aflw2000(write_set(tmp_path))
    result = run(benchmark, perfect)
    assert all(abs(row.value) < 1e-9 for row in result.rows if row.unit == "%" and row.better == "lower")
    assert values(result)["images scored"] == 100
    assert not any("no error" in note for note in result.notes)
    assert [c.name for c in result.curves[:2]] == ["NME 2D, all", "NME 2D, yaw 0-30"]


def test_offsets_by_hand(tmp_path):
    """All points (3, 4) off: 5 / 120 = 4.1667 %. With 12 in depth sqrt(25 + 144) = 13: 10.8333 % raw, 4.1667 % once z is aligned."""
    benchmark = open_aflw2000(write_set(tmp_path))
    found = values(run(benchmark, lambda item: perfect(item, (3, 4, 12))))
    plain, deep = 100 * 5 / 120, 100 * 13 / 120
    for part in ("yaw 0-30", "yaw 30-60", "yaw 60-90", "mean of yaw bins", "balanced subset", "all"):
        assert found[f"NME 2D, {part}"] == pytest.approx(plain, abs=1e-6)
        assert found[f"NME 3D (z as is), {part}"] == pytest.approx(deep, abs=1e-6)
        assert found[f"NME 3D (mean z = 0), {part}"] == pytest.approx(plain, abs=1e-6)
        assert found[f"NME 3D (min z = 0), {part}"] == pytest.approx(plain, abs=1e-6)


def test_one_landmark_nearer_tells_the_conventions_apart(tmp_path):
    """The foremost point 68 px nearer: the mean moves by 1, so 67 points are 1 off and it 67, 134 / 68 / 120; the minimum stays: 68 / 68 / 120."""
    benchmark = open_aflw2000(write_set(tmp_path, [0.0]))

    def method(item):
        prediction = perfect(item)
        points = prediction.points_px
        assert points is not None
        points[points[:, 2].argmax(), 2] += 68
        return prediction

    score = run_item(benchmark, method, benchmark.items[0])
    assert score.values["nme_2d"] == pytest.approx(0, abs=1e-9)
    assert score.values["nme_3d_raw"] == pytest.approx(100 / 120, abs=1e-6)
    assert score.values["nme_3d_min"] == pytest.approx(100 / 120, abs=1e-6)
    assert score.values["nme_3d_mean"] == pytest.approx(100 * 134 / 68 / 120, abs=1e-6)
    assert score.samples["percent_3d_mean"].shape == (68,)


def test_bins_by_fit_and_by_label(tmp_path):
    """Image i is i px off: i / 1.2 %. By fit bins of (0, 1) (2, 3) (4, 5); by label (0 1 2 3) (4) (5), so means 1.5, 4, 5."""
    folder = write_set(tmp_path)
    np.save(folder / LABEL_YAW, np.array([1, 2, 3, 4, 50, 80], np.float32))
    benchmark = open_aflw2000(folder)
    found = values(run(benchmark, lambda item: perfect(item, (int(item.key[-5:]), 0, 0))))
    assert found["NME 2D, yaw 30-60"] == pytest.approx(2.5 / 1.2)
    assert found["NME 2D, mean of yaw bins"] == pytest.approx(2.5 / 1.2)
    assert found["NME 2D, label yaw 0-30"] == pytest.approx(1.5 / 1.2)
    assert found["NME 2D, mean of label yaw bins"] == pytest.approx(3.5 / 1.2)
    assert found["NME 2D, all"] == pytest.approx(2.5 / 1.2)
    # The subset has one image of each label bin: one of 0 to 3, with 4 and 5.
    assert min(abs(found["NME 2D, balanced subset"] * 1.2 - (9 + i) / 3) for i in range(4)) < 1e-9
    np.save(folder / FITTED_YAW, np.full(6, 90.0))
    assert {item.group for item in open_aflw2000(folder).items} == {"60-90"}


def test_reannotated_truth_replaces_landmarks_not_boxes(tmp_path):
    folder = write_set(tmp_path)
    with pytest.raises(BadFile, match=REANNOTATED):
        open_aflw2000(folder, "reannotated")
    moved = np.stack([landmarks(i)[:2] + np.array([[6], [0]]) for i in range(6)])
    np.save(folder / REANNOTATED, moved)
    benchmark = open_aflw2000(folder, "reannotated")
    assert benchmark.items[0].box_px == open_aflw2000(folder).items[0].box_px
    result = run(benchmark, lambda item: perfect(item, (6, 0, 0)))
    assert values(result)["NME 2D, all"] == pytest.approx(0, abs=1e-9)
    assert not any("3D" in row.what for row in result.rows)
    assert any("no 3D rows" in note for note in result.notes)
    assert "reannotated" in result.notes[0]
    with_depth = np.concatenate([moved, np.ones((6, 1, 68))], 1)
    np.save(folder / REANNOTATED, with_depth)
    assert open_aflw2000(folder, "reannotated").truth["image00000"].shape == (68, 3)
    with_depth[:, 2] = 0
    np.save(folder / REANNOTATED, with_depth)
    assert open_aflw2000(folder, "reannotated").truth["image00000"].shape == (68, 2)
    np.save(folder / REANNOTATED, moved + 400)
    with pytest.raises(BadFile, match="follow"):
        open_aflw2000(folder, "reannotated")
    with pytest.raises(BadInput, match="original or reannotated"):
        open_aflw2000(folder, "newest")  # type: ignore[arg-type]


def test_images_without_a_face_are_counted(tmp_path):
    benchmark = open_aflw2000(write_set(tmp_path))

    def method(item):
        return Prediction() if item.key == "image00004" else perfect(item)

    result = run(benchmark, method)
    assert values(result)["images scored"] == pytest.approx(100 * 5 / 6)
    assert any(note.startswith("1 of 6 images have no error") for note in result.notes)


def test_what_is_missing_or_broken_is_named(tmp_path):
    with pytest.raises(BadFile, match="no such folder"):
        open_aflw2000(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadFile, match=r"image\*\.jpg not there.*3DDFA/main\.htm"):
        open_aflw2000(tmp_path / "empty")
    folder = write_set(tmp_path / "set")
    mat = folder / "image00003.mat"
    mat.unlink()
    with pytest.raises(BadFile, match=r"image00003\.mat not there"):
        open_aflw2000(folder)
    savemat(mat, {"Pose_Para": np.zeros((1, 7))})
    with pytest.raises(BadFile, match=r"image00003\.mat: has no pt3d_68"):
        open_aflw2000(folder)
    savemat(mat, {"pt3d_68": landmarks(3)})
    with pytest.raises(BadFile, match=r"image00003\.mat: Pose_Para"):
        open_aflw2000(folder)
    savemat(mat, {"pt3d_68": np.zeros((2, 68)), "Pose_Para": np.zeros((1, 7))})
    with pytest.raises(BadFile, match=r"image00003\.mat: pt3d_68 has shape \(2, 68\)"):
        open_aflw2000(folder)
    mat.write_bytes(b"not a mat file")
    with pytest.raises(BadFile, match=r"image00003\.mat: not a readable"):
        open_aflw2000(folder)
    write_set(folder)
    np.save(folder / LABEL_YAW, np.zeros(5))
    with pytest.raises(BadFile, match=rf"{LABEL_YAW}.*\(5,\).*expected 6"):
        open_aflw2000(folder)
