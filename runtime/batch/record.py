"""What is known of a file before and after it was restored: plain values for other processes and for JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import BundleError

# What can become of a file.
RESTORED = "restored"  # at least one face, or the whole photograph, was changed
UNCHANGED = "unchanged"  # it has faces, but all were left alone
NO_FACE = "no face"  # passed through
FAILED = "failed"  # `error` says why
CRASHED = "crashed"  # the worker that had it came to an end
TIMEOUT = "timeout"  # the worker that had it was ended
IGNORED = "ignored"  # not a photograph by its name or kind; `error` says why

DONE = frozenset({RESTORED, UNCHANGED, NO_FACE})
LOST = frozenset({FAILED, CRASHED, TIMEOUT})
STATUSES = (RESTORED, UNCHANGED, NO_FACE, FAILED, CRASHED, TIMEOUT, IGNORED)


@dataclass(frozen=True)
class Entry:
    """A file to restore, or a thing that was found in its stead.

    Args:
        name: place below the root of all inputs, with forward slashes.
        output: place below the output folder, with forward slashes; empty where nothing is to be written.
        bytes: size, 0 where it is unknown.
        mtime_ns: time of the last change, 0 where it is unknown.
        status: `ignored` or `failed` where listing has settled its fate already; else empty.
        error: why.
    """

    name: str
    output: str
    bytes: int = 0
    mtime_ns: int = 0
    status: str = ""
    error: str = ""


@dataclass(frozen=True)
class FileRecord:
    """What became of a file; one line of the journal.

    Args:
        name, output: of the Entry; `output` is empty where nothing was written.
        status: one of STATUSES.
        error: one line, empty where all went well.
        input: `bytes`, `mtime_ns` and `sha256` of what was read.
        output_bytes: size of what was written.
        width, height: of the upright photograph in pixels; 0 where it was not read.
        faces: one entry a face, as `RestoredFace.to_json` gives it.
        seconds: stage -> time, with `total` for everything that the worker did for the file.
        cpu_seconds: processor time for the whole file; what it would take on a machine with nothing else to do.
        worker: process id.
        rss_mib: memory of the worker after the file.
        model, options: sha256 of the restorer's file and of everything else that decides the output.
        when: UTC, ISO 8601.
    """

    name: str
    status: str
    output: str = ""
    error: str = ""
    input: dict[str, Any] = field(default_factory=dict)
    output_bytes: int = 0
    width: int = 0
    height: int = 0
    faces: list[dict[str, Any]] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    cpu_seconds: float = 0.0
    worker: int = 0
    rss_mib: float = 0.0
    model: str = ""
    options: str = ""
    when: str = ""

    def to_line(self) -> str:
        """The record as one line of ASCII JSON; names that are no UTF-8 survive as lone surrogates."""
        return json.dumps(self.__dict__, allow_nan=False, separators=(",", ":")) + "\n"

    @classmethod
    def from_line(cls, line: str) -> FileRecord:
        """Read a line back.

        Raises:
            BundleError: not JSON, or not a record.
        """
        try:
            record = cls(**json.loads(line))
        except (ValueError, TypeError) as error:
            raise BundleError("a record of a batch", f"{line[:60]!r} ({error})", "start over") from error
        wrong = [name for name, default in vars(_BLANK).items() if not _fits(getattr(record, name), default)]
        if wrong:
            raise BundleError("a record of a batch", f"{line[:60]!r} (another kind of {wrong[0]})", "start over")
        return record


_BLANK = FileRecord("", "")


def _fits(value: Any, default: Any) -> bool:
    """Whether a value is of a default's type; JSON knows one kind of number."""
    return type(value) is type(default) or (isinstance(default, float) and type(value) is int)


def settled(entry: Entry) -> FileRecord:
    """The record of an entry whose fate listing has settled."""
    return FileRecord(entry.name, entry.status, error=entry.error, input=stamp_of(entry))


def stamp_of(entry: Entry) -> dict[str, Any]:
    """What tells whether an input has changed since."""
    return {"bytes": entry.bytes, "mtime_ns": entry.mtime_ns}


def below(folder: Path, name: str) -> Path:
    """A name with forward slashes as a path below a folder."""
    return folder.joinpath(*name.split("/"))
