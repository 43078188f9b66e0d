"""Where one photograph's time goes."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
from PIL import Image
from skimage.data import astronaut

from pocketface.bench import photo
from pocketface.bench.photo import ALL, REFERENCE, describe, measure
from pocketface.runtime import cli
from pocketface.runtime.errors import ImageError, OutputError


@pytest.fixture
def portrait(tmp_path: Path) -> Path:
    path = tmp_path / "portrait.jpg"
    Image.fromarray(astronaut()).save(path)
    return path


def test_each_stage_is_told_beside_opencv(portrait: Path) -> None:
    ticks = itertools.count()
    times = measure(portrait, rounds=2, clock=lambda: float(next(ticks)))
    assert (times.photo, times.width, times.height, times.faces, times.rounds) == ("portrait.jpg", 512, 512, 1, 2)
    # Every look at the clock is one second later: OpenCV takes one, each stage one, all of them more.
    assert times.least_ms[REFERENCE] == times.least_ms["read"] == times.least_ms["paste"] == 1000
    assert times.ratio["write"] == 1
    assert times.ratio[ALL] > 10
    assert times.peak_mib > 50
    assert "| all |" in describe(times)


def test_the_command_prints_and_writes(portrait: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = tmp_path / "times.json"
    assert cli.run_command(photo, "photo", [str(portrait), "--rounds", "1", "--json", str(record)]) == 0
    assert "portrait.jpg: 0.3 megapixels, 1 face(s), 1 rounds" in capsys.readouterr().out
    assert json.loads(record.read_text(encoding="utf-8"))["rounds"] == 1


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="No such file"):
        measure(tmp_path / "none.jpg", rounds=1)
    bitmap = tmp_path / "a.bmp"
    Image.fromarray(astronaut()).save(bitmap)
    with pytest.raises(OutputError, match="suffix"):
        measure(bitmap, rounds=1)
