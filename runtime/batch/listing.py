"""Which files there are: folders, globs and single files become entries below one root.

Everything that is found becomes an entry, so that nothing can be lost in silence: what is no photograph says why.
Links to files are read through; links to folders are not followed, so that no listing can run in circles or leave its
folder. The output folder and hidden names are passed over.
"""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from ..encode import FORMATS
from ..errors import InputError
from .record import FAILED, IGNORED, Entry

# Names that claim to be photographs; what cannot be read then fails with a reason of its own.
PHOTO_SUFFIXES = frozenset(FORMATS) | {".bmp", ".gif", ".jfif", ".jpe", ".heic", ".heif", ".avif"}
_LOSSLESS = ".png"  # for what is read but not written


def list_inputs(inputs: Sequence[str], output: Path, suffix: str = "") -> tuple[Path, list[Entry]]:
    """List folders, globs and files.

    Args:
        inputs: as the user gave them; a name that exists is never taken as a glob.
        output: the folder to write to; what lies in it is no input.
        suffix: of every output, with its dot; empty keeps each file's own where it can be written.

    Returns:
        The deepest folder that holds all inputs, below which the output tree is mirrored, and an entry for everything
        found, in order of names.

    Raises:
        InputError: nothing there, a glob without a match, or an input inside the output folder.
    """
    found = [Path(os.path.abspath(path)) for given in inputs for path in _expand(given)]  # noqa: PTH100 - keeps links
    root = _root_of(found)
    inside = Path(os.path.realpath(output))
    for path in (root, *found):
        if Path(os.path.realpath(path)).is_relative_to(inside):
            raise InputError("inputs outside the output folder", str(path), "choose another output folder")
    entries: dict[str, Entry] = {}
    for path in found:
        for one in _walk(path, root, inside, suffix, named=True):
            entries.setdefault(one.name, one)
    return root, [entries[name] for name in sorted(entries)]


def refuse_collisions(entries: Sequence[Entry], *, fold_case: bool) -> None:
    """Make sure that no two inputs would be written to the same file.

    Args:
        entries: the inputs.
        fold_case: whether the output folder takes `A.jpg` and `a.jpg` for one file.

    Raises:
        InputError: two do.
    """
    taken: dict[str, str] = {}
    for one in entries:
        if not one.output:
            continue
        key = one.output.casefold() if fold_case else one.output
        first = taken.setdefault(key, one.name)
        if first != one.name:
            fix = "rename one of them, or keep the suffixes"
            raise InputError("one input for each output", f"'{first}' and '{one.name}' both for '{one.output}'", fix)


def output_name(name: str, suffix: str = "") -> str:
    """Where a photograph's restored copy lies below the output folder.

    A suffix that cannot be written stays and gets `.png` behind it, so that `a.bmp` never meets `a.png`.
    """
    own = os.path.splitext(name)[1]  # noqa: PTH122 - names are no paths of this machine
    if suffix:
        return name.removesuffix(own) + suffix
    return name if own.lower() in FORMATS else name + _LOSSLESS


def name_error(name: str) -> str:
    """Why a file is no photograph by its name; empty where it may be one."""
    last = name.rsplit("/", 1)[-1]
    if last.startswith("."):
        return "a hidden file"
    suffix = os.path.splitext(last)[1].lower()  # noqa: PTH122 - names are no paths of this machine
    return "" if suffix in PHOTO_SUFFIXES else f"the suffix '{suffix}' is not a photograph's"


def _expand(given: str) -> list[str]:
    if os.path.lexists(given):
        return [given]
    if not glob.has_magic(given):
        raise InputError("a photograph or a folder", f"nothing at {given}")
    matches = sorted(glob.glob(given, recursive=True))  # noqa: PTH207 - the pattern may be absolute
    if not matches:
        raise InputError("a pattern with a match", f"none for '{given}'", "quote it, and check the folder's name")
    return matches


def _root_of(found: Sequence[Path]) -> Path:
    holders = [path if path.is_dir() and not path.is_symlink() else path.parent for path in found]
    if len(found) == 1 and found[0].is_dir():  # also through a link, since it was named
        return found[0]
    try:
        return Path(os.path.commonpath(holders))
    except ValueError as error:
        raise InputError(
            "inputs on one drive", ", ".join(map(str, found[:2])), "restore one drive at a time"
        ) from error


def _walk(path: Path, root: Path, inside: Path, suffix: str, *, named: bool = False) -> Iterator[Entry]:
    """Entries of a path and everything below it; `named` by the user, so that hidden names and links count."""
    name = path.relative_to(root).as_posix()
    blank = Entry(name, "")
    if path.name.startswith(".") and not named:
        yield replace(blank, status=IGNORED, error="a hidden name")
        return
    try:
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode) and path.is_dir() and not named:
            yield replace(blank, status=IGNORED, error="a link to a folder: name the folder itself")
            return
        if path.is_dir():
            if Path(os.path.realpath(path)) != inside:
                yield from _walk_folder(path, root, inside, suffix, blank)
            return
        found = path.stat()
    except OSError as error:
        status = IGNORED if name_error(name) else FAILED
        yield replace(blank, status=status, error=f"expected a readable file, got {error.strerror}")
        return
    yield _file_entry(blank, found, suffix)


def _walk_folder(path: Path, root: Path, inside: Path, suffix: str, blank: Entry) -> Iterator[Entry]:
    if not name_error(path.name):
        yield replace(blank, status=IGNORED, error="a folder with a photograph's name")
    try:
        children = sorted(os.scandir(path), key=lambda child: child.name)
    except OSError as error:
        yield replace(blank, status=FAILED, error=f"expected a readable folder, got {error.strerror}")
        return
    for child in children:
        yield from _walk(Path(child.path), root, inside, suffix)


def _file_entry(blank: Entry, found: os.stat_result, suffix: str) -> Entry:
    stamped = replace(blank, bytes=found.st_size, mtime_ns=found.st_mtime_ns)
    wrong = name_error(blank.name)
    if wrong:
        return replace(stamped, status=IGNORED, error=wrong)
    if not stat.S_ISREG(found.st_mode):  # reading a pipe would wait for ever
        return replace(stamped, status=FAILED, error="expected a regular file, got a pipe, a socket or a device")
    return replace(stamped, output=output_name(blank.name, suffix))
