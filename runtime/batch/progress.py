"""Says on stderr how far a batch is, and in the end what came of it."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from ..cli import printable
from .record import LOST, STATUSES, FileRecord

_TERMINAL_SECONDS, _LOG_SECONDS = 0.5, 30.0


class Progress:
    """Counts records as they come.

    Args:
        todo: files to restore in this run.
        done: files that an earlier run has settled.
        quiet: say nothing but which files failed.
    """

    def __init__(self, todo: int, done: int, *, quiet: bool = False) -> None:
        self._todo, self._done, self._quiet = todo, done, quiet
        self._terminal = sys.stderr.isatty()
        self._start = self._told = time.monotonic()
        self._count = 0
        self.faces: Counter[str] = Counter()
        self.stages: Counter[str] = Counter()
        self.seconds = 0.0

    def add(self, record: FileRecord) -> None:
        """Count a record, name it if it failed, and say now and then how far the batch is."""
        self._count += 1
        self.faces.update(str(face["status"]) for face in record.faces)
        self.stages.update(record.seconds)
        now = time.monotonic()
        self.seconds = now - self._start
        if record.status in LOST:
            self._say(printable(f"{record.name}: {record.status}: {record.error}") + "\n")
        if not self._quiet and now - self._told > (_TERMINAL_SECONDS if self._terminal else _LOG_SECONDS):
            self._told = now
            self._say(self._line() + ("" if self._terminal else "\n"))

    def close(self) -> None:
        """Clear the line that moves."""
        self._say("")

    def summary(self, statuses: Mapping[str, int]) -> dict[str, Any]:
        """Counts and times of this run, and the statuses of all files.

        Args:
            statuses: status -> files, this and earlier runs together.
        """
        total = self.stages.get("total", 0.0)
        return {
            "files": {status: statuses[status] for status in STATUSES if statuses.get(status)},
            "restored_in_this_run": self._count,
            "faces_in_this_run": dict(self.faces),
            "seconds": round(self.seconds, 2),
            "files_per_second": round(self._count / self.seconds, 3) if self.seconds else 0.0,
            "worker_seconds_by_stage": {stage: round(value, 3) for stage, value in self.stages.items()},
            "worker_seconds": round(total, 3),
        }

    def _line(self) -> str:
        rate = self._count / self.seconds if self.seconds else 0.0
        left = (self._todo - self._count) / rate if rate else 0.0
        settled = self._done + self._count
        return f"{settled} of {self._done + self._todo} files, {rate:.2f} a second, {duration(left)} left"

    def _say(self, text: str) -> None:
        if self._terminal:
            sys.stderr.write("\r\x1b[K" + text)
            sys.stderr.flush()
        else:
            sys.stderr.write(text)


def duration(seconds: float) -> str:
    """A time for people: `12 s`, `3 min`, `5.2 h`, `4.1 days`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"


def told(statuses: Mapping[str, int]) -> str:
    """Counts in one line."""
    return ", ".join(f"{statuses[status]} {status}" for status in STATUSES if statuses.get(status)) or "nothing"
