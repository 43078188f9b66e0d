"""Detections are counted against the one face that is known, on fakes whose mistakes are known."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.data import astronaut

from pocketface.bench import detection
from pocketface.bench.detection import NEAR, Outcome, judge, rows_of
from pocketface.runtime.cli import run_command
from pocketface.runtime.faces.detect import Detection

LANDMARKS = np.array([[202.1, 101.6], [247.8, 103.5], [223.9, 128.3], [201.2, 139.9], [244.0, 141.6]])
EYES = float(np.linalg.norm(LANDMARKS[0] - LANDMARKS[1]))


def seen(shift: float) -> Detection:
    """A face found so many distances between the eyes to the right."""
    return Detection((150, 50, 290, 200), 0.9, LANDMARKS + np.array([shift * EYES, 0.0]))


def test_the_nearest_counts_and_the_others_are_false() -> None:
    assert judge([seen(3.0), seen(0.05), seen(0.1)], LANDMARKS) == (pytest.approx(0.05), 2)


def test_what_is_too_far_away_is_somebody_else() -> None:
    assert judge([seen(NEAR + 0.01)], LANDMARKS) == (None, 1)
    assert judge([seen(NEAR - 0.01)], LANDMARKS)[1] == 0
    assert judge([], LANDMARKS) == (None, 0)


def test_the_table_has_all_and_every_group() -> None:
    rows = rows_of([Outcome("old", 0.04, 0, 20.0), Outcome("new", 0.08, 1, 30.0), Outcome("new", None, 0, 10.0)])
    assert rows[1:] == [
        ["all", "2", "3", "1", "6.0", "6.0", "20.0"],
        ["old", "1", "1", "0", "4.0", "4.0", "20.0"],
        ["new", "1", "2", "1", "8.0", "8.0", "20.0"],
    ]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    Image.fromarray(astronaut()).save(tmp_path / "portrait.png")
    Image.fromarray(np.full((200, 200, 3), 90, np.uint8)).save(tmp_path / "wall.png")
    with (tmp_path / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "group", "identity", "licence", "landmarks5"])
        for name in ("portrait.png", "wall.png"):
            writer.writerow([name, name[:4], name, "none", " ".join(map(str, LANDMARKS.ravel()))])
    return tmp_path


def test_the_shipped_detector_finds_a_portrait_and_nothing_on_a_wall(photos: Path, tmp_path: Path) -> None:
    words = ["--photos", str(photos), "--turned", "never", "-o", str(tmp_path / "out.json")]
    assert run_command(detection, "detection", words) == 0
    rows = json.loads((tmp_path / "out.json").read_text("utf-8"))["detection"]
    assert [row[:4] for row in rows[1:]] == [["all", "1", "2", "0"], ["port", "1", "1", "0"], ["wall", "0", "1", "0"]]


def test_a_manifest_with_nine_numbers_is_one_line(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = (photos / "manifest.csv").read_text("utf-8").replace(" 141.6", "")
    (photos / "manifest.csv").write_text(table, "utf-8")
    assert run_command(detection, "detection", ["--photos", str(photos)]) == 2
    assert "ten numbers" in capsys.readouterr().err
