"""The page and the figures: self-contained, escaped, accessible, and true to the trials."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from pocketface.bench.latency import Timing
from pocketface.bench.lineup import show_faces
from pocketface.bench.markup import typeset
from pocketface.bench.report import BeforeAfter, Report, report_to_json, write_html, write_json
from pocketface.bench.scoring import Figure, Quality, Score
from pocketface.bench.size import Size
from pocketface.bench.trials import Trial, report_only, try_candidates
from pocketface.bench.verification import Verification
from pocketface.runtime.restorer import Faces

from .fakes import FakeRestorer, fake_candidate
from .test_trials import REFERENCE, faces_at

VOID = {"meta", "img", "input"}
EVIL = '<script>alert("x")</script>'


class Reader(HTMLParser):
    """Checks nesting and collects what the tests ask about."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> without a start"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def trials(work: Callable[[Faces], Faces]) -> list[Trial]:
    candidates = [fake_candidate("tflite int8 256", FakeRestorer(work), "int8"), fake_candidate(EVIL, REFERENCE)]
    found = list(try_candidates(REFERENCE, candidates, faces_at, lambda faces: faces.mean(axis=(2, 3))))
    return [*found, report_only("student against teacher", REFERENCE, FakeRestorer(work), faces_at(64), None)]


def full_report(work: Callable[[Faces], Faces] = REFERENCE.work) -> Report:
    image = np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8)
    figure = Figure(25.0, 0.1)
    scores = [
        Score(method, "mild", 4, figure, figure, figure, figure, figure, Figure(error, 0.001), not_found)
        for method, error, not_found in (("input", 0.05, 0.25), ("bicubic", 0.01, 0.0), ("student", 0.02, 0.125))
    ]
    checks = [Verification(m, "mild", 4, 1.0, 0.5, 0.1, 0.7) for m in ("clean", "input")]
    return Report(
        title="bench report",
        command="pocketface bench",
        faces_source="noise",
        provenance={"student weights": EVIL},
        notes=[EVIL],
        photo=BeforeAfter(image, {"student": image, "teacher": image}, EVIL, (5, 5, 10, 10), image),
        examples=show_faces(faces_at(64), {"student": faces_at(64).inputs}),
        trials=trials(work),
        timings=[
            Timing("student", "pytorch", "cpu", 256, 1, 5, 20.0, 22.0, 1.0),
            Timing(EVIL, "", "", 256, 1, error="no"),
        ],
        sizes=[Size("student", 5_000_000, 1_290_000, {256: 350_000_000}), Size("tflite int8 256", 1_500_000, None, {})],
        quality=Quality(tuple(scores), tuple(checks), 4),
        created=datetime(2026, 11, 23, tzinfo=UTC),
    )


def page_of(report: Report, folder: Path) -> tuple[str, Reader]:
    write_html(report, folder / "index.html")
    text = (folder / "index.html").read_text(encoding="utf-8")
    reader = Reader()
    reader.feed(text)
    assert reader.open == []
    return text, reader


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Reader]:
    return page_of(full_report(), tmp_path_factory.mktemp("page"))


def test_the_page_fetches_nothing(page: tuple[str, Reader]) -> None:
    text, reader = page
    sources = [value for _, attributes in reader.tags for name, value in attributes.items() if name in ("src", "href")]
    assert sources
    assert all((value or "").startswith("data:image/jpeg;base64,") for value in sources)
    assert not re.search(r"https?://|url\(|@import", text)


def test_every_picture_has_a_text_and_every_table_a_caption(page: tuple[str, Reader]) -> None:
    _, reader = page
    pictures = [attributes for tag, attributes in reader.tags if tag == "img"]
    assert len(pictures) > 8
    assert all("alt" in attributes for attributes in pictures)
    tags = [tag for tag, _ in reader.tags]
    assert tags.count("table") == tags.count("caption") > 5
    assert all(attributes.get("aria-label") for tag, attributes in reader.tags if tag in ("svg", "input"))
    assert ("html", {"lang": "en"}) in reader.tags


def test_names_from_outside_cannot_become_markup(page: tuple[str, Reader]) -> None:
    text, reader = page
    assert EVIL not in text
    assert EVIL in reader.text
    assert [tag for tag, _ in reader.tags].count("script") == 1


def test_every_section_is_there_with_its_figures(page: tuple[str, Reader]) -> None:
    _, reader = page
    anchors = {attributes.get("id") for tag, attributes in reader.tags if tag == "section"}
    assert anchors == {"photo", "faces", "parity", "quality", "latency", "size", "provenance"}
    for words in (
        "All 2 files restore",
        "within tolerance",
        "1.50 MB",
        "20.0 ms",
        "0.35 G",
        "25.00 ± 0.10",
        "2.00 ± 0.10",
        "12.5",
    ):
        assert words in reader.text


def test_the_best_restorer_has_the_smallest_landmark_error_and_loses_the_fewest_faces(page: tuple[str, Reader]) -> None:
    text, _ = page
    for figure in ("2.00 ± 0.10", "12.5"):
        assert f'<td class="number best">{figure}</td>' in text


def test_without_the_script_the_pictures_are_there_all_the_same(page: tuple[str, Reader]) -> None:
    _, reader = page
    wipes = [attributes for tag, attributes in reader.tags if tag == "div" and attributes.get("class") == "wipe"]
    assert len(wipes) == 2
    shown = [attributes.get("alt") for tag, attributes in reader.tags if tag == "img"]
    assert shown[:4] == [
        "the photograph, before",
        "the photograph, restored by student",
        "the face, before",
        "the face, restored by student",
    ]
    assert shown[4:8] == ["before", "restored by student", "restored by teacher", "original"]
    assert not any("hidden" in attributes for _, attributes in reader.tags)


def test_a_failure_heads_the_page_in_words(tmp_path: Path) -> None:
    report = full_report(lambda faces: faces)
    assert report.verdict == "fail"
    _, reader = page_of(report, tmp_path)
    assert "1 of 2 files goes beyond tolerance" in reader.text
    assert "✗ beyond tolerance" in reader.text
    assert "PSNR 20.0 dB, at least 35 wanted" in reader.text


def test_empty_parts_are_left_out(tmp_path: Path) -> None:
    _, reader = page_of(Report("parity report", "pocketface parity"), tmp_path)
    assert {attributes.get("id") for tag, attributes in reader.tags if tag == "section"} == {"provenance"}
    assert "Parity report" in reader.text


def test_the_json_is_strict_and_carries_the_trials(tmp_path: Path) -> None:
    report = full_report(lambda faces: faces)
    write_json(report, tmp_path / "report.json")
    values = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert values["verdict"] == "fail"
    assert [trial["verdict"] for trial in values["parity"]] == ["fail", "pass", "reported"]
    assert values["parity"][0]["tolerance"]["min_psnr_db"] == 35
    assert set(values) == set(report_to_json(report))


def test_a_broken_figure_becomes_null(tmp_path: Path) -> None:
    timing = Timing("student", "pytorch", "cpu", 256, 1, 5, math.nan, math.inf, 1.0)
    write_json(Report("bench report", "pocketface bench", timings=[timing]), tmp_path / "report.json")
    (values,) = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["latency"]
    assert values["median_ms"] is None
    assert values["p90_ms"] is None


@pytest.mark.parametrize(
    ("figure", "words"),
    [
        ("-0.00", "0.00"),
        ("-0.0 dB", "0.0 dB"),
        ("-0.05", "−0.05"),
        ("+0.00", "+0.00"),
        ("-3", "−3"),
        ("6e-08", "6e−08"),
    ],
)
def test_minus_signs_are_true_ones_and_zero_has_none(figure: str, words: str) -> None:
    assert typeset(figure) == words
