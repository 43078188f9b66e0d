"""A photograph before and after: what is shown, and where the close-up lies."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pocketface.bench.showcase import region_of_crop, restore_with_all, show_photo
from pocketface.runtime.faces.align import FFHQ, estimate_similarity
from pocketface.runtime.faces.detect import Detection
from pocketface.runtime.images import Photo
from pocketface.runtime.photo import RestoredFace

from .fakes import FakeRestorer


class FakeDetector:
    """Finds the faces it was told of."""

    name = "fake"

    def __init__(self, *landmarks: NDArray[np.float64]) -> None:
        self.found = [Detection((0.0, 0.0, 9.0, 9.0), 1.0, points) for points in landmarks]

    def __call__(self, image: NDArray[np.uint8]) -> list[Detection]:
        assert image.dtype == np.uint8
        return self.found


WALL = np.full((120, 160, 3), 100, np.uint8)
PHOTO = Photo(WALL)
FACE = FFHQ.scaled(64) + np.array([30.0, 20.0])  # an upright face whose crop is 64 pixels wide, at (30, 20)
BRIGHTER = FakeRestorer(lambda faces: faces + np.float32(0.2))
DARKER = FakeRestorer(lambda faces: faces - np.float32(0.2))


def test_each_restorer_gets_its_picture_and_the_close_up_is_the_crop() -> None:
    results = restore_with_all(PHOTO, {"student": BRIGHTER, "teacher": DARKER}, FakeDetector(FACE))
    shown = show_photo(PHOTO, results, "A wall.", WALL)
    assert shown.after["student"].max() > 140
    assert shown.after["teacher"].min() < 60
    np.testing.assert_array_equal(shown.before, WALL)
    assert shown.close_up == (30, 20, 64, 64)
    assert shown.caption == "A wall. 1 face was found and restored; every pixel outside the soft mask is untouched."


def test_several_faces_are_counted_and_none_is_said() -> None:
    two = restore_with_all(PHOTO, {"student": BRIGHTER}, FakeDetector(FACE, FACE + 20.0))
    assert "2 faces were found" in show_photo(PHOTO, two, "A wall.").caption
    none = restore_with_all(PHOTO, {"student": BRIGHTER}, FakeDetector())
    shown = show_photo(PHOTO, none, "A wall.")
    assert shown.caption == "A wall. No face was found in it."
    assert shown.close_up is None


def test_the_close_up_stays_inside_the_picture() -> None:
    crop = np.zeros((64, 64, 3), np.float32)
    for shift in ((-60.0, -60.0), (150.0, 110.0), (-500.0, 0.0)):
        points = FFHQ.scaled(64) + np.array(shift)
        face = RestoredFace(
            Detection((0.0, 0.0, 9.0, 9.0), 1.0, points), estimate_similarity(points, FFHQ, 64), crop, crop
        )
        left, top, width, height = region_of_crop(face, (120, 160))
        assert 0 <= left < left + width <= 160
        assert 0 <= top < top + height <= 120


def test_a_photograph_of_16_bits_is_shown_in_8() -> None:
    deep = Photo(np.full((120, 160, 3), 25700, np.uint16))
    shown = show_photo(deep, restore_with_all(deep, {"student": BRIGHTER}, FakeDetector(FACE)), "A wall.")
    assert shown.before.dtype == shown.after["student"].dtype == np.uint8
    assert (shown.before == 100).all()
