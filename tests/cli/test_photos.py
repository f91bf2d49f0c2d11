from itertools import permutations
from pathlib import Path

import pytest

from vultus.cli.photos import find_photos, output_names


def names(*paths: str) -> dict[str, str]:
    return dict(zip(paths, output_names([Path(path) for path in paths])))


def test_the_stem_alone_where_that_is_enough():
    assert names("/p/anna.jpg", "/q/bob.png") == {"/p/anna.jpg": "anna", "/q/bob.png": "bob"}


def test_same_stem_in_two_folders_takes_the_folder_names():
    assert names("/p/a/x.jpg", "/p/b/x.jpg", "/p/y.jpg") == {
        "/p/a/x.jpg": "a_x",
        "/p/b/x.jpg": "b_x",
        "/p/y.jpg": "y",
    }


def test_same_stem_with_two_suffixes_takes_the_suffixes():
    assert names("/p/x.jpg", "/p/x.png") == {"/p/x.jpg": "x_jpg", "/p/x.png": "x_png"}


def test_a_photo_called_like_the_second_face_of_another_makes_room():
    assert names("/p/anna.jpg", "/p/anna-2.jpg") == {"/p/anna.jpg": "anna", "/p/anna-2.jpg": "anna-2_jpg"}
    assert names("/p/img-1.jpg", "/p/img-2.jpg") == {"/p/img-1.jpg": "img-1", "/p/img-2.jpg": "img-2"}


def test_case_does_not_tell_names_apart():
    assert len({name.casefold() for name in names("/p/Anna.jpg", "/q/anna.jpg").values()}) == 2


@pytest.mark.parametrize(
    "paths",
    [
        ("/a/b/x.jpg", "/c/b/x.jpg", "/a/b/x.png", "/x.jpg"),
        ("/a_b/x.jpg", "/a/b_x.jpg", "/b/x.jpg", "/a/b/x.jpg"),
        ("/a/x.jpg", "/a/x_jpg.jpg", "/a/x.png"),
        ("/a/x.jpg", "/a/x-2.jpg", "/a/x-2-2.jpg", "/b/x-2.jpg"),
    ],
)
def test_names_differ_and_do_not_depend_on_the_order(paths):
    expected = names(*paths)
    assert len(set(expected.values())) == len(paths)
    for order in permutations(paths):
        assert names(*order) == expected
    for name in expected.values():
        assert not any(
            name.startswith(f"{other}-") and name[len(other) + 1 :].isdigit() for other in expected.values()
        )


def test_folders_files_and_doubles(photos, tmp_path):
    made = photos("b.jpg", "a.PNG", "notes.txt", ".hidden.jpg", "deeper/c.jpg")
    found, problems = find_photos([made[0], tmp_path / "photos", made[2]])
    assert [path.name for path in found] == [
        "b.jpg",
        "a.PNG",
        "notes.txt",
    ]  # a file given by name is taken as it is
    assert not problems


def test_empty_and_unreadable_folders_are_told(tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    (tmp_path / "locked").mkdir()
    iterdir = Path.iterdir

    def refuse(self):
        if self.name == "locked":
            raise PermissionError(13, "Permission denied", str(self))
        return iterdir(self)

    monkeypatch.setattr(Path, "iterdir", refuse)
    found, problems = find_photos([tmp_path / "empty", tmp_path / "locked"])
    assert not found
    assert [problem.photo for problem in problems] == [str(tmp_path / "empty"), str(tmp_path / "locked")]
    assert "no photos" in problems[0].error
    assert "Permission denied" in problems[1].error
    assert str(tmp_path) not in problems[1].error  # named once, by the outcome
