import json

import numpy as np
import pytest
from scanned_faces import SEVEN_MM, bumpy, layers, marks, moved, plate, write_picked, write_scan

from vultus.errors import BadFile, BadInput
from vultus.evaluate.benchmark import SEVEN, FaceMesh, Prediction
from vultus.evaluate.florence import open_florence, read_landmarks

OUTER_EYES_MM = 90.0  # of SEVEN_MM


def write_ljson(path, points):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        json.dumps({"groups": {"LJSON": {"labels": [], "landmarks": {"points": points}}}, "version": 3})
    )


def marked(seven=SEVEN_MM):
    points = np.zeros((68, 3))
    points[list(SEVEN)] = seven
    return points.tolist()


def copy_of_data(folder, photos=True):
    """Two people with layered scans, one whose scan nobody marked."""
    for number, h in ((1, 0.25), (2, 0.5), (3, 1.0)):
        scan = f"subject_0{number}/Model/frontal1/obj/11092015045{number}"
        # Outside the 95 mm around the tip of the nose (0, -20, 0), and just inside.
        far = [[0, 75.1, 9], [0, 300, 0], [0, 74.9, h], [0, 74.9, -h]]
        write_scan(folder / f"{scan}.obj", np.concatenate([layers([-h, h]), far]))
        if number < 3:
            write_ljson(folder / "MICC_landmarks" / f"{scan}.ljson", marked())
    for name in ("subject_01/Indoor-Cooperative/a.jpg", "subject_01/PTZ-Outdoor/a.png", "subject_02/PTZ-Outdoor/b.jpg"):  # fmt: skip
        if photos:
            (folder / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "photos" / name).touch()
    return folder


def test_items_are_photos_or_people(tmp_path):
    people = open_florence(copy_of_data(tmp_path, photos=False))
    assert [(i.key, i.person, i.photo) for i in people.items] == [
        ("subject_01", "subject_01", None), ("subject_02", "subject_02", None),
    ]  # fmt: skip
    benchmark = open_florence(copy_of_data(tmp_path))
    assert [(i.key, i.group) for i in benchmark.items] == [
        ("subject_01/Indoor-Cooperative/a", "Indoor-Cooperative"),
        ("subject_01/PTZ-Outdoor/a", "PTZ-Outdoor"),
        ("subject_02/PTZ-Outdoor/b", "PTZ-Outdoor"),
    ]
    assert benchmark.left_out == ("subject_03",)


def test_numbers_by_hand(tmp_path):
    """Every distance is h: RMSE 0.25, 0.25, 0.5; NME h / 90. Outdoor: mean 0.375, deviation 0.125."""
    benchmark = open_florence(copy_of_data(tmp_path))
    scores = [benchmark.score(item, Prediction(posed=plate())) for item in benchmark.items]
    assert len(scores[0].samples["distance_mm"]) == 2 * 13 * 13 + 2
    rows, curves, notes = benchmark.summarise(scores)
    value = {row.what: row.value for row in rows}
    assert value["RMSE within 95 mm"] == pytest.approx(1 / 3, abs=1e-6)
    assert value["RMSE within 95 mm, PTZ-Outdoor"] == pytest.approx(0.375, abs=1e-6)
    assert value["RMSE within 95 mm, standard deviation, PTZ-Outdoor"] == pytest.approx(0.125, abs=1e-6)
    assert value["NME"] == pytest.approx(100 / 3 / OUTER_EYES_MM, abs=1e-6)
    assert value["mean distance within 95 mm"] == pytest.approx(1 / 3, abs=1e-6)
    assert curves[0].name == "distance" and "subject_03" in notes[1]


def test_nme_is_of_the_posed_face_and_rmse_of_the_neutral(tmp_path):
    """Heights 0, 0, 0, 3 under a plate: mean (3 * 0.75 + 2.25) / 4 = 1.125, RMSE sqrt((3 * 0.75^2 + 2.25^2) / 4) = 1.299."""
    copy_of_data(tmp_path)
    write_scan(tmp_path / "subject_01/Model/frontal1/obj/110920150451.obj", layers([0.0, 0, 0, 3]))
    benchmark = open_florence(tmp_path)
    bent = FaceMesh(bumpy().vertices, bumpy().triangles, SEVEN_MM)
    first = benchmark.score(benchmark.items[0], Prediction(posed=plate(), neutral=bent)).values
    second = benchmark.score(benchmark.items[0], Prediction(posed=bent, neutral=plate())).values
    assert first["nme_percent"] == pytest.approx(112.5 / OUTER_EYES_MM, abs=1e-5)
    assert second["rmse_mm"] == pytest.approx(1.6875**0.5, abs=1e-6)
    assert second["mean_mm"] == pytest.approx(1.125, abs=1e-6)
    assert first["rmse_mm"] > 2 and second["nme_percent"] > 2


def test_a_perfect_face_scores_zero_in_any_unit_and_place(tmp_path):
    face, scan = bumpy(), moved(bumpy(), seed=4)
    folder = tmp_path / "subject_07/Model/frontal2/obj"
    write_scan(folder / "1.obj", scan.vertices)
    write_ljson(folder / "1.ljson", marks(scan).tolist())
    benchmark = open_florence(tmp_path)  # frontal1 is not there: the other one stands in
    for unit in (1.0, 0.01):
        score = benchmark.score(benchmark.items[0], Prediction(posed=moved(face, unit, seed=3)))
        assert score.values["rmse_mm"] < 1e-3 and score.values["nme_percent"] < 1e-3


def test_which_scan_is_taken(tmp_path):
    for name in ("frontal1", "frontal2"):
        folder = tmp_path / f"subject_01/Model/{name}/obj"
        write_scan(folder / "1.obj", layers([0.0]))
        write_picked(folder / "1.pp", SEVEN_MM)
    for name in ("frontal1", "frontal2"):
        assert open_florence(tmp_path, scan=name).scans["subject_01"].mesh.parts[-3] == name
    with pytest.raises(BadInput, match="scan 'sidel'"):
        open_florence(tmp_path, scan="sidel")


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(BadFile, match=r"subject_\* not there; .*micc.unifi.it"):
        open_florence(tmp_path)
    (tmp_path / "subject_01").mkdir()
    with pytest.raises(BadFile, match="none of 1 people has both a scan and the points"):
        open_florence(tmp_path)
    copy_of_data(tmp_path, photos=False)
    (tmp_path / "photos").mkdir()
    with pytest.raises(BadFile, match=r"photos/subject_NN/GROUP/PHOTO\.jpg: not a single one"):
        open_florence(tmp_path)


def test_landmark_files(tmp_path):
    write_ljson(tmp_path / "a.ljson", marked())
    np.testing.assert_array_equal(read_landmarks(tmp_path / "a.ljson"), SEVEN_MM)
    (tmp_path / "old.ljson").write_text(json.dumps({"version": 2, "landmarks": {"points": marked()}}))
    np.testing.assert_array_equal(read_landmarks(tmp_path / "old.ljson"), SEVEN_MM)
    unmarked: list = marked()
    unmarked[36] = [None, None, None]
    write_ljson(tmp_path / "b.ljson", unmarked)
    write_ljson(tmp_path / "c.ljson", marked()[:20])
    (tmp_path / "d.ljson").write_text("[1, 2]")
    for name in ("b.ljson", "c.ljson", "d.ljson", "e.ljson"):
        with pytest.raises(BadFile, match=name):
            read_landmarks(tmp_path / name)
