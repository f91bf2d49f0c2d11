import numpy as np
import pytest
from scanned_faces import SEVEN_MM, base_seven, bumpy, layers, moved, plate, write_picked, write_scan

from vultus.errors import BadFile, BadInput
from vultus.evaluate.benchmark import FaceMesh, Prediction, run_item
from vultus.evaluate.now import open_now

LINES = [
    "FaMoS_1_TA/multiview_neutral/IMG_0001.jpg",
    "FaMoS_1_TA/selfie/IMG_0002.jpg",
    "/somebody/else/FaMoS_2_TA/selfie/IMG_0001.jpg",
]


def copy_of_data(folder, scans):
    """The layout with one scan and its points per subject: {subject: (vertices, seven points)}."""
    (folder / "imagepathsvalidation.txt").write_text("\n".join(LINES) + "\n\n")
    for subject, (points, seven) in scans.items():
        write_scan(folder / "scans" / subject / "natural_head_rotation.000001.obj", points)
        extra = np.concatenate([seven, [[500.0, 500, 500]]])  # an eighth point is nobody's landmark
        write_picked(folder / "scans_lmks_onlypp" / subject / "natural_head_rotation.000001_picked_points.pp", extra)  # fmt: skip
    return folder


def layered(folder):
    far = np.array([[0.0, 0, 400], [130, 0, 9]])  # outside the crop: never measured
    scans = {f"FaMoS_{i}_TA": (np.concatenate([layers([-h, h]), far]), SEVEN_MM) for i, h in ((1, 0.25), (2, 0.5))}  # fmt: skip
    return copy_of_data(folder, scans)


def test_items_follow_the_list(tmp_path):
    benchmark = open_now(layered(tmp_path))
    assert [item.key for item in benchmark.items] == [
        "FaMoS_1_TA/multiview_neutral/IMG_0001",
        "FaMoS_1_TA/selfie/IMG_0002",
        "FaMoS_2_TA/selfie/IMG_0001",
    ]
    assert [item.person for item in benchmark.items] == ["FaMoS_1_TA", "FaMoS_1_TA", "FaMoS_2_TA"]
    assert benchmark.items[0].photo is None and benchmark.items[0].box_px is None
    selfies = open_now(tmp_path, challenge="selfie").items
    assert [item.group for item in selfies] == ["selfie", "selfie"]


def test_numbers_by_hand(tmp_path):
    """Layers h above and below the plate: no alignment is better than none, and every distance is h.

    All scans have as many points in the crop, so two thirds of all distances are 0.25 (two photos of the first person) and one third 0.5:
    median 0.25, mean 1 / 3, deviation sqrt(2 / 9) / 4. Selfies: half 0.25, half 0.5: median and mean 0.375.
    """
    benchmark = open_now(layered(tmp_path))
    scores = [run_item(benchmark, lambda _: Prediction(posed=plate(), seconds=2), item) for item in benchmark.items]  # fmt: skip
    assert [s.problem for s in scores] == ["", "", ""] and scores[0].seconds == 2
    np.testing.assert_allclose(scores[0].samples["distance_mm"], 0.25, atol=1e-6)
    assert len(scores[0].samples["distance_mm"]) == 2 * 13 * 13
    rows, curves, notes = benchmark.summarise(scores)
    value = {row.what: row.value for row in rows}
    assert value["median"] == pytest.approx(0.25, abs=1e-6)
    assert value["mean"] == pytest.approx(1 / 3, abs=1e-6)
    assert value["standard deviation"] == pytest.approx((2 / 9) ** 0.5 / 4, abs=1e-6)
    assert value["median, selfie"] == pytest.approx(0.375, abs=1e-6)
    assert value["mean, multiview_neutral"] == pytest.approx(0.25, abs=1e-6)
    assert curves[0].errors[-1] == pytest.approx(0.5) and curves[0].share[-1] == 1
    assert "non-metrical" in notes[0]


@pytest.mark.parametrize("unit", [1.0, 1e-3])
def test_a_perfect_face_scores_zero_in_any_unit_and_place(tmp_path, unit):
    face = bumpy()
    scan = moved(face, seed=1)
    seven = base_seven(scan)
    copy_of_data(tmp_path, {"FaMoS_1_TA": (scan.vertices, seven), "FaMoS_2_TA": (scan.vertices, seven)})
    benchmark = open_now(tmp_path)
    guess = moved(face, unit, seed=5)
    score = benchmark.score(benchmark.items[0], Prediction(posed=guess))
    assert score.samples["distance_mm"].max() < 2e-3
    assert score.values["scale"] == pytest.approx(1 / unit, rel=1e-6)


def test_the_metrical_variant_keeps_the_size(tmp_path):
    face = bumpy()
    seven = base_seven(face)
    copy_of_data(tmp_path, {f"FaMoS_{i}_TA": (face.vertices, seven) for i in (1, 2)})
    large = moved(face, 1.1)
    free, fixed = (open_now(tmp_path, metrical=m) for m in (False, True))
    assert free.score(free.items[0], Prediction(posed=large)).values["median_mm"] < 1e-3
    kept = fixed.score(fixed.items[0], Prediction(posed=large))
    assert kept.values["scale"] == 1 and kept.values["median_mm"] > 0.5
    assert fixed.score(fixed.items[0], Prediction(posed=moved(face))).values["median_mm"] < 1e-3
    assert "only moved" in fixed.summarise([kept])[2][0]


def test_the_neutral_face_is_measured(tmp_path):
    benchmark = open_now(layered(tmp_path))
    bent = FaceMesh(bumpy().vertices, bumpy().triangles, SEVEN_MM)
    score = benchmark.score(benchmark.items[0], Prediction(posed=bent, neutral=plate()))
    assert score.values["median_mm"] == pytest.approx(0.25, abs=1e-6)


def test_photos_and_boxes_where_they_lie(tmp_path):
    layered(tmp_path)
    box = tmp_path / "final_release_version/detected_face/FaMoS_1_TA/selfie/IMG_0002.npy"
    box.parent.mkdir(parents=True)
    np.save(box, {"left": np.int64(10), "top": 20, "right": 110.5, "bottom": 220}, allow_pickle=True)  # pyright: ignore
    (tmp_path / "final_release_version/iphone_pictures").mkdir()
    items = open_now(tmp_path).items
    assert items[1].box_px == (10.0, 20.0, 110.5, 220.0) and items[0].box_px is None
    assert items[1].photo == tmp_path / "final_release_version/iphone_pictures/FaMoS_1_TA/selfie/IMG_0002.jpg"  # fmt: skip


class Evil:
    def __reduce__(self):
        import os

        return os.mkdir, ("owned",)


def test_a_box_that_is_a_program_is_not_run(tmp_path, monkeypatch):
    layered(tmp_path)
    monkeypatch.chdir(tmp_path)
    box = tmp_path / "detected_face/FaMoS_1_TA/selfie/IMG_0002.npy"
    box.parent.mkdir(parents=True)
    np.save(box, {"left": Evil()}, allow_pickle=True)  # pyright: ignore
    with pytest.raises(BadFile, match=r"IMG_0002\.npy: is not a face box"):
        open_now(tmp_path)
    assert not (tmp_path / "owned").exists()


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(BadFile, match=r"nowhere: no such folder; .*scans/SUBJECT"):
        open_now(tmp_path / "nowhere")
    with pytest.raises(BadFile, match=r"imagepathsvalidation\.txt, scans, scans_lmks_onlypp not there"):
        open_now(tmp_path)
    layered(tmp_path)
    with pytest.raises(BadFile, match=r"imagepathstest\.txt not there"):
        open_now(tmp_path, image_set="test")
    with pytest.raises(BadFile, match="no photo of multiview_occlusions"):
        open_now(tmp_path, challenge="multiview_occlusions")
    pp = next((tmp_path / "scans_lmks_onlypp/FaMoS_2_TA").iterdir())
    write_picked(pp, SEVEN_MM[:6])
    with pytest.raises(BadFile, match="holds 6 of 7"):
        benchmark = open_now(tmp_path)
        benchmark.score(benchmark.items[2], Prediction(posed=plate()))
    pp.unlink()
    with pytest.raises(BadFile, match=r"scans_lmks_onlypp/FaMoS_2_TA/\*\.pp not there"):
        open_now(tmp_path)


def test_bad_options_and_predictions(tmp_path):
    layered(tmp_path)
    with pytest.raises(BadInput, match="image set 'train'"):
        open_now(tmp_path, image_set="train")
    with pytest.raises(BadInput, match="challenge 'neutral'"):
        open_now(tmp_path, challenge="neutral")
    benchmark = open_now(tmp_path)
    with pytest.raises(BadInput, match="aligns by seven landmarks"):
        benchmark.score(benchmark.items[0], Prediction(posed=FaceMesh(plate().vertices, plate().triangles)))
    assert "needs" not in run_item(benchmark, lambda _: Prediction(), benchmark.items[0]).problem
    assert "measures a mesh" in run_item(benchmark, lambda _: Prediction(), benchmark.items[0]).problem
