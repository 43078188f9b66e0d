"""`pocketface restore` in bad company: full disks, closed doors, strange names."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.data import astronaut

from pocketface.runtime.errors import OutputError
from pocketface.runtime.images import check_destination, read_photo

from .restore_fakes import Command, command, portrait

__all__ = ["command", "portrait"]  # fixtures


def test_a_full_disk_is_one_line_and_leaves_what_was_there(
    command: Command,
    portrait: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    output = tmp_path / "out.png"
    output.write_bytes(b"precious")
    monkeypatch.setattr(Path, "write_bytes", full)
    assert command(portrait, "-o", output) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "room for" in said
    assert output.read_bytes() == b"precious"
    assert sorted(os.listdir(tmp_path)) == ["out.png", "portrait.jpg"]  # noqa: PTH208 - names alone


def test_a_record_that_cannot_be_written_leaves_no_photograph_without_one(
    command: Command, portrait: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(portrait, "-o", tmp_path / "out.png", "--json", portrait / "record.json") == 2
    assert "writable folder" in capsys.readouterr().err
    assert not (tmp_path / "out.png").exists()


@pytest.mark.parametrize("name", ["a\nb.png", "\x1b[31mred.png", "é 😀.png"])
def test_any_name_is_one_harmless_line(
    command: Command, portrait: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    record = tmp_path / "record.json"
    assert command(portrait, "-o", tmp_path / name, "--json", record) == 0
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    assert "\x1b" not in said
    assert json.loads(record.read_text(encoding="utf-8"))["output"] == str(tmp_path / name)
    assert read_photo(tmp_path / name).rgb.shape == (512, 512, 3)


def test_a_name_that_is_too_long_is_said_before_any_work(
    command: Command, portrait: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(portrait, "-o", tmp_path / ("n" * 300 + ".png")) == 2
    assert "choose a shorter one" in capsys.readouterr().err
    assert command(portrait, "-o", tmp_path / ("n" * 251 + ".png")) == 0
    with pytest.raises(OutputError, match="shorter"):
        check_destination(tmp_path / ("n" * 300 + ".png"))


def test_a_guard_that_is_no_number_is_named(
    command: Command, portrait: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        command(portrait, "-o", tmp_path / "out.png", "--guard", "abc")
    assert ended.value.code == 2
    assert "expected a cosine or off, got 'abc'" in capsys.readouterr().err


@pytest.mark.parametrize("threads", ["0", "99999"])
def test_threads_that_no_machine_has_are_refused(
    command: Command, portrait: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], threads: str
) -> None:
    assert command(portrait, "-o", tmp_path / "out.png", "--threads", threads) == 2
    assert "--threads of at least 1, and at most" in capsys.readouterr().err


def test_another_link_to_the_input_is_no_way_to_lose_it(command: Command, portrait: Path, tmp_path: Path) -> None:
    before = portrait.read_bytes()
    (tmp_path / "soft.jpg").symlink_to(portrait)
    (tmp_path / "hard.jpg").hardlink_to(portrait)
    assert command(portrait, "-o", tmp_path / "soft.jpg") == 2
    assert command(portrait, "-o", tmp_path / "hard.jpg") == 0  # the name is given to a new file
    assert portrait.read_bytes() == before


def test_a_large_profile_survives_png(command: Command, tmp_path: Path) -> None:
    given, profile = tmp_path / "in.jpg", np.random.default_rng(0).bytes(3_000_000)
    Image.fromarray(astronaut()).save(given, icc_profile=profile)
    assert command(given, "-o", tmp_path / "out.png") == 0
    assert read_photo(tmp_path / "out.png").metadata.icc == profile
