"""The verbs `parity` and `bench` from the command line's point of view: output, files, exit codes."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage import data

from pocketface.bench import bench_command, parity_command
from pocketface.bench.faces_set import astronaut_faces
from pocketface.bench.lineup import Lineup
from pocketface.bench.report import Report
from pocketface.runtime.backends import open_restorer
from pocketface.runtime.cli import Command, run_command

from .fakes import FakeCandidate, FakeRestorer, save_bundle, save_crops, save_student


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


def test_a_student_on_a_gpu_is_held_to_itself_on_the_cpu(student: Path) -> None:
    on_cpu = open_restorer(student, device="cpu")
    on_gpu = FakeRestorer(lambda faces: np.clip(on_cpu(faces) + np.float32(0.01), 0, 1), size=64)
    on_gpu.info = dataclasses.replace(on_gpu.info, device="cuda:0")
    lineup = Lineup(FakeCandidate("student", str(student), "fp32", "pytorch", restorer=on_gpu), None, (), None)
    (trial,), _, _ = parity_command.run_trials(lineup, astronaut_faces, None)
    assert (trial.label, trial.device, trial.verdict) == ("student on the CPU", "cpu", "fail")
    assert "1 of 1 copies goes beyond tolerance" in Report("parity", "", trials=[trial]).headline


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


def test_bench_judges_quality_on_people_held_out_and_shows_a_photograph(student: Path, tmp_path: Path) -> None:
    crops, photo, output = tmp_path / "crops", tmp_path / "portrait.png", tmp_path / "report"
    save_crops(crops, {"a": "validation", "b": "validation", "c": "train"})
    cv2.imwrite(str(photo), cv2.cvtColor(data.astronaut(), cv2.COLOR_RGB2BGR))
    words = ("--student", student, "--teacher", "none", "--judge", "none", "--device", "cpu", "-o", output)
    assert call(bench_command, *words, "--crops", crops, "--photo", photo, "--sizes", 32, "--rounds", 1) == 0
    quality = json.loads((output / "report.json").read_text(encoding="utf-8"))["quality"]
    assert quality["people"] == 2
    assert {score["method"] for score in quality["scores"]} == {"input", "bicubic", "student"}
    assert all(score["faces"] == 2 and score["cosine"] is None for score in quality["scores"])
    assert "portrait.png. 1 face was found" in (output / "index.html").read_text(encoding="utf-8")


def test_bench_judges_further_restorers_beside_student_and_teacher(student: Path, tmp_path: Path) -> None:
    other, crops, output = (
        save_student(tmp_path / "other.safetensors", shift=0.02),
        tmp_path / "crops",
        tmp_path / "out",
    )
    save_crops(crops, {"a": "validation", "b": "validation", "c": "validation"})
    words = ("--student", student, "--teacher", "none", "--judge", "none", "--device", "cpu", "-o", output)
    more = ("--also", f"other={other}", "--crops", crops, "--every", 2, "--sizes", 32, "--rounds", 1)
    assert call(bench_command, *words, *more) == 0
    values = json.loads((output / "report.json").read_text(encoding="utf-8"))
    assert {score["method"] for score in values["quality"]["scores"]} == {"input", "bicubic", "student", "other"}
    assert values["quality"]["people"] == 2
    assert [trial["label"] for trial in values["parity"]] == ["student against other"]
    assert {timing["label"] for timing in values["latency"]} == {"student", "other"}
    assert "other weights" in values["provenance"]
    assert f"--also other={other} --crops {crops} --every 2" in values["command"]


def test_no_further_restorer_takes_the_place_of_the_student(student: Path, tmp_path: Path) -> None:
    words = ("--student", student, "--also", f"student={student}", "-o", tmp_path)
    assert call(bench_command, *words) == 2


def test_what_else_lies_in_the_folder_of_a_report_stays(student: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("kept", encoding="utf-8")
    words = ("--student", student, "--teacher", "none", "--judge", "none", "--device", "cpu", "-o", tmp_path)
    assert call(bench_command, *words, "--sizes", 32, "--rounds", 1) == 0
    assert (tmp_path / "mine.txt").read_text(encoding="utf-8") == "kept"


def test_bench_writes_a_page_and_figures(student: Path, tmp_path: Path) -> None:
    bundle, output = save_bundle(tmp_path / "bundle", student, student), tmp_path / "report"
    words = ("--student", student, "--teacher", "none", "--judge", "none", "--device", "cpu", "-o", output)
    assert call(bench_command, bundle, *words, "--sizes", 32, "--rounds", 1) == 0
    values = json.loads((output / "report.json").read_text(encoding="utf-8"))
    assert {timing["label"] for timing in values["latency"]} == {"student", "onnx fp32 256"}
    assert values["quality"] is None
    assert values["sizes"][0]["parameters"] > 0
    assert {"student weights", "bundle", "onnx fp32 256"} <= set(values["provenance"])
    assert (output / "index.html").is_file()
