"""Histograms of angles: the bins that pairs fall into, and the drawing of them."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import numpy as np

from pocketface.bench.angles import BIN_DEGREES, BINS, AngleHistogram, Panel, count_angles, draw_histograms


def cosines(*degrees: float) -> np.ndarray:
    return np.cos(np.radians(degrees))


def test_pairs_fall_into_the_bin_of_their_angle() -> None:
    found = count_angles(cosines(0, 1, 3, 3.9, 179), cosines(89, 90.5, 91))
    assert {index: count for index, count in enumerate(found.genuine) if count} == {0: 2, 1: 2, BINS - 1: 1}
    assert {index: count for index, count in enumerate(found.impostor) if count} == {44: 1, 45: 2}
    assert BIN_DEGREES * BINS == 180


def test_cosines_that_rounding_pushed_beyond_one_are_counted() -> None:
    found = count_angles(np.array([1.0000001, -1.0000001], np.float32), cosines(90))
    assert (found.genuine[0], found.genuine[-1], sum(found.genuine)) == (1, 1, 2)


def test_the_histogram_as_json_keeps_every_pair() -> None:
    values = count_angles(cosines(10, 20), cosines(80, 81, 100)).to_json()
    assert values["bin_degrees"] == 2
    assert sum(values["genuine"]) == 2  # pyright: ignore[reportArgumentType, reportCallIssue] - JSON values are objects
    assert sum(values["impostor"]) == 3  # pyright: ignore[reportArgumentType, reportCallIssue] - JSON values are objects


def test_the_drawing_is_valid_and_says_its_medians_in_words() -> None:
    near, far = count_angles(cosines(11, 11, 15), cosines(71)), count_angles(cosines(51), cosines(71, 170))
    panels = [Panel("clean <all>", "dlib", near), Panel("severe", "dlib", far)]
    image = ET.fromstring(draw_histograms("Angles & pairs", panels))  # noqa: S314 - our own text
    words = image.attrib["aria-label"]
    assert "dlib, clean <all>: median genuine 11 degrees, impostors 71 degrees" in words
    assert "dlib, severe: median genuine 51 degrees" in words
    texts = [element.text for element in image.iter("{http://www.w3.org/2000/svg}text")]
    assert texts.count("dlib") == 1  # panels of one network share a column
    assert {"clean <all>", "severe", "Angles & pairs"} <= set(texts)


def test_an_empty_side_is_drawn_flat() -> None:
    empty = AngleHistogram((0,) * BINS, (0,) * BINS)
    assert ET.fromstring(draw_histograms("none", [Panel("a", "b", empty)])) is not None  # noqa: S314 - our own text
