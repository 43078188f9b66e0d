"""Run teacher, student and every file of a bundle on the same real degraded faces, and hold the files to the student.

    pocketface parity                       the shipped student against its teacher
    pocketface parity BUNDLE                every device file of the bundle as well
    pocketface parity BUNDLE --faces crops  on your own aligned crops, degraded by the grid
    pocketface parity BUNDLE --html parity.html --json parity.json

Each file must stay within the tolerance of its precision (fp32, fp16, int8) on its worst face: PSNR with peak 1.0,
largest difference, identity drift. The teacher is another network: student against teacher is reported without a limit.
Exit code: 0 within tolerance, 1 beyond it or where a file cannot run, 2 for arguments that cannot be used.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from ..export.progress import shown
from ..runtime.cli import positive
from ..runtime.parity import Embed
from .candidates import Candidate
from .faces_set import FaceSet, astronaut_faces, folder_faces
from .lineup import NONE, STUDENT, Lineup, gather, show_faces
from .report import Example, Report, write_html, write_json
from .resized import at_size
from .trials import FacesAt, Trial, report_only, restore_all, try_candidates

_CPU = "cpu"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `pocketface parity`."""
    add_lineup_arguments(parser)
    parser.add_argument(
        "--judge", default="identity", metavar="PATH",
        help="identity network, by path or name, or none (default: the shipped one, which also guides the teacher)",
    )  # fmt: skip
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write one self-contained page")


def add_lineup_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare who is compared, on which faces and where; shared with `pocketface bench`."""
    parser.add_argument("bundle", type=Path, nargs="?", metavar="BUNDLE", help="folder written by pocketface export")
    parser.add_argument("--student", default="student-base", help="checkpoint, by path or name (default: student-base)")
    parser.add_argument("--teacher", default="teacher", help="checkpoint, by path or name, or none (default: teacher)")
    parser.add_argument(
        "--faces", type=Path, metavar="FOLDER",
        help="aligned crops to degrade and compare on (default: the astronaut portrait of scikit-image)",
    )  # fmt: skip
    parser.add_argument(
        "--most-faces", type=positive, default=50, metavar="N", help="take at most so many of them (default: 50)"
    )
    parser.add_argument("--device", default="auto", help="where student and teacher run: auto, cpu, cuda, mps")


def run(arguments: argparse.Namespace) -> int:
    """Compare, print a table, write what was asked for; 1 where a file fails."""
    report = make_report(arguments)
    sys.stdout.write(table_of(report.trials) + f"{report.headline}\n")
    if arguments.json is not None:
        write_json(report, arguments.json)
    if arguments.html is not None:
        write_html(report, arguments.html)
        sys.stdout.write(f"{arguments.html}\n")
    return 1 if report.verdict == "fail" else 0


def make_report(arguments: argparse.Namespace) -> Report:
    """Run the trials that the arguments ask for."""
    lineup = gather(arguments.student, arguments.teacher, arguments.bundle, arguments.device)
    faces_at = choose_faces(arguments)
    trials, examples, faces = run_trials(lineup, faces_at, choose_judge(arguments.judge))
    return Report(
        title="parity report",
        command=shlex.join(["pocketface", "parity", *command_words(arguments)]),
        faces_source=faces.source,
        provenance=lineup.provenance(),
        notes=judge_notes(arguments.judge),
        examples=examples,
        trials=trials,
    )


def choose_faces(arguments: argparse.Namespace) -> FacesAt:
    """The faces at a given side: the user's crops, or the astronaut."""
    if arguments.faces is None:
        return astronaut_faces
    return partial(folder_faces, arguments.faces, limit=arguments.most_faces)


def choose_judge(judge: str) -> Embed | None:
    """Open the identity network, or none.

    Raises:
        CheckpointError: a file that is no identity network.
    """
    if judge == NONE:
        return None
    from ..runtime.models.judges import open_judge  # torch takes seconds; --help should not

    return open_judge(judge)


def judge_notes(judge: str) -> list[str]:
    """What must be said about the identity figures."""
    if judge == NONE:
        return ["Identity was not measured: no identity network was given."]
    if judge == "identity":
        return [
            "Identity drift is measured by the shipped network, which also guides the teacher. That is fair between "
            "copies of one student; for figures on quality, judge by a network that had no part in training (--judge)."
        ]
    return []


def run_trials(lineup: Lineup, faces_at: FacesAt, judge: Embed | None) -> tuple[list[Trial], list[Example], FaceSet]:
    """Run all networks and files on the same faces.

    Args:
        lineup: who.
        faces_at: the faces at a given side.
        judge: for identity drift.

    Returns:
        the trials, files first; examples side by side; the faces at the student's own side.

    Raises:
        PocketFaceError: a network cannot run: without them nothing can be judged.
    """
    student = lineup.student.open()
    faces = faces_at(student.info.native_size)
    copies = list(lineup.files)
    if student.info.device != _CPU:
        copies.insert(0, Candidate("student on the CPU", lineup.student.path, "fp32", "pytorch", _CPU))
    with shown(len(copies) + len(lineup.networks)) as step:
        step(STUDENT)
        results = {STUDENT: restore_all(student, faces.inputs)}
        trials = list(try_candidates(student, copies, faces_at, judge, step))
        for network in lineup.networks[1:]:
            step(network.label)
            other = at_size(network.open(), student.info.native_size)
            results[network.label] = restore_all(other, faces.inputs)
            trials.append(report_only(f"student against {network.label}", other, student, faces, judge))
    return trials, show_faces(faces, results), faces


def table_of(trials: Sequence[Trial]) -> str:
    """The trials as text, one a line, with what went wrong below."""
    head = ("candidate", "verdict", "PSNR dB", "limit", "SNR dB", "max diff", "drift", "worst face")
    rows = [head, *(_text_row(trial) for trial in trials)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines += [f"  {trial.label}: {words}" for trial in trials if trial.verdict == "fail" for words in trial.violations]
    return "".join(f"{line}\n" for line in lines)


def command_words(arguments: argparse.Namespace) -> list[str]:
    """The arguments that matter for the figures, as they would be typed."""
    words = [] if arguments.bundle is None else [str(arguments.bundle)]
    for name in ("student", "teacher", "faces", "judge", "device"):
        value = getattr(arguments, name)
        words += [] if value is None else [f"--{name}", str(value)]
    return words


def _text_row(trial: Trial) -> tuple[str, ...]:
    report = trial.report
    limit = "-" if trial.tolerance is None else f"{trial.tolerance.min_psnr_db:g}"
    if report is None:
        return (trial.label, trial.verdict, "-", limit, "-", "-", "-", "did not run")
    figures = (
        (report.min_psnr_db, "{:.1f}"), (report.min_residual_snr_db, "{:.1f}"), (report.max_abs, "{:.2g}"),
        (report.max_identity_drift, "{:.4f}"),
    )  # fmt: skip
    psnr, snr, difference, drift = ("-" if value is None else pattern.format(value) for value, pattern in figures)
    return (trial.label, trial.verdict, psnr, limit, snr, difference, drift, report.worst.name)
