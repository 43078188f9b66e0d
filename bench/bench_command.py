"""Measure everything: parity, quality on validation crops, latency and size; write one HTML page and one JSON file.

    pocketface bench -o report                          the shipped student and teacher
    pocketface bench BUNDLE -o report                   every device file of the bundle as well
    pocketface bench BUNDLE --crops crops --judge judge.ckpt -o report
                                                        and the validation table, with who the judge takes them for
    pocketface bench --also detail=detail.safetensors --also other=other.onnx -o report
                                                        and further restorers beside student and teacher
`crops` is a folder made by `python -m pocketface.distill.faces`; people of its validation split are used, no others.
The identity columns need --judge: a recogniser that took no part in training; without it they are left out. The folder
given with -o then holds `index.html` (one file, no request to anywhere) and `report.json`.
Exit code: 0, or 1 where a file of the bundle goes beyond its tolerance, 2 for arguments that cannot be used.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from ..export.progress import shown
from ..runtime.cli import positive
from ..runtime.faces.detect import open_detector
from ..runtime.images import read_photo
from ..runtime.restorer import Faces
from .accuracy import add_choice_of_crops, judge_crops
from .effort import efforts_of
from .faces_set import astronaut_faces
from .latency import Timing, thread_counts, time_candidates
from .lineup import STUDENT, Lineup, gather
from .parity_command import (
    add_lineup_arguments,
    choose_faces,
    choose_judge,
    command_words,
    judge_notes,
    run_trials,
    table_of,
)
from .report import BeforeAfter, Report, write_html, write_json
from .scoring import Quality
from .showcase import restore_with_all, show_photo
from .size import measure_sizes

PAGE, FIGURES = "index.html", "report.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `pocketface bench`."""
    add_lineup_arguments(parser)
    parser.add_argument(
        "--judge", metavar="PATH",
        help="identity network for the validation table, by path or name (default: none there, and the shipped one for "
        "the drift between copies)",
    )  # fmt: skip
    parser.add_argument("--output", "-o", type=Path, required=True, metavar="DIR", help="folder to write")
    parser.add_argument("--photo", type=Path, metavar="FILE", help="a photograph to show before and after")
    parser.add_argument("--crops", type=Path, metavar="FOLDER", help="aligned crops for the validation table")
    add_choice_of_crops(parser)
    parser.add_argument(
        "--also", action="append", default=[], metavar="LABEL=FILE", help="judge this restorer too; may be repeated"
    )
    parser.add_argument(
        "--sizes", type=positive, nargs="+", default=[256, 512], metavar="S",
        help="face sizes to time (default: 256 512)",
    )  # fmt: skip
    parser.add_argument("--rounds", type=positive, default=30, help="timed calls of each candidate (default: 30)")
    parser.add_argument(
        "--seconds", type=float, default=20, help="stop timing a size early after so long (default: 20)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Measure, print the parity table, write the folder; 1 where a file fails."""
    report = make_report(arguments)
    # File by file: whatever else the folder holds stays.
    write_json(report, arguments.output / FIGURES)
    write_html(report, arguments.output / PAGE)
    sys.stdout.write(table_of(report.trials) + f"{report.headline}\n{arguments.output / PAGE}\n")
    return 1 if report.verdict == "fail" else 0


def make_report(arguments: argparse.Namespace) -> Report:
    """Run all judges that the arguments ask for."""
    lineup = gather(arguments.student, arguments.teacher, arguments.bundle, arguments.device, arguments.also)
    # Drift between copies may be measured by any recogniser; quality only by one that the user vouches for.
    drift_judge = arguments.judge or "identity"
    quality = None if arguments.crops is None else measure_quality(lineup, arguments)
    trials, examples, faces = run_trials(lineup, choose_faces(arguments), choose_judge(drift_judge))
    return Report(
        title="bench report",
        command=shlex.join(
            ["pocketface", "bench", *command_words(arguments), *_more_words(arguments), "-o", str(arguments.output)]
        ),
        faces_source=faces.source,
        provenance=lineup.provenance(),
        notes=judge_notes(drift_judge),
        photo=None if arguments.photo is None else restore_file(lineup, arguments.photo),
        examples=examples,
        trials=trials,
        timings=measure_latency(lineup, arguments.sizes, arguments.rounds, arguments.seconds),
        sizes=measure_sizes(lineup.everyone, arguments.sizes),
        quality=quality,
        training=efforts_of(lineup.networks),
    )


def _more_words(arguments: argparse.Namespace) -> list[str]:
    """What `pocketface bench` adds to the arguments that matter for the figures."""
    words = [word for other in arguments.also for word in ("--also", other)]
    if arguments.crops is not None:
        words += ["--crops", str(arguments.crops), "--every", str(arguments.every)]
    return words


def restore_file(lineup: Lineup, path: Path) -> BeforeAfter:
    """Restore a photograph with student and teacher.

    Raises:
        ImageError: it cannot be read.
    """
    photo = read_photo(path)
    networks = {candidate.label: candidate.open() for candidate in lineup.networks}
    return show_photo(photo, restore_with_all(photo, networks, open_detector()), f"{path.name}.")


def measure_quality(lineup: Lineup, arguments: argparse.Namespace) -> Quality:
    """Score all networks on the validation people of a folder of crops.

    Raises:
        InputError: no table of crops, or nobody to validate on.
    """
    judge = None if arguments.judge is None else choose_judge(arguments.judge)
    size = lineup.student.open().info.native_size
    return judge_crops(lineup.networks, arguments.crops, size=size, judge=judge, every=arguments.every)


def measure_latency(lineup: Lineup, sizes: Sequence[int], rounds: int, seconds: float) -> list[Timing]:
    """Time everyone on the astronaut at each size, with one thread and with all cores."""
    timings: list[Timing] = []
    settings = [(size, threads) for threads in thread_counts() for size in sizes]
    with shown(len(settings)) as step:
        for size, threads in settings:
            step(f"{size} x {size}, {threads} threads")
            face: Faces = astronaut_faces(size).inputs[:1]
            timings += time_candidates(
                lineup.everyone, face, threads=threads, baseline=STUDENT, rounds=rounds, seconds=seconds
            )
    return timings
