"""The demo without its slow half: exporting is replaced by a bundle made at once."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from skimage import data

from pocketface.bench import demo
from pocketface.runtime.cli import run_command
from pocketface.runtime.faces.detect import open_detector

from .fakes import save_bundle, save_student


def test_ageing_is_seeded_and_leaves_a_face_to_be_found() -> None:
    portrait = np.ascontiguousarray(data.astronaut())
    aged = demo.age(portrait, 0)
    np.testing.assert_array_equal(aged, demo.age(portrait, 0))
    assert (aged != demo.age(portrait, 1)).any()
    assert aged.shape == portrait.shape
    assert 4 < np.abs(aged.astype(float) - portrait).mean() < 20  # grey levels: visibly worse, far from destroyed
    assert len(open_detector()(aged)) == 1


@pytest.mark.parametrize(("shift", "code"), [(0.0, 0), (0.02, 1)])
def test_the_demo_writes_everything_and_ends_with_the_address(
    student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], shift: float,
    code: int,
) -> None:  # fmt: skip
    def export(checkpoint: Path, bundle: Path) -> bool:
        save_bundle(bundle, checkpoint, save_student(tmp_path / "file.safetensors", shift))
        return True

    monkeypatch.setattr(demo, "export_and_verify", export)
    monkeypatch.setattr(demo, "_SIZES", (32,))
    monkeypatch.setattr(demo, "choose_judge", lambda _: None)
    output = tmp_path / "demo"
    words = ["-o", str(output), "--student", str(student), "--teacher", str(student), "--device", "cpu"]
    assert run_command(demo, "demo", words) == code
    assert capsys.readouterr().out.splitlines()[-1] == (output / "index.html").as_uri()
    assert {path.name for path in output.iterdir()} == {
        "original.png", "aged.png", "student.png", "teacher.png", "bundle", "report.json", "index.html",
    }  # fmt: skip
    assert json.loads((output / "report.json").read_text(encoding="utf-8"))["title"] == "demo"
