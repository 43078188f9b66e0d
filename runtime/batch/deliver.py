"""Moves finished files to their places, and makes sure that those lie inside the output folder."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from ..errors import OutputError
from .pool import Outcome
from .record import DONE, FAILED, Entry, FileRecord, below, stamp_of
from .stores import Store
from .work import Job


def job_for(entry: Entry, root: Path | Store, corner: Path, number: int) -> Job:
    """The job of an entry.

    Args:
        entry: what to restore.
        root: folder of all inputs; of a far one, the caller fetches the input to the job's source.
        corner: folder that the supervisor of the worker may write to.
        number: of the job, unlike any other's in that corner.
    """
    suffix = os.path.splitext(entry.output)[1]  # noqa: PTH122 - names are no paths of this machine
    same = os.path.splitext(entry.name)[1].lower() == suffix.lower()  # noqa: PTH122
    own = corner / f"{number:x}-given"  # decoders go by content
    source = own if isinstance(root, Store) else below(root, entry.name)
    return Job(entry.name, source, corner / f"{number:x}{suffix}", same)


def settle(entry: Entry, outcome: Outcome[Job, FileRecord], output: Path | Store) -> FileRecord:
    """Move what the worker wrote into place and complete the record; leftovers of failures are removed.

    Args:
        entry: what the job was for.
        outcome: of the worker.
        output: the output folder.
    """
    record = outcome.result
    if record is None:
        record = FileRecord(entry.name, outcome.loss, error=outcome.error, worker=outcome.process)
    # What listing saw counts: a file that changed while it was read is then restored again by the next run.
    record = replace(record, input={**record.input, **stamp_of(entry)})
    result = outcome.job.result
    if record.status in DONE:
        try:
            if isinstance(output, Store):
                output.put(result, entry.output)
                result.unlink()
            else:
                move_inside(result, output, entry.output)
            return replace(record, output=entry.output)
        except OutputError as error:
            record = replace(record, status=FAILED, error=str(error), output_bytes=0)
    result.unlink(missing_ok=True)
    return record


def move_inside(source: Path, output: Path, name: str) -> None:
    """Move a file to its place below the output folder.

    Raises:
        OutputError: the place cannot be made or written to, or a link leads out of the folder.
    """
    target = below(output, name)
    parent, inside = Path(os.path.realpath(target.parent)), Path(os.path.realpath(output))
    if not parent.is_relative_to(inside):  # asked before anything is made
        raise OutputError(f"a place inside {output}", f"a link to {parent}", "remove the link")
    try:
        parent.mkdir(parents=True, exist_ok=True)
        source.replace(parent / target.name)
    except OSError as error:
        raise OutputError(f"a writable {target}", error.strerror or str(error), "choose another folder") from error
