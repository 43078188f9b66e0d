"""The batch's memory: one line a file, appended when its output is in place, and read back to resume.

Beside the output tree stand `pocketface.jsonl` (the records; the last one of a name counts), `pocketface.json` (what
decides the outputs, and in the end the summary) and the folder `.pocketface` (work in progress, logs, the lock).
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..atomic import replacing_file
from ..errors import BundleError, InputError, OutputError
from .record import DONE, Entry, FileRecord

RECORDS, SUMMARY, PRIVATE = "pocketface.jsonl", "pocketface.json", ".pocketface"
_SYNC_SECONDS = 2.0


class Known(NamedTuple):
    """What resuming needs of a record."""

    status: str
    bytes: int
    mtime_ns: int
    output: str
    output_bytes: int
    options: str


def identity_hash(identity: Mapping[str, Any]) -> str:
    """sha256 of everything that decides an output, in an order of its own."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


class Journal:
    """The records of an output folder, open for appending.

    Args:
        folder: where the records stand; made if missing.
        identity: what decides the outputs; a folder that was begun with another one is refused.
        start_over: forget what was recorded, and write over what is there.

    Raises:
        OutputError: a folder that cannot be written to, holds files of someone else, or is in use by another batch.
        InputError: the folder was begun with another model or other options.
        BundleError: the records are damaged beyond their last line.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any], *, start_over: bool = False) -> None:
        self.folder, self.identity = folder, dict(identity)
        self.start_over = start_over
        self.private = folder / PRIVATE
        self._lock = self._take(start_over=start_over)
        try:
            if start_over:
                (folder / RECORDS).unlink(missing_ok=True)
            else:
                self._compare()
            for leftover in ("work", "logs"):
                shutil.rmtree(self.private / leftover, ignore_errors=True)
            self.known = self._read()
            with replacing_file(folder / SUMMARY) as temporary:
                temporary.write_text(json.dumps({"identity": self.identity}, indent=1) + "\n", encoding="utf-8")
            self._stream = (folder / RECORDS).open("ab", buffering=0)
        except BaseException:
            self._lock.close()
            raise
        self._synced = time.monotonic()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            os.fsync(self._stream.fileno())
        except OSError as error:
            if kind is None:  # else what ended the batch is the better reason
                raise OutputError("room for the records", error.strerror or str(error), "run again") from error
        self._stream.close()
        shutil.rmtree(self.private / "work", ignore_errors=True)
        self._lock.close()

    def add(self, record: FileRecord) -> None:
        """Append a record.

        Raises:
            OutputError: no space is left, or the disk is gone.
        """
        try:
            self._append(record.to_line().encode("ascii"))
            if time.monotonic() - self._synced > _SYNC_SECONDS:
                os.fsync(self._stream.fileno())
                self._synced = time.monotonic()
        except OSError as error:
            raise OutputError(
                "room for the records", error.strerror or str(error), "make room and run again"
            ) from error
        self.known[record.name] = _known(record)

    def _append(self, line: bytes) -> None:
        if self._stream.write(line) < len(line):  # the rest did not fit; the next run cuts the piece off
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def summarise(self, summary: Mapping[str, Any]) -> None:
        """Write the summary beside the records."""
        with replacing_file(self.folder / SUMMARY) as temporary:
            content = {"identity": self.identity, "summary": summary}
            temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    def _take(self, *, start_over: bool) -> Any:
        """Take the folder for this process alone; the system gives it back however the process ends."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            strangers = [path for path in self.folder.iterdir() if path.name != PRIVATE]
            ours = (self.folder / SUMMARY).is_file() or (self.folder / RECORDS).is_file()
            if strangers and not ours and not start_over:
                fix = "choose another folder, or add --start-over to write over what is there"
                raise OutputError("an empty folder, or one that a batch began", f"other files in {self.folder}", fix)
            self.private.mkdir(exist_ok=True)
            lock = (self.private / "lock").open("a")
        except OSError as error:
            raise OutputError(
                f"a writable folder {self.folder}", error.strerror or str(error), "choose another"
            ) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.close()
            raise OutputError("a folder that no other batch is writing to", str(self.folder), "wait for it") from error
        return lock

    def _compare(self) -> None:
        """Refuse to mix outputs of two models or options."""
        path = self.folder / SUMMARY
        if not path.is_file():
            return
        try:
            before = json.loads(path.read_text(encoding="utf-8"))["identity"]
        except (ValueError, KeyError, TypeError) as error:
            raise BundleError(f"a {SUMMARY} of a batch", f"something else in {path}", "add --start-over") from error
        changed = sorted(name for name in {*before, *self.identity} if before.get(name) != self.identity.get(name))
        if changed:
            told = ", ".join(
                f"{name}: {_short(before.get(name))} -> {_short(self.identity.get(name))}" for name in changed
            )
            fix = "choose another folder, or add --start-over to restore everything anew"
            raise InputError(f"the model and options that {self.folder} was begun with", told, fix)

    def _read(self) -> dict[str, Known]:
        """Read the records; a last line that was cut short by the end of its process is cut off."""
        path, known, whole = self.folder / RECORDS, dict[str, Known](), 0
        if not path.is_file():
            return known
        with path.open("r+b") as stream:
            for line in stream:
                if not line.endswith(b"\n"):
                    stream.truncate(whole)
                    break
                record = FileRecord.from_line(line.decode("ascii", "replace"))
                known[record.name] = _known(record)
                whole += len(line)
        return known


def still_done(entry: Entry, known: Known | None, size_of: Callable[[str], int]) -> bool:
    """Whether an input was restored before, has not changed since, and its output is still there.

    Args:
        entry: the input.
        known: what the records say of it.
        size_of: bytes of an output, -1 where there is none.
    """
    if known is None or known.status not in DONE or known.output != entry.output:
        return False
    return _unchanged(entry, known) and size_of(entry.output) == known.output_bytes


def still_lost(entry: Entry, known: Known | None) -> bool:
    """Whether an input failed before, for good or ill, and has not changed since."""
    return known is not None and known.status not in DONE and _unchanged(entry, known)


def records_of(folder: Path) -> Iterator[FileRecord]:
    """The records of a batch, one a file: the last one of each name counts.

    Raises:
        InputError: no batch has written here.
        BundleError: the records are damaged.
    """
    path = folder / RECORDS
    if not path.is_file():
        raise InputError(f"a folder with {RECORDS}", f"none in {folder}", "restore a folder first")
    last = {}
    with path.open(encoding="ascii", errors="replace") as stream:
        for line in stream:
            record = FileRecord.from_line(line)
            last[record.name] = record
    yield from last.values()


def count_statuses(known: Iterable[Known]) -> dict[str, int]:
    """How many files have each status."""
    counts: dict[str, int] = {}
    for one in known:
        counts[one.status] = counts.get(one.status, 0) + 1
    return counts


def _known(record: FileRecord) -> Known:
    stamp = record.input
    return Known(
        record.status,
        _whole(stamp.get("bytes")),
        _whole(stamp.get("mtime_ns")),
        record.output,
        record.output_bytes,
        record.options,
    )


def _whole(value: Any) -> int:
    return value if type(value) is int else 0


def _unchanged(entry: Entry, known: Known) -> bool:
    return (entry.bytes, entry.mtime_ns) == (known.bytes, known.mtime_ns)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
