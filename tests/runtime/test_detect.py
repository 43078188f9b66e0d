from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage.data import astronaut

from pocketface.runtime.errors import InputError
from pocketface.runtime.faces.detect import Detection, detect_faces, open_detector

POINTS = np.arange(10, dtype=float).reshape(5, 2)


class Recorder:
    """Sees one face where it is told to, and remembers what it was shown."""

    name = "recorder"

    def __init__(self, box: tuple[float, float, float, float], landmarks: NDArray[np.float64]) -> None:
        self.face = Detection(box, 1.0, landmarks)
        self.shown = np.zeros((0, 0, 3), np.uint8)

    def __call__(self, image: NDArray[np.uint8]) -> list[Detection]:
        self.shown = image
        return [self.face]


def test_a_small_photograph_is_shown_as_it_is() -> None:
    recorder = Recorder((0, 0, 1, 1), POINTS)
    photo = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    (face,) = detect_faces(recorder, photo, side=40)
    np.testing.assert_array_equal(recorder.shown, photo)
    np.testing.assert_array_equal(face.landmarks, POINTS)


@pytest.mark.parametrize("odd", [0, 1])
def test_a_large_photograph_is_shown_smaller_and_places_are_carried_back(odd: int) -> None:
    # Marks in the corners of the photograph: 4 x 4 blocks become single pixels, whose centres must come back.
    recorder = Recorder((0, 0, 19, 9), np.array([[0, 0], [19, 0], [0, 9], [19, 9], [10, 5]], float))
    photo = np.zeros((40, 80, 3), np.uint8)
    photo[:4, :4], photo[-4:, -4:] = 200, 100
    (face,) = detect_faces(recorder, np.pad(photo, ((0, odd), (0, odd), (0, 0))), side=20)
    assert recorder.shown.shape == (10, 20, 3)
    assert (recorder.shown[0, 0, 0], recorder.shown[9, 19, 0], recorder.shown.sum()) == (200, 100, 900)
    np.testing.assert_allclose(face.box, (1.5, 1.5, 77.5, 37.5))
    np.testing.assert_allclose(face.landmarks[1], (77.5, 1.5))


def test_any_factor_carries_the_corners_back_to_the_corners() -> None:
    recorder = Recorder((-0.5, -0.5, 29.5, 18.5), np.array([[-0.5, -0.5], [29.5, 18.5], [0, 0], [1, 1], [2, 2]]))
    (face,) = detect_faces(recorder, np.zeros((61, 96, 3), np.uint8), side=30)
    assert recorder.shown.shape == (19, 30, 3)
    np.testing.assert_allclose(face.box, (-0.5, -0.5, 95.5, 59.5))  # the odd last row has no part in it
    np.testing.assert_allclose(face.landmarks[:2], [[-0.5, -0.5], [95.5, 59.5]])


@pytest.mark.parametrize("side", [64, 32])
def test_sixteen_bits_are_shown_as_eight(side: int) -> None:
    recorder = Recorder((0, 0, 1, 1), POINTS)
    levels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    detect_faces(recorder, levels.astype(np.uint16) * 257, side)
    eight = recorder.shown
    detect_faces(recorder, levels, side)
    assert eight.dtype == np.uint8
    # The smaller copy is rounded to levels once in 16 bits and once in 8.
    assert np.abs(eight.astype(int) - recorder.shown).max() <= (side < 64)


@pytest.mark.parametrize("name", ["haar", "detector.pt", "folder"])
def test_an_unknown_detector_is_named(name: str) -> None:
    with pytest.raises(InputError, match=name):
        open_detector(name)


@pytest.mark.parametrize("name", ["none.onnx", "none.pth"])
def test_a_missing_file_is_named(name: str) -> None:
    with pytest.raises(InputError, match=name):
        open_detector(name)


def test_three_detectors_agree_on_the_astronaut(shared: Path) -> None:
    names = ["mtcnn", *(shared / "weights" / name for name in ("retinaface_mobilenet0.25.pth", "yunet_2026may.onnx"))]
    faces = []
    for name in names:
        found = open_detector(name, threads=1)(astronaut())
        assert len(found) == 1, name
        faces.append(found[0])
    eyes = np.linalg.norm(faces[0].landmarks[1] - faces[0].landmarks[0])
    for one in faces[1:]:
        # YuNet differs by a tenth from its own answer on the mirrored picture.
        assert np.linalg.norm(one.landmarks - faces[0].landmarks, axis=1).mean() < 0.12 * eyes
        assert np.abs(np.subtract(one.box, faces[0].box)).max() < 0.25 * eyes
