"""How many faces a detector finds in whole photographs, what it takes for one, and where it puts the landmarks.

    python -m pocketface.bench.detection --photos photos -o detection.json
    python -m pocketface.bench.detection --photos photos --every 8 --detector yunet.onnx
`photos` is a folder with `manifest.csv`, as `pocketface.distill.faces` reads it: one annotated person a photograph. A
person is found where the five landmarks of a detection lie within a fifth of the distance between the eyes of where
they should be, on average; every other detection is counted as false, be it somebody whom nobody annotated.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..distill.faces import Photograph, read_photographs, read_rgb
from ..runtime.cli import positive, run_module
from ..runtime.errors import InputError
from ..runtime.faces.detect import DEFAULT, Detection, Detector, open_detector
from ..runtime.faces.turned import detect_any_way_up
from ..runtime.options import TURNS
from .landmarks import landmark_errors
from .readme import markdown, write_table

NEAR = 0.2  # of the distance between the eyes: beyond it, crops show the face visibly displaced
_ALL = "all"


@dataclass(frozen=True)
class Outcome:
    """One photograph.

    Args:
        group: of the photograph.
        error: mean distance of the found landmarks from the annotated ones, in distances between the eyes; None where
            the person was not found.
        false: detections of something else.
        milliseconds: that looking took.
    """

    group: str
    error: float | None
    false: int
    milliseconds: float


def judge(found: Sequence[Detection], landmarks: NDArray[np.float64]) -> tuple[float | None, int]:
    """Compare detections with the one face that is known to be there.

    Args:
        found: the detections.
        landmarks: (5, 2), where the face's landmarks are.

    Returns:
        The error of the nearest one, None beyond NEAR, and how many others there are.
    """
    errors = landmark_errors(found, landmarks)
    nearest = min(errors, default=np.inf)
    hit = nearest <= NEAR
    return (nearest if hit else None), len(errors) - hit


def look(detector: Detector, photos: Path, photograph: Photograph, turns: str) -> Outcome:
    """Read one photograph and look for faces as the runtime does."""
    pixels = read_rgb(photos / photograph.file)
    before = time.process_time()
    found = detect_any_way_up(detector, pixels, turns)
    taken = 1e3 * (time.process_time() - before)
    error, false = judge(found, photograph.landmarks)
    return Outcome(photograph.group, error, false, taken)


def rows_of(outcomes: Sequence[Outcome]) -> list[list[str]]:
    """The table: all photographs, then group by group."""
    groups = [_ALL, *dict.fromkeys(one.group for one in outcomes)]
    head = ["photographs", "found", "of", "false", "error %, mean", "median", "ms of CPU, median"]
    return [head, *(_row(group, [one for one in outcomes if group in (_ALL, one.group)]) for group in groups)]


def _row(group: str, outcomes: Sequence[Outcome]) -> list[str]:
    errors = [100 * one.error for one in outcomes if one.error is not None]
    figures = [f"{np.mean(errors):.1f}", f"{np.median(errors):.1f}"] if errors else ["-", "-"]
    time_taken = f"{np.median([one.milliseconds for one in outcomes]):.1f}"
    return [group, str(len(errors)), str(len(outcomes)), str(sum(one.false for one in outcomes)), *figures, time_taken]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--photos", type=Path, required=True, help="folder with photographs and manifest.csv")
    parser.add_argument("--detector", default=DEFAULT, help=f"{DEFAULT} (default), or a file")
    parser.add_argument("--turned", choices=TURNS, default="auto", help="look at quarter turns too (default: auto)")
    parser.add_argument("--every", type=positive, default=1, metavar="N", help="every N-th photograph (default: 1)")
    parser.add_argument("--output", "-o", type=Path, metavar="FILE", help="write the figures as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Look at every photograph and print the table."""
    photographs = read_photographs(arguments.photos)[:: arguments.every]
    if not photographs:
        raise InputError(f"photographs in {arguments.photos}", "none")
    detector = open_detector(arguments.detector, threads=1)
    outcomes = [look(detector, arguments.photos, one, arguments.turned) for one in photographs]
    rows = rows_of(outcomes)
    if arguments.output is not None:
        write_table(arguments.output, "detection", rows, detector=arguments.detector)
    sys.stdout.write(f"{markdown(rows)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(run_module("python -m pocketface.bench.detection"))
