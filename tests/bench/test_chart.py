"""Line charts: true to their points, escaped, readable."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from pocketface.bench.chart import Series, line_chart

SVG = "{http://www.w3.org/2000/svg}"


def drawn(*series: Series, log_x: bool = False) -> ET.Element:
    return ET.fromstring(line_chart("<Title>", "x & x", "y", series, log_x=log_x))  # noqa: S314 - made here


def dots(chart: ET.Element) -> list[tuple[float, float]]:
    return [(float(dot.attrib["cx"]), float(dot.attrib["cy"])) for dot in chart.iter(f"{SVG}circle")]


def test_points_lie_in_proportion() -> None:
    (x0, y0), (x1, y1), (x2, y2) = dots(drawn(Series("a", [(0, 1, 0), (1, 2, 0), (4, 5, 0)])))
    # places are rounded to a tenth of a pixel
    assert (x2 - x0) == pytest.approx(4 * (x1 - x0), abs=0.5)
    assert (y0 - y2) == pytest.approx(4 * (y0 - y1), abs=0.5)


def test_equal_factors_are_equal_steps_on_a_logarithmic_axis() -> None:
    x0, x1, x2 = (x for x, _ in dots(drawn(Series("a", [(1, 0, 0), (10, 1, 0), (100, 2, 0)]), log_x=True)))
    assert x2 - x1 == pytest.approx(x1 - x0, abs=0.2)


def test_axes_have_round_marks() -> None:
    words = [mark.text for mark in drawn(Series("a", [(0, 20, 0), (100, 27, 0)])).iter(f"{SVG}text")]
    assert {"0", "20", "40", "100", "21", "27"} <= set(words)
    words = [mark.text for mark in drawn(Series("a", [(3, 0, 0), (40, 1, 0)]), log_x=True).iter(f"{SVG}text")]
    assert {"5", "10", "20"} <= set(words)


def test_error_bars_stay_in_the_picture_and_lines_without_dots_have_none() -> None:
    chart = drawn(Series("a", [(0, 1, 3)]), Series("b", [(0, 1, 0), (1, 1, 0)], dots=False))
    assert len(dots(chart)) == 1
    bar = next(
        path.attrib["d"]
        for path in chart.iter(f"{SVG}path")
        if "V" in path.attrib["d"] and path.get("stroke") == "#0072b2"
    )
    top, bottom = sorted(float(part.split()[-1]) for part in bar.removeprefix("M").split("V"))
    assert 40 <= top < bottom <= 400


def test_a_single_point_is_drawn_and_words_are_escaped() -> None:
    chart = drawn(Series("<b>", [(5, 5, 0)]))
    assert len(dots(chart)) == 1
    words = "".join(chart.itertext())
    assert "<Title>" in words
    assert "<b>" in words
    assert chart.attrib["aria-label"] == "<Title>"
