"""What is found, what it is called below the output folder, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pocketface.runtime.batch.listing import list_inputs, output_name, refuse_collisions
from pocketface.runtime.batch.record import Entry
from pocketface.runtime.errors import InputError


def make(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"photo")


def outputs(entries: list[Entry]) -> dict[str, str]:
    return {one.name: one.output for one in entries}


def test_a_folder_is_mirrored(tmp_path: Path) -> None:
    make(tmp_path / "in", "b.JPG", "a/x.png", "a/deep/y.tiff", "a/z.bmp")
    root, entries = list_inputs([str(tmp_path / "in")], tmp_path / "out")
    assert root == tmp_path / "in"
    assert outputs(entries) == {
        "a/deep/y.tiff": "a/deep/y.tiff", "a/x.png": "a/x.png", "a/z.bmp": "a/z.bmp.png", "b.JPG": "b.JPG",
    }  # fmt: skip
    assert [one.name for one in entries] == sorted(one.name for one in entries)
    assert all(one.bytes == 5 and one.mtime_ns > 0 for one in entries)


def test_several_inputs_are_mirrored_below_what_holds_them_all(tmp_path: Path) -> None:
    make(tmp_path, "in/a/1.jpg", "in/b/1.jpg", "in/c/2.jpg")
    given = [tmp_path / "in" / "a", tmp_path / "in" / "b" / "1.jpg", tmp_path / "in" / "a" / "1.jpg"]
    root, entries = list_inputs([str(path) for path in given], tmp_path / "out")
    assert root == tmp_path / "in"
    assert outputs(entries) == {"a/1.jpg": "a/1.jpg", "b/1.jpg": "b/1.jpg"}


def test_a_pattern_is_expanded_where_the_shell_did_not(tmp_path: Path) -> None:
    make(tmp_path, "in/a/1.jpg", "in/b/2.jpg", "in/b/2.png", "in/[1].jpg")
    _, entries = list_inputs([str(tmp_path / "in" / "**" / "?.jpg")], tmp_path / "out")
    assert outputs(entries) == {"a/1.jpg": "a/1.jpg", "b/2.jpg": "b/2.jpg"}
    _, entries = list_inputs([str(tmp_path / "in" / "[1].jpg")], tmp_path / "out")
    assert outputs(entries) == {"[1].jpg": "[1].jpg"}  # a name that exists is no pattern


def test_everything_that_is_no_photograph_says_why(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    make(folder, "note.txt", "._a.jpg", ".cache/b.jpg", "album.jpg/c.jpg")
    (folder / "loop.jpg").symlink_to("loop.jpg")
    (folder / "gone.png").symlink_to("nothing.png")
    (folder / "again").symlink_to(".")
    os.mkfifo(folder / "pipe.jpg")
    _, entries = list_inputs([str(folder)], tmp_path / "out")
    told = {one.name: (one.status, one.error) for one in entries}
    assert told.pop("album.jpg/c.jpg") == ("", "")
    assert {name: status for name, (status, _) in told.items()} == {
        "note.txt": "ignored", "._a.jpg": "ignored", ".cache": "ignored", "album.jpg": "ignored", "again": "ignored",
        "loop.jpg": "failed", "gone.png": "failed", "pipe.jpg": "failed",
    }  # fmt: skip
    assert all(error for _, error in told.values())


def test_a_link_to_a_photograph_is_read_through(tmp_path: Path) -> None:
    make(tmp_path, "elsewhere/a.jpg", "in/b.jpg")
    (tmp_path / "in" / "link.jpg").symlink_to(tmp_path / "elsewhere" / "a.jpg")
    _, entries = list_inputs([str(tmp_path / "in")], tmp_path / "out")
    assert outputs(entries) == {"b.jpg": "b.jpg", "link.jpg": "link.jpg"}


def test_the_output_folder_is_no_input(tmp_path: Path) -> None:
    make(tmp_path, "in/a.jpg", "in/restored/a.jpg")
    _, entries = list_inputs([str(tmp_path / "in")], tmp_path / "in" / "restored")
    assert outputs(entries) == {"a.jpg": "a.jpg"}


@pytest.mark.parametrize("output", ["in", "in/../in", ".", "link"])
def test_writing_over_the_inputs_is_refused(tmp_path: Path, output: str) -> None:
    make(tmp_path, "in/a.jpg")
    (tmp_path / "link").symlink_to("in")
    with pytest.raises(InputError, match="outside the output folder"):
        list_inputs([str(tmp_path / "in")], tmp_path / output)


def test_a_photograph_inside_the_output_folder_is_refused(tmp_path: Path) -> None:
    make(tmp_path, "in/a.jpg", "b.jpg")
    with pytest.raises(InputError, match="outside the output folder"):
        list_inputs([str(tmp_path / "in" / "a.jpg"), str(tmp_path / "b.jpg")], tmp_path / "in")


@pytest.mark.parametrize("given", ["nothing", "nothing/*.jpg"])
def test_nothing_there_is_an_error(tmp_path: Path, given: str) -> None:
    with pytest.raises(InputError, match="nothing"):
        list_inputs([str(tmp_path / given)], tmp_path / "out")


def test_two_inputs_for_one_output_are_found(tmp_path: Path) -> None:
    make(tmp_path, "in/a.jpg", "in/a.png", "in/A.jpg")
    _, entries = list_inputs([str(tmp_path / "in")], tmp_path / "out")
    refuse_collisions(entries, fold_case=False)
    with pytest.raises(InputError, match=r"'A\.jpg' and 'a\.jpg'"):
        refuse_collisions(entries, fold_case=True)
    _, entries = list_inputs([str(tmp_path / "in")], tmp_path / "out", ".png")
    with pytest.raises(InputError, match=r"'a\.jpg' and 'a\.png' both for 'a\.png'"):
        refuse_collisions(entries, fold_case=False)


def test_names_of_outputs() -> None:
    assert output_name("a/b.jpeg") == "a/b.jpeg"
    assert output_name("a/b.gif") == "a/b.gif.png"
    assert output_name("a.b/c.GIF", ".tif") == "a.b/c.tif"
