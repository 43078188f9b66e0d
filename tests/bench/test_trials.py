"""Trials: who passes, who fails, and that a failing engine is a verdict and not a crash."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from pocketface.bench.faces_set import FaceSet
from pocketface.bench.trials import report_only, restore_all, try_candidates
from pocketface.runtime.errors import BackendError
from pocketface.runtime.restorer import Faces

from .fakes import FakeRestorer, fake_candidate


def faces_at(size: int) -> FaceSet:
    faces = np.random.default_rng(size).uniform(0.3, 0.7, (3, 3, size, size)).astype(np.float32)
    return FaceSet(("a", "b", "c"), faces, faces, "noise")


def brighter(faces: Faces, by: float) -> Faces:
    return faces + np.float32(by)


REFERENCE = FakeRestorer(partial(brighter, by=0.1))


def test_each_precision_is_held_to_its_own_tolerance() -> None:
    near = FakeRestorer(partial(brighter, by=0.1 + 1.2e-2))  # 38 dB: allowed for int8 alone
    candidates = [fake_candidate(precision, near, precision) for precision in ("fp32", "fp16", "int8")]
    verdicts = {trial.label: trial.verdict for trial in try_candidates(REFERENCE, candidates, faces_at)}
    assert verdicts == {"fp32": "fail", "fp16": "fail", "int8": "pass"}


def test_a_missing_engine_and_one_that_refuses_faces_fail_and_say_why() -> None:
    def refuse(_: Faces) -> Faces:
        raise BackendError("a whole file", "half of one")

    candidates = [fake_candidate("missing", None), fake_candidate("broken", FakeRestorer(refuse))]
    missing, broken = try_candidates(REFERENCE, candidates, faces_at)
    assert (missing.verdict, broken.verdict) == ("fail", "fail")
    assert "the engine" in missing.violations[0]
    assert "half of one" in broken.violations[0]


def test_a_file_of_fixed_size_is_given_faces_of_that_size() -> None:
    asked: list[int] = []

    def counted(size: int) -> FaceSet:
        asked.append(size)
        return faces_at(size)

    fixed = [fake_candidate(name, FakeRestorer(REFERENCE.work, size=32)) for name in "xy"]
    trials = list(try_candidates(REFERENCE, [*fixed, fake_candidate("free", REFERENCE)], counted))
    assert all(trial.verdict == "pass" for trial in trials)
    assert asked == [32, 64]  # each size once; 64 is the reference's own


def test_steps_are_announced_before_the_work() -> None:
    seen: list[str] = []
    list(try_candidates(REFERENCE, [fake_candidate("first", REFERENCE)], faces_at, step=seen.append))
    assert seen == ["first"]


def test_another_network_is_reported_without_a_limit_but_may_not_break_the_contract() -> None:
    far = report_only("other", REFERENCE, FakeRestorer(lambda faces: faces * 0), faces_at(32), None)
    assert far.verdict == "reported"
    assert far.report is not None
    assert far.report.min_psnr_db == pytest.approx(4.4, abs=1)  # the mean square of values about 0.6
    broken = report_only("other", REFERENCE, FakeRestorer(lambda faces: faces * np.nan), faces_at(32), None)
    assert broken.verdict == "fail"


def test_faces_are_restored_one_at_a_time() -> None:
    shapes: list[int] = []

    def watch(faces: Faces) -> Faces:
        shapes.append(len(faces))
        return faces

    assert len(restore_all(FakeRestorer(watch), faces_at(32).inputs)) == 3
    assert shapes == [1, 1, 1]
