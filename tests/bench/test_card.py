"""A card is written from files and headers, and refuses to be written without figures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pocketface.bench.card import by_group, card_of
from pocketface.distill.faces import Crop
from pocketface.runtime.errors import InputError

from .fakes import FakeRestorer, save_student

FRONT = [["preset", "precision"], ["tiny", "fp32"]]
REPORT = {"quality": {"scores": [{"faces": 215}]}}
TRAINING: dict[str, object] = {
    "steps": 7,
    "recipe": {"teacher": "teacher", "stages": [{"batch": 8, "losses": {"pixel": 1.0, "identity": 0.1}}]},
    "data": {"old": {"faces": 3, "people": 2, "licence": ["public domain"]}},
    "began_with": {"steps": 5, "recipe": {"stages": [{"batch": 4, "losses": {"pixel": 1.0}}]}},
}


def test_groups_are_told_apart_with_their_errors() -> None:
    crops = [Crop(f"{i}.png", str(i), "validation", "old" if i < 3 else "new", "CC0-1.0", 300.0) for i in range(4)]
    pixels = [np.random.default_rng(i).integers(0, 255, (32, 32, 3), np.uint8) for i in range(4)]
    rows = by_group(FakeRestorer(lambda faces: faces), crops, pixels, None)
    assert rows[1] == ["new", "medium", "1", "+0.00", "-", "-"]
    assert rows[2] == ["old", "medium", "3", "+0.00 ± 0.00", "-", "-"]
    assert len(rows) == 5


def test_a_card_tells_data_licence_history_and_figures(tmp_path: Path) -> None:
    student = save_student(tmp_path / "tiny.safetensors", training=TRAINING)
    card = card_of(str(student), "tiny", [["group"], ["old"]], REPORT, FRONT)
    wanted = ["public domain", "| tiny | fp32 |", "all 215"]
    wanted.append("7 steps of 8 faces, led by teacher; terms: identity, pixel")
    wanted.append("5 steps of 4 faces, without a teacher; terms: pixel")
    for said in wanted:
        assert said in card


def test_a_preset_that_the_front_lacks_is_refused(tmp_path: Path) -> None:
    student = save_student(tmp_path / "tiny.safetensors")
    with pytest.raises(InputError, match="preset huge"):
        card_of(str(student), "huge", [["group"]], REPORT, FRONT)
