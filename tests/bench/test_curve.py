"""Learning curves: the figures are those of the logs and tables, and what cannot be drawn is refused."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from pocketface.bench import accuracy, curve
from pocketface.bench.curve import gains_of, loss_of
from pocketface.bench.readme import read_report
from pocketface.runtime.cli import run_command
from pocketface.runtime.errors import InputError

from .fakes import save_crops, save_student

STAGES = {"stages": [{"steps": 4, "batch": 2, "crop": 32}]}


def call(*words: object) -> int:
    return run_command(curve, "curve", [str(word) for word in words])


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """Four steps; the third was taken again after a resume."""
    folder = tmp_path / "teacher"
    folder.mkdir()
    steps = [(1, 0.8, 0.4), (2, 0.6, 0.3), (3, 9.0, 9.0), (3, 0.4, 0.2), (4, 0.2, 0.1)]
    lines = [json.dumps({"step": step, "loss": loss, "terms": {"pixel": pixel}}) for step, loss, pixel in steps]
    (folder / "log.jsonl").write_text("\n".join([*lines, '{"step": 5, "lo']), encoding="utf-8")
    save_student(folder / "averaged.safetensors", training={"recipe": STAGES, "steps": 4})
    return folder


def test_a_log_becomes_a_line_over_faces_seen(run_folder: Path) -> None:
    assert loss_of(run_folder, "loss").points == [(2, 0.8, 0), (4, 0.6, 0), (6, 0.4, 0), (8, 0.2, 0)]
    assert [y for _, y, _ in loss_of(run_folder, "pixel").points] == [0.4, 0.3, 0.2, 0.1]
    with pytest.raises(InputError, match="'identity'"):
        loss_of(run_folder, "identity")


def test_many_steps_are_averaged_over_stretches(tmp_path: Path) -> None:
    lines = [json.dumps({"step": step, "loss": step % 2, "terms": {}}) for step in range(1, 161)]
    (tmp_path / "log.jsonl").write_text("\n".join(lines), encoding="utf-8")
    recipe = {"stages": [{"steps": 160, "batch": 1, "crop": 32}]}
    save_student(tmp_path / "averaged.safetensors", training={"recipe": recipe, "steps": 160})
    points = loss_of(tmp_path, "loss").points
    assert len(points) == 40
    assert {y for _, y, _ in points} == {0.5}


def test_runs_become_a_picture(run_folder: Path, tmp_path: Path) -> None:
    drawn = tmp_path / "loss.svg"
    assert call(run_folder, "--term", "pixel", "-o", drawn) == 0
    words = "".join(ET.fromstring(drawn.read_text(encoding="utf-8")).itertext())  # noqa: S314 - written here
    assert "faces seen" in words
    assert "teacher" in words


def test_checkpoints_of_one_run_make_one_line_a_level(tmp_path: Path) -> None:
    save_crops(tmp_path / "crops", {"a": "validation", "b": "validation"})
    words: list[str] = []
    for steps in (4, 1):
        file = save_student(tmp_path / f"{steps}.safetensors", training={"recipe": STAGES, "steps": steps})
        words.append(f"tiny@{steps}={file}")
    table = tmp_path / "table.json"
    scored = [*words, "--crops", str(tmp_path / "crops"), "--levels", "mild", "x4", "--device", "cpu", "-o", str(table)]
    assert run_command(accuracy, "accuracy", scored) == 0
    series = gains_of([read_report(table)])
    assert [one.name for one in series] == ["tiny, mild", "tiny, x4"]
    early, late = series[0].points
    assert late[0] == pytest.approx(4 * early[0])
    assert early[1] == late[1]  # the weights are the same
    assert len(gains_of([read_report(table)], ["x4"])) == 1
    assert call("--tables", table, "-o", tmp_path / "gain.svg") == 0
    assert "gain over the input" in (tmp_path / "gain.svg").read_text(encoding="utf-8")


def test_tables_without_training_are_refused() -> None:
    with pytest.raises(InputError, match="tell all their training"):
        gains_of([{"quality": None, "training": {}}])


@pytest.mark.parametrize("words", [(), ("run", "--tables", "t.json"), ("no run",), ("--tables", "none.json")])
def test_arguments_that_cannot_be_used_exit_with_2(words: tuple[str, ...], tmp_path: Path) -> None:
    assert call(*words, "-o", tmp_path / "curve.svg") == 2
    assert not (tmp_path / "curve.svg").exists()
