"""The table of an ablation: gains, identity, time to train and to run, each against the first run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .readme import markdown
from .scoring import Score


@dataclass(frozen=True)
class Row:
    """What one run came to.

    Args:
        name, says: from the plan.
        faces: seen in training.
        seconds: that its training steps took.
        milliseconds: of one face in ONNX Runtime, one thread.
        scores: by level.
    """

    name: str
    says: str
    faces: int
    seconds: float
    milliseconds: float
    scores: Mapping[str, Score]


def table_of(rows: Sequence[Row]) -> str:
    """Markdown; the differences in brackets are to the first row."""
    levels = list(rows[0].scores)
    head = ["run", "what", "faces", "s to train", *(f"{level} dB" for level in levels)]
    head += [f"{level} cosine" for level in levels] + ["ms"]
    return markdown([head, *([*_named(row), *_figures(row, rows[0], levels)] for row in rows)])


def _named(row: Row) -> list[str]:
    return [row.name, row.says, f"{row.faces:,}", f"{row.seconds:.0f}"]


def _figures(row: Row, first: Row, levels: Sequence[str]) -> list[str]:
    gains = [
        _against(row.scores[level].gain_db.mean, None if row is first else first.scores[level].gain_db.mean, 2)
        for level in levels
    ]
    cosines = []
    for level in levels:
        own, base = row.scores[level].cosine, first.scores[level].cosine
        if own is None or base is None:
            cosines.append("-")
        else:
            cosines.append(_against(own.mean, None if row is first else base.mean, 3))
    return [*gains, *cosines, f"{row.milliseconds:.1f}"]


def _against(value: float, base: float | None, digits: int) -> str:
    return f"{value:.{digits}f}" if base is None else f"{value:.{digits}f} ({value - base:+.{digits}f})"
