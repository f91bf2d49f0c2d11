import errno
import multiprocessing
import os
from pathlib import Path

import pytest

from vultus.errors import BadFile
from vultus.io.files import atomic_directory, atomic_file


def owned(folder: Path) -> list[str] | None:
    return ["ours", "extra"] if (folder / "ours").exists() else None


def listing(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def write(folder: Path, text: str) -> None:
    with atomic_directory(folder, owned) as partial:
        (partial / "ours").write_text(text)


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_file(path) as partial:
        partial.write_text("half")
        assert path.read_text() == "old"
        raise ZeroDivisionError
    assert listing(tmp_path) == ["a.txt"] and path.read_text() == "old"
    with atomic_file(path) as partial:
        partial.write_text("new")
    assert listing(tmp_path) == ["a.txt"] and path.read_text() == "new"


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    folder = tmp_path / "deep" / "result"
    with pytest.raises(ZeroDivisionError), atomic_directory(folder, owned) as partial:
        (partial / "ours").write_text("half")
        assert (
            not folder.exists()
            and partial.parent == folder.parent
            and partial.name.startswith(".result.partial-")
        )
        raise ZeroDivisionError
    assert listing(folder.parent) == []
    write(folder, "whole")
    assert listing(folder.parent) == ["result"] and listing(folder) == ["ours"]


def test_replacing_drops_our_old_files_and_keeps_those_of_others(tmp_path):
    folder = tmp_path / "result"
    write(folder, "old")
    (folder / "extra").write_text("ours too")
    (folder / "notes.txt").write_text("somebody's")
    write(folder, "new")
    assert listing(tmp_path) == ["result"] and listing(folder) == ["notes.txt", "ours"]
    assert (folder / "ours").read_text() == "new" and (folder / "notes.txt").read_text() == "somebody's"


def test_a_failed_replacement_leaves_the_old_folder(tmp_path):
    folder = tmp_path / "result"
    write(folder, "old")
    with pytest.raises(ZeroDivisionError), atomic_directory(folder, owned):
        raise ZeroDivisionError
    assert listing(tmp_path) == ["result"] and (folder / "ours").read_text() == "old"


def test_a_folder_of_somebody_else_is_left_alone(tmp_path):
    (tmp_path / "documents").mkdir()
    (tmp_path / "documents" / "thesis.tex").write_text("dear")
    with pytest.raises(BadFile, match="left alone"):
        write(tmp_path / "documents", "result")
    assert listing(tmp_path / "documents") == ["thesis.tex"] and listing(tmp_path) == ["documents"]
    (tmp_path / "empty").mkdir()
    write(tmp_path / "empty", "result")
    assert listing(tmp_path / "empty") == ["ours"]
    with pytest.raises(BadFile, match="a file is where"):
        write(tmp_path / "documents" / "thesis.tex", "result")


def test_disk_full_is_one_line_and_leaves_nothing(tmp_path):
    with pytest.raises(BadFile) as caught, atomic_directory(tmp_path / "result", owned) as partial:
        (partial / "ours").write_text("half")
        with atomic_file(partial / "texture.png"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    message = str(caught.value)
    assert "No space left" in message and "free some space" in message and "\n" not in message
    assert str(tmp_path / "result" / "texture.png") in message and "partial" not in message
    assert listing(tmp_path) == []


@pytest.mark.skipif(not Path("/proc").exists(), reason="needs a folder that not even root may write to")
def test_a_folder_that_may_not_be_written_to_is_named():
    with pytest.raises(BadFile, match=r"^/proc/result: cannot be written"):
        write(Path("/proc/result"), "result")


def test_if_the_last_rename_fails_all_is_as_before(tmp_path, monkeypatch):
    folder = tmp_path / "result"
    write(folder, "old")
    (folder / "notes.txt").write_text("somebody's")
    rename = Path.rename

    def fail(path, target):
        if "partial" in path.name:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(BadFile, match="Input/output error"):
        write(folder, "new")
    assert listing(tmp_path) == ["result"] and listing(folder) == ["notes.txt", "ours"]
    assert (folder / "ours").read_text() == "old"


def test_a_link_to_a_folder_stays_a_link(tmp_path):
    write(tmp_path / "real", "old")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "real" / "ours").read_text() == "new"


def _write_often(folder: str, text: str, count: int) -> None:
    for _ in range(count):
        write(Path(folder), text)


def test_two_processes_on_one_folder_never_mix(tmp_path):
    folder = tmp_path / "result"
    write(folder, "a" * 9000)
    (folder / "notes.txt").write_text("somebody's")
    context = multiprocessing.get_context("fork" if hasattr(os, "fork") else "spawn")
    workers = [context.Process(target=_write_often, args=(str(folder), name * 9000, 200)) for name in "ab"]
    for worker in workers:
        worker.start()
    seen = set()
    while any(worker.is_alive() for worker in workers):
        try:
            seen.add((folder / "ours").read_text())
        except FileNotFoundError:
            continue  # between the two renames
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert seen <= {"a" * 9000, "b" * 9000}
    assert listing(tmp_path) == ["result"] and listing(folder) == ["notes.txt", "ours"]
