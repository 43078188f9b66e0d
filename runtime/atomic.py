"""Outputs that appear whole or not at all: written beside their destination, then renamed."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import OutputError

# What a new file would get from open(); mkstemp alone would leave it readable by its owner only.
_FILE_MODE = 0o666
_FOLDER_MODE = 0o777
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# What a disk says that takes no more.
_NO_ROOM = (*FULL, errno.EIO, errno.EROFS)
_PREFIX = 20  # characters of the name: with what is added none may pass the system's 255 bytes


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextmanager
def replacing_file(path: Path) -> Iterator[Path]:
    """Yield a temporary file beside `path` that replaces it when the block ends well, and vanishes when it does not.

    Args:
        path: the destination; its folder is made if missing. The temporary name keeps the suffix.

    Raises:
        OutputError: the folder cannot be made or written to, or the disk is full.
    """
    temporary = _make(path, folder=False)
    try:
        with _room_for(path):
            yield temporary
        temporary.chmod(_FILE_MODE & ~_umask())
        _rename(temporary, path)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path` that replaces it when the block ends well, and vanishes when it does not.

    An existing folder is moved aside first and deleted last, so that at every moment either the old or the new one is
    there to be recovered.

    Raises:
        OutputError: the parent cannot be made or written to, the disk is full, or `path` is a file.
    """
    if path.exists() and not path.is_dir():
        raise OutputError("a folder or a free name", f"the file {path}", "choose another name")
    temporary = _make(path, folder=True)
    aside = temporary.with_name(temporary.name + ".old")
    try:
        with _room_for(path):
            yield temporary
        temporary.chmod(_FOLDER_MODE & ~_umask())
        if path.exists():
            _rename(path, aside)
        try:
            _rename(temporary, path)
        except OutputError:
            if aside.exists():
                _rename(aside, path)
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if path.exists():
            shutil.rmtree(aside, ignore_errors=True)


def make_folder(path: Path) -> None:
    """Make a folder and those above it, where they are missing.

    Raises:
        OutputError: it cannot be made, or a file has its name.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"a writable folder {path}", error.strerror or str(error), "choose another") from error


def _make(path: Path, *, folder: bool) -> Path:
    prefix = f".{path.stem[:_PREFIX]}."
    make_folder(path.parent)
    try:
        if folder:
            return Path(tempfile.mkdtemp(prefix=prefix, dir=path.parent))
        handle, name = tempfile.mkstemp(prefix=prefix, suffix=path.suffix, dir=path.parent)
    except OSError as error:
        raise OutputError(f"a writable folder {path.parent}", error.strerror or str(error), "choose another") from error
    os.close(handle)
    return Path(name)


@contextmanager
def _room_for(path: Path) -> Iterator[None]:
    """Say in words that a disk takes no more."""
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        raise OutputError(
            f"room for {path}", error.strerror or str(error), "make room, or choose another disk"
        ) from error


def _rename(source: Path, destination: Path) -> None:
    try:
        source.replace(destination)
    except OSError as error:
        raise OutputError(f"a writable {destination}", error.strerror or str(error), "choose another place") from error
