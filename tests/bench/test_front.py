"""The front joins bytes, time and quality, and says what a precision costs."""

from __future__ import annotations

from pathlib import Path

import pytest

from pocketface.bench.candidates import Candidate
from pocketface.bench.front import Point, picture_of, points_of, rows_of
from pocketface.runtime.errors import InputError

from .fakes import save_student


def _point(preset: str, precision: str, gain: float, cosine: float | None = 0.7) -> Point:
    return Point(
        preset, precision, 1000, 5.0, {"medium": gain, "severe": gain + 1}, {"medium": cosine, "severe": cosine}
    )


def test_costs_are_against_the_same_presets_exact_file() -> None:
    points = [_point("nano", "fp32", 1.0), _point("nano", "int8", 0.9, 0.69), _point("base", "fp32", 2.0)]
    head, exact, rounded, base = rows_of(points)
    assert head[:4] == ["preset", "precision", "bytes", "ms at 256"]
    assert exact[-2:] == base[-2:] == ["-", "-"]
    assert rounded[-2:] == ["0.100 (0.100)", "0.0100 (0.0100)"]


def test_the_worst_level_is_told_beside_the_mean() -> None:
    one, other = (
        _point("nano", "fp32", 1.0),
        Point("nano", "int8", 9, 1.0, {"medium": 1.0, "severe": 1.8}, {"medium": None, "severe": None}),
    )
    assert rows_of([one, other])[-1][-2:] == ["0.100 (0.200)", "-"]


def test_a_preset_without_an_exact_file_is_refused() -> None:
    with pytest.raises(InputError, match="nano-fp32"):
        rows_of([_point("nano", "int8", 1.0)])


def test_the_picture_has_a_line_a_precision() -> None:
    drawn = picture_of([_point("nano", "fp32", 1.0), _point("nano", "int8", 0.9)])
    assert drawn.startswith("<svg")
    assert ">fp32<" in drawn
    assert ">int8<" in drawn
    assert "megabytes" in picture_of([_point("nano", "fp32", 1.0)], by_bytes=True)


def test_files_are_timed_and_found_in_the_table(tmp_path: Path) -> None:
    student = save_student(tmp_path / "a.safetensors")
    score = {"method": "nano-fp32", "level": "medium", "gain_db": {"mean": 1.5}, "cosine": None}
    table = {"quality": {"scores": [score]}}
    (point,) = points_of([Candidate("nano-fp32", str(student))], table, 32, 1)
    assert (point.preset, point.precision, point.gains) == ("nano", "fp32", {"medium": 1.5})
    assert point.bytes == student.stat().st_size
    assert point.milliseconds > 0
    with pytest.raises(InputError, match="no such row"):
        points_of([Candidate("base-fp32", str(student))], table, 32, 1)
