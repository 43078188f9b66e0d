"""Does a batch lose nothing, leak nothing, and end the same however often it is killed?

    python -m pocketface.bench.endurance ALBUM -o FOLDER --kills 2
restores an album of `pocketface.bench.damage` twice: once in peace, into FOLDER/calm, and once into FOLDER/killed with
the command ended by SIGKILL at even distances and started again. Then every file must have a status that its kind
allows, and both folders must hold the same photographs, byte for byte, and the same records but for times.
FOLDER/endurance.json keeps the figures, with the memory of workers and command. Exit code: 0, or 1 where any of this
does not hold.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..runtime.atomic import replacing_file
from ..runtime.batch.journal import PRIVATE, RECORDS, SUMMARY, records_of
from ..runtime.batch.record import FileRecord
from ..runtime.cli import run_module
from ..runtime.errors import InputError
from .damage import Made, read_album

_LOOK_SECONDS = 0.5
# Records of two runs differ in these and in nothing else.
_OF_THE_RUN = ("seconds", "cpu_seconds", "worker", "rss_mib", "when")
_CURVE_POINTS = 20


def restore(album: Path, output: Path, words: Sequence[str], stop_at: int | None = None) -> tuple[int, list[float]]:
    """Run the command on an album in a process of its own.

    Args:
        album: to restore.
        output: folder to write.
        words: further arguments of the command.
        stop_at: lines in the journal at which the process is ended by SIGKILL; None lets it end.

    Returns:
        Its exit code, and its memory in MiB every half second.
    """
    command = [sys.executable, "-m", "pocketface.runtime", "restore", str(album), "-o", str(output), "--quiet", *words]
    memory = list[float]()
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:  # noqa: S603
        while process.poll() is None:
            memory.append(_memory_of(process.pid))
            if stop_at is not None and _lines(output / RECORDS) >= stop_at:
                process.kill()
            time.sleep(_LOOK_SECONDS)
    return process.returncode, memory


def check_statuses(made: Sequence[Made], records: Sequence[FileRecord]) -> list[str]:
    """What is wrong with the records of an album: files without one, strangers, statuses that a kind forbids."""
    found = {record.name: record for record in records}
    expected = {one.name: one for one in made}
    wrong = [f"{name}: no record" for name in sorted(expected.keys() - found.keys())]
    wrong += [f"{name}: a record, but no such file" for name in sorted(found.keys() - expected.keys())]
    for name in sorted(expected.keys() & found.keys()):
        one, record = expected[name], found[name]
        if record.status not in one.expected:
            wrong.append(f"{name} ({one.kind}): {record.status} {record.error}")
    return wrong


def compare_runs(calm: Path, killed: Path) -> list[str]:
    """Where two output folders differ: photographs by their bytes, records but for times."""
    ours, theirs = _photographs(calm), _photographs(killed)
    wrong = [f"{name}: only in one" for name in sorted(ours.keys() ^ theirs.keys())]
    wrong += [f"{name}: other bytes" for name in sorted(ours.keys() & theirs.keys()) if ours[name] != theirs[name]]
    first, second = _timeless(calm), _timeless(killed)
    both = sorted(first.keys() | second.keys())
    return wrong + [f"{name}: other records" for name in both if first.get(name) != second.get(name)]


def memory_curve(values: Sequence[float]) -> list[float]:
    """Highest value in each of twenty stretches, in MiB."""
    edges = [len(values) * step // _CURVE_POINTS for step in range(_CURVE_POINTS + 1)]
    return [round(max(values[start:end]), 1) for start, end in itertools.pairwise(edges) if end > start]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("album", type=Path, help="made by pocketface.bench.damage")
    parser.add_argument("--output", "-o", type=Path, required=True, help="folder to write; must not exist")
    parser.add_argument("--workers", default="1", help="of the batch (default: 1)")
    parser.add_argument("--kills", type=int, default=2, help="times that the second run is killed (default: 2)")


def run(arguments: argparse.Namespace) -> int:
    """Restore twice, compare, say what came of it."""
    if arguments.output.exists():
        raise InputError("a free name for the output", f"something at {arguments.output}", "remove it first")
    made, words = read_album(arguments.album), ["--workers", arguments.workers]
    calm, killed = arguments.output / "calm", arguments.output / "killed"
    code, memory = restore(arguments.album, calm, words)
    records = list(records_of(calm))
    lines = 0
    for kill in range(arguments.kills):
        restore(arguments.album, killed, words, len(made) * (kill + 1) // (arguments.kills + 1))
        lines = _lines(killed / RECORDS)
    restore(arguments.album, killed, words)
    wrong = check_statuses(made, records) + compare_runs(calm, killed)
    figures = {
        "files": len(made),
        "kinds": _by_kind(made, records),
        "exit_code": code,
        "statuses": dict(Counter(record.status for record in records)),
        "summary": json.loads((calm / SUMMARY).read_text(encoding="utf-8"))["summary"],
        "worker_mib": memory_curve([record.rss_mib for record in records if record.rss_mib]),
        "worker_mib_per_1000_files": _slope(records),
        "command_mib": memory_curve(memory),
        "records_before_the_last_start": lines,
        "restored_twice": _lines(killed / RECORDS) - len(made),
        "wrong": wrong,
    }
    with replacing_file(arguments.output / "endurance.json") as temporary:
        temporary.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(json.dumps({name: figures[name] for name in figures if name != "kinds"}, indent=1) + "\n")
    return 1 if wrong else 0


def _by_kind(made: Sequence[Made], records: Sequence[FileRecord]) -> dict[str, dict[str, int]]:
    statuses = {record.name: record.status for record in records}
    counts: dict[str, Counter[str]] = {}
    for one in made:
        counts.setdefault(one.kind, Counter())[statuses.get(one.name, "no record")] += 1
    return {kind: dict(count) for kind, count in counts.items()}


def _slope(records: Sequence[FileRecord]) -> float:
    """Growth of a worker's memory once it is warm, by least squares over the later nine tenths of all files."""
    values = [record.rss_mib for record in records if record.rss_mib]
    later = values[len(values) // 10 :]
    if len(later) < 2:
        return 0.0
    return round(1000 * statistics.linear_regression(range(len(later)), later).slope, 2)


def _photographs(folder: Path) -> dict[str, str]:
    """sha256 of every file of an output folder but the batch's own."""
    files = (path for path in folder.rglob("*") if path.is_file() and PRIVATE not in path.parts)
    named = {path.relative_to(folder).as_posix(): path for path in files}
    return {
        name: hashlib.sha256(path.read_bytes()).hexdigest()
        for name, path in named.items()
        if name not in (RECORDS, SUMMARY)
    }


def _timeless(folder: Path) -> dict[str, dict[str, Any]]:
    found = {record.name: dataclasses.asdict(record) for record in records_of(folder)}
    return {name: {key: value for key, value in one.items() if key not in _OF_THE_RUN} for name, one in found.items()}


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.is_file() else 0


def _memory_of(process: int) -> float:
    """Resident MiB of a process; 0 when it is gone."""
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()[1])
    except (OSError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


if __name__ == "__main__":
    sys.exit(run_module("python -m pocketface.bench.endurance"))
