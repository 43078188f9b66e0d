"""Restraint figures are those of restorers whose faults are known."""

from __future__ import annotations

import numpy as np
import pytest

from pocketface.bench.restraint import measure, rows_of
from pocketface.runtime.restorer import Faces

from .fakes import FakeRestorer

CLEAN: Faces = np.random.default_rng(0).uniform(0.2, 0.8, (3, 3, 16, 16)).astype(np.float32)
AGED: Faces = np.clip(CLEAN * 0.9, 0, 1).astype(np.float32)


def test_who_does_nothing_changes_nothing() -> None:
    found = measure(FakeRestorer(lambda faces: faces), CLEAN, AGED, None)
    assert found["clean face, mean change"] == found["restored again, mean change"] == 0
    assert found["grey, mean chroma"] == 0
    assert found["sepia, shift of the tone, worst face"] == pytest.approx(0, abs=1e-5)
    assert found["colour cast, worst face"] == pytest.approx(found["colour cast of the input, worst face"])
    assert "clean face, judge cosine, least" not in found


def test_a_tint_is_seen_in_grey_sepia_and_cast() -> None:
    tint = np.array([8, 0, -8], np.float32)[:, None, None] / 255
    found = measure(FakeRestorer(lambda faces: np.clip(faces + tint, 0, 1).astype(np.float32)), CLEAN, AGED, None)
    assert found["grey, mean chroma"] == pytest.approx(16, abs=0.5)
    assert found["sepia, shift of the tone, worst face"] == pytest.approx(8, abs=0.5)
    assert found["clean face, mean change"] == pytest.approx(16 / 3, abs=0.2)
    assert found["restored again, mean change"] == pytest.approx(16 / 3, abs=0.2)


def test_a_brighter_face_is_no_cast() -> None:
    found = measure(FakeRestorer(lambda faces: np.clip(faces + np.float32(0.05), 0, 1)), CLEAN, CLEAN, None)
    assert found["colour cast, worst face"] == pytest.approx(0, abs=0.01)  # float32 means


def test_the_table_has_a_restorer_a_column() -> None:
    found = {name: measure(FakeRestorer(lambda faces: faces), CLEAN, AGED, None) for name in ("one", "two")}
    rows = rows_of(found)
    assert rows[0] == ["", "one", "two"]
    assert all(len(row) == 3 for row in rows)
