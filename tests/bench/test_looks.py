"""What the table of looks says of restorers whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest

from pocketface.bench.looks import dress, looks_to_try, measure, rows_of
from pocketface.runtime.options import LOOKS, PhotoOptions
from pocketface.runtime.restorer import Faces

CLEAN: Faces = np.random.default_rng(0).uniform(0.2, 0.8, (2, 3, 32, 32)).astype(np.float32)
AGED: Faces = CLEAN + np.float32(0.1)
LEVELS = {"medium": (AGED, CLEAN)}


def test_a_perfect_restorer_is_best_at_full_strength_and_gains_what_it_must() -> None:
    gains = [
        measure(CLEAN, LEVELS, CLEAN, None, PhotoOptions(strength=strength))["medium dB"]
        for strength in (0.0, 0.5, 0.9)
    ]
    # An error of (1 - s) / 10 in all pixels against one of 1 / 10; float32 leaves a thousandth of a decibel.
    assert gains == pytest.approx([0.0, 20 * np.log10(2), 20.0], abs=1e-2)


def test_tone_changes_clean_faces_and_strength_alone_does_not() -> None:
    change = {
        name: measure(CLEAN, LEVELS, CLEAN, None, options)["clean face, mean change"]
        for name, options in looks_to_try().items()
    }
    assert change["1 alone"] == change["natural"] == 0
    assert change["clear"] > change["cinematic"] > 1


def test_no_strength_gives_the_very_faces_in_every_look() -> None:
    for style in LOOKS:
        assert np.array_equal(dress(AGED, CLEAN, PhotoOptions(style=style, strength=0.0)), AGED)


def test_the_judge_is_asked_and_every_look_has_a_row() -> None:
    found = {
        name: measure(CLEAN, LEVELS, CLEAN, lambda faces: faces.reshape(len(faces), -1), options)
        for name, options in looks_to_try().items()
    }
    rows = rows_of(found)
    assert rows[0][5:] == ["medium dB", "medium cosine", "clean face, mean change"]
    assert rows[-1][:5] == ["cinematic", "0.9", "0.15", "0.08", "yes"]
    assert [row[0] for row in rows[-3:]] == list(LOOKS)
    assert found["1 alone"]["medium cosine"] == pytest.approx(1.0)
