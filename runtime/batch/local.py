"""The batch on this machine: supervised worker processes, one engine thread each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from .deliver import job_for, settle
from .pool import RECYCLE, run_jobs
from .record import Entry, FileRecord
from .stores import Store
from .work import Restoration


@dataclass(frozen=True)
class Places:
    """Where a batch reads and writes.

    Args:
        root: folder of all inputs.
        output: folder of all outputs.
        work: folder for work in progress, on the output folder's disk; not used where the output is far.
        logs: folder for what workers say.
    """

    root: Path | Store
    output: Path | Store
    work: Path
    logs: Path


def run_local(
    entries: Sequence[Entry],
    places: Places,
    restoration: Restoration,
    *,
    workers: int,
    timeout: float,
    recycle: int = RECYCLE,
) -> Iterator[FileRecord]:
    """Restore entries and yield each file's record as soon as its output is in place.

    Args:
        entries: what to restore.
        places: where.
        restoration: how; opened once in every worker.
        workers: processes.
        timeout: seconds a file.
        recycle: files after which a worker process is replaced.

    Raises:
        PocketFaceError: the model, the detector or a companion cannot be opened.
    """
    places.work.mkdir(parents=True, exist_ok=True)
    by_name = {entry.name: entry for entry in entries}
    jobs = (job_for(entry, places.root, places.work, number) for number, entry in enumerate(entries))
    for outcome in run_jobs(restoration, jobs, workers=workers, timeout=timeout, logs=places.logs, recycle=recycle):
        yield settle(by_name[outcome.job.name], outcome, places.output)
