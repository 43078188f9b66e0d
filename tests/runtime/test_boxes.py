from __future__ import annotations

import numpy as np

from pocketface.runtime.faces.boxes import as_detections, squared, suppress

BOXES = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [0, 0, 5, 5], [50, 50, 60, 70]], float)
SCORES = np.array([0.8, 0.9, 0.7, 0.6])


def test_the_best_of_boxes_that_overlap_is_kept() -> None:
    # The first two share 90 of 110; the third is a quarter of the first and shares a fifth of 105 with the second.
    np.testing.assert_array_equal(suppress(BOXES, SCORES, 0.5), [1, 2, 3])
    np.testing.assert_array_equal(suppress(BOXES, SCORES, 0.9), [1, 0, 2, 3])
    np.testing.assert_array_equal(suppress(BOXES, SCORES, 0.1), [1, 3])


def test_against_the_smaller_box_a_part_counts_as_overlap() -> None:
    np.testing.assert_array_equal(suppress(BOXES, SCORES, 0.5, of_smaller=True), [1, 3])


def test_nothing_stays_nothing() -> None:
    assert suppress(np.zeros((0, 4)), np.zeros(0), 0.5).size == 0
    assert as_detections(np.zeros((0, 4)), np.zeros(0), np.zeros((0, 5, 2))) == []


def test_squares_keep_the_centre_and_the_longer_side() -> None:
    np.testing.assert_array_equal(squared(BOXES[3:]), [[45, 50, 65, 70]])
