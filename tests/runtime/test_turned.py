from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from skimage.data import astronaut

from pocketface.runtime.faces.align import FFHQ, align_face, estimate_similarity
from pocketface.runtime.faces.detect import Detection, open_detector
from pocketface.runtime.faces.turned import detect_any_way_up, turn_back


def test_points_come_back_from_every_quarter() -> None:
    picture = np.zeros((30, 50), np.uint8)
    picture[7, 41] = 255
    for quarter in (1, 2, 3):
        turned = np.rot90(picture, quarter)
        row, column = np.argwhere(turned == 255)[0]
        point = np.array([[column, row]], float)
        found = turn_back(Detection((column, row, column + 3.0, row + 5.0), 0.9, point), quarter, 50, 30)
        np.testing.assert_array_equal(found.landmarks, [[41, 7]])
        left, top, right, bottom = found.box
        assert left <= 41 <= right
        assert top <= 7 <= bottom
        assert sorted((right - left, bottom - top)) == [3, 5]


class Counting:
    """Sees a face where the picture's top left pixel is bright."""

    name = "counting"

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def __call__(self, image: NDArray[np.uint8]) -> list[Detection]:
        self.shapes.append(image.shape)
        points = np.array([[4.0, 4], [8, 4], [6, 6], [4, 8], [8, 8]])
        return [Detection((2, 2, 10, 10), 0.9, points)] if image[0, 0, 0] > 100 else []


def test_quarter_turns_are_looked_at_only_where_they_are_asked_for() -> None:
    upright, turned = np.zeros((40, 60, 3), np.uint8), np.zeros((40, 60, 3), np.uint8)
    upright[0, 0], turned[0, -1] = 255, 255
    for picture, turns, looks, found in (
        (upright, "auto", 1, 1), (upright, "never", 1, 1), (upright, "always", 4, 1),
        (turned, "auto", 4, 1), (turned, "never", 1, 0),
    ):  # fmt: skip
        detector = Counting()
        assert len(detect_any_way_up(detector, picture, turns)) == found
        assert len(detector.shapes) == looks


@pytest.mark.parametrize("angle", range(0, 360, 30))
def test_a_face_is_found_at_every_angle_and_aligned_upright(angle: int) -> None:
    picture = cv2.copyMakeBorder(astronaut()[:300, 70:370], 70, 70, 70, 70, cv2.BORDER_REFLECT_101)
    centre = (picture.shape[1] / 2, picture.shape[0] / 2)
    turned = cv2.warpAffine(picture, cv2.getRotationMatrix2D(centre, angle, 1), picture.shape[1::-1])
    detector = open_detector(threads=1)
    best = detect_any_way_up(detector, np.asarray(turned, np.uint8))[0]
    crop = align_face(np.asarray(turned, np.uint8), estimate_similarity(best.landmarks, FFHQ, 128), 128)
    upright = detect_any_way_up(detector, np.asarray(picture, np.uint8))[0]
    wanted = align_face(np.asarray(picture, np.uint8), estimate_similarity(upright.landmarks, FFHQ, 128), 128)
    inner = slice(32, 104)
    likeness = np.corrcoef(crop[inner, inner].ravel(), wanted[inner, inner].ravel())[0, 1]
    # Landmarks differ by a few per cent of the eyes' distance; a crop upside down would correlate below 0.3.
    assert likeness > 0.85
