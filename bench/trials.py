"""Parity trials: every candidate against its reference on the same faces, judged by the table of tolerances."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np

from ..runtime.errors import PocketFaceError
from ..runtime.parity import TOLERANCES, Embed, ParityReport, Tolerance, compare
from ..runtime.restorer import Faces, Restorer
from .candidates import Candidate
from .faces_set import FaceSet

# Faces for a side S: engines with a fixed size get the same faces at that size.
FacesAt: TypeAlias = Callable[[int], FaceSet]


@dataclass(frozen=True)
class Trial:
    """One candidate's day in court.

    Args:
        label: of the candidate.
        engine: what ran it; empty where it could not be opened.
        device: where it ran.
        precision: `fp32`, `fp16` or `int8`.
        target: `onnx`, `tflite`, `coreml`, or `pytorch` for a network that is no device file.
        tolerance: what it was held to; None where it is only reported.
        report: the figures; None where there are none.
        error: why there are none.
    """

    label: str
    engine: str
    device: str
    precision: str
    target: str
    tolerance: Tolerance | None
    report: ParityReport | None
    error: str = ""

    @property
    def violations(self) -> list[str]:
        """What goes beyond the tolerance, in words; a candidate that is only reported can still break the contract."""
        if self.report is None:
            return [self.error]
        if self.tolerance is None:
            return [f"{row.name}: {row.problem}" for row in self.report.rows if row.problem]
        return self.report.violations(self.tolerance)

    @property
    def verdict(self) -> str:
        """`pass`, `fail`, or `reported` where no tolerance applies."""
        if self.violations:
            return "fail"
        return "reported" if self.tolerance is None else "pass"

    def to_json(self) -> dict[str, object]:
        """The trial as JSON values."""
        limits = None if self.tolerance is None else vars(self.tolerance)
        return {
            "label": self.label, "verdict": self.verdict, "engine": self.engine, "device": self.device,
            "precision": self.precision, "target": self.target, "tolerance": limits, "violations": self.violations,
            "report": None if self.report is None else self.report.to_json(),
        }  # fmt: skip


def try_candidates(
    reference: Restorer,
    candidates: Iterable[Candidate],
    faces_at: FacesAt,
    embed: Embed | None = None,
    step: Callable[[str], None] = lambda _: None,
) -> Iterator[Trial]:
    """Run candidates one after the other against the reference; an engine that fails is a failed trial.

    Args:
        reference: the PyTorch student.
        candidates: device files.
        faces_at: the faces at a given side; called once a side.
        embed: for identity drift.
        step: called with its label before each candidate, for a progress bar.
    """
    faces_at = lru_cache(maxsize=None)(faces_at)
    expected: dict[int, Faces] = {}
    for candidate in candidates:
        step(candidate.label)
        try:
            restorer = candidate.open()
        except PocketFaceError as error:
            yield _trial(candidate, "", "", TOLERANCES[candidate.precision], None, str(error))
            continue
        size = restorer.info.size or reference.info.native_size
        if size not in expected:
            expected[size] = restore_all(reference, faces_at(size).inputs)
        yield try_one(restorer, expected[size], faces_at(size), candidate, embed)


def try_one(
    restorer: Restorer, expected: Faces, faces: FaceSet, candidate: Candidate, embed: Embed | None = None
) -> Trial:
    """Hold one open restorer to the tolerance of its precision.

    Args:
        restorer: the candidate, opened.
        expected: what the reference made of the faces.
        faces: what both were given.
        candidate: for its label and precision.
        embed: for identity drift.
    """
    info, tolerance = restorer.info, TOLERANCES[candidate.precision]
    try:
        report = compare(expected, restorer, faces.inputs, faces.names, embed)
    except PocketFaceError as error:
        return _trial(candidate, info.engine, info.device, tolerance, None, str(error))
    report = ParityReport("student in PyTorch", candidate.label, report.rows)
    return _trial(candidate, info.engine, info.device, tolerance, report)


def report_only(label: str, reference: Restorer, candidate: Restorer, faces: FaceSet, embed: Embed | None) -> Trial:
    """Compare two restorers that are not copies of each other, such as student and teacher: figures without a limit."""
    report = compare(reference, candidate, faces.inputs, faces.names, embed)
    return Trial(label, candidate.info.engine, candidate.info.device, "fp32", "pytorch", None, report)


def _trial(
    candidate: Candidate, engine: str, device: str, tolerance: Tolerance, report: ParityReport | None, error: str = ""
) -> Trial:
    return Trial(candidate.label, engine, device, candidate.precision, candidate.target, tolerance, report, error)


def restore_all(restorer: Restorer, faces: Faces) -> Faces:
    """Restore face by face, as the candidates are run: an engine may round differently in a batch."""
    return np.concatenate([restorer(faces[index : index + 1]) for index in range(len(faces))])
