"""The comparison sheet: who is shown is a rule, what is shown is labelled, and its bytes have a limit."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from pocketface.bench import sheet
from pocketface.bench.sheet import attributions, choose_rows, restore_faces, write_jpeg
from pocketface.distill.faces import Crop
from pocketface.runtime.cli import run_command
from pocketface.runtime.errors import InputError, OutputError
from pocketface.runtime.faces.degrade import degrade_face

from .fakes import FakeRestorer, save_crops

NOISE = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)


def crop(group: str, licence: str = "CC0") -> Crop:
    return Crop("a.png", "a", "validation", group, licence, 300)


CROPS = [crop("modern")] * 10 + [crop("old")] * 4 + [crop("rare")]


def test_each_group_gets_as_many_rows_evenly_spaced() -> None:
    assert choose_rows(CROPS, 4) == [2, 7, 12, 14]
    assert choose_rows(CROPS, 4, ["modern"]) == [1, 3, 6, 8]
    assert choose_rows(CROPS, 2, ["old", "modern"]) == [12, 5]


def test_a_small_group_shows_each_face_once() -> None:
    assert choose_rows(CROPS, 9)[-1:] == [14]
    assert len(set(choose_rows(CROPS, 9))) == 7


@pytest.mark.parametrize(("count", "groups"), [(0, None), (3, ["none"])])
def test_rows_that_cannot_be_chosen_are_refused(count: int, groups: list[str] | None) -> None:
    with pytest.raises(InputError):
        choose_rows(CROPS, count, groups)


def test_faces_are_degraded_as_in_the_validation_table() -> None:
    (example,) = restore_faces({7: NOISE}, "medium", {"nothing": FakeRestorer(lambda faces: faces)})
    shown = {picture.label: picture for picture in example.pictures}
    assert list(shown) == ["input", "nothing", "original"]
    np.testing.assert_array_equal(shown["input"].pixels, degrade_face(NOISE, "medium", 7))
    np.testing.assert_array_equal(shown["original"].pixels, NOISE)
    assert shown["original"].figures == ""
    assert "dB, sharpness" in shown["nothing"].figures


def test_every_licence_is_named_with_its_rows() -> None:
    shown = [crop("a", "CC BY 4.0 (somebody)"), crop("b", "public domain"), crop("a", "CC BY 4.0 (somebody)")]
    assert attributions(shown) == [
        "Rows 1, 3 of each level: CC BY 4.0 (somebody)",
        "Row 2 of each level: public domain",
    ]


def test_a_large_picture_is_compressed_more_and_a_hopeless_one_is_refused(tmp_path: Path) -> None:
    noise, path = np.tile(NOISE, (4, 4, 1)), tmp_path / "noise.jpg"
    write_jpeg(noise, path, 1_000_000)
    best = path.stat().st_size
    write_jpeg(noise, path, best // 2)
    assert 0 < path.stat().st_size <= best // 2
    with pytest.raises(OutputError, match="at most 1,000 bytes"):
        write_jpeg(noise, tmp_path / "none.jpg", 1_000)
    assert not (tmp_path / "none.jpg").exists()


def test_the_command_draws_a_sheet(student: Path, tmp_path: Path) -> None:
    save_crops(tmp_path / "crops", {"a": "validation", "b": "train", "c": "validation"})
    path = tmp_path / "sheet.jpg"
    words = ["--crops", str(tmp_path / "crops"), f"tiny={student}", "--levels", "mild", "x4", "--rows", "2"]
    assert run_command(sheet, "sheet", [*words, "--device", "cpu", "-o", str(path)]) == 0
    drawn = cv2.imread(str(path))
    assert drawn is not None
    height, width = drawn.shape[:2]
    assert width > 3 * 64
    assert height > 2 * 2 * 64
    assert run_command(sheet, "sheet", [*words, "-o", str(tmp_path / "sheet.png")]) == 2
