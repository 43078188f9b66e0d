"""Engines are fed within the contract, and nobody's arrays are written over."""

from __future__ import annotations

import numpy as np
import pytest

from pocketface.runtime.backends.batches import restore_in_batches
from pocketface.runtime.restorer import Faces, RestorerInfo

INFO = RestorerInfo("fake", "numpy", "cpu", None, 8, 16, "0123")
FACES: Faces = np.random.default_rng(0).random((5, 3, 16, 16), np.float32)


@pytest.mark.parametrize("limit", [2, 5, 8])
def test_answers_are_clamped_whatever_the_batches(limit: int) -> None:
    sizes = list[int]()

    def twice(faces: Faces) -> Faces:
        sizes.append(len(faces))
        return 2 * faces

    restored = restore_in_batches(twice, FACES, INFO, limit)
    assert np.array_equal(restored, np.minimum(2 * FACES, 1))
    assert max(sizes) <= limit
    assert sum(sizes) == len(FACES)


def test_an_engine_that_hands_its_input_back_does_not_share_it() -> None:
    given = FACES.copy()
    restored = restore_in_batches(lambda faces: faces, given, INFO, 8)
    restored[:] = 0
    assert np.array_equal(given, FACES)


def test_an_engine_may_answer_in_its_own_layout_type_or_memory() -> None:
    kept = np.float32(2) * FACES
    kept.flags.writeable = False
    answers = [kept, kept.astype(np.float64), np.ascontiguousarray(kept.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)]
    for answer in answers:
        restored = restore_in_batches(lambda _, answer=answer: answer, FACES, INFO, 8)
        assert restored.flags.c_contiguous
        assert restored.dtype == np.float32
        assert np.array_equal(restored, np.minimum(2 * FACES, 1))
    assert kept.max() > 1  # read-only: untouched


def test_a_broken_network_is_seen() -> None:
    assert np.isnan(restore_in_batches(lambda faces: faces * np.float32(np.nan), FACES, INFO, 8)).all()
