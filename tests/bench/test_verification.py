"""Verification against cases whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from pocketface.bench.verification import accept_at, pair_people, pair_probes, verify, verify_identities
from pocketface.runtime.errors import InputError


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_perfect_embeddings_find_everyone() -> None:
    gallery = np.eye(40)
    found = verify("clean", "mild", gallery, gallery)
    assert (found.rank1, found.tar, found.genuine_cosine, found.people) == (1, 1, 1, 40)


def test_embeddings_that_know_nothing_find_nobody_but_by_chance() -> None:
    random = np.random.default_rng(0)
    found = verify("input", "mild", unit(random.normal(size=(60, 32))), unit(random.normal(size=(60, 32))), far=0.05)
    # chance is 1/60 and 5 %; 60 draws stray by a few of their own size
    assert found.rank1 < 0.1
    assert found.tar < 0.2


def test_the_same_embedding_for_everyone_accepts_nobody() -> None:
    same = np.ones((40, 4)) / 2
    assert verify("input", "mild", same, same).tar == 0  # all impostors tie with the genuine pairs


def test_one_swapped_pair_costs_two_people() -> None:
    gallery = np.eye(40)
    probes = gallery.copy()
    probes[[0, 1]] = probes[[1, 0]]
    found = verify("input", "mild", probes, gallery, far=0.01)  # the swap makes two impostors of 1,560
    assert found.rank1 == pytest.approx(0.95)
    assert found.tar == pytest.approx(0.95)


def test_too_few_people_for_the_rate_are_refused() -> None:
    with pytest.raises(InputError, match="false accept rate"):
        verify("input", "mild", np.eye(5), np.eye(5))
    with pytest.raises(InputError, match="two people"):
        verify("input", "mild", np.eye(1), np.eye(1))


def test_pairs_are_the_first_two_photographs_of_a_person() -> None:
    assert pair_people(["a", "b", "a", "c", "b", "a"]) == [(0, 2), (1, 4)]


def test_probes_are_paired_with_their_own_person() -> None:
    gallery, probes, own = pair_probes(["a", "b", "a", "c", "b", "a"])
    assert (gallery, probes, own) == ([0, 1, 3], [2, 4, 5], [0, 1, 0])


def test_a_perfect_table_scores_one() -> None:
    figures = verify_identities(np.eye(3), np.arange(3))
    assert (figures.rank1, figures.auc, figures.tar) == (1.0, 1.0, 1.0)
    assert (figures.genuine_least, figures.impostor_most) == (1.0, 0.0)


def test_a_table_of_equal_cosines_scores_half() -> None:
    figures = verify_identities(np.full((4, 4), 0.5), np.arange(4))
    assert figures.auc == 0.5
    assert figures.tar == 0.0  # a pair at the threshold is not accepted


def test_figures_follow_by_hand() -> None:
    cosines = np.array([[0.9, 0.1, 0.2], [0.6, 0.5, 0.3]])
    figures = verify_identities(cosines, np.array([0, 1]), far=0.25)
    # genuine 0.9 and 0.5; impostors 0.1, 0.2, 0.6, 0.3: 0.9 beats four of them, 0.5 three.
    assert figures.auc == pytest.approx(7 / 8)
    assert figures.rank1 == 0.5
    # One impostor of four may pass, so that the threshold is the second highest.
    assert (figures.threshold, figures.tar) == (0.3, 1.0)
    assert verify_identities(cosines, np.array([0, 1]), far=0.1).tar == 0.5


def test_a_table_without_a_second_person_is_refused() -> None:
    with pytest.raises(InputError, match="two people"):
        verify_identities(np.ones((1, 1)), np.array([0]))


@pytest.mark.parametrize(("far", "threshold"), [(0.0, 99), (0.001, 99), (0.01, 98), (0.1, 89)])
def test_at_most_the_stated_share_of_impostors_is_accepted(far: float, threshold: int) -> None:
    impostors = np.random.default_rng(0).permutation(100).astype(float)
    assert accept_at(np.array([89.5, 98.5, 200.0]), impostors, far)[1] == threshold
    assert (impostors > threshold).mean() <= far
