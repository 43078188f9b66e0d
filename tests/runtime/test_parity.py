"""Parity: every way in which a copy may stray is seen, named, and never a crash."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest

from pocketface.runtime.errors import ContractError
from pocketface.runtime.parity import TOLERANCES, Tolerance, compare
from pocketface.runtime.restorer import Faces, RestorerInfo

NAMES = ["one", "two", "three"]


class Fake:
    """A restorer that applies a function."""

    def __init__(self, work: Callable[[Faces], Faces], name: str = "fake") -> None:
        self.info = RestorerInfo(name, "numpy", "cpu", None, 1, 16, "0" * 64)
        self.work = work

    def __call__(self, faces: Faces, strength: float = 1.0) -> Faces:  # noqa: ARG002 - the contract's
        return self.work(faces)


@pytest.fixture
def faces() -> Faces:
    return np.random.default_rng(0).uniform(0.2, 0.7, (3, 3, 16, 16)).astype(np.float32)


def brighter(by: float) -> Callable[[Faces], Faces]:
    return lambda faces: faces + np.float32(by)


def mean_colour(faces: Faces) -> Faces:
    return faces.mean(axis=(2, 3))


def test_a_faithful_copy_passes_every_tolerance(faces: Faces) -> None:
    report = compare(Fake(brighter(0.1)), Fake(brighter(0.1)), faces, NAMES, mean_colour)
    assert all(report.passes(tolerance) for tolerance in TOLERANCES.values())
    assert report.max_identity_drift == pytest.approx(0, abs=1e-6)  # a float32 cosine is good to about 1e-7
    assert [row.name for row in report.rows] == NAMES


@pytest.mark.parametrize(("error", "passed"), [(1e-5, list(TOLERANCES)), (1e-3, list(TOLERANCES)[1:]),
                                               (1.2e-2, ["int8"]), (3e-2, [])])  # fmt: skip
def test_a_constant_error_passes_what_its_size_allows(faces: Faces, error: float, passed: list[str]) -> None:
    # 20 log10 of the error: 100, 60, 38 and 30 dB; 1e-3 also lies on fp32's largest difference
    report = compare(Fake(brighter(0.1)), Fake(brighter(0.1 + error)), faces, NAMES)
    assert [name for name, tolerance in TOLERANCES.items() if report.passes(tolerance)] == passed


def test_the_worst_face_is_named(faces: Faces) -> None:
    reference = faces.copy()
    candidate = faces.copy()
    candidate[1] += 0.05
    candidate[2] += 0.01
    report = compare(reference, candidate, faces, NAMES)
    assert report.worst.name == "two"
    assert report.min_psnr_db == pytest.approx(26.02, abs=0.01)
    assert report.violations(TOLERANCES["int8"]) == ["two: PSNR 26.0 dB, at least 35 wanted"]


def test_one_value_far_off_fails_though_psnr_is_high(faces: Faces) -> None:
    candidate = faces.copy()
    candidate[0, 0, 0, 0] = 1.0
    words = compare(faces, candidate, faces, NAMES).violations(Tolerance(10, 0.2, 1.0, "test"))
    assert len(words) == 1
    assert "one: largest difference" in words[0]


def test_identity_drift_fails_though_pixels_are_tolerated(faces: Faces) -> None:
    candidate = faces[:, [1, 2, 0]]  # channels swapped: other colours are another "person" to this embedding
    report = compare(faces, candidate, faces, NAMES, lambda x: mean_colour(x) - 0.45)
    assert report.max_identity_drift is not None
    assert any("identity drift" in words for words in report.violations(Tolerance(0, 1, 0.01, "test")))


def test_identity_is_absent_without_a_network(faces: Faces) -> None:
    report = compare(faces, faces, faces, NAMES)
    assert report.max_identity_drift is None
    assert "not measured" in report.summary()


def with_nan(faces: Faces) -> Faces:
    faces = faces.copy()
    faces[0, 0, 0, 0] = np.nan
    return faces


@pytest.mark.parametrize(
    ("work", "words"),
    [
        (with_nan, "1 values that are NaN"),
        (lambda faces: faces[:, :, :8, :8], "shape (1, 3, 8, 8)"),
        (lambda faces: faces.transpose(0, 2, 3, 1), "shape (1, 16, 16, 3)"),
        (lambda faces: faces * np.float32(2), "breaks the contract"),
        (lambda faces: faces.astype(np.float64), "float64"),
    ],
)  # fmt: skip
def test_a_broken_output_is_a_failure_that_says_so(faces: Faces, work: Callable[[Faces], Faces], words: str) -> None:
    faces[:, :, 0, 0] = 0.9  # so that doubling leaves [0, 1]
    report = compare(Fake(brighter(0)), Fake(work), faces, NAMES)
    assert not report.passes(Tolerance(-200, 1, 2, "allows any finite figure"))
    assert words in report.worst.problem
    assert words in report.summary()


def test_a_broken_reference_is_named_as_such(faces: Faces) -> None:
    report = compare(Fake(with_nan), Fake(brighter(0)), faces, NAMES)
    assert "reference" in report.worst.problem


def test_embeddings_that_are_not_finite_are_a_problem(faces: Faces) -> None:
    report = compare(faces, faces, faces, NAMES, lambda x: mean_colour(x) * np.float32(np.nan))
    assert "embeddings" in report.worst.problem


def test_the_report_is_strict_json(faces: Faces) -> None:
    report = compare(Fake(brighter(0), "student"), Fake(with_nan, "copy"), faces, NAMES)
    values = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert values["reference"] == "student"
    assert values["min_psnr_db"] is None
    assert len(values["problems"]) == 3


def test_faces_outside_the_contract_and_missing_names_are_refused(faces: Faces) -> None:
    with pytest.raises(ContractError, match=r"\[0, 1\]"):
        compare(faces, faces, faces * np.float32(3), NAMES)
    with pytest.raises(ContractError, match="2 names"):
        compare(faces, faces, faces, NAMES[:2])


def test_every_tolerance_gives_a_reason_and_they_loosen_with_fewer_bits() -> None:
    fp32, fp16, int8 = (TOLERANCES[name] for name in ("fp32", "fp16", "int8"))
    assert fp32.min_psnr_db > fp16.min_psnr_db > int8.min_psnr_db
    assert fp32.max_abs < fp16.max_abs < int8.max_abs
    assert all(len(tolerance.reason) > 40 for tolerance in TOLERANCES.values())
