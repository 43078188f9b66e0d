"""The validation table alone: how good restorers are on people held out, without latency, parity or a page.

    python -m pocketface.bench.accuracy --crops crops student=student-base teacher=teacher
    python -m pocketface.bench.accuracy --crops crops --judge judge.ckpt --every 5 --levels medium severe \
        detail=runs/detail/averaged.safetensors -o table.json
`crops` is a folder made by `python -m pocketface.distill.faces`; people of its validation split are used, no others.
Every face keeps its degradation whatever --every is, so that a quick look and the full table are of the same pictures.
The table is printed as Markdown; `python -m pocketface.bench.readme` reads the file given with -o.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from ..distill.faces import Crop, read_crops
from ..export.progress import shown
from ..runtime.cli import run_module
from ..runtime.errors import InputError
from ..runtime.faces.degrade import LEVELS
from ..runtime.faces.detect import open_detector
from ..runtime.parity import Embed
from .candidates import Candidate, named_candidates, weights_of
from .effort import efforts_of
from .faces_set import crop_side, read_crop
from .lineup import NOT_RESTORERS
from .parity_command import choose_judge
from .readme import markdown, validation_rows
from .report import Report, report_to_json, write_json
from .resized import at_size
from .scoring import Quality, score_restorers, steps_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_restorer_arguments(parser)
    add_choice_of_crops(parser)
    add_level_argument(parser, tuple(LEVELS))
    parser.add_argument(
        "--judge", default="none", metavar="PATH", help="identity network, by path or name (default: none)"
    )
    parser.add_argument("--output", "-o", type=Path, metavar="FILE", help="write the figures as JSON")


def add_restorer_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare who is judged, on which crops and where; shared with the comparison sheet."""
    parser.add_argument("restorers", nargs="+", metavar="LABEL=FILE", help="anything that restores, by path or name")
    parser.add_argument("--crops", type=Path, required=True, metavar="FOLDER", help="aligned crops with their table")
    parser.add_argument("--device", default="auto", help="where the restorers run: auto, cpu, cuda, mps")


def add_level_argument(parser: argparse.ArgumentParser, default: tuple[str, ...]) -> None:
    """Declare how the faces are degraded; shared with the comparison sheet."""
    parser.add_argument(
        "--levels", nargs="+", choices=tuple(LEVELS), default=default, metavar="LEVEL",
        help=f"of the grid: {', '.join(LEVELS)} (default: {' '.join(default)})",
    )  # fmt: skip


def add_choice_of_crops(parser: argparse.ArgumentParser) -> None:
    """Declare how many of the validation faces are scored; shared with `pocketface bench`."""
    parser.add_argument("--every", type=int, default=1, metavar="N", help="score every N-th of the crops (default: 1)")


def run(arguments: argparse.Namespace) -> int:
    """Score, print the table, write what was asked for."""
    began = time.perf_counter()
    candidates = named_candidates(arguments.restorers, NOT_RESTORERS, arguments.device)
    judge = choose_judge(arguments.judge)
    quality = judge_crops(candidates, arguments.crops, judge=judge, levels=arguments.levels, every=arguments.every)
    report = Report(
        title="validation table",
        command=shlex.join(["python", "-m", "pocketface.bench.accuracy", *_words(arguments)]),
        provenance=weights_of(candidates),
        quality=quality,
        training=efforts_of(candidates),
    )
    if arguments.output is not None:
        write_json(report, arguments.output)
    seconds = time.perf_counter() - began
    sys.stdout.write(markdown(validation_rows(report_to_json(report))))
    sys.stdout.write(f"\n{quality.scores[0].faces} faces of {quality.people} people, {seconds:.0f} s\n")
    return 0


def judge_crops(
    candidates: Sequence[Candidate],
    folder: Path,
    *,
    size: int | None = None,
    judge: Embed | None = None,
    levels: Sequence[str] = tuple(LEVELS),
    every: int = 1,
) -> Quality:
    """Score restorers on the validation people of a folder of crops.

    Args:
        candidates: who.
        folder: of aligned crops, with its table.
        size: side of the faces; None takes that of the crops. A restorer of another fixed size gets them resized.
        judge: for the identity columns; None leaves them out.
        levels: of the grid.
        every: take only every so many-th face.

    Raises:
        InputError: no table of crops, nobody to validate on, or a network that is not there.
    """
    crops = every_nth(read_crops(folder, "validation"), every)
    size = size or crop_side(folder / crops[0].file)
    restorers = {candidate.label: at_size(candidate.open(), size) for candidate in candidates}
    with shown(steps_of(len(crops), len(levels))) as step:
        return score_restorers(
            [read_crop(folder / crop.file, size) for crop in crops],
            restorers,
            open_detector(),
            judge=judge,
            identities=[crop.identity for crop in crops],
            levels=levels,
            every=every,
            step=step,
        )


def every_nth(crops: Sequence[Crop], every: int) -> list[Crop]:
    """Take every so many-th crop, the first included.

    Raises:
        InputError: not a positive number.
    """
    if every < 1:
        raise InputError("a positive number for --every", str(every))
    return list(crops[::every])


def _words(arguments: argparse.Namespace) -> list[str]:
    """The arguments that matter for the figures, as they would be typed."""
    words = ["--crops", str(arguments.crops), "--judge", arguments.judge, "--every", str(arguments.every)]
    return [*words, "--levels", *arguments.levels, "--", *arguments.restorers]


if __name__ == "__main__":
    sys.exit(run_module("python -m pocketface.bench.accuracy"))
