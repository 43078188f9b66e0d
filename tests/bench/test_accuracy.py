"""The validation table: every figure against a case whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from pocketface.bench.accuracy import BICUBIC, CLEAN, INPUT, Quality, score_restorers, steps_of
from pocketface.bench.faces_set import Pixels, astronaut_faces, to_faces, to_image
from pocketface.runtime.restorer import Faces

from .fakes import FakeRestorer


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
    quality = score_restorers(crops, restorers, judge=embed, levels=["medium"])
    assert cell(quality, "nothing", "medium").gain_db == cell(quality, INPUT, "medium").gain_db
    assert cell(quality, "nothing", "medium").gain_db.mean == 0
    oracle = cell(quality, "oracle", "medium")
    assert oracle.ssim.mean == pytest.approx(1)
    assert oracle.gain_db.mean > 100  # identical faces count as 200 dB
    assert oracle.cosine is not None
    assert oracle.cosine.mean == pytest.approx(1)


def test_bicubic_equals_the_input_where_only_resolution_was_lost_and_beats_it_elsewhere(crops: list[Pixels]) -> None:
    quality = score_restorers(crops, {}, levels=["x8", "severe"])
    assert cell(quality, BICUBIC, "x8").psnr_db == cell(quality, INPUT, "x8").psnr_db
    assert cell(quality, BICUBIC, "severe").gain_db.mean > 1


def test_without_a_judge_there_is_no_identity_at_all(crops: list[Pixels]) -> None:
    quality = score_restorers(crops, {}, identities=["a", "a", "b"], levels=["mild"])
    assert all(score.cosine is None for score in quality.scores)
    assert quality.verification == ()
    assert quality.people == 2


def test_the_error_is_the_standard_error_over_faces(crops: list[Pixels]) -> None:
    offsets = iter([0.1, 0.2, 0.05])

    def off(faces: Faces) -> Faces:
        return np.stack([np.full_like(face, next(offsets)) for face in faces])

    black = [np.zeros_like(crop) for crop in crops]
    score = cell(score_restorers(black, {"off": FakeRestorer(off)}, levels=["x4"]), "off", "x4")
    decibels = -20 * np.log10([0.1, 0.2, 0.05])
    # float32 holds the offsets to 1e-8
    assert score.psnr_db.mean == pytest.approx(decibels.mean(), abs=1e-4)
    assert score.psnr_db.error == pytest.approx(decibels.std(ddof=1) / 3**0.5, abs=1e-4)


def test_a_single_face_has_no_error(crops: list[Pixels]) -> None:
    assert cell(score_restorers(crops[:1], {}, levels=["mild"]), INPUT, "mild").psnr_db.error is None


def test_people_with_two_photographs_are_verified(crops: list[Pixels]) -> None:
    people = [crops[0], crops[0], crops[2], crops[2]]
    quality = score_restorers(people, {}, judge=embed, identities=["a", "a", "b", "b"], levels=["x4"])
    found = {entry.method: entry for entry in quality.verification}
    assert set(found) == {CLEAN, INPUT, BICUBIC}
    assert found[CLEAN].rank1 == found[CLEAN].tar == 1
    assert found[CLEAN].people == 2


def test_batches_do_not_change_a_face_and_steps_are_counted(crops: list[Pixels]) -> None:
    many = crops * 3  # nine crops: two batches
    seen: list[str] = []
    one = score_restorers(many, {}, levels=["mild"], step=seen.append)
    assert len(seen) == steps_of(len(many), 1) == 2
    again = score_restorers(many, {}, levels=["mild"])
    assert one == again
