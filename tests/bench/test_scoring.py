"""Scoring restorers: every figure against a case whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from pocketface.bench.faces_set import Pixels, astronaut_faces, to_faces, to_image
from pocketface.bench.scoring import BICUBIC, CLEAN, INPUT, Quality, score_restorers, steps_of
from pocketface.runtime.faces.degrade import degrade_face
from pocketface.runtime.restorer import Faces

from .fakes import FakeDetector, FakeRestorer

STEADY = FakeDetector(lambda _: 0.0)  # finds every face exactly where alignment put it


@pytest.fixture(scope="module")
def crops() -> list[Pixels]:
    """The astronaut and its mirror images: three crops."""
    face = to_image(astronaut_faces(64).targets[0])
    return [face, face[:, ::-1].copy(), face[::-1].copy()]


def embed(faces: Faces) -> np.ndarray:
    """Where the light is: eight by eight means, so that mirrored faces are other "people"."""
    blocks = faces.reshape(len(faces), 3, 8, 8, 8, 8).mean(axis=(1, 3, 5)).reshape(len(faces), -1)
    return (blocks - 0.5) / np.linalg.norm(blocks - 0.5, axis=1, keepdims=True)


def cell(quality: Quality, method: str, level: str):
    return next(score for score in quality.scores if (score.method, score.level) == (method, level))


def test_a_restorer_that_does_nothing_gains_nothing_and_a_perfect_one_wins(crops: list[Pixels]) -> None:
    clean = to_faces(crops)
    restorers = {"nothing": FakeRestorer(lambda faces: faces), "oracle": FakeRestorer(lambda _: clean)}
    quality = score_restorers(crops, restorers, STEADY, judge=embed, levels=["medium"])
    assert cell(quality, "nothing", "medium").gain_db == cell(quality, INPUT, "medium").gain_db
    assert cell(quality, "nothing", "medium").gain_db.mean == 0
    oracle = cell(quality, "oracle", "medium")
    assert oracle.ssim.mean == pytest.approx(1)
    assert oracle.gain_db.mean > 100  # identical faces count as 200 dB
    assert oracle.cosine is not None
    assert oracle.cosine.mean == pytest.approx(1)
    assert oracle.sharpness is not None
    assert oracle.sharpness.mean == pytest.approx(1)


def test_bicubic_equals_the_input_where_only_resolution_was_lost_and_beats_it_elsewhere(crops: list[Pixels]) -> None:
    quality = score_restorers(crops, {}, STEADY, levels=["x8", "severe"])
    assert cell(quality, BICUBIC, "x8").psnr_db == cell(quality, INPUT, "x8").psnr_db
    assert cell(quality, BICUBIC, "severe").gain_db.mean > 1


def test_without_a_judge_there_is_no_identity_at_all(crops: list[Pixels]) -> None:
    quality = score_restorers(crops, {}, STEADY, identities=["a", "a", "b"], levels=["mild"])
    assert all(score.cosine is None for score in quality.scores)
    assert quality.verification == ()
    assert quality.people == 2


def test_the_error_is_the_standard_error_over_faces(crops: list[Pixels]) -> None:
    offsets = iter([0.1, 0.2, 0.05])

    def off(faces: Faces) -> Faces:
        return np.stack([np.full_like(face, next(offsets)) for face in faces])

    black = [np.zeros_like(crop) for crop in crops]
    score = cell(score_restorers(black, {"off": FakeRestorer(off)}, STEADY, levels=["x4"]), "off", "x4")
    decibels = -20 * np.log10([0.1, 0.2, 0.05])
    # float32 holds the offsets to 1e-8
    assert score.psnr_db.mean == pytest.approx(decibels.mean(), abs=1e-4)
    assert score.psnr_db.error == pytest.approx(decibels.std(ddof=1) / 3**0.5, abs=1e-4)


def test_a_single_face_has_no_error(crops: list[Pixels]) -> None:
    assert cell(score_restorers(crops[:1], {}, STEADY, levels=["mild"]), INPUT, "mild").psnr_db.error is None


def test_people_with_two_photographs_are_verified(crops: list[Pixels]) -> None:
    people = [crops[0], crops[0], crops[2], crops[2]]
    quality = score_restorers(people, {}, STEADY, judge=embed, identities=["a", "a", "b", "b"], levels=["x4"])
    found = {entry.method: entry for entry in quality.verification}
    assert set(found) == {CLEAN, INPUT, BICUBIC}
    assert found[CLEAN].rank1 == found[CLEAN].tar == 1
    assert found[CLEAN].people == 2


def test_batches_do_not_change_a_face_and_steps_are_counted(crops: list[Pixels]) -> None:
    many = crops * 3  # nine crops: two batches
    seen: list[str] = []
    one = score_restorers(many, {}, STEADY, levels=["mild"], step=seen.append)
    assert len(seen) == steps_of(len(many), 1) == 2
    again = score_restorers(many, {}, STEADY, levels=["mild"])
    assert one == again


def test_landmarks_are_held_against_those_of_the_clean_face(crops: list[Pixels]) -> None:
    """The detector moves its landmarks by as many pixels as the picture is darker than the clean crops."""
    black = FakeRestorer(np.zeros_like)
    detector = FakeDetector(lambda image: 0.0 if image.any() else 2.0)
    quality = score_restorers(crops, {"black": black}, detector, levels=["mild"])
    error = cell(quality, "black", "mild").landmark_error
    assert error is not None
    eyes = 64 / 512 * 125.9216  # the FFHQ template's, at 64 pixels
    assert error.mean == pytest.approx(2 / eyes, rel=1e-4)
    assert cell(quality, "black", "mild").not_found == 0
    assert cell(quality, INPUT, "mild").landmark_error is not None


def test_faces_that_are_lost_are_counted_and_leave_the_mean(crops: list[Pixels]) -> None:
    clean = to_faces(crops)

    def lose_the_first(_: Faces) -> Faces:
        return np.concatenate([np.zeros_like(clean[:1]), clean[1:]])

    detector = FakeDetector(lambda image: 0.0 if image.any() else None)
    quality = score_restorers(crops, {"loses": FakeRestorer(lose_the_first)}, detector, levels=["mild"])
    score = cell(quality, "loses", "mild")
    assert score.not_found == pytest.approx(1 / 3)
    assert score.landmark_error is not None
    assert score.landmark_error.mean == 0


def test_without_a_face_in_the_originals_there_is_nothing_to_find(crops: list[Pixels]) -> None:
    quality = score_restorers(crops, {}, FakeDetector(lambda _: None), levels=["mild"])
    assert all(score.landmark_error is None and score.not_found is None for score in quality.scores)


def test_faces_without_detail_have_no_sharpness(crops: list[Pixels]) -> None:
    grey = [np.full_like(crop, 128) for crop in crops]
    assert cell(score_restorers(grey, {}, STEADY, levels=["x4"]), INPUT, "x4").sharpness is None


def test_every_third_face_is_degraded_as_it_is_in_the_whole_set(crops: list[Pixels]) -> None:
    seen: list[Faces] = []

    def look(faces: Faces) -> Faces:
        seen.append(faces)
        return faces

    score_restorers(crops, {"looks": FakeRestorer(look)}, STEADY, levels=["severe"], every=3)
    expected = to_faces([degrade_face(crop, "severe", seed) for crop, seed in zip(crops, (0, 3, 6), strict=True)])
    np.testing.assert_array_equal(np.concatenate(seen), expected)
