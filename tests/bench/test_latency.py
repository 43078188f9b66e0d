"""Timing with a clock of our own: what is counted, in which order, and what is left out."""

from __future__ import annotations

import os

import numpy as np
import pytest

from pocketface.bench.latency import WARM_UP_ROUNDS, thread_counts, time_candidates
from pocketface.runtime.restorer import Faces

from .fakes import FakeRestorer, fake_candidate

FACE: Faces = np.zeros((1, 3, 16, 16), np.float32)


class Clock:
    """A clock that only the restorers move."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def restorer(self, seconds: float, size: int | None = None, engine: str = "numpy") -> FakeRestorer:
        def work(faces: Faces) -> Faces:
            self.now += seconds
            return faces

        return FakeRestorer(work, size, engine)


def test_medians_and_ratios_are_those_of_the_calls() -> None:
    clock = Clock()
    candidates = [fake_candidate("student", clock.restorer(0.020)), fake_candidate("file", clock.restorer(0.005))]
    student, file = time_candidates(candidates, FACE, threads=1, baseline="student", rounds=5, clock=clock)
    assert (student.median_ms, student.p90_ms, student.ratio) == (pytest.approx(20), pytest.approx(20), 1)
    assert (file.median_ms, file.ratio) == (pytest.approx(5), pytest.approx(0.25))
    assert student.rounds == file.rounds == 5


def test_short_calls_fill_their_turn() -> None:
    clock = Clock()
    candidates = [fake_candidate("short", clock.restorer(0.020)), fake_candidate("long", clock.restorer(0.7))]
    short, long = time_candidates(
        candidates, FACE, threads=1, baseline="short", rounds=3, turn_seconds=0.095, clock=clock
    )
    assert (short.median_ms, long.median_ms, long.ratio) == pytest.approx((20, 700, 35))
    assert clock.now == pytest.approx(WARM_UP_ROUNDS * 0.72 + 3 * (5 * 0.020 + 0.7))


def test_warming_up_is_not_counted() -> None:
    clock = Clock()
    calls = iter([9.0] * WARM_UP_ROUNDS + [0.001] * 3)

    def work(faces: Faces) -> Faces:
        clock.now += next(calls)
        return faces

    (timing,) = time_candidates(
        [fake_candidate("file", FakeRestorer(work))], FACE, threads=1, baseline="none", rounds=3, clock=clock
    )
    assert timing.median_ms == pytest.approx(1)
    assert timing.ratio is None


def test_time_runs_out_but_not_before_three_rounds() -> None:
    clock = Clock()
    (timing,) = time_candidates(
        [fake_candidate("slow", clock.restorer(60))], FACE, threads=1, baseline="slow", seconds=1, clock=clock
    )
    assert timing.rounds == 3


def test_files_of_another_size_are_left_out_and_failures_are_named() -> None:
    clock = Clock()
    candidates = [
        fake_candidate("fits", clock.restorer(0.001, size=16)),
        fake_candidate("other size", clock.restorer(0.001, size=32)),
        fake_candidate("missing", None),
    ]
    fits, missing = time_candidates(candidates, FACE, threads=2, baseline="fits", rounds=3, clock=clock)
    assert (fits.label, fits.threads, fits.size) == ("fits", 2, 16)
    assert missing.label == "missing"
    assert missing.median_ms is None
    assert "engine" in missing.error


def test_the_evaluator_of_core_ml_files_is_not_timed() -> None:
    clock = Clock()
    (timing,) = time_candidates(
        [fake_candidate("coreml", clock.restorer(1, engine="mil"))], FACE, threads=1, baseline="", clock=clock
    )
    assert timing.median_ms is None
    assert "not timed" in timing.error
    assert clock.now == 0


def test_all_cores_are_those_that_may_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5, 7}, raising=False)
    assert thread_counts() == [1, 3]
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3}, raising=False)
    assert thread_counts() == [1]
