"""Verification figures on tables whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from pocketface.distill.identity_validation import pair_probes, validate_identity, verify_identities
from pocketface.runtime.errors import InputError


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


def test_probes_are_paired_with_their_own_person() -> None:
    gallery, probes, own = pair_probes(["a", "b", "a", "c", "b", "a"])
    assert (gallery, probes, own) == ([0, 1, 3], [2, 4, 5], [0, 1, 0])


def test_degraded_probes_are_degraded() -> None:
    def mean_colour(faces: np.ndarray) -> np.ndarray:
        detail = np.stack([faces.mean((1, 2, 3)), faces.std((1, 2, 3))], 1)
        return detail / np.linalg.norm(detail, axis=1, keepdims=True)

    images = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)
    table = validate_identity(mean_colour, images, ["a", "b", "a", "b"], ["severe"])
    assert list(table) == ["clean", "severe"]
    # Noise loses its spread when it is blurred, so that the same picture looks less like itself.
    assert table["severe"].genuine_median < table["clean"].genuine_median


def test_people_with_one_face_cannot_be_verified() -> None:
    with pytest.raises(InputError, match="two faces"):
        validate_identity(lambda faces: faces[:, 0, 0], np.zeros((2, 8, 8, 3), np.uint8), ["a", "b"], [])
    with pytest.raises(InputError, match="two people"):
        verify_identities(np.ones((1, 1)), np.array([0]))
