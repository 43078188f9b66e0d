from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pocketface.bench.readme import fill_tables, read_report
from pocketface.bench.report import FORMAT
from pocketface.runtime.errors import InputError

DOCUMENT = "Before.\n<!-- figures: sizes -->\nold, wrong\n<!-- end -->\nAfter.\n"


@pytest.fixture
def report() -> dict[str, Any]:
    size = {"label": "student", "bytes": 2621440, "parameters": 1290000, "macs": {"256": 346000000}}
    return {"format": FORMAT, "quality": None, "parity": [], "latency": [], "sizes": [size]}


def test_marked_tables_are_made_anew(report: dict[str, Any]) -> None:
    text = fill_tables(DOCUMENT, report)
    assert "| student | 2,621,440 | 1,290,000 | 0.35 |" in text
    assert "old" not in text
    assert text.startswith("Before.\n<!-- figures: sizes -->\n| file |")
    assert text.endswith("<!-- end -->\nAfter.\n")
    assert fill_tables(text, report) == text


def test_a_table_without_figures_does_not_keep_the_old_ones(report: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="figures for the table 'validation'"):
        fill_tables(DOCUMENT.replace("sizes", "validation"), report)


def test_an_unknown_marker_is_named(report: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="'speed'"):
        fill_tables(DOCUMENT.replace("sizes", "speed"), report)


def test_scores_show_their_gain(report: dict[str, Any]) -> None:
    figure = {"mean": 0.5, "error": 0.04}
    score = {"method": "student", "level": "mild", "psnr_db": {"mean": 30.0, "error": 0.1}, "gain_db": figure}
    score |= {"ssim": {"mean": 0.9, "error": None}, "sharpness": figure, "cosine": None}
    score |= {"landmark_error": {"mean": 0.0123, "error": 0.001}, "not_found": 0.25}
    report["quality"] = {"scores": [score], "verification": []}
    text = fill_tables(DOCUMENT.replace("sizes", "validation"), report)
    assert "| mild | student | 30.00 | +0.50 ± 0.04 | 0.900 | 0.500 | - | 1.23 | 25.0 |" in text


@pytest.mark.parametrize("content", ["", "{", json.dumps({"format": "other"}), "[]"])
def test_other_files_are_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "report.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(InputError):
        read_report(path)
