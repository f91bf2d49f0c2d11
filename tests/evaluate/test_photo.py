"""A picture drawn again scores what its pixels say, on a region that the photo alone decides."""

import pickle
from collections.abc import Callable

import numpy as np
import pytest
import torch
from skimage import data

from vultus.errors import AssetMissing, BadFile, BadInput, FaceNotFound
from vultus.evaluate.benchmark import Prediction, evaluation, run_item
from vultus.evaluate.image_metrics import colour_values
from vultus.evaluate.photo import FaceInPhoto, PhotoBenchmark, find_face, hull, open_photo
from vultus.evaluate.recogniser import Recogniser
from vultus.io.images import read_image, write_png

SIZE = 40


class Colours:
    """Stands in for a recogniser: the mean colour of the middle, its grey taken out."""

    def embed(self, image, points_px):
        x, y = np.asarray(points_px[2], int)
        found = image[:, y - 8 : y + 8, x - 8 : x + 8].double().mean((1, 2)).numpy() - 0.5
        return found / max(np.linalg.norm(found), 1e-12)


def look(photo):
    """Skin is a frame of 20 x 20 pixels with a hole (an eye) of 4 x 4."""
    skin = torch.zeros(SIZE, SIZE, dtype=torch.bool)
    skin[10:30, 10:30] = True
    skin[18:22, 18:22] = False
    return FaceInPhoto(skin, hull(skin), np.full((5, 2), 20.0))


def missing():
    raise AssetMissing("no network; pip install 'vultus[evaluate]'")


@pytest.fixture()
def folder(tmp_path):
    colours = {
        "anna/1": (0.8, 0.2, 0.2),
        "anna/2": (0.8, 0.2, 0.2),
        "ben/1": (0.2, 0.2, 0.8),
        "carl": (0.2, 0.8, 0.2),
    }
    for key, colour in colours.items():
        path = tmp_path / f"{key}.png"
        path.parent.mkdir(exist_ok=True)
        write_png(path, torch.tensor(colour)[:, None, None].expand(3, SIZE, SIZE))
    return tmp_path


def opened(folder, recogniser: Callable[[], Recogniser] = Colours):
    return PhotoBenchmark(open_photo(folder).items, recogniser, look)


def perfect(item):
    photo, _ = read_image(item.photo)
    return Prediction(image=photo, drawn=torch.ones(SIZE, SIZE, dtype=torch.bool))


def by_name(result):
    return {row.what: row.value for row in result.rows}


def evaluated(benchmark, method):
    return evaluation(benchmark, "test", [run_item(benchmark, method, item) for item in benchmark.items])


def test_photos_and_people_are_listed(folder):
    (folder / ".hidden").mkdir()
    (folder / "notes.txt").write_text("no photo")
    found = [(item.key, item.person) for item in open_photo(folder).items]
    assert found == [("carl", "carl"), ("anna/1", "anna"), ("anna/2", "anna"), ("ben/1", "ben")]
    (one,) = open_photo(folder / "carl.png").items
    assert one.key == "carl" and one.photo == folder / "carl.png"
    pickle.dumps(open_photo(folder))  # goes to worker processes


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(BadFile, match=r"nowhere: no such folder; .*PERSON"):
        open_photo(tmp_path / "nowhere")
    with pytest.raises(BadFile, match="no photo in it"):
        open_photo(tmp_path)
    for suffix in ("png", "jpg"):
        (tmp_path / f"twin.{suffix}").write_bytes(b"")
    with pytest.raises(BadFile, match="two photos are called twin"):
        open_photo(tmp_path)


def test_a_perfect_picture_is_perfect(folder):
    result = evaluated(opened(folder), perfect)
    rows = by_name(result)
    assert rows["L1 on the drawn skin"] == rows["L1 on all skin, undrawn as one colour"] == 0
    assert rows["PSNR on the drawn skin"] == 100 and rows["SSIM on the drawn skin"] == pytest.approx(1)
    assert rows["share of the skin that is drawn"] == 100 and rows["drawn faces recognised"] == 100
    assert rows["identity of the drawn face"] == pytest.approx(1)
    assert rows["reference: the photo's own face alone"] == pytest.approx(1)
    # Red (.3, -.3, -.3), blue (-.3, -.3, .3) and green all stand at a cosine of -1/3 to each other.
    assert rows["reference: drawn face and other people's photos"] == pytest.approx(-1 / 3, abs=0.01)
    alone = by_name(evaluated(PhotoBenchmark(open_photo(folder / "carl.png").items, Colours, look), perfect))
    assert set(rows) - set(alone) == {"reference: drawn face and other people's photos"}
    assert [c.name for c in result.curves] == ["L1 on the drawn skin", "1 - cosine of identity"]


def test_known_offsets_on_half_of_the_skin():
    photo = torch.full((3, SIZE, SIZE), 0.4)
    photo[:, :, 20:] = 0.6
    skin = look(photo).skin
    drawn = torch.zeros(SIZE, SIZE, dtype=torch.bool)
    drawn[:, :20] = True
    image = torch.where(drawn, photo + 0.1, torch.nan)
    values = colour_values(photo, image, drawn, skin)
    assert values["coverage_percent"] == pytest.approx(50)
    assert values["l1"] == pytest.approx(0.1, abs=1e-6)
    assert values["psnr_db"] == pytest.approx(20, abs=1e-4)  # -10 log10(0.1^2)
    # The mean of the skin is 0.5: 0.1 off everywhere, drawn or not.
    assert values["whole_l1"] == pytest.approx(0.1, abs=1e-6)
    assert values["flat_l1"] == pytest.approx(0.1, abs=1e-6)
    assert values["flat_psnr_db"] == pytest.approx(20, abs=1e-4)


def test_drawing_less_gains_nothing(folder):
    """The eye and everything outside do not count for colour; who draws nothing has no L1, no coverage and no identity."""

    def nothing(item):
        return Prediction(image=torch.zeros(3, SIZE, SIZE), drawn=torch.zeros(SIZE, SIZE, dtype=torch.bool))

    result = evaluated(opened(folder), nothing)
    rows = by_name(result)
    assert np.isnan(rows["L1 on the drawn skin"]) and rows["share of the skin that is drawn"] == 0
    assert rows["L1 on all skin, undrawn as one colour"] == rows["reference: L1 of one colour"]
    assert rows["drawn faces recognised"] == 0
    # ... which is why this is not the number that is quoted:
    assert rows["identity of the face drawn into its photo"] == pytest.approx(1)
    assert any("4 of 4 pictures draw nothing" in note for note in result.notes)

    def wild_around(item):
        right = perfect(item)
        assert right.image is not None
        skin = look(right.image).skin
        return Prediction(image=torch.where(skin, right.image, 1.0), drawn=right.drawn)

    rows = by_name(evaluated(opened(folder), wild_around))
    assert rows["L1 on the drawn skin"] == 0 and rows["SSIM on the drawn skin"] < 0.95


def test_only_the_face_is_shown_to_the_recogniser(folder):
    """A method that repeats the photo around a wrong face is not recognised by its background."""

    class Corner(Colours):
        """Looks at rows and columns 0 to 15, mostly background."""

        def embed(self, image, points_px):
            return super().embed(image, np.full((5, 2), 8.0))

    def grey_face(item):
        right = perfect(item)
        assert right.image is not None
        return Prediction(image=torch.where(look(right.image).face, 0.5, right.image), drawn=right.drawn)

    rows = by_name(evaluated(opened(folder, Corner), grey_face))
    assert rows["identity of the drawn face"] == 0
    assert rows["identity of the face drawn into its photo"] == pytest.approx(1)


def test_without_a_recogniser_the_rest_is_measured(folder):
    result = evaluated(opened(folder, missing), perfect)
    assert by_name(result)["L1 on the drawn skin"] == 0
    assert not any("identity" in row.what for row in result.rows)
    assert any(note.startswith("identity is left out") and "pip install" in note for note in result.notes)


def test_pictures_that_do_not_fit_are_problems_of_their_photo(folder):
    benchmark = opened(folder)
    item = benchmark.items[0]
    with pytest.raises(BadInput, match="draws no picture"):
        benchmark.score(item, Prediction())
    small = Prediction(image=torch.zeros(3, 20, 20), drawn=torch.ones(20, 20, dtype=torch.bool))
    with pytest.raises(BadInput, match=r"20 x 20 pixels .* 40 x 40"):
        benchmark.score(item, small)
    bad = Prediction(image=torch.full((3, SIZE, SIZE), torch.nan), drawn=torch.ones(SIZE, SIZE).bool())
    with pytest.raises(BadInput, match="NaN"):
        benchmark.score(item, bad)


def test_the_hull_closes_holes_and_keeps_lines():
    skin = look(None).skin
    expected = torch.zeros_like(skin)
    expected[10:30, 10:30] = True
    assert torch.equal(hull(skin), expected)
    line = torch.zeros(5, 5, dtype=torch.bool)
    line[2, 1:4] = True
    assert torch.equal(hull(line), line)


def test_a_real_photo():
    photo = torch.from_numpy(data.astronaut()).permute(2, 0, 1).float() / 255
    face = find_face(photo)
    assert 5_000 < int(face.skin.sum()) < int(face.face.sum()) < 30_000
    eye = face.points_px[0].astype(int)
    assert face.face[eye[1], eye[0]] and not face.skin[eye[1], eye[0]]
    with pytest.raises(FaceNotFound):
        find_face(torch.full((3, 64, 64), 0.5))
