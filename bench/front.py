"""The front: quality against time and bytes, for every preset in every precision.

    python -m pocketface.bench.accuracy --crops crops --judge judge.ckpt --every 3 base-fp32=FILE ... -o table.json
    python -m pocketface.bench.front table.json base-fp32=FILE ... -o front
    python -m pocketface.bench.readme front/front.json docs/presets.md
Labels are PRESET-PRECISION, the same in both commands, and every preset has `fp32`, against which its 8-bit files are
measured. The folder then holds `front.json`, the table, and the pictures `front.svg` (time) and
`front_bytes.svg`.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..runtime.atomic import make_folder, replacing_file
from ..runtime.cli import positive, run_module
from ..runtime.errors import InputError
from ..runtime.manifest import measure_artefact
from ..runtime.restorer import Faces
from .candidates import Candidate, locate, named_candidates
from .chart import Series, line_chart
from .latency import time_candidates
from .readme import markdown, read_report, write_table

_EXACT = "fp32"
_LEVEL = "medium"
_MEGA = 1e6


@dataclass(frozen=True)
class Point:
    """One file.

    Args:
        preset, precision: from its label.
        bytes: on disk.
        milliseconds: of one face, one thread.
        gains, cosines: by level; the judge's cosine is None without a judge.
    """

    preset: str
    precision: str
    bytes: int
    milliseconds: float
    gains: Mapping[str, float]
    cosines: Mapping[str, float | None]


def points_of(candidates: Sequence[Candidate], table: Mapping[str, Any], size: int, rounds: int) -> list[Point]:
    """Time files and look up how good they are.

    Raises:
        InputError: a label of another form, one that the table lacks, or a file that does not run.
    """
    face: Faces = np.random.default_rng(0).random((1, 3, size, size), np.float32)
    timed = {one.label: one for one in time_candidates(candidates, face, threads=1, baseline="", rounds=rounds)}
    found: list[Point] = []
    for candidate in candidates:
        preset, _, precision = candidate.label.partition("-")
        scores = [score for score in table["quality"]["scores"] if score["method"] == candidate.label]
        timing = timed.get(candidate.label)
        if not (preset and precision and scores and timing and timing.median_ms is not None):
            reason = "no such row" if not scores else timing.error if timing else "another fixed size"
            raise InputError("PRESET-PRECISION=FILE, of the table and of one size", f"{candidate.label}: {reason}")
        gains = {score["level"]: score["gain_db"]["mean"] for score in scores}
        cosines = {score["level"]: score["cosine"]["mean"] if score["cosine"] else None for score in scores}
        size_in_bytes = measure_artefact(locate(candidate.path))
        found.append(Point(preset, precision, size_in_bytes, timing.median_ms, gains, cosines))
    return found


def rows_of(points: Sequence[Point]) -> list[list[str]]:
    """The table; what a precision costs is against fp32 of the same preset: mean over levels, and the worst level."""
    levels = list(points[0].gains)
    head = ["preset", "precision", "bytes", "ms at 256", *(f"{level} dB" for level in levels), f"{_LEVEL} cosine"]
    rows = [[*head, "costs dB, mean (worst)", "costs cosine, mean (worst)"]]
    exact = {point.preset: point for point in points if point.precision == _EXACT}
    for point in points:
        if point.preset not in exact:
            raise InputError(f"{point.preset}-{_EXACT} as well", "none")
        gains = [f"{point.gains[level]:+.2f}" for level in levels]
        cosine = point.cosines.get(_LEVEL)
        rows.append([
            point.preset, point.precision, f"{point.bytes:,}", f"{point.milliseconds:.1f}", *gains,
            "-" if cosine is None else f"{cosine:.3f}",
            _cost(exact[point.preset].gains, point.gains, 3), _cost(exact[point.preset].cosines, point.cosines, 4),
        ])  # fmt: skip
    return rows


def _cost(exact: Mapping[str, float | None], own: Mapping[str, float | None], digits: int) -> str:
    lost = [
        one - other
        for one, other in zip(exact.values(), own.values(), strict=True)
        if one is not None and other is not None
    ]
    return f"{statistics.mean(lost):.{digits}f} ({max(lost):.{digits}f})" if lost and exact is not own else "-"


def picture_of(points: Sequence[Point], *, by_bytes: bool = False) -> str:
    """Gain at medium against milliseconds or megabytes, one line a precision, from the smallest preset upwards."""
    lines = dict.fromkeys(point.precision for point in points)
    series = [
        Series(
            precision,
            sorted(
                (one.bytes / _MEGA if by_bytes else one.milliseconds, one.gains[_LEVEL], 0.0)
                for one in points
                if one.precision == precision
            ),
        )
        for precision in lines
    ]
    presets = ", ".join(dict.fromkeys(point.preset for point in sorted(points, key=lambda point: point.bytes)))
    return line_chart(
        f"The front, from left to right: {presets}",
        "megabytes, TFLite" if by_bytes else "milliseconds a face of 256, one thread, TFLite",
        f"gain over the input at {_LEVEL} degradation, dB", series,
    )  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("table", type=Path, help="figures of pocketface.bench.accuracy")
    parser.add_argument("files", nargs="+", metavar="LABEL=FILE", help="as they were judged, PRESET-PRECISION=FILE")
    parser.add_argument("--size", type=positive, default=256, help="pixels a side (default: 256)")
    parser.add_argument("--rounds", type=positive, default=30, help="of all files in turn (default: 30)")
    parser.add_argument("--output", "-o", type=Path, required=True, metavar="FOLDER", help="for table and picture")


def run(arguments: argparse.Namespace) -> int:
    """Time, join, draw."""
    candidates = named_candidates(arguments.files, ())
    points = points_of(candidates, read_report(arguments.table), arguments.size, arguments.rounds)
    rows = rows_of(points)
    make_folder(arguments.output)
    write_table(arguments.output / "front.json", "front", rows)
    for name, text in (
        ("front.svg", picture_of(points)),
        ("front_bytes.svg", picture_of(points, by_bytes=True)),
    ):
        with replacing_file(arguments.output / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    sys.stdout.write(markdown(rows))
    return 0


if __name__ == "__main__":
    sys.exit(run_module("python -m pocketface.bench.front"))
