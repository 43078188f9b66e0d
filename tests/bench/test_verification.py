"""Verification against cases whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from pocketface.bench.verification import pair_people, verify
from pocketface.runtime.errors import InputError


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_perfect_embeddings_find_everyone() -> None:
    gallery = np.eye(20)
    found = verify("clean", "mild", gallery, gallery)
    assert (found.rank1, found.tar, found.genuine_cosine, found.people) == (1, 1, 1, 20)


def test_embeddings_that_know_nothing_find_nobody_but_by_chance() -> None:
    random = np.random.default_rng(0)
    found = verify("input", "mild", unit(random.normal(size=(60, 32))), unit(random.normal(size=(60, 32))), far=0.05)
    # chance is 1/60 and 5 %; 60 draws stray by a few of their own size
    assert found.rank1 < 0.1
    assert found.tar < 0.2


def test_the_same_embedding_for_everyone_accepts_nobody() -> None:
    same = np.ones((20, 4)) / 2
    assert verify("input", "mild", same, same).tar == 0  # all impostors tie with the genuine pairs


def test_one_swapped_pair_costs_two_people() -> None:
    gallery = np.eye(20)
    probes = gallery.copy()
    probes[[0, 1]] = probes[[1, 0]]
    found = verify("input", "mild", probes, gallery)
    assert found.rank1 == pytest.approx(0.9)
    assert found.tar == pytest.approx(0.9)


def test_too_few_people_for_the_rate_are_refused() -> None:
    with pytest.raises(InputError, match="false accept rate"):
        verify("input", "mild", np.eye(5), np.eye(5), far=0.01)
    with pytest.raises(InputError, match="two people"):
        verify("input", "mild", np.eye(1), np.eye(1))


def test_pairs_are_the_first_two_photographs_of_a_person() -> None:
    assert pair_people(["a", "b", "a", "c", "b", "a"]) == [(0, 2), (1, 4)]
