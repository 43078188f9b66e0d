from __future__ import annotations

import argparse
import os
import pickle
import subprocess
import sys
import types
from pathlib import Path
from typing import cast

import pytest

from pocketface.runtime import cli
from pocketface.runtime.errors import ImageError


def command(run: object) -> cli.Command:
    module = types.ModuleType("command", "Do a thing.")
    module.__dict__.update(run=run, add_arguments=lambda parser: parser.add_argument("--count", type=int, default=1))
    return cast("cli.Command", module)


def test_no_verb_shows_the_overview_and_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 2
    assert cli.main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(verb in shown for verb in ("restore", "distill", "export", "verify", "parity", "bench"))


def test_every_verb_has_a_summary() -> None:
    points = {point.name for point in cli.entry_points(group=cli.GROUP)}
    assert points == set(cli.SUMMARIES)


def test_an_unknown_verb_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["restor"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_errors_on_purpose_are_one_line_and_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    def fail(_: argparse.Namespace) -> int:
        raise ImageError("an image", "a poem", "give a photograph")

    assert cli.run_command(command(fail), "pocketface thing", []) == 2
    assert capsys.readouterr().err == "pocketface thing: expected an image, got a poem; give a photograph\n"


def test_defects_keep_their_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        cli.run_command(command(lambda _: 1 // 0), "pocketface thing", [])


def test_an_interrupt_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt(_: argparse.Namespace) -> int:
        raise KeyboardInterrupt

    assert cli.run_command(command(interrupt), "pocketface thing", []) == 130
    assert capsys.readouterr().err == "pocketface thing: interrupted\n"


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def missing(_: object) -> None:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr(cli.EntryPoint, "load", missing)
    assert cli.main(["distill"]) == 2
    assert "'torch'" in (said := capsys.readouterr().err)
    assert "pocketface[distill]" in said


def test_errors_survive_a_process_boundary() -> None:
    error = pickle.loads(pickle.dumps(ImageError("an image", "a poem", "stop")))  # noqa: S301 - our own bytes
    assert (str(error), error.fix) == ("expected an image, got a poem; stop", "stop")


@pytest.mark.parametrize("text", ["0", "-3", "1.5", "many", "", "²"])
def test_a_count_is_a_whole_number_above_zero(text: str) -> None:
    assert cli.positive("12") == 12
    with pytest.raises(argparse.ArgumentTypeError, match="at least 1"):
        cli.positive(text)


def test_names_cannot_move_the_cursor_or_end_the_line(capsys: pytest.CaptureFixture[str]) -> None:
    def fail(_: argparse.Namespace) -> int:
        raise ImageError("an image", "bad\n\x1b[31mname\udcff.jpg")

    assert cli.run_command(command(fail), "pocketface thing", []) == 2
    assert capsys.readouterr().err == "pocketface thing: expected an image, got bad\\n\\x1b[31mname\\udcff.jpg\n"
    assert cli.printable("é 😀 ok") == "é 😀 ok"


SAYING = """
import sys, types
from pocketface.runtime import cli
verb = types.ModuleType("verb", "Says something.")
verb.add_arguments = lambda parser: None
verb.run = lambda arguments: sys.stdout.write(sys.argv[1]) and 0
sys.exit(cli.run_command(verb, "pocketface thing", []))
"""


def test_a_terminal_that_cannot_show_a_name_is_no_reason_to_fail() -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii:strict"}
    words = [sys.executable, "-c", SAYING, "é😀"]
    done = subprocess.run(words, env=environment, capture_output=True, check=False)  # noqa: S603 - our own words
    assert (done.returncode, done.stdout, done.stderr) == (0, b"\\xe9\\U0001f600", b"")


def test_a_reader_that_leaves_is_no_reason_to_complain() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    words = [sys.executable, "-c", SAYING, "done"]
    done = subprocess.run(words, stdout=writing, stderr=subprocess.PIPE, check=False)  # noqa: S603 - our own words
    os.close(writing)
    assert (done.returncode, done.stderr) == (cli.NOBODY_LISTENS, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_no_room_for_what_is_said_is_one_line(unbuffered: str) -> None:
    words = [sys.executable, "-m", "pocketface.runtime", "--version"]
    environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, check=False, env=environment)  # noqa: S603 - our own words
    assert done.returncode == cli.USAGE_ERROR
    assert done.stderr.startswith(b"pocketface: expected room")
    assert done.stderr.count(b"\n") == 1
