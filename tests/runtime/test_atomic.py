from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from pocketface.runtime.atomic import replacing_file, replacing_folder
from pocketface.runtime.errors import OutputError


def test_a_file_appears_whole(tmp_path: Path) -> None:
    with replacing_file(tmp_path / "new" / "a.txt") as temporary:
        temporary.write_text("done", encoding="utf-8")
        assert not (tmp_path / "new" / "a.txt").exists()
        assert temporary.suffix == ".txt"
    assert (tmp_path / "new" / "a.txt").read_text(encoding="utf-8") == "done"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.txt"]


def test_a_failure_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old", encoding="utf-8")
    with pytest.raises(TypeError), replacing_file(target) as temporary:
        temporary.write_text(b"not text")  # pyright: ignore[reportArgumentType] - the failure that is meant
    assert target.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    target = tmp_path / "bundle"
    for content in ("first", "second"):
        with replacing_folder(target) as temporary:
            (temporary / content).write_text(content, encoding="utf-8")
    assert [path.name for path in target.iterdir()] == ["second"]
    assert list(tmp_path.iterdir()) == [target]


def test_a_failure_leaves_the_old_folder(tmp_path: Path) -> None:
    target = tmp_path / "bundle"
    target.mkdir()
    (target / "old").touch()
    with pytest.raises(FileExistsError), replacing_folder(target) as temporary:
        temporary.mkdir()
    assert [path.name for path in target.iterdir()] == ["old"]
    assert list(tmp_path.iterdir()) == [target]


def test_a_file_in_the_way_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    with pytest.raises(OutputError, match="writable folder"), replacing_file(tmp_path / "file" / "a.txt"):
        pytest.fail("must not begin")
    with pytest.raises(OutputError, match="a folder or a free name"), replacing_folder(tmp_path / "file"):
        pytest.fail("must not begin")
    assert (tmp_path / "file").read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize("maker", [replacing_file, replacing_folder])
def test_a_full_disk_is_said_in_words_and_leaves_nothing(
    tmp_path: Path, maker: Callable[[Path], AbstractContextManager[Path]]
) -> None:
    with pytest.raises(OutputError, match=r"room for .*a\.bin.*No space left"), maker(tmp_path / "a.bin"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert list(tmp_path.iterdir()) == []


def test_other_errors_of_the_block_are_not_blamed_on_the_disk(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), replacing_file(tmp_path / "a.bin"):
        (tmp_path / "none").read_bytes()


def test_the_longest_name_that_the_system_takes_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("é" * 125 + ".png")  # 254 bytes
    with replacing_file(path) as temporary:
        temporary.write_bytes(b"x")
    assert path.read_bytes() == b"x"
