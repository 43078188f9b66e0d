from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data

from pocketface.distill.faces import load_crops, prepare_crops, read_crops, split_of
from pocketface.runtime.errors import ImageError, InputError

# The astronaut's eyes, nose tip and mouth corners, x y in pixels; good to a pixel or two, read off the photograph.
ASTRONAUT = "197 105 245 102 225 130 205 152 246 150"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    cv2.imwrite(str(folder / "a.png"), cv2.cvtColor(skimage.data.astronaut(), cv2.COLOR_RGB2BGR))
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "group", "identity", "licence", "landmarks5"])
        writer.writerows(["a.png", "nasa", f"person {number}", "public domain", ASTRONAUT] for number in range(40))
    return folder


def test_crops_are_aligned_and_split_by_person(photos: Path, tmp_path: Path) -> None:
    crops = prepare_crops(photos, tmp_path / "crops", 64, 50)
    assert {crop.split for crop in crops} == {"train", "validation"}
    assert crops == read_crops(tmp_path / "crops")
    assert all(crop.split == split_of(crop.identity) for crop in crops)
    faces = load_crops(tmp_path / "crops", crops[:2])
    assert faces.shape == (2, 64, 64, 3)
    skin = faces[0, 36:44, 28:36].reshape(-1, 3).mean(0)
    assert skin[0] > skin[1] > skin[2], "the middle of an aligned face is skin, and the order is RGB"


def test_the_split_is_stable_and_grows(photos: Path, tmp_path: Path) -> None:
    names = [f"person {number}" for number in range(400)]
    one, four = ({name for name in names if split_of(name, share) == "validation"} for share in (1, 4))
    assert one < four
    # Binomial with 400 draws: standard deviations 6.6 and 10.
    assert abs(len(one) - 50) < 4 * 6.6
    assert abs(len(four) - 200) < 4 * 10
    crops = prepare_crops(photos, tmp_path / "crops", 32, 50, {"nasa": 8})
    assert {crop.split for crop in crops} == {"validation"}


def test_small_faces_are_left_out(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least 5000 px"):
        prepare_crops(photos, tmp_path / "crops", 64, 5000)
    assert not (tmp_path / "crops").exists()


def test_a_damaged_photograph_stops_and_leaves_the_old_crops(photos: Path, tmp_path: Path) -> None:
    before = prepare_crops(photos, tmp_path / "crops", 32, 50)
    (photos / "a.png").write_bytes(b"not an image")
    with pytest.raises(ImageError, match=r"a\.png"):
        prepare_crops(photos, tmp_path / "crops", 32, 50)
    assert read_crops(tmp_path / "crops") == before


def test_crops_of_mixed_sizes_are_refused(photos: Path, tmp_path: Path) -> None:
    crops = prepare_crops(photos, tmp_path / "crops", 32, 50)
    cv2.imwrite(str(tmp_path / "crops" / crops[1].file), np.zeros((16, 16, 3), np.uint8))
    with pytest.raises(ImageError, match="16, 16"):
        load_crops(tmp_path / "crops", crops[:2])


@pytest.mark.parametrize("arguments", [["--photos", "nowhere", "--output", "x"], ["--photos", ".", "--output", "x"]])
def test_the_command_fails_in_one_line(arguments: list[str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pocketface.distill.faces", *arguments]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)  # noqa: S603
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert "manifest.csv" in ended.stderr
