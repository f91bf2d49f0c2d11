"""Files and folders that appear complete or not at all: written beside their place, then renamed."""

from __future__ import annotations

import contextlib
import errno
import secrets
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from ..errors import BadFile

# What rename() says when a non-empty folder is already in the place.
_TAKEN = {errno.ENOTEMPTY, errno.EEXIST}
# And on Windows, where it may also mean what it says.
_PERHAPS_TAKEN = {errno.EACCES, errno.EPERM}


@contextlib.contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """Yield a path beside ``path`` to write to; it takes its name only when the block ends well.

    Raises:
        BadFile: the file cannot be written (no such folder, no permission, disk full); nothing is left behind.
    """
    path = Path(path)
    partial = _beside(path, "partial")
    try:
        with _explained(path):
            yield partial
            partial.replace(path)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_directory(path: str | Path, owned: Callable[[Path], Iterable[str] | None]) -> Iterator[Path]:
    """Yield an empty folder beside ``path`` to fill; it takes the place of ``path`` only when the block ends well.

    Readers see the old folder or the new one, never a mixture. Folders cannot be exchanged in one portable step, so while one
    replaces the other there is a moment without either. If two processes write the same folder, both succeed and the later one stays.
    A killed process leaves ``.<name>.partial-*`` behind, which nothing reads.

    Args:
        path: the folder to make; its parents are made too.
        owned: tells, for a folder that is in the place already, the names of the files in it that may go, or None if it may not
            be replaced. All else in it is kept, moved into the new folder.

    Raises:
        BadFile: the folder cannot be written, or something that may not be replaced is in its place.
    """
    path = Path(path).resolve()
    partial = _beside(path, "partial")
    with _explained(path):
        _check_replaceable(path, owned)  # before the work is done, not after
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.mkdir()
    try:
        with _explained(path):
            yield partial
            _exchange(partial, path, owned)
    except BadFile as error:
        raise BadFile(
            str(error).replace(str(partial), str(path))
        ) from error  # people know the folder by its own name
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _exchange(partial: Path, path: Path, owned: Callable[[Path], Iterable[str] | None]) -> None:
    """Put ``partial`` in the place of ``path``.

    Every step works on a folder that no other process knows, or is one rename: what is in the place goes aside, gives up its foreign
    files, and is deleted when the new folder stands. A round is lost only when another process has just finished the same folder.
    """
    while True:
        replaced = _move_aside(path, owned)
        foreign = _carry(replaced, partial, owned) if replaced else []
        try:
            partial.rename(path)
        except BaseException as error:
            code = error.errno if isinstance(error, OSError) else None
            if code in _TAKEN or (code in _PERHAPS_TAKEN and path.exists()):
                _discard(replaced)
                continue
            if replaced:
                for name in foreign:
                    (partial / name).rename(replaced / name)
                replaced.rename(path)
            raise
        _discard(replaced)
        return


def _move_aside(path: Path, owned: Callable[[Path], Iterable[str] | None]) -> Path | None:
    """Rename the folder at ``path``, if there is one, and return where it is now."""
    try:
        replaced = path.rename(_beside(path, "replaced"))
    except FileNotFoundError:
        return None
    try:
        _check_replaceable(replaced, owned)  # again: it may have changed since the work began
    except BadFile:
        replaced.rename(path)
        raise
    return replaced


def _carry(replaced: Path, partial: Path, owned: Callable[[Path], Iterable[str] | None]) -> list[str]:
    """Move what is not ours from the replaced folder into the new one; returns the names."""
    ours = {*(owned(replaced) or ()), *(entry.name for entry in partial.iterdir())}
    foreign = [entry.name for entry in replaced.iterdir() if entry.name not in ours]
    for name in foreign:
        (replaced / name).rename(partial / name)
    return foreign


def _discard(replaced: Path | None) -> None:
    if replaced is not None:
        shutil.rmtree(replaced, ignore_errors=True)


def _check_replaceable(path: Path, owned: Callable[[Path], Iterable[str] | None]) -> None:
    """Raise unless ``path`` is free, empty, or a folder that is ours to replace."""
    with contextlib.suppress(
        FileNotFoundError
    ):  # free, or just moved away by another process that writes the same folder
        if not stat.S_ISDIR(path.stat().st_mode):
            raise BadFile(
                f"{path}: a file is where the output folder should be; move it or choose another output folder"
            )
        if owned(path) is None and any(path.iterdir()) and owned(path) is None:
            raise BadFile(
                f"{path}: this folder holds something else than a result of vultus and is left alone; choose another one"
            )


def _beside(path: Path, purpose: str) -> Path:
    return path.with_name(f".{path.name}.{purpose}-{secrets.token_hex(4)}")


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn the operating system's errors into one line that says what to do."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        remedy = {
            errno.ENOSPC: "free some space or choose a folder on another disk",
            errno.EDQUOT: "free some space or choose a folder on another disk",
            errno.EACCES: "choose a folder that you may write to",
            errno.EPERM: "choose a folder that you may write to",
            errno.EROFS: "choose a folder that you may write to",
            errno.ENAMETOOLONG: "choose a shorter name",
        }.get(error.errno or 0, "check the folder, or choose another one")
        raise BadFile(f"{path}: cannot be written ({reason}); {remedy}") from error
