"""The verbs `parity` and `bench` from the command line's point of view: output, files, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pocketface.bench import bench_command, parity_command
from pocketface.runtime.cli import Command, run_command

from .fakes import save_bundle, save_student


def call(command: Command, *words: object) -> int:
    return run_command(command, "pocketface", [str(word) for word in words])


def test_student_and_teacher_are_reported(student: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figures = tmp_path / "parity.json"
    words = ("--student", student, "--teacher", student, "--judge", "none", "--device", "cpu", "--json", figures)
    assert call(parity_command, *words) == 0
    assert "student against teacher  reported  200.0" in capsys.readouterr().out
    assert json.loads(figures.read_text(encoding="utf-8"))["verdict"] == "reported"


def test_a_faithful_bundle_passes(student: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle, page = save_bundle(tmp_path / "bundle", student, student), tmp_path / "parity.html"
    words = ("--student", student, "--teacher", "none", "--judge", "none", "--device", "cpu", "--html", page)
    assert call(parity_command, bundle, *words) == 0
    out = capsys.readouterr().out
    assert "onnx fp32 256  pass" in out
    assert out.endswith(f"{page}\n")
    assert page.stat().st_size > 100_000  # the faces are inside


def test_a_bundle_that_strays_exits_with_1_and_names_the_face(
    student: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shifted = save_student(tmp_path / "shifted.safetensors", shift=0.01)
    bundle = save_bundle(tmp_path / "bundle", student, shifted)
    words = ("--student", student, "--teacher", "none", "--judge", "none", "--device", "cpu")
    assert call(parity_command, bundle, *words) == 1
    out = capsys.readouterr().out
    assert "onnx fp32 256: mild: PSNR 40" in out
    assert "1 of 1 files goes beyond tolerance" in out


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--student", "none.safetensors"), "nothing at none.safetensors"),
        (("no bundle",), "manifest.json"),
        (("--faces", "no folder"), "aligned crops"),
        (("--judge", "no judge.ckpt"), "no judge.ckpt"),
    ],
)
def test_arguments_that_cannot_be_used_are_one_line_and_2(
    student: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], complaint: str
) -> None:
    given = ("--student", student, "--teacher", "none", "--device", "cpu", "--judge", "none", *words)
    assert call(parity_command, *given) == 2
    error = capsys.readouterr().err
    assert complaint in error
    assert error.count("\n") == 1


def test_bench_writes_a_page_and_figures(student: Path, tmp_path: Path) -> None:
    bundle, output = save_bundle(tmp_path / "bundle", student, student), tmp_path / "report"
    words = ("--student", student, "--teacher", "none", "--judge", "none", "--device", "cpu", "-o", output)
    assert call(bench_command, bundle, *words, "--sizes", 32, "--rounds", 1) == 0
    values = json.loads((output / "report.json").read_text(encoding="utf-8"))
    assert {timing["label"] for timing in values["latency"]} == {"student", "onnx fp32 256"}
    assert values["quality"] is None
    assert values["sizes"][0]["parameters"] > 0
    assert (output / "index.html").is_file()
