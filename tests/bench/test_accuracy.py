"""The validation table as a command: what is printed, what is written, what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from pocketface.bench import accuracy
from pocketface.bench.accuracy import every_nth, judge_crops
from pocketface.bench.candidates import named_candidates
from pocketface.bench.readme import fill_tables, read_report
from pocketface.distill.faces import read_crops
from pocketface.runtime.cli import run_command
from pocketface.runtime.errors import InputError

from .fakes import FakeRestorer, fake_candidate, save_crops, save_student


@pytest.fixture
def crops(tmp_path: Path) -> Path:
    save_crops(tmp_path / "crops", {"a": "validation", "b": "validation", "c": "train", "d": "validation"})
    return tmp_path / "crops"


def call(*words: object) -> int:
    return run_command(accuracy, "accuracy", [str(word) for word in words])


def test_the_table_is_printed_and_written_for_the_readme(
    student: Path, crops: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other, figures = save_student(tmp_path / "other.safetensors", shift=0.05), tmp_path / "table.json"
    words = ("--crops", crops, f"one={student}", f"two={other}", "--device", "cpu", "-o", figures)
    assert call(*words, "--levels", "mild", "x4") == 0
    printed = capsys.readouterr().out
    assert printed.startswith("| level |")
    assert "3 faces of 3 people" in printed
    report = read_report(figures)
    scores = report["quality"]["scores"]
    assert [(score["level"], score["method"]) for score in scores] == [
        (level, method) for level in ("mild", "x4") for method in ("input", "bicubic", "one", "two")
    ]
    assert {"one weights", "two weights"} <= set(report["provenance"])
    filled = fill_tables("<!-- figures: validation -->\n<!-- end -->", report)
    assert printed.startswith(filled.splitlines()[1])


def test_a_quick_look_takes_a_part_of_the_same_pictures(crops: Path) -> None:
    nothing = [fake_candidate("nothing", FakeRestorer(lambda faces: faces))]
    assert judge_crops(nothing, crops, levels=["severe"], every=2).scores[0].faces == 2
    everyone = read_crops(crops)
    assert every_nth(everyone, 3) == [everyone[0], everyone[3]]


def test_a_network_of_another_size_is_judged_on_the_same_faces(crops: Path) -> None:
    enlarger = [fake_candidate("enlarger", FakeRestorer(lambda faces: faces, size=128))]
    found = {score.method: score for score in judge_crops(enlarger, crops, levels=["severe"]).scores}
    # there and back costs next to nothing on a picture as soft as this
    assert found["enlarger"].psnr_db.mean == pytest.approx(found["input"].psnr_db.mean, abs=0.3)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--every", "0"), "positive number"),
        (("--crops", "no folder"), "crops.csv"),
        (("--judge", "no judge.ckpt"), "no judge.ckpt"),
        (("none=none.onnx",), "none.onnx"),
    ],
)
def test_arguments_that_cannot_be_used_are_one_line_and_2(
    student: Path, crops: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], complaint: str
) -> None:
    assert call("--crops", crops, *words, f"one={student}") == 2
    error = capsys.readouterr().err
    assert complaint in error
    assert error.count("\n") == 1


def test_only_people_held_out_are_judged(student: Path, tmp_path: Path) -> None:
    save_crops(tmp_path, {"a": "train"})
    with pytest.raises(InputError, match="validation"):
        judge_crops(named_candidates([f"one={student}"], ()), tmp_path)
