"""Landmarks of aligned faces: the right face is taken, and none is said to be none."""

from __future__ import annotations

import numpy as np

from pocketface.bench.faces_set import astronaut_faces
from pocketface.bench.landmarks import find_landmarks
from pocketface.runtime.faces.align import FFHQ
from pocketface.runtime.faces.detect import Detection, open_detector
from pocketface.runtime.metrics import landmark_error

from .fakes import FakeDetector

FACES = np.zeros((2, 3, 64, 64), np.float32)


class Crowd:
    """Finds a neighbour first and the aligned face second."""

    name = "crowd"

    def __call__(self, image: np.ndarray) -> list[Detection]:
        own = FFHQ.scaled(len(image))
        return [Detection((0, 0, 9, 9), score, own + shift) for score, shift in ((0.99, 30.0), (0.95, 1.0))]


def test_the_aligned_face_is_taken_not_the_most_confident() -> None:
    np.testing.assert_allclose(find_landmarks(Crowd(), FACES), np.stack([FFHQ.scaled(64) + 1.0] * 2))


def test_another_face_than_the_aligned_one_is_none() -> None:
    # the eyes of the template are 15.7 pixels apart at 64
    assert np.isfinite(find_landmarks(FakeDetector(lambda _: 15), FACES)).all()
    assert np.isnan(find_landmarks(FakeDetector(lambda _: 17), FACES)).all()
    assert find_landmarks(FakeDetector(lambda _: None), FACES).shape == (2, 5, 2)


def test_the_shipped_detector_finds_the_astronaut_in_her_own_crop() -> None:
    faces = astronaut_faces(256)
    found = find_landmarks(open_detector(threads=1), np.concatenate([faces.targets[:1], faces.inputs[:1]]))
    clean, mild = found[:1], found[1:]
    # anatomy differs from the mean face by some per cent of the eyes' distance, mild ageing by less
    assert landmark_error(clean, FFHQ.scaled(256)[None])[0] < 0.15
    assert 0 < landmark_error(mild, clean)[0] < 0.04
