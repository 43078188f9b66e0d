from __future__ import annotations

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
