"""Throws damaged files at every reader of strangers' files for as long as one likes.

    python -m pocketface.bench.fuzz --seconds 600 -o findings
Readers run in worker processes that may crash or hang. What a finding is, `fuzz_readers` says; the file that led to it
stays in the folder, and `--reader NAME --from NUMBER --trials 1` repeats it. Exit code: 0, or 1 where there are
findings.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..runtime.atomic import replacing_file
from ..runtime.batch.pool import run_jobs
from ..runtime.cli import positive, run_module
from ..runtime.errors import InputError
from .fuzz_readers import OpenReaders, Trial, readers

_HANG_SECONDS = 60.0


def fuzz(
    names: tuple[str, ...], folder: Path, *, seconds: float, trials: int | None, first: int, seed: int, workers: int
) -> dict[str, Any]:
    """Try the readers in turn.

    Args:
        names: of `readers()`.
        folder: to write to.
        seconds: after which no new trial begins.
        trials: of each reader at most; None for as many as there is time for.
        first: number of the first trial.
        seed: of all trials.
        workers: processes.

    Returns:
        Counts by reader, findings, seconds.
    """
    start = time.monotonic()

    def drawn() -> Iterator[Trial]:
        number = first
        while time.monotonic() - start < seconds and (trials is None or number < first + trials):
            yield from (Trial(name, number) for name in names)
            number += 1

    counts: dict[str, Counter[str]] = {name: Counter() for name in names}
    findings = list[dict[str, Any]]()
    opened = OpenReaders(names, folder.absolute() / "files", seed)
    for outcome in run_jobs(opened, drawn(), workers=workers, timeout=_HANG_SECONDS, logs=folder / "logs"):
        trial = outcome.job
        counts[trial.reader][outcome.loss or str(outcome.result)] += 1
        if outcome.loss:
            findings.append({"reader": trial.reader, "number": trial.number, "what": outcome.error})
            sys.stderr.write(f"{trial.reader} {trial.number}: {outcome.loss}: {outcome.error}\n")
    return {
        "seed": seed,
        "seconds": round(time.monotonic() - start, 1),
        "counts": {name: dict(count) for name, count in counts.items()},
        "findings": findings,
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    known = list(readers())
    parser.add_argument("--output", "-o", type=Path, required=True, help="folder to write")
    parser.add_argument("--seconds", type=float, default=600.0, help="time to spend (default: 600)")
    parser.add_argument("--reader", action="append", choices=known, help="only this one; may be repeated")
    parser.add_argument("--trials", type=positive, help="of each reader at most (default: no limit)")
    parser.add_argument("--from", type=int, default=0, dest="first", help="number of the first trial (default: 0)")
    parser.add_argument("--seed", type=int, default=0, help="of all trials (default: 0)")
    parser.add_argument("--workers", type=positive, default=1, help="processes (default: 1)")


def run(arguments: argparse.Namespace) -> int:
    """Try, print and write what was found."""
    if arguments.output.exists():
        raise InputError("a free name for the output", f"something at {arguments.output}", "remove it first")
    report = fuzz(
        tuple(arguments.reader or readers()),
        arguments.output,
        seconds=arguments.seconds,
        trials=arguments.trials,
        first=arguments.first,
        seed=arguments.seed,
        workers=arguments.workers,
    )
    text = json.dumps(report, indent=1) + "\n"
    with replacing_file(arguments.output / "fuzz.json") as temporary:
        temporary.write_text(text, encoding="utf-8")
    sys.stdout.write(text)
    return 1 if report["findings"] else 0


if __name__ == "__main__":
    sys.exit(run_module("python -m pocketface.bench.fuzz"))
