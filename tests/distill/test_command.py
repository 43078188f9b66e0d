from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data

from pocketface.distill import trainer
from pocketface.distill.faces import Crop, write_crops
from pocketface.runtime.cli import main
from pocketface.runtime.models.checkpoint import load_model

RECIPE = """
seed = 4
[model]
architecture = "student"
preset = "nano"
[ageing]
mix = { medium = 1 }
[optimiser]
warmup = 1
[[stages]]
steps = 2
batch = 1
crop = 64
rate = [1, 0.5]
losses = { pixel = 1.0 }
"""


@pytest.fixture(scope="module")
def crops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("crops")
    face = cv2.resize(skimage.data.astronaut()[:220, 110:330], (64, 64), interpolation=cv2.INTER_AREA)
    crops = [
        Crop(f"{number}.png", f"person {number}", split, "astronauts", "public domain", 220.0)
        for number, split in enumerate(("train", "train", "validation"))
    ]
    for number, crop in enumerate(crops):
        cv2.imwrite(str(folder / crop.file), np.roll(face, number, 1)[..., ::-1])
    write_crops(folder, crops)
    (folder / "recipe.toml").write_text(RECIPE, encoding="utf-8")
    return folder


def losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / trainer.LOG).read_text(encoding="utf-8").splitlines()]


def test_the_verb_trains_and_shows_samples(crops: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["distill", str(crops / "recipe.toml"), "--crops", str(crops), "-o", str(tmp_path / "run")]
    assert main([*given, "--device", "cpu", "--sheet-every", "2"]) == 0
    assert "step 2 of 2" in capsys.readouterr().out
    assert len(losses(tmp_path / "run")) == 2
    _, info = load_model(tmp_path / "run" / trainer.AVERAGED, "student")
    assert info.training["data"]["astronauts"]["people"] == 2, "the third is for validation"
    sheet = cv2.imread(str(tmp_path / "run" / "sheets" / "step_000002.jpg"))
    assert sheet is not None
    assert sheet.shape == (64, 5 * 64, 3)  # original, and input and output at two levels


def test_a_teacher_that_nothing_listens_to_is_an_error(
    crops: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["distill", str(crops / "recipe.toml"), "--crops", str(crops), "-o", str(tmp_path / "run")]
    assert main([*given, "--teacher", "teacher"]) == 2
    assert "which has none" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="torchrun's gloo back end is tested where clusters run")
def test_torchrun_trains_one_network_in_two_processes(crops: Path, tmp_path: Path) -> None:
    """The same command; two processes see other faces and end with one set of weights and one log."""
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "pocketface.distill"]
    given = [
        str(crops / "recipe.toml"),
        "--crops",
        str(crops),
        "-o",
        str(tmp_path),
        "--device",
        "cpu",
        "--threads",
        "1",
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, *launch, *given], env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("step 2 of 2") == 1
    assert len(losses(tmp_path)) == 2
    line = json.loads((tmp_path / trainer.LOG).read_text(encoding="utf-8").splitlines()[0])
    assert line["steps"] == 2
    load_model(tmp_path / trainer.AVERAGED, "student")
