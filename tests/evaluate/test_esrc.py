import numpy as np
import pytest
from scanned_faces import SEVEN_MM, base_seven, bumpy, layers, moved, plate, write_scan

from vultus.errors import BadFile, BadInput
from vultus.evaluate.benchmark import FaceMesh, Prediction
from vultus.evaluate.esrc import open_esrc, read_lnd


def write_lnd(path, seven):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{i} {x:.9g} {y:.9g} {z:.9g}\n" for i, (x, y, z) in enumerate(seven, 1)))


def copy_of_data(folder, points=None, seven=SEVEN_MM):
    """One woman and one man with a scan, one woman without."""
    for photo in ("HQ/F1001_01.jpg", "HQ/m1002_01.jpg", "LQ/F1001_08.jpg", "LQ/F1033_01.jpg"):
        path = folder / "Subset_2D_FG2018" / photo
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (folder / "Subset_2D_FG2018/LQ/Thumbs.db").touch()
    for part, scan, mark, h in (
        ("F_3D_N", "F1001_N", "f1001_N", 0.25),
        ("M_3D_N", "m1002_N", "M1002_N", 0.5),
    ):
        write_scan(folder / part / f"{scan}.obj", layers([-h, h]) if points is None else points)
        write_lnd(folder / "annotations" / part / f"{mark}.lnd", seven)
    write_scan(folder / "F_3D_N/F1033_N.obj", layers([0.0]))
    return folder


def test_photos_find_their_scans_whatever_the_case(tmp_path):
    benchmark = open_esrc(copy_of_data(tmp_path))
    assert [(i.key, i.person, i.group) for i in benchmark.items] == [
        ("HQ/F1001_01", "F1001", "HQ"), ("HQ/m1002_01", "M1002", "HQ"), ("LQ/F1001_08", "F1001", "LQ"),
    ]  # fmt: skip
    assert benchmark.items[0].photo == tmp_path / "Subset_2D_FG2018/HQ/F1001_01.jpg"
    assert benchmark.left_out == ("LQ/F1033_01.jpg",)
    assert [item.key for item in open_esrc(tmp_path, quality="LQ").items] == ["LQ/F1001_08"]
    people = open_esrc(tmp_path, per_person=True).items
    assert [(item.key, item.photo) for item in people] == [("F1001", None), ("M1002", None)]


def test_numbers_by_hand(tmp_path):
    """Layers h above and below: every distance is h, and so is each 3D-RMSE. HQ (0.25 + 0.5) / 2, LQ 0.25, all (0.25 + 0.5 + 0.25) / 3."""
    benchmark = open_esrc(copy_of_data(tmp_path))
    scores = [benchmark.score(item, Prediction(posed=plate())) for item in benchmark.items]
    rows, curves, notes = benchmark.summarise(scores)
    value = {row.what: row.value for row in rows}
    assert value["3D-RMSE, HQ"] == pytest.approx(0.375, abs=1e-6)
    assert value["3D-RMSE, LQ"] == pytest.approx(0.25, abs=1e-6)
    assert value["3D-RMSE"] == pytest.approx(1 / 3, abs=1e-6)
    assert value["median, HQ"] == pytest.approx(0.375, abs=1e-6) and value["mean"] == pytest.approx(1 / 3, abs=1e-6)  # fmt: skip
    assert {c.name for c in curves} == {"distance", "distance, HQ", "distance, LQ"}
    assert "F1033" in notes[1]


def test_landmarks_alone_align(tmp_path):
    """A plate 2 mm behind its landmarks stays there: 2 - h and 2 + h, RMSE sqrt(4 + h^2); with the surfaces aligned h is left."""
    benchmark = open_esrc(copy_of_data(tmp_path))
    behind = FaceMesh(plate().vertices - [0, 0, 2.0], plate().triangles, SEVEN_MM)
    score = benchmark.score(benchmark.items[0], Prediction(posed=behind))
    assert score.values["rmse_mm"] == pytest.approx((4 + 0.25**2) ** 0.5, abs=1e-6)
    assert score.values["median_mm"] == pytest.approx(2, abs=1e-6)
    assert score.values["refined_rmse_mm"] == pytest.approx(0.25, abs=1e-6)


def test_a_perfect_face_scores_zero_in_any_unit_and_place(tmp_path):
    face = bumpy()
    copy_of_data(tmp_path, face.vertices, base_seven(face))
    benchmark = open_esrc(tmp_path)
    for unit in (1.0, 1e-3):
        score = benchmark.score(benchmark.items[0], Prediction(posed=moved(face, unit, seed=3)))
        assert score.samples["distance_mm"].max() < 1e-4


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(BadFile, match=r"annotations, \[FM\]_3D_N not there; .*pics.stir.ac.uk"):
        open_esrc(tmp_path)
    copy_of_data(tmp_path)
    with pytest.raises(BadInput, match="quality 'MQ'"):
        open_esrc(tmp_path, quality="MQ")
    (tmp_path / "Subset_2D_FG2018").rename(tmp_path / "photos")
    with pytest.raises(BadFile, match="Subset_2D_FG2018 not there"):
        open_esrc(tmp_path)
    (tmp_path / "photos").rename(tmp_path / "Real_images__Subset_2D_FG2018")
    assert len(open_esrc(tmp_path).items) == 3
    for lnd in tmp_path.glob("annotations/*/*.lnd"):
        lnd.unlink()
    with pytest.raises(BadFile, match="none of the 4 photos"):
        open_esrc(tmp_path)


@pytest.mark.parametrize("text", ["", "1 2 3 4\n", "1 0 0\n" * 7, "one 0 0 0\n" * 7, "1 0 0 0\n" * 7])
def test_landmarks_that_are_not_seven(tmp_path, text):
    (tmp_path / "a.lnd").write_text(text)
    with pytest.raises(BadFile, match=r"a\.lnd"):
        read_lnd(tmp_path / "a.lnd")


def test_landmarks_of_the_repository(tmp_path):
    (tmp_path / "a.lnd").write_text("".join(f"{i} {i}.5 -2 3e0 \n" for i in range(1, 8)) + "\n")
    points = read_lnd(tmp_path / "a.lnd")
    np.testing.assert_array_equal(points, [[i + 0.5, -2, 3] for i in range(1, 8)])
